//! The manual page and the completions tell of every verb and option, and tell the truth.

mod common;

use common::call::call;
use common::machine::{Files, NoFiles};
use common::names::RecordedNames;
use common::table::Table;
use lb_ctl::args::flags::{Command, FLAGS, Flag, Spec};
use lb_ctl::args::popt::Value;
use lb_ctl::args::request::request;
use lb_ctl::complete::{Next, SCRIPTS, complete};
use lb_ctl::man::{options::DETAILS, page};
use lb_ctl::output::json::schema::{Field, Kind, SCHEMAS};
use lb_ctl::verb::{VERBS, shown};
use std::collections::BTreeSet;

/// The page as text, without requests, fonts and escapes.
fn plain() -> String {
    let mut plain = String::new();
    for line in page().lines() {
        if let Some(request) = line.strip_prefix('.') {
            let (_, text) = request.split_once(' ').unwrap_or((request, ""));
            plain += &text.replace('"', "");
        } else {
            plain += line;
        }
        plain.push('\n');
    }
    for (escape, text) in [
        ("\\fB", ""),
        ("\\fI", ""),
        ("\\fR", ""),
        ("\\-", "-"),
        ("\\*(Aq", "'"),
        ("\\&", ""),
        ("\\\\", "\\"),
    ] {
        plain = plain.replace(escape, text);
    }
    plain
}

#[test]
fn the_page_has_what_pages_have() {
    let page = page();
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SH "))
        .map(|title| title.trim_matches('"'))
        .collect();
    assert_eq!(
        sections,
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "VERBS",
            "COMMANDS",
            "SERVICES",
            "OPTIONS",
            "OPTIONS OF SYNC DAEMONS",
            "JSON",
            "EXIT STATUS",
            "ENVIRONMENT",
            "FILES",
            "SEE ALSO",
        ]
    );
    assert_eq!(page.matches("\n.TH LB").count(), 1);
    let known = ["ie", "el", "TH", "SH", "SS", "PP", "TP", "br"];
    for line in page.lines().filter(|line| line.starts_with('.')) {
        let request = line[1..].split(' ').next().unwrap();
        assert!(known.contains(&request), "{line}");
        // An argument with blanks is one argument.
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
    }
    for line in page.lines() {
        assert!(
            !line.starts_with('\''),
            "troff takes it for a request: {line}"
        );
        assert!(line.is_ascii(), "{line}");
        let fonts = line.matches("\\fB").count() + line.matches("\\fI").count();
        assert_eq!(
            fonts,
            line.matches("\\fR").count(),
            "a font goes on: {line}"
        );
    }
}

#[test]
fn every_verb_option_and_field_is_on_the_page() {
    let plain = plain();
    for verb in shown() {
        assert!(
            plain.contains(&verb.grammar.usage()),
            "{}",
            verb.grammar.name
        );
    }
    for spec in FLAGS {
        let mut names: Vec<String> = spec
            .shorts
            .iter()
            .map(|short| format!("-{short}"))
            .collect();
        names.push(format!("--{}", spec.long));
        let item = names.join(", ");
        let listed = plain
            .lines()
            .any(|line| line == item || line.starts_with(&format!("{item} ")));
        assert!(listed, "{item}");
    }
    let hidden = VERBS.iter().filter(|verb| verb.about.is_empty());
    assert_eq!(hidden.count(), 1);
    let mut fields = 0;
    for schema in SCHEMAS {
        let (_, part) = plain
            .split_once(&format!("\n{} -o json\n", schema.command))
            .unwrap_or_else(|| panic!("{}", schema.command));
        assert!(part.contains(&format!("The text {}.", schema.id())));
        every_field("", schema.fields, &mut |path, about| {
            assert!(
                part.contains(&format!("\n{path} ")),
                "{} {path}",
                schema.name
            );
            assert!(
                part.to_lowercase().contains(&about.to_lowercase()),
                "{about}"
            );
            fields += 1;
        });
    }
    assert!(fields > 100);
}

