//! The verbs: words where ipvsadm has options.

mod completions;
mod help;
mod import;
mod list;
mod man;
mod mark;
mod realserver;
mod schema;
mod service;
mod setting;
mod status;
pub mod words;

use crate::command::{self, World};
use crate::control::ControlError;
use crate::exit::Exit;
use crate::invocation::{Identity, Invocation};
use lb_common::api::Edit;
use std::io;
use words::{Grammar, Words};

/// A verb: its grammar, what it is for, and what it does.
pub struct Verb {
    /// Its name, and the words it takes.
    pub grammar: Grammar,
    /// What it is for, in a line.
    pub about: &'static str,
    /// What else there is to know, in paragraphs for the page.
    pub details: &'static [&'static str],
    run: fn(&Words<'_>, &mut World<'_>) -> Result<Exit, VerbError>,
}

/// Every verb, in the order of the help.
pub const VERBS: &[Verb] = &[
    status::STATUS,
    list::LIST,
    mark::MARK,
    setting::SETTING,
    service::SERVICE,
    realserver::REALSERVER,
    import::IMPORT,
    schema::SCHEMA,
    completions::COMPLETIONS,
    man::MAN,
    help::HELP,
    completions::COMPLETE,
];

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// A word it does not know, or that is missing.
    #[error("lb-ctl {verb}: {what}; usage: {usage}")]
    Usage {
        /// The verb.
        verb: &'static str,
        /// The word, and what is wrong with it.
        what: String,
        /// How the verb is used.
        usage: String,
    },
    /// A file cannot be read.
    #[error("lb-ctl {verb}: cannot read {file}: {source}")]
    File {
        /// The verb.
        verb: &'static str,
        /// The file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// A file makes no sense.
    #[error("{0}\nlb-ctl import: nothing was printed, since {1} cannot be understood")]
    Problems(crate::import::Problems, String),
    /// The agent refused, or what was named is not there.
    #[error("lb-ctl {verb}: {message}")]
    Refused {
        /// The verb.
        verb: &'static str,
        /// What, why, and the cure.
        message: String,
    },
    /// The agent did not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The program that does the work cannot be started.
    #[error(
        "lb-ctl {verb}: cannot start {agent}, which does the work: {source}; install lb-agent beside \
         lb-ctl, or set LB_AGENT to its path"
    )]
    Agent {
        /// The verb.
        verb: &'static str,
        /// The program.
        agent: String,
        /// Why not.
        source: io::Error,
    },
    /// The answer could not be printed.
    #[error("output: {0}")]
    Output(#[from] io::Error),
    /// The answer could not be turned into JSON.
    #[error("the answer cannot be printed as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs a call: a verb, or ipvsadm's grammar when the first word is an option or missing.
pub fn run(invocation: &Invocation, world: &mut World<'_>) -> Exit {
    let words = &invocation.words;
    match words.split_first() {
        Some((first, rest))
            if invocation.identity == Identity::LbCtl && !first.starts_with('-') =>
        {
            verb(first, rest, world)
        }
        Some(_) | None => command::run(words, world),
    }
}

fn verb(name: &str, words: &[String], world: &mut World<'_>) -> Exit {
    let Some(verb) = VERBS.iter().find(|verb| verb.grammar.name == name) else {
        let known: Vec<&str> = shown().map(|verb| verb.grammar.name).collect();
        let known = known.join(", ");
        // A message that nobody reads changes nothing.
        let _ = writeln!(
            world.err,
            "lb-ctl: unknown verb `{name}'; there are: {known}. ipvsadm's options work as well \
             (lb-ctl -h)."
        );
        return Exit::Usage;
    };
    // Whoever asks for help gets it, whatever else the line says.
    let mut options = words.iter().take_while(|word| *word != "--");
    let result = if options.any(|word| word == "--help" || word == "-h") {
        help::one(verb, world).map(|()| Exit::Success)
    } else {
        verb.grammar
            .read(words)
            .and_then(|words| (verb.run)(&words, world))
    };
    let result = result.and_then(|exit| {
        world.out.flush()?;
        Ok(exit)
    });
    result.unwrap_or_else(|error| end(&error, world))
}

/// The verbs for people.
pub fn shown() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|verb| !verb.about.is_empty())
}

fn end(error: &VerbError, world: &mut World<'_>) -> Exit {
    let exit = match error {
        VerbError::Output(source) | VerbError::Control(ControlError::Output(source))
            if source.kind() == io::ErrorKind::BrokenPipe =>
        {
            return Exit::Success;
        }
        VerbError::Json(source) if source.io_error_kind() == Some(io::ErrorKind::BrokenPipe) => {
            return Exit::Success;
        }
        VerbError::Usage { .. } => Exit::Usage,
        VerbError::Refused { .. } => Exit::Negative,
        VerbError::Control(_)
        | VerbError::Agent { .. }
        | VerbError::File { .. }
        | VerbError::Problems(..)
        | VerbError::Output(_)
        | VerbError::Json(_) => Exit::Environment,
    };
    let cure = match error {
        VerbError::Control(ControlError::Unreachable { .. }) => {
            "\nIs lb-agent running, and may you use its socket? If it listens elsewhere, give \
             --socket PATH or set LB_SOCKET."
        }
        VerbError::Usage { .. }
        | VerbError::Refused { .. }
        | VerbError::Control(_)
        | VerbError::Agent { .. }
        | VerbError::File { .. }
        | VerbError::Problems(..)
        | VerbError::Output(_)
        | VerbError::Json(_) => "",
    };
    // What was printed before stands before the message.
    let _ = world.out.flush();
    let _ = writeln!(world.err, "{error}{cure}");
    exit
}

/// Carries out edits; what is refused is told, and the others count all the same.
fn carry_out(edits: Vec<Edit>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let outcomes = world.control.edit(edits)?;
    let mut exit = Exit::Success;
    for refusal in outcomes.into_iter().flatten() {
        let _ = writeln!(world.err, "lb-ctl: {}", refusal.message);
        exit = Exit::Negative;
    }
    Ok(exit)
}
