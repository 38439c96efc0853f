//! `lb-ctl help`.

use super::words::{Grammar, Operand, Tail, Words};
use super::{VERBS, Verb, VerbError, shown};
use crate::command::World;
use crate::exit::Exit;
use crate::invocation::{SOCKET, SOCKET_ABOUT};

pub(super) const HELP: Verb = Verb {
    grammar: Grammar {
        name: "help",
        operands: &[Operand {
            name: "VERB",
            about: "show how this verb is used",
            values: &[],
            optional: true,
        }],
        options: &[],
        tail: Tail::None,
    },
    about: "show the verbs, or how one is used",
    details: &[],
    run: help,
};

fn help(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let Some(name) = words.operands.first() else {
        all(world)?;
        return Ok(Exit::Success);
    };
    match VERBS.iter().find(|verb| verb.grammar.name == *name) {
        Some(verb) => {
            one(verb, world)?;
            Ok(Exit::Success)
        }
        None => Err(VerbError::Usage {
            verb: "help",
            what: format!("there is no verb `{name}'"),
            usage: HELP.grammar.usage(),
        }),
    }
}

fn all(world: &mut World<'_>) -> Result<(), VerbError> {
    writeln!(
        world.out,
        "Usage:\n  lb-ctl [--socket PATH] VERB ...\n  \
         lb-ctl [--socket PATH] OPTION ...   ipvsadm's options; lb-ctl -h lists them\n\nVerbs:"
    )?;
    for verb in shown() {
        writeln!(world.out, "  {:<13}{}", verb.grammar.name, verb.about)?;
    }
    writeln!(
        world.out,
        "\nlb-ctl help VERB tells more, and `lb-ctl man | man -l -' all.\n\
         The agent is asked on --socket, else $LB_SOCKET, else {SOCKET}."
    )?;
    Ok(())
}

/// Shows one verb.
pub(super) fn one(verb: &Verb, world: &mut World<'_>) -> Result<(), VerbError> {
    let Verb {
        grammar,
        about,
        details,
        run: _,
    } = verb;
    writeln!(
        world.out,
        "Usage: {}\n\n{}.",
        grammar.usage(),
        capital(about)
    )?;
    for operand in grammar.operands {
        if operand.values.is_empty() {
            writeln!(world.out, "\n  {:<16} {}", operand.name, operand.about)?;
        } else {
            writeln!(world.out)?;
        }
        for (word, about) in operand.values {
            writeln!(world.out, "  {word:<16} {about}")?;
        }
    }
    for option in grammar.options {
        writeln!(world.out, "\n  {:<16} {}", option.spelling(), option.about)?;
    }
    writeln!(
        world.out,
        "\nBefore the verb may stand --socket PATH: {SOCKET_ABOUT}."
    )?;
    for paragraph in *details {
        writeln!(world.out, "\n{paragraph}")?;
    }
    Ok(())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
