//! The page lb-ctl(8), written from the tables that read the command line and print the answers.

pub mod options;

use crate::args::flags::{Command, FLAGS, Flag, Section, Spec};
use crate::args::legality::{Given, allows};
use crate::args::parse::noted_as;
use crate::args::popt::Value;
use crate::exit::Exit;
use crate::invocation::{SOCKET, SOCKET_ABOUT};
use crate::output::json::schema::{Field, Kind, SCHEMAS, Schema};
use crate::verb::{Verb, shown};
use options::DETAILS;
use roff::{Inline, Roff, bold, italic, roman};

/// The page, for man(1).
#[must_use]
pub fn page() -> String {
    let version = format!("lb-ctl {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control(
        "TH",
        ["LB-CTL", "8", "", version.as_str(), "System Administration"],
    );
    section(&mut page, "NAME");
    page.text([roman(
        "lb-ctl - control a load balancer with ipvsadm's commands",
    )]);
    synopsis(&mut page);
    section(&mut page, "DESCRIPTION");
    for text in DESCRIPTION {
        paragraph(&mut page, text);
    }
    item(&mut page, &["--socket"], Some("PATH"), "");
    page.text([roman(format!(
        "{}. Without both it is {SOCKET}. The option stands before all others; called ipvsadm, \
         lb-ctl has none, but LB_SOCKET counts.",
        capital(SOCKET_ABOUT)
    ))]);
    verbs(&mut page);
    commands(&mut page);
    for (title, part) in PARTS {
        section(&mut page, title);
        for spec in FLAGS.iter().filter(|spec| spec.section == *part) {
            option(&mut page, spec);
        }
    }
    documents(&mut page);
    section(&mut page, "EXIT STATUS");
    for (exit, text) in EXITS {
        item(&mut page, &[&exit.code().to_string()], None, text);
    }
    section(&mut page, "ENVIRONMENT");
    item(
        &mut page,
        &["LB_SOCKET"],
        None,
        "The agent's socket, unless --socket names one.",
    );
    paragraph(
        &mut page,
        "lb-ctl prints no colours and does not look at the width of the terminal; what it prints \
         depends on neither.",
    );
    section(&mut page, "FILES");
    item(
        &mut page,
        &[SOCKET],
        None,
        "Where lb-agent listens unless told otherwise.",
    );
    section(&mut page, "SEE ALSO");
    let pages = ["lb-agent", "ipvsadm", "ipvsadm-save", "ipvsadm-restore"];
    for (number, name) in pages.iter().enumerate() {
        let end = if number + 1 == pages.len() { "" } else { "," };
        page.text([bold(*name), roman(format!("(8){end}"))]);
    }
    page.render()
}

const DESCRIPTION: &[&str] = &[
    "lb-ctl asks lb-agent(8), which balances connections in XDP programs. It takes what \
     ipvsadm(8) takes, word for word, and answers alike: messages, columns and exit status. \
     Called by the name ipvsadm, it does nothing else, so that scripts and ldirectord need not \
     know it from ipvsadm.",
    "Under its own name it has verbs besides. A first word that begins with a dash is one of \
     ipvsadm's commands, any other a verb.",
];

/// The parts of ipvsadm's options.
const PARTS: &[(&str, Section)] = &[
    ("SERVICES", Section::VirtualService),
    ("OPTIONS", Section::Options),
    ("OPTIONS OF SYNC DAEMONS", Section::DaemonOptions),
];

/// Every way to end.
const EXITS: &[(Exit, &str)] = &[
    (
        Exit::Success,
        "All went well. A reader that goes away (lb-ctl -L | head) is no failure.",
    ),
    (
        Exit::Negative,
        "A verb's answer is no: something is wrong with what it shows (status), a check fails, or \
         lines were left out (import). With ipvsadm's options: a table could not be read for a \
         list, or the service to be listed does not exist.",
    ),
    (
        Exit::Usage,
        "The command line is wrong. With ipvsadm's options also: no agent answers.",
    ),
    (
        Exit::Environment,
        "A verb finds no agent, may not ask it, or cannot read or understand a file.",
    ),
    (
        Exit::Conflict,
        "A verb met a state that somebody else changed.",
    ),
    (
        Exit::Refused,
        "With ipvsadm's options: the agent refused a change, or the first option is no command.",
    ),
];

fn synopsis(page: &mut Roff) {
    section(page, "SYNOPSIS");
    for verb in shown() {
        let usage = verb.grammar.usage();
        let behind = usage.strip_prefix("lb-ctl").unwrap_or(&usage).to_owned();
        page.text([bold("lb-ctl"), roman(" [--socket PATH]"), roman(behind)]);
        page.control("br", []);
    }
    page.text([
        bold("lb-ctl"),
        roman(" [--socket PATH] [COMMAND [OPTION...]]"),
    ]);
    page.control("br", []);
    page.text([bold("ipvsadm"), roman(" [COMMAND [OPTION...]]")]);
}

