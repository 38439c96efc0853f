//! Standard output to which nobody may listen.

use std::io::{self, ErrorKind, Write};

/// Takes in what is told, whether or not anybody still listens: what is done does not depend on who
/// hears of it.
#[derive(Debug)]
pub(crate) struct Told<W>(pub(crate) W);

impl<W: Write> Write for Told<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_to_listen() {
        let (listener, pipe) = io::pipe().expect("a pipe");
        drop(listener);
        let mut told = Told(pipe);
        writeln!(told, "done").expect("it does not matter");
        told.flush().expect("nor does this");
        let mut room = [0; 2];
        let mut full = Told(room.as_mut_slice());
        write!(full, "done").expect_err("another fault is one");
    }
}
