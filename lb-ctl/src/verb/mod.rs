//! The verbs: words where ipvsadm has options.

mod status;

use crate::command::{self, World};
use crate::control::ControlError;
use crate::exit::Exit;
use crate::invocation::{Identity, Invocation};
use std::io;

/// A verb: its name, what it is for, and what it does with its words.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: fn(&[String], &mut World<'_>) -> Result<Exit, VerbError>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "status",
        about: "show the agent, its interfaces and its services [-o json]",
        run: status::status,
    },
    Verb {
        name: "help",
        about: "show this list",
        run: help,
    },
];

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
enum VerbError {
    /// A word it does not know.
    #[error("lb-ctl {verb}: unexpected `{word}'; usage: {usage}")]
    Usage {
        verb: &'static str,
        word: String,
        usage: &'static str,
    },
    /// The agent did not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The answer could not be printed.
    #[error(transparent)]
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
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let known: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
        let known = known.join(", ");
        // A message that nobody reads changes nothing.
        let _ = writeln!(
            world.err,
            "lb-ctl: unknown verb `{name}'; there are: {known}. ipvsadm's options work as well \
             (lb-ctl -h)."
        );
        return Exit::Usage;
    };
    let result = (verb.run)(words, world).and_then(|exit| {
        world.out.flush()?;
        Ok(exit)
    });
    result.unwrap_or_else(|error| end(&error, world))
}

fn end(error: &VerbError, world: &mut World<'_>) -> Exit {
    let exit = match error {
        VerbError::Output(source) | VerbError::Control(ControlError::Output(source))
            if source.kind() == io::ErrorKind::BrokenPipe =>
        {
            return Exit::Success;
        }
        VerbError::Usage { .. } => Exit::Usage,
        VerbError::Control(_) | VerbError::Output(_) | VerbError::Json(_) => Exit::Environment,
    };
    let cure = match error {
        VerbError::Control(ControlError::Unreachable { .. }) => {
            "\nIs lb-agent running, and may you use its socket? If it listens elsewhere, give \
             --socket PATH or set LB_SOCKET."
        }
        VerbError::Usage { .. }
        | VerbError::Control(_)
        | VerbError::Output(_)
        | VerbError::Json(_) => "",
    };
    let _ = writeln!(world.err, "{error}{cure}");
    exit
}

fn help(words: &[String], world: &mut World<'_>) -> Result<Exit, VerbError> {
    if let Some(word) = words.first() {
        return Err(VerbError::Usage {
            verb: "help",
            word: word.clone(),
            usage: "lb-ctl help",
        });
    }
    writeln!(
        world.out,
        "Usage:\n  lb-ctl [--socket PATH] VERB ...\n  \
         lb-ctl [--socket PATH] OPTION ...   ipvsadm's options; lb-ctl -h lists them\n\nVerbs:"
    )?;
    for verb in VERBS {
        writeln!(world.out, "  {:<10}{}", verb.name, verb.about)?;
    }
    writeln!(
        world.out,
        "\nThe agent is asked on --socket, else $LB_SOCKET, else {}.",
        crate::invocation::SOCKET
    )?;
    Ok(Exit::Success)
}