fn every_field(above: &str, fields: &[Field], each: &mut dyn FnMut(&str, &str)) {
    for field in fields {
        let path = format!("{above}{}", field.name);
        match field.kind {
            Kind::Text | Kind::OneOf(_) | Kind::Number | Kind::Flag => each(&path, field.about),
            Kind::Texts => each(&format!("{path}[]"), field.about),
            Kind::Object(below) => {
                each(&path, field.about);
                every_field(&format!("{path}."), below, each);
            }
            Kind::Objects(below) => {
                each(&format!("{path}[]"), field.about);
                every_field(&format!("{path}[]."), below, each);
            }
        }
    }
}

#[test]
fn every_option_has_its_text_once() {
    assert_eq!(DETAILS.len(), FLAGS.len());
    for spec in FLAGS {
        let texts = DETAILS.iter().filter(|detail| detail.flag == spec.flag);
        assert_eq!(texts.count(), 1, "{}", spec.long);
    }
}

/// A line that is right if `value` is right for the option.
fn line_with(spec: &Spec, value: &str) -> Vec<String> {
    let before = match spec.long {
        "fwmark-service" => "-D",
        "persistent" => "-A -t 10.0.0.1:80",
        "tun-port" => "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue",
        "syncid" | "sync-maxlen" | "mcast-port" | "mcast-ttl" => "--start-daemon master",
        _ => "-a -t 10.0.0.1:80 -r 10.0.0.2",
    };
    let mut line: Vec<String> = before.split(' ').map(str::to_owned).collect();
    line.push(format!("--{}={value}", spec.long));
    line
}

#[test]
fn ranges_on_the_page_are_those_of_the_parser() {
    let plain = plain();
    let mut ranges = 0;
    for detail in DETAILS {
        let Some((least, most)) = detail.range else {
            continue;
        };
        let spec = FLAGS.iter().find(|spec| spec.flag == detail.flag).unwrap();
        for (value, good) in [
            (least, true),
            (most, true),
            (least - 1, false),
            (most + 1, false),
        ] {
            let line = line_with(spec, &value.to_string());
            assert_eq!(request(&line, &RecordedNames).is_ok(), good, "{line:?}");
        }
        assert!(plain.contains(&format!("It is from {least} to {most}.")));
        ranges += 1;
    }
    assert_eq!(ranges, 10);
}

#[test]
fn options_named_with_a_command_are_those_it_takes() {
    let plain = plain();
    for spec in FLAGS {
        let Flag::Command(command) = spec.flag else {
            continue;
        };
        let item = format!("--{}", spec.long);
        let (_, behind) = plain
            .split_once(&format!(", {item}\n"))
            .or_else(|| plain.split_once(&format!("\n{item} ")))
            .unwrap_or_else(|| panic!("{item}"));
        let entry = behind.split("\nTP\n").next().unwrap();
        let entry = entry.split("\n\n").next().unwrap();
        let named: BTreeSet<&str> = entry
            .lines()
            .skip_while(|line| *line != "Options: ")
            .skip(1)
            .take(1)
            .flat_map(|line| line.trim_end_matches('.').split(", "))
            .map(|name| name.trim_start_matches("--"))
            .collect();
        let legal: BTreeSet<&str> = FLAGS
            .iter()
            .filter(|option| is_legal(command, spec, option))
            .map(|option| option.long)
            .collect();
        assert_eq!(named, legal, "{item}");
    }
}

