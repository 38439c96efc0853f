//! `lb-ctl import`.

use super::words::{Grammar, OUTPUT, Operand, Tail, VerbOption, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::exit::Exit;
use crate::import::{Omission, ipvsadm, keepalived, ldirectord, rules};
use crate::output::json::{document, schema, table};
use std::path::Path;

pub(super) const IMPORT: Verb = Verb {
    grammar: Grammar {
        name: "import",
        operands: &[
            Operand {
                name: "LANGUAGE",
                about: "what the file is written in",
                values: &[
                    ("ipvsadm", "rules, as ipvsadm-save writes them"),
                    ("ldirectord", "ldirectord.cf"),
                    ("keepalived", "keepalived.conf and what it includes"),
                ],
                optional: false,
            },
            Operand {
                name: "FILE",
                about: "the file; - is standard input",
                values: &[],
                optional: false,
            },
        ],
        options: &[&CONFIG_ID, &OUTPUT],
        tail: Tail::None,
    },
    about: "print the rules that a configuration of another program comes to",
    details: &[
        "The rules make the table that the program would make with all servers up; lb-ctl -R \
         takes them. Every line that rules cannot say is listed on standard error with its place \
         and the reason: checks of servers, scripts, mail, VRRP. Names are looked up and \
         printed as numbers.",
        "It ends with 0 if the rules say all of the file, 1 if lines were left out, and 3 if the \
         file cannot be read or understood: then no rule is printed, and each mistake is told \
         with its place and cure.",
        "Of a file for ldirectord, each mistake at which ldirectord or its ipvsadm would stop is \
         one. keepalived goes on behind most mistakes and leaves out what they stand in; so does \
         import, and lists it. What may come down to another table than keepalived's own is a \
         mistake: a quote or a block without an end, parameters that stand for each other, \
         ${_ENV NAME} and ${_RANDOM}.",
    ],
    run: import,
};

const CONFIG_ID: VerbOption = VerbOption {
    long: "config-id",
    shorts: &['i'],
    value: Some("ID"),
    about: "read keepalived.conf's @ID lines as keepalived -i ID does, not by the machine's name",
    values: &[],
};

fn import(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let (language, file) = (words.operand(0), words.operand(1));
    if words.option(&CONFIG_ID).is_some() && language != "keepalived" {
        return Err(VerbError::Usage {
            verb: "import",
            what: "--config-id goes with keepalived only".to_owned(),
            usage: IMPORT.grammar.usage(),
        });
    }
    let (bytes, name) = read(file, world)?;
    let refused = |problems| VerbError::Problems(problems, name.clone());
    let mut skipped = None;
    let description = match language {
        "ipvsadm" => ipvsadm::read(&bytes, &name, world.names).map_err(refused)?,
        "ldirectord" => ldirectord::read(&bytes, &name, world.names).map_err(refused)?,
        // The grammar lets no other word pass.
        _ => {
            let id = match words.option(&CONFIG_ID) {
                Some(id) => id.to_owned(),
                None => world.machine.name(),
            };
            let folder = match Path::new(file).parent() {
                Some(folder) if file != "-" => folder,
                Some(_) | None => Path::new(""),
            };
            let reading = keepalived::read(&bytes, &name, folder, world.machine, &id);
            let reading = reading.map_err(refused)?;
            skipped = (reading.skipped > 0).then_some((reading.skipped, id));
            reading.description
        }
    };

    let omissions = rules::omissions(&description);
    if words.json() {
        let body = table::ImportBody::new(&description, &omissions);
        document(&schema::IMPORT, body, world.out)?;
    } else {
        rules::print(&description, world.names, world.out)?;
    }
    world.out.flush()?;
    report(&omissions, skipped, &name, world);
    Ok(if omissions.is_empty() {
        Exit::Success
    } else {
        Exit::Negative
    })
}

fn read(file: &str, world: &mut World<'_>) -> Result<(Vec<u8>, String), VerbError> {
    let (read, name) = if file == "-" {
        let mut bytes = Vec::new();
        let read = world.stdin.read_to_end(&mut bytes).map(|_| bytes);
        (read, "standard input")
    } else {
        (world.machine.read(Path::new(file)), file)
    };
    match read {
        Ok(bytes) => Ok((bytes, name.to_owned())),
        Err(source) => Err(VerbError::File {
            verb: "import",
            file: name.to_owned(),
            source,
        }),
    }
}

/// Lists what was left out; a reader that went away misses it.
fn report(
    omissions: &[Omission],
    skipped: Option<(usize, String)>,
    name: &str,
    world: &mut World<'_>,
) {
    let mut text = String::new();
    for Omission {
        place: (file, line),
        text: left_out,
        why,
    } in omissions
    {
        text += &printable(&format!("{file}:{line}: {left_out}: {why}"));
    }
    if let Some((skipped, id)) = skipped {
        text += &printable(&format!(
            "lb-ctl import: {skipped} lines of {name} begin with @ and are not for `{id}'; \
             --config-id tells for whom to read it"
        ));
    }
    match omissions.len() {
        0 => {}
        1 => text += "lb-ctl import: 1 line was not carried over\n",
        left_out => text += &format!("lb-ctl import: {left_out} lines were not carried over\n"),
    }
    let _ = world.err.write_all(text.as_bytes());
}

/// A line in which nothing of a file can steer the terminal.
fn printable(line: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    line.chars().map(shown).chain(['\n']).collect()
}
