//! What must hold for every command line and every rule set.

mod common;

use common::call::call;
use common::languages::{as_keepalived, keepalived_text, ldirectord_text, settle_ports};
use common::machine::NoFiles;
use common::names::RecordedNames;
use common::rule_sets::{edits, service, with_everything, word};
use common::table::Table;
use lb_common::api::{Edit, ServiceStatus};
use lb_ctl::args::request::{Format, Request, request};
use lb_ctl::complete::complete;
use lb_ctl::import::{Problems, ipvsadm, keepalived, ldirectord, rules};
use lb_ctl::output::rule::{Manner, Writer};
use lb_ctl::output::{listing, save};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_saved_rule_set_reads_back_as_it_was(services in vec(service(), 0..8)) {
        let mut text = Vec::new();
        let numeric = Format { numeric: true, ..Format::default() };
        save::rules(services.clone(), numeric, &RecordedNames, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();

        let mut read = Vec::new();
        for line in text.lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match request(&words, &RecordedNames) {
                Ok(Request::Edit(edit)) => read.push(edit),
                other => prop_assert!(false, "{line}: {other:?}"),
            }
        }
        let mut expected: Vec<Edit> = services.iter().flat_map(edits).collect();
        expected.sort_by_key(|edit| format!("{edit:?}"));
        read.sort_by_key(|edit| format!("{edit:?}"));
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_table_survives_save_and_restore(services in vec(service(), 0..8)) {
        let mut table = filled(&services);
        let saved = call("ipvsadm", &["-S", "-n"], "", &mut table, &NoFiles);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &saved.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0));
        prop_assert_eq!(sorted(&table), sorted(&restored));
    }

    #[test]
    fn imported_rules_make_the_table_they_were_printed_from(
        services in vec(service(), 0..8),
        thresholds in vec((any::<u16>(), any::<u16>()), 16),
        marks in vec(1..=u32::MAX, 8),
    ) {
        let services = with_everything(services, &thresholds, &marks);
        let table = filled(&services);
        let writer = Writer { manner: Manner::Whole, numeric: true, names: &RecordedNames };
        let mut rules = String::new();
        for status in &table.services.services {
            rules += &(writer.service(&status.service, &status.options) + "\n");
            for server in status.servers.iter().rev() {
                rules += &(writer.server(&status.service, server.server, &server.options) + "\n");
            }
        }
        let words = ["import", "ipvsadm", "-"];
        let imported = call("lb-ctl", &words, &rules, &mut Table::default(), &NoFiles);
        prop_assert_eq!((imported.err.as_str(), imported.code), ("", 0));
        prop_assert_eq!(&imported.out, &rules);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &imported.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0));
        prop_assert_eq!(&table.services, &restored.services);
    }

    #[test]
    fn keepalived_reads_back_as_it_was(
        services in vec(service(), 0..6),
        thresholds in vec((any::<u16>(), any::<u16>()), 16),
        marks in vec(1..=u32::MAX, 8),
    ) {
        let mut services = with_everything(services, &thresholds, &marks);
        services.iter_mut().for_each(settle_ports);
        let table = filled(&services);
        let text: String = table.services.services.iter().map(as_keepalived).collect();
        let words = ["import", "keepalived", "-"];
        let imported = call("lb-ctl", &words, &text, &mut Table::default(), &NoFiles);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &imported.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0), "{}\n{}", &text, imported.err);
        let expected: Vec<_> = table.services.services.into_iter()
            .filter(|status| !status.servers.is_empty())
            .collect();
        prop_assert_eq!(expected, restored.services.services, "{}\n{}", text, imported.err);
    }

    #[test]
    fn a_listing_has_a_line_for_everything(services in vec(service(), 0..8)) {
        let lines: usize = services.iter().map(|status| 1 + status.servers.len()).sum();
        let mut text = Vec::new();
        listing::services(services, Format::default(), &RecordedNames, &mut text).unwrap();
        prop_assert_eq!(String::from_utf8(text).unwrap().lines().count(), 2 + lines);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_command_line_panics(words in vec(word(), 0..10), input in vec(vec(word(), 0..6), 0..4)) {
        let input: String = input.iter().map(|line| line.join(" ") + "\n").collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = call("ipvsadm", &words, &input, &mut Table::default(), &NoFiles);
        prop_assert!([0, 1, 2, 255].contains(&answer.code));
    }

    #[test]
    fn no_verb_panics(
        verb in prop::sample::select(VERBS),
        words in vec(word(), 0..6),
        input in prop_oneof![keepalived_text(), ldirectord_text()],
    ) {
        let words: Vec<&str> = std::iter::once(verb).chain(words.iter().map(String::as_str)).collect();
        let answer = call("lb-ctl", &words, &input, &mut Table::default(), &NoFiles);
        prop_assert!([0, 1, 2, 3].contains(&answer.code));
    }

    #[test]
    fn completion_never_panics(words in vec(word(), 0..8)) {
        let mut table = Table::default();
        complete(&words, &mut table);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..400)) {
        every_reader(&bytes)?;
    }

    #[test]
    fn no_text_makes_the_reader_of_keepalived_panic(text in keepalived_text()) {
        every_reader(text.as_bytes())?;
    }

    #[test]
    fn no_text_makes_the_reader_of_ldirectord_panic(text in ldirectord_text()) {
        every_reader(text.as_bytes())?;
    }
}

const VERBS: &[&str] = &[
    "status",
    "list",
    "import",
    "schema",
    "completions",
    "man",
    "help",
    "complete",
    "frobnicate",
];

/// Reads bytes in every language; what is printed is taken by `-R` without a complaint about its
/// words, and every mistake has its place.
fn every_reader(bytes: &[u8]) -> Result<(), TestCaseError> {
    let file = "file";
    let folder = Path::new("");
    let readings = [
        ipvsadm::read(bytes, file, &RecordedNames),
        ldirectord::read(bytes, file, &RecordedNames),
        keepalived::read(bytes, file, folder, &NoFiles, "host1").map(|reading| reading.description),
    ];
    for reading in readings {
        match reading {
            Ok(description) => {
                let mut rules = Vec::new();
                rules::print(&description, &RecordedNames, &mut rules).expect("memory takes all");
                for omission in rules::omissions(&description) {
                    prop_assert!(omission.place.1 > 0 && !omission.why.is_empty());
                }
                for line in String::from_utf8_lossy(&rules).lines() {
                    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                    let request = request(&words, &RecordedNames);
                    prop_assert!(
                        matches!(request, Ok(Request::Edit(_))),
                        "{line}: {request:?}"
                    );
                }
            }
            Err(Problems(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(problem.place.line > 0 && !problem.what.is_empty());
                }
            }
        }
    }
    Ok(())
}

/// A table with services and their servers, each address once.
fn filled(services: &[ServiceStatus]) -> Table {
    let mut table = Table::default();
    for edit in services.iter().flat_map(edits) {
        // What the table refuses is there already, or no server at all.
        table.apply(std::slice::from_ref(&edit));
    }
    table
}

fn sorted(table: &Table) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for status in &table.services.services {
        let service = format!("{:?} {:?}", status.service, status.options);
        let servers = status.servers.iter();
        lines.extend(servers.map(|server| format!("{service} {server:?}")));
        lines.push(service);
    }
    lines.sort();
    lines
}
