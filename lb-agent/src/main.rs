//! The director's daemon.
mod net;
fn main() {}
