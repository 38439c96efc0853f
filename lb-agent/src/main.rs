//! The director's daemon.
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "the daemon does not ask for next hops yet"
    )
)]
mod net;
fn main() {}
