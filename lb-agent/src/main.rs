//! The director's daemon.
fn main() {}