/// Whether ipvsadm's grammar complains about an option for being with a command.
fn is_legal(command: Command, spec: &Spec, option: &Spec) -> bool {
    if matches!(option.flag, Flag::Command(_) | Flag::Sort | Flag::Ipv6)
        || matches!(command, Command::Help | Command::Version)
    {
        return false;
    }
    let mut line = vec![format!("--{}", spec.long)];
    if spec.value == Value::Required {
        line.push("master".to_owned());
    }
    if command == Command::Set {
        line.extend(["1", "2", "3"].map(str::to_owned));
    }
    let service = ["-t".to_owned(), "10.0.0.1:80".to_owned()];
    let is_service = matches!(
        option.flag,
        Flag::TcpService | Flag::UdpService | Flag::SctpService | Flag::FwmarkService
    );
    let needs_service = !is_service
        && matches!(
            command,
            Command::AddService
                | Command::EditService
                | Command::DeleteService
                | Command::AddServer
                | Command::EditServer
                | Command::DeleteServer
        );
    if needs_service {
        line.extend(service);
    }
    let needs_server = matches!(
        command,
        Command::AddServer | Command::EditServer | Command::DeleteServer
    ) && option.flag != Flag::RealServer;
    if needs_server {
        line.extend(["-r", "10.0.0.2"].map(str::to_owned));
    }
    line.push(format!("--{}", option.long));
    if option.value == Value::Required {
        let value = match option.long {
            "real-server" | "tcp-service" | "udp-service" | "sctp-service" => "10.0.0.1:80",
            "mcast-group" => "224.0.0.1",
            "netmask" => "255.0.0.0",
            "tun-type" => "ipip",
            "sched-flags" => "flag-1",
            _ => "1",
        };
        line.push(value.to_owned());
    }
    match request(&line, &RecordedNames) {
        Ok(_) => true,
        Err(refused) => !refused.text("ipvsadm").starts_with("Illegal '"),
    }
}

fn offered(line: &str, table: &mut Table) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    match complete(&words, table) {
        Next::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
        Next::File => vec!["FILE".to_owned()],
    }
}

#[test]
fn completion_offers_every_option_that_is_legal_and_no_other() {
    let mut table = Table::default();
    for spec in FLAGS {
        let Flag::Command(command) = spec.flag else {
            continue;
        };
        let value = match spec.value {
            Value::Required => " master",
            Value::No | Value::Optional => "",
        };
        // Tunnel options come behind --ipip, -6 behind a mark.
        let offered: BTreeSet<String> =
            offered(&format!("ipvsadm --{}{value} --", spec.long), &mut table)
                .into_iter()
                .collect();
        let expected: BTreeSet<String> = FLAGS
            .iter()
            .filter(|option| !option.long.starts_with("tun-") || option.long == "tun-info")
            .filter(|option| {
                is_legal(command, spec, option)
                    || option.flag == Flag::Sort && command == Command::List
            })
            .map(|option| format!("--{}", option.long))
            .collect();
        assert_eq!(offered, expected, "{}", spec.long);
    }
}

