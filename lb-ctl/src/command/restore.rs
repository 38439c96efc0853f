//! `-R`: one command a line from standard input.
//!
//! Consecutive edits travel in one request as far as the input has been read, yet everything
//! comes out as if each line had been carried out before the next was looked at.

use super::{Failure, World, complain, edit, print};
use crate::args::Refused;
use crate::args::number::is_space;
use crate::args::request::{Request, request};
use crate::exit::Exit;
use lb_common::api::Edit;

/// How much is read at once; a pipe delivers less.
const CHUNK: usize = 1 << 20;

/// Runs the lines of standard input; the exit code is that of the last line.
pub(super) fn restore(world: &mut World<'_>) -> Result<Exit, Failure> {
    let mut restore = Restore::default();
    let mut begun = Vec::new();
    loop {
        let before = begun.len();
        begun.resize(before + CHUNK, 0);
        let read = match world.stdin.read(&mut begun[before..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                begun.truncate(before);
                continue;
            }
            other => other?,
        };
        begun.truncate(before + read);
        let whole = if read == 0 {
            begun.len()
        } else {
            begun
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1)
        };
        for line in String::from_utf8_lossy(&begun[..whole]).split('\n') {
            restore.line(line, world)?;
        }
        begun.drain(..whole);
        // The next read may wait for a writer who waits for what it wrote so far.
        restore.apply(world)?;
        if read == 0 {
            return Ok(restore.exit);
        }
    }
}

#[derive(Debug)]
struct Restore {
    pending: Vec<Edit>,
    exit: Exit,
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            exit: Exit::Success,
        }
    }
}

impl Restore {
    fn line(&mut self, line: &str, world: &mut World<'_>) -> Result<(), Failure> {
        let words: Vec<String> = line
            .split(is_space)
            .filter(|word| !word.is_empty() && *word != "ipvsadm")
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return Ok(());
        }
        let request = request(&words, world.names);
        if let Ok(Request::Edit(edit)) = request {
            self.pending.push(edit);
            return Ok(());
        }
        self.apply(world)?;
        match request {
            Ok(Request::Edit(_)) => {}
            Ok(Request::Restore) => return Err(Failure::Refused(Refused::TryHelp)),
            Ok(request @ (Request::Help | Request::Version)) => {
                // Both end ipvsadm wherever they stand.
                print(request, world)?;
                return Err(Failure::Done);
            }
            Ok(request) => self.exit = print(request, world)?,
            Err(refused @ Refused::Option(_)) => {
                complain(&refused.text(&world.program), world)?;
                self.exit = refused.exit();
            }
            Err(refused) => return Err(Failure::Refused(refused)),
        }
        Ok(())
    }

    /// Carries out the edits that wait.
    fn apply(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            self.exit = edit::edits(std::mem::take(&mut self.pending), world)?;
        }
        Ok(())
    }
}
