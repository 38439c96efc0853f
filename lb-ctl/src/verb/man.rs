//! `lb-ctl man`.

use super::words::{Grammar, Tail, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::exit::Exit;
use crate::man;

pub(super) const MAN: Verb = Verb {
    grammar: Grammar {
        name: "man",
        operands: &[],
        options: &[],
        tail: Tail::None,
    },
    about: "print the manual page, for man -l - or a man8 folder",
    details: &[],
    run: page,
};

fn page(_: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    world.out.write_all(man::page().as_bytes())?;
    Ok(Exit::Success)
}