fn verbs(page: &mut Roff) {
    section(page, "VERBS");
    for verb in shown() {
        let Verb {
            grammar,
            about,
            details,
            ..
        } = verb;
        page.control("SS", [grammar.usage().as_str()]);
        paragraph(page, &format!("{}.", capital(about)));
        for operand in grammar.operands {
            if operand.values.is_empty() {
                item(page, &[operand.name], None, operand.about);
            }
            for (word, about) in operand.values {
                item(page, &[word], None, about);
            }
        }
        for option in grammar.options {
            let mut names: Vec<String> = option
                .shorts
                .iter()
                .map(|short| format!("-{short}"))
                .collect();
            names.push(format!("--{}", option.long));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            item(page, &names, option.value, option.about);
        }
        for text in *details {
            paragraph(page, text);
        }
    }
}

fn commands(page: &mut Roff) {
    section(page, "COMMANDS");
    paragraph(
        page,
        "The first option is the command. Options that it takes are named with it, those it needs \
         first. Long options may be written --name=value, letters may be joined.",
    );
    let sections = [Section::Commands, Section::Unlisted];
    for spec in FLAGS.iter().filter(|spec| sections.contains(&spec.section)) {
        option(page, spec);
        let Flag::Command(command) = spec.flag else {
            continue;
        };
        let taken: Vec<String> = taken(command)
            .map(|spec| format!("--{}", spec.long))
            .collect();
        if !taken.is_empty() {
            page.text([roman("Options: ")]);
            page.text([roman(format!("{}.", taken.join(", ")))]);
        }
    }
}

/// The options that go with a command.
pub(crate) fn taken(command: Command) -> impl Iterator<Item = &'static Spec> {
    let takes = move |flag| match noted_as(flag) {
        Some(opt) => allows(command, Given::default(), opt),
        None => false,
    };
    FLAGS.iter().filter(move |spec| takes(spec.flag))
}

fn option(page: &mut Roff, spec: &Spec) {
    let mut names: Vec<String> = spec
        .shorts
        .iter()
        .map(|short| format!("-{short}"))
        .collect();
    names.push(format!("--{}", spec.long));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let value = match (spec.flag, spec.value) {
        (Flag::Command(Command::Set), _) => Some("tcp tcpfin udp"),
        (Flag::Command(_), Value::Required) => Some("master|backup"),
        (_, Value::Required) => Some("VALUE"),
        (_, Value::Optional) => Some("[VALUE]"),
        (_, Value::No) => None,
    };
    let detail = DETAILS.iter().find(|detail| detail.flag == spec.flag);
    let text = detail.map_or(spec.about, |detail| detail.text);
    item(page, &names, value, text);
    if let Some((least, most)) = detail.and_then(|detail| detail.range) {
        page.text([roman(format!("It is from {least} to {most}."))]);
    }
}

fn documents(page: &mut Roff) {
    section(page, "JSON");
    paragraph(
        page,
        "With -o json a verb prints one JSON document. Its field schema names the document and \
         the version of its schema. A version stays while fields are added, and rises when one \
         goes or means something else. lb-ctl schema prints each as JSON Schema. Every field is \
         there; some may be null. a.b is field b of object a, a[] an element of list a.",
    );
    for schema in SCHEMAS {
        let Schema {
            name: _,
            version: _,
            command,
            fields,
        } = schema;
        page.control("SS", [format!("{command} -o json").as_str()]);
        item(
            page,
            &["schema"],
            None,
            &format!("The text {}.", schema.id()),
        );
        document_fields(page, "", fields);
    }
}

fn document_fields(page: &mut Roff, above: &str, fields: &[Field]) {
    for Field {
        name,
        kind,
        nullable,
        about,
    } in fields
    {
        let path = format!("{above}{name}");
        let or_null = if *nullable { " or null" } else { "" };
        let (path, what, below) = match kind {
            Kind::Text => (path, "text".to_owned(), None),
            Kind::OneOf(words) => (path, words.join("|"), None),
            Kind::Number => (path, "number".to_owned(), None),
            Kind::Flag => (path, "true|false".to_owned(), None),
            Kind::Texts => (format!("{path}[]"), "text".to_owned(), None),
            Kind::Object(fields) => (path, "object".to_owned(), Some(fields)),
            Kind::Objects(fields) => (format!("{path}[]"), "object".to_owned(), Some(fields)),
        };
        page.control("TP", []);
        page.text([
            bold(path.as_str()),
            roman(" "),
            italic(format!("{what}{or_null}")),
        ]);
        page.text([roman(capital(about) + ".")]);
        if let Some(fields) = below {
            document_fields(page, &format!("{path}."), fields);
        }
    }
}

fn section(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn paragraph(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.text([roman(text)]);
}

/// Names with a value, and what they are for.
fn item(page: &mut Roff, names: &[&str], value: Option<&str>, text: &str) {
    page.control("TP", []);
    let mut line: Vec<Inline> = Vec::new();
    for name in names {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(*name));
    }
    if let Some(value) = value {
        line.push(roman(" "));
        line.push(italic(value));
    }
    page.text(line);
    if !text.is_empty() {
        page.text([roman(text)]);
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
