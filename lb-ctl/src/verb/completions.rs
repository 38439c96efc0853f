//! `lb-ctl completions`, and the hidden verb that its scripts call.

use super::words::{Grammar, Operand, Tail, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::complete::{self, Next, SCRIPTS};
use crate::exit::Exit;

pub(super) const COMPLETIONS: Verb = Verb {
    grammar: Grammar {
        name: "completions",
        operands: &[Operand {
            name: "SHELL",
            about: "which shell",
            values: &[
                ("bash", "for /usr/share/bash-completion/completions/lb-ctl"),
                (
                    "zsh",
                    "for _lb-ctl in a folder of fpath, e.g. /usr/local/share/zsh/site-functions",
                ),
                (
                    "fish",
                    "for /usr/share/fish/vendor_completions.d/lb-ctl.fish",
                ),
            ],
            optional: false,
        }],
        options: &[],
        tail: Tail::None,
    },
    about: "print a script that completes command lines of lb-ctl and ipvsadm",
    details: &[
        "To try it in a running bash: . <(lb-ctl completions bash). The script asks lb-ctl what \
         may come next: options that go with the command, values, and the services and servers \
         of a running agent.",
    ],
    run: completions,
};

/// `lb-ctl complete -- WORD...`: what may stand in the place of the last word, one a line with a
/// tab and what it is for; `:files` for the name of a file.
pub(super) const COMPLETE: Verb = Verb {
    grammar: Grammar {
        name: "complete",
        operands: &[],
        options: &[],
        tail: Tail::Words,
    },
    about: "",
    details: &[],
    run: complete,
};

fn completions(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let shell = words.operand(0);
    for (_, script) in SCRIPTS.iter().filter(|(name, _)| *name == shell) {
        world.out.write_all(script.as_bytes())?;
    }
    Ok(Exit::Success)
}

fn complete(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let words: Vec<String> = words
        .operands
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    match complete::complete(&words, world.control) {
        Next::Words(words) => {
            for (word, about) in words {
                writeln!(world.out, "{word}\t{about}")?;
            }
        }
        Next::File => writeln!(world.out, ":files")?,
    }
    Ok(Exit::Success)
}
