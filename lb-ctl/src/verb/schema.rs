//! `lb-ctl schema`.

use super::words::{Grammar, Operand, Tail, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::exit::Exit;
use crate::output::json::schema::SCHEMAS;

pub(super) const SCHEMA: Verb = Verb {
    grammar: Grammar {
        name: "schema",
        operands: &[Operand {
            name: "DOCUMENT",
            about: "which document",
            values: &[
                ("status", "of lb-ctl status"),
                ("services", "of lb-ctl list services"),
                ("connections", "of lb-ctl list connections"),
                ("timeouts", "of lb-ctl list timeouts"),
                ("daemons", "of lb-ctl list daemons"),
                ("marks", "of lb-ctl mark list"),
                ("settings", "of lb-ctl setting"),
                ("service", "of lb-ctl service"),
                ("realserver", "of lb-ctl realserver check"),
                ("import", "of lb-ctl import"),
            ],
            optional: false,
        }],
        options: &[],
        tail: Tail::None,
    },
    about: "print the JSON Schema of what -o json prints",
    details: &[
        "Each document names its schema and version in the field `schema', e.g. \
         lb-ctl/services/1. Later versions of lb-ctl may add fields to a document; they raise \
         its version when a field goes or means something else.",
    ],
    run: schema,
};

fn schema(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let name = words.operand(0);
    for schema in SCHEMAS.iter().filter(|schema| schema.name == name) {
        serde_json::to_writer_pretty(&mut *world.out, &schema.json_schema())?;
        writeln!(world.out)?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_can_be_asked_for() {
        let asked: Vec<&str> = SCHEMA.grammar.operands[0]
            .values
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let known: Vec<&str> = SCHEMAS.iter().map(|schema| schema.name).collect();
        assert_eq!(asked, known);
        for (schema, (_, about)) in SCHEMAS.iter().zip(SCHEMA.grammar.operands[0].values) {
            assert_eq!(*about, format!("of {}", schema.command));
        }
    }
}
