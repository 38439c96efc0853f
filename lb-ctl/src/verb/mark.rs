//! `lb-ctl mark`.

use super::words::{Grammar, OUTPUT, Operand, Tail, VerbOption, Words};
use super::{Verb, VerbError, carry_out};
use crate::command::World;
use crate::exit::Exit;
use crate::output::json::{document, extras, schema};
use lb_common::api::{Edit, MarkRule, Prefix, Protocol};

pub(super) const MARK: Verb = Verb {
    grammar: Grammar {
        name: "mark",
        operands: &[Operand {
            name: "WHAT",
            about: "what to do",
            values: &[
                ("list", "print the rules, each with its number"),
                (
                    "add",
                    "add a rule behind the others; MARK follows the options",
                ),
                ("delete", "delete rules by their numbers"),
            ],
            optional: false,
        }],
        options: &[&PROTOCOL, &FROM, &TO, &PORT, &INTERFACE, &OUTPUT],
        tail: Tail::Words,
    },
    about: "list, add or delete rules that mark packets for the services of -f",
    details: &[
        "A packet gets the mark of the first rule of which everything said is true: lb sees \
         packets before the firewall, whose marks it cannot know. With one mark for several \
         ports and protocols, a service of that mark balances them together; with -p it sends \
         all of a client's to one server.",
        "Packets of connections that are known go on to their servers, whatever the rules say \
         by then.",
        "For instance: lb-ctl mark add --to 10.0.0.100 --port 554 --protocol tcp 7, and \
         lb-ctl mark add --to 10.0.0.100 --port 6970-6999 --protocol udp 7, and lb-ctl -A -f 7 -p.",
    ],
    run: mark,
};

const PROTOCOL: VerbOption = VerbOption {
    long: "protocol",
    shorts: &[],
    value: Some("PROTOCOL"),
    about: "of this protocol",
    values: &["tcp", "udp", "sctp"],
};

const FROM: VerbOption = VerbOption {
    long: "from",
    shorts: &[],
    value: Some("NETWORK"),
    about: "from this network, e.g. 192.0.2.0/24 or 2001:db8::/32",
    values: &[],
};

const TO: VerbOption = VerbOption {
    long: "to",
    shorts: &[],
    value: Some("NETWORK"),
    about: "to this address or network",
    values: &[],
};

const PORT: VerbOption = VerbOption {
    long: "port",
    shorts: &[],
    value: Some("N[-M]"),
    about: "to this port, or to one of these",
    values: &[],
};

const INTERFACE: VerbOption = VerbOption {
    long: "interface",
    shorts: &[],
    value: Some("IF"),
    about: "that come in by this interface",
    values: &[],
};

fn mark(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let rest = words.operands.get(1..).unwrap_or_default();
    match words.operand(0) {
        "list" => {
            only(words, &[&OUTPUT])?;
            if let Some(word) = rest.first() {
                return Err(wrong(format!("unexpected `{word}'")));
            }
            list(words.json(), world)
        }
        "add" => {
            only(words, &[&PROTOCOL, &FROM, &TO, &PORT, &INTERFACE])?;
            let rule = rule(words, rest)?;
            carry_out(vec![Edit::AddMarkRule { rule }], world)
        }
        // The grammar lets no other word pass.
        _ => {
            only(words, &[])?;
            delete(rest, world)
        }
    }
}

fn list(json: bool, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let marks = world.control.marks()?;
    if json {
        let body = extras::MarksBody::from(marks);
        document(&schema::MARKS, body, world.out)?;
    } else {
        for (number, rule) in (1..).zip(&marks.rules) {
            writeln!(world.out, "{number:>4}  {rule}")?;
        }
    }
    Ok(Exit::Success)
}

fn rule(words: &Words<'_>, rest: &[&str]) -> Result<MarkRule, VerbError> {
    let mark = match rest {
        [mark] => number(mark)?,
        [] => return Err(wrong("MARK is missing".to_owned())),
        [_, word, ..] => return Err(wrong(format!("unexpected `{word}'"))),
    };
    let prefix = |option: &VerbOption| -> Result<Option<Prefix>, VerbError> {
        let parse = |text: &str| {
            let what = |error| wrong(format!("--{}: {error}", option.long));
            text.parse().map_err(what)
        };
        words.option(option).map(parse).transpose()
    };
    Ok(MarkRule {
        protocol: words.option(&PROTOCOL).map(|name| match name {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            // The grammar lets no other word pass.
            _ => Protocol::Sctp,
        }),
        from: prefix(&FROM)?,
        to: prefix(&TO)?,
        ports: words.option(&PORT).map(ports).transpose()?,
        interface: words.option(&INTERFACE).map(str::to_owned),
        mark,
    })
}

fn ports(text: &str) -> Result<(u16, u16), VerbError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok((first, last)),
        _ => Err(wrong(format!(
            "--port: `{text}' is no port such as 80 and no range such as 5000-5010"
        ))),
    }
}

/// Deletes by number. What the numbers stand for is asked once and deleted by what it says, so
/// that no other rule goes should someone else edit them meanwhile.
fn delete(numbers: &[&str], world: &mut World<'_>) -> Result<Exit, VerbError> {
    if numbers.is_empty() {
        return Err(wrong("the rule's number is missing".to_owned()));
    }
    let numbers: Vec<u32> = numbers
        .iter()
        .map(|text| number(text))
        .collect::<Result<_, _>>()?;
    let rules = world.control.marks()?.rules;
    let found = numbers.iter().map(|number| {
        let place = (*number as usize).checked_sub(1);
        place
            .and_then(|place| rules.get(place))
            .ok_or_else(|| VerbError::Refused {
                verb: "mark",
                message: format!("no rule {number}: `lb-ctl mark list' tells which there are"),
            })
    });
    let rules: Vec<&MarkRule> = found.collect::<Result<_, _>>()?;
    let edits = rules
        .into_iter()
        .map(|rule| Edit::DeleteMarkRule { rule: rule.clone() });
    carry_out(edits.collect(), world)
}

fn number(text: &str) -> Result<u32, VerbError> {
    text.parse()
        .map_err(|_| wrong(format!("`{text}' is no number")))
}

/// Refuses options that do not go with what is done.
fn only(words: &Words<'_>, allowed: &[&VerbOption]) -> Result<(), VerbError> {
    let extra = MARK.grammar.options.iter().find(|option| {
        let known = allowed.iter().any(|allowed| allowed.long == option.long);
        !known && words.option(option).is_some()
    });
    match extra {
        Some(option) => Err(wrong(format!(
            "--{} does not go with {}",
            option.long,
            words.operand(0)
        ))),
        None => Ok(()),
    }
}

fn wrong(what: String) -> VerbError {
    VerbError::Usage {
        verb: "mark",
        what,
        usage: MARK.grammar.usage(),
    }
}