#[test]
fn completion_knows_where_it_is() {
    let mut table = Table::default();
    let rules = "-A -t 10.0.0.1:80\n-A -u 10.0.0.1:53\n-A -t [2001:db8::1]:80\n-A -f 7\n\
                 -a -t 10.0.0.1:80 -r 192.168.0.1 -g\n-a -t 10.0.0.1:80 -r 192.168.0.2 -g\n";
    call("ipvsadm", &["-R"], rules, &mut table, &Files(Vec::new()));
    for (line, expected) in [
        ("lb-ctl st", "status"),
        ("lb-ctl list ", "services connections timeouts daemons"),
        ("lb-ctl list services --", "--output"),
        ("lb-ctl list services -o ", "text json"),
        ("lb-ctl import l", "ldirectord"),
        ("lb-ctl import ldirectord ", "FILE"),
        ("lb-ctl import --output json ldirectord ", "FILE"),
        ("lb-ctl help comp", "completions"),
        ("lb-ctl --socket ", "FILE"),
        ("lb-ctl --socket /x li", "list"),
        ("lb-ctl --socket=/x li", "list"),
        ("lb-ctl frobnicate ", ""),
        ("ipvsadm list ", ""),
        ("ipvsadm --c", "--clear"),
        ("lb-ctl -A -t 10.0.0.9:80 -s w", "wrr wlc"),
        ("lb-ctl -A -t ", ""),
        ("lb-ctl -E -t ", "10.0.0.1:80 [2001:db8::1]:80"),
        ("lb-ctl -E -t 10.", "10.0.0.1:80"),
        ("lb-ctl -D -u ", "10.0.0.1:53"),
        ("lb-ctl -D -f ", "7"),
        (
            "lb-ctl -d -t 10.0.0.1:80 -r ",
            "192.168.0.2:80 192.168.0.1:80",
        ),
        ("lb-ctl -a -t 10.0.0.1:80 -r ", ""),
        ("lb-ctl -a -t 10.0.0.1:80 -r 10.0.0.3 --tun", ""),
        (
            "lb-ctl -a -t 10.0.0.1:80 -r 10.0.0.3 -i --tun-p",
            "--tun-port",
        ),
        (
            "lb-ctl -a -t 10.0.0.1:80 -r 10.0.0.3 -i --tun-type g",
            "gue gre",
        ),
        (
            "lb-ctl -A -t 10.0.0.9:80 -s sh -b ",
            "flag-1 flag-2 flag-3 sh-fallback sh-port",
        ),
        (
            "lb-ctl -A -t 10.0.0.9:80 -s sh -b sh-port,sh-f",
            "sh-port,sh-fallback",
        ),
        ("lb-ctl -A -f 9 --i", "--ipv6"),
        ("lb-ctl -A -t 10.0.0.9:80 --i", ""),
        ("lb-ctl -L -c --ti", ""),
        ("lb-ctl -L --ti", "--timeout"),
        ("lb-ctl --start-daemon ", "master backup"),
    ] {
        assert_eq!(offered(line, &mut table).join(" "), expected, "{line}");
    }
    let first = offered("lb-ctl ", &mut table);
    for word in ["status", "--add-service", "--socket"] {
        assert!(first.iter().any(|offered| offered == word), "{word}");
    }
    assert!(!first.iter().any(|offered| offered == "complete"));
    assert!(
        offered("lb-ctl -", &mut table)
            .iter()
            .any(|word| word == "-A")
    );
}

#[test]
fn every_shell_has_its_script() {
    for (shell, script) in SCRIPTS {
        let words = ["completions", shell];
        let call = call("lb-ctl", &words, "", &mut Table::default(), &NoFiles);
        assert_eq!((call.out.as_str(), call.code), (*script, 0));
        for word in ["complete --", "ipvsadm", ":files"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(SCRIPTS.len(), 3);
}

#[test]
fn each_verb_shows_how_it_is_used() {
    for verb in shown() {
        let name = verb.grammar.name;
        for words in [["help", name], [name, "--help"], [name, "-h"]] {
            let call = call("lb-ctl", &words, "", &mut Table::default(), &NoFiles);
            let usage = format!("Usage: {}\n", verb.grammar.usage());
            assert!(call.out.starts_with(&usage), "{words:?}: {}", call.out);
            assert_eq!(call.code, 0);
        }
    }
}

#[test]
fn help_has_the_verbs_under_lb_ctls_own_name_only() {
    let help = |name| call(name, &["-h"], "", &mut Table::default(), &NoFiles).out;
    let (own, ipvsadm) = (help("lb-ctl"), help("ipvsadm"));
    let (_, verbs) = own.split_once("\nVerbs, ").expect("the verbs");
    for verb in shown() {
        let line = format!("\n  {:28}{}\n", verb.grammar.name, verb.about);
        assert!(verbs.contains(&line), "{verbs}");
    }
    assert!(!ipvsadm.contains("Verbs"), "{ipvsadm}");
}

#[test]
fn the_page_tells_how_a_restore_ends() {
    let text = page().replace('\n', " ");
    assert!(text.contains("exit status is the last line"), "{text}");
}
