//! Loops that the verifier can follow.
//!
//! The kernel's verifier walks a loop in a program once for every turn and every path through
//! it: searching sixteen entries of the flow table in a plain loop takes it more than a million
//! steps. A loop whose body is a function given to `bpf_loop` it walks once.

/// What a loop does in each turn.
pub trait Body {
    /// Takes a turn; true ends the loop.
    fn turn(&mut self) -> bool;
}

/// Whoever owns loops: `for` on the host, `bpf_loop` in the kernel.
pub trait Repeat {
    /// Zero. In the kernel the verifier takes it for any number below 256: a number that it is
    /// mixed into by exclusive or is unknown afterwards, and what follows is walked once, and not
    /// once for every value that a way to it can give.
    fn blur(&self) -> u8 {
        0
    }

    /// Runs `body` at most `turns` times.
    fn repeat<B: Body>(&self, turns: u32, body: &mut B);
}
