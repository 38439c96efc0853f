//! One function a request: it asks the agent and prints what came of it.

mod edit;
mod list;
mod restore;

pub use edit::refusal_text;

use crate::args::request::{Format, Request, request};
use crate::args::{Refused, help};
use crate::control::{Control, ControlError};
use crate::exit::Exit;
use crate::invocation::Identity;
use crate::machine::Machine;
use crate::names::Names;
use std::io::{self, Read, Write};

/// All that a command touches.
pub struct World<'a> {
    /// How the program was called.
    pub program: String,
    /// Whose manners it has.
    pub identity: Identity,
    /// Where names come from.
    pub names: &'a dyn Names,
    /// Where files come from.
    pub machine: &'a dyn Machine,
    /// The agent.
    pub control: &'a mut dyn Control,
    /// What `-R` and `import -` read.
    pub stdin: &'a mut dyn Read,
    /// Where answers go.
    pub out: &'a mut dyn Write,
    /// Where messages go.
    pub err: &'a mut dyn Write,
}

/// Why a run ends before its last line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is refused.
    #[error("the command line is refused")]
    Refused(Refused),
    /// A service to be listed does not exist.
    #[error("No such service")]
    NoSuchService,
    /// Nothing is wrong: the help was asked for amid other lines, and ends them.
    #[error("the help ends the run")]
    Done,
    /// The agent did not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The answer could not be printed, or `-R` not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Carries out ipvsadm's command line; without words it lists the table.
pub fn run(words: &[String], world: &mut World<'_>) -> Exit {
    let result = if words.is_empty() {
        list::services(None, Format::default(), world).map(|()| Exit::Success)
    } else {
        line(words, world)
    };
    let result = result.and_then(|exit| {
        world.out.flush()?;
        Ok(exit)
    });
    result.unwrap_or_else(|failure| end(&failure, world))
}

/// Carries out one line that is not of `-R`.
fn line(words: &[String], world: &mut World<'_>) -> Result<Exit, Failure> {
    match request(words, world.names) {
        Ok(Request::Edit(edit)) => edit::edits(vec![edit], world),
        Ok(Request::Restore) => restore::restore(world),
        Ok(request) => print(request, world),
        Err(refused) => Err(Failure::Refused(refused)),
    }
}

/// Carries out a request that changes nothing.
fn print(request: Request, world: &mut World<'_>) -> Result<Exit, Failure> {
    match request {
        Request::List { service, format } => list::services(service, format, world)?,
        Request::Connections(format) => list::connection_rows(format, world)?,
        Request::Timeouts => list::timeout_row(world)?,
        Request::Daemons => list::daemon_rows(world)?,
        Request::Save(format) => list::rules(format, world)?,
        Request::Help => {
            let text = help::help(&world.program, world.identity);
            world.out.write_all(text.as_bytes())?;
        }
        Request::Version => world
            .out
            .write_all(help::version(world.identity).as_bytes())?,
        // Neither reaches this: `line` and `restore` keep them apart.
        Request::Edit(_) | Request::Restore => {}
    }
    Ok(Exit::Success)
}

/// Prints a message behind whatever was printed before, and also if that was in vain.
fn complain(text: &str, world: &mut World<'_>) -> io::Result<()> {
    let flushed = world.out.flush();
    writeln!(world.err, "{text}").and(flushed)
}

/// Prints why a run failed; a reader that went away is no failure.
fn end(failure: &Failure, world: &mut World<'_>) -> Exit {
    let (text, exit) = match failure {
        Failure::Refused(refused) => (refused.text(&world.program), refused.exit()),
        Failure::Done => return world.out.flush().map_or(Exit::Negative, |()| Exit::Success),
        Failure::NoSuchService => (failure.to_string(), Exit::Negative),
        Failure::Io(error) | Failure::Control(ControlError::Output(error)) => {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Exit::Success;
            }
            (failure.to_string(), Exit::Negative)
        }
        Failure::Control(ControlError::Unreachable { path, source }) => {
            (unreachable_text(world.identity, path, source), Exit::Usage)
        }
        Failure::Control(
            ControlError::Transport { .. }
            | ControlError::Status { .. }
            | ControlError::Answer { .. }
            | ControlError::Outcomes { .. },
        ) => (failure.to_string(), Exit::Negative),
    };
    match complain(&text, world) {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(_) => exit,
    }
}

fn unreachable_text(identity: Identity, path: &str, source: &io::Error) -> String {
    match identity {
        Identity::Ipvsadm => {
            let why = if source.kind() == io::ErrorKind::PermissionDenied {
                "Permission denied (you must be root)".to_owned()
            } else {
                strerror(source)
            };
            format!(
                "Can't initialize ipvs: {why}\n\
                 Are you sure that IP Virtual Server is built in the kernel or as module?"
            )
        }
        Identity::LbCtl => format!(
            "Can't initialize ipvs: no agent answers on {path}: {}\n\
             Is lb-agent running, and may you use its socket? If it listens elsewhere, \
             give --socket PATH or set LB_SOCKET.",
            strerror(source)
        ),
    }
}

/// An I/O error without Rust's ` (os error N)`.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
