//! What ipvsadm does not know: mark rules, settings, answers without a server.

mod common;

use common::call::{Call, call};
use common::machine::NoFiles;
use common::table::Table;
use lb_common::api::{NoServer, Setting};

fn ctl(line: &str, table: &mut Table) -> Call {
    let words: Vec<&str> = line.split(' ').collect();
    call("lb-ctl", &words, "", table, &NoFiles)
}

/// Calls and expects this exit code and nothing on the other stream.
fn said(line: &str, table: &mut Table, code: u8) -> String {
    let call = ctl(line, table);
    assert_eq!(call.code, code, "{line}: {}", call.err);
    let (said, silent) = if code == 0 {
        (call.out, call.err)
    } else {
        (call.err, call.out)
    };
    assert_eq!(silent, "", "{line}");
    said
}

#[test]
fn rules_are_listed_as_they_are_added() {
    let mut table = Table::default();
    let rules = [
        "--protocol tcp --to 10.0.0.100/32 --port 554 7",
        "--protocol udp --from 192.0.2.0/24 --to 10.0.0.100/32 --port 6970-6999 7",
        "--from 2001:db8::/32 --interface eth1 9",
        "11",
    ];
    for rule in rules {
        said(&format!("mark add {rule}"), &mut table, 0);
    }
    let listed = said("mark list", &mut table, 0);
    let expected: String = (1..)
        .zip(rules)
        .map(|(number, rule)| format!("{number:>4}  {rule}\n"))
        .collect();
    assert_eq!(listed, expected);
    said("mark delete 4 2", &mut table, 0);
    let left: Vec<u32> = table.marks.rules.iter().map(|rule| rule.mark).collect();
    assert_eq!(left, [7, 9]);
    let refused = said("mark delete 3", &mut table, 1);
    assert!(refused.contains("no rule 3"), "{refused}");
    assert_eq!(table.marks.rules.len(), 2);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let mut table = Table::default();
    for (line, why) in [
        ("mark add", "MARK is missing"),
        ("mark add x", "`x' is no number"),
        ("mark add 1 2", "unexpected `2'"),
        ("mark add --to 10.0.0.1/24 1", "`10.0.0.1/24' is no network"),
        ("mark add --port 80-x 1", "`80-x' is no port"),
        ("mark add -o json 1", "--output does not go with add"),
        ("mark list --port 1", "--port does not go with list"),
        ("mark list 1", "unexpected `1'"),
        ("mark delete", "number is missing"),
        ("mark move 1", "WHAT is one of"),
    ] {
        let error = said(line, &mut table, 2);
        assert!(error.contains(why), "{line}: {error}");
    }
    assert_eq!((table.marks.rules.len(), table.posts), (0, 0));
}

#[test]
fn settings_are_shown_and_changed() {
    let mut table = Table::default();
    let all = said("setting", &mut table, 0);
    for setting in Setting::ALL {
        assert!(
            all.contains(&format!("{setting}={}\n", setting.default())),
            "{all}"
        );
    }
    said("setting sloppy_tcp=1", &mut table, 0);
    let one = said("setting sloppy_tcp", &mut table, 0);
    assert!(one.starts_with("sloppy_tcp=1 (set)\n"), "{one}");
    said("setting sloppy_tcp=default", &mut table, 0);
    assert!(table.set.is_empty());

    for (line, code, why) in [
        (
            "setting sloppy",
            2,
            "no setting sloppy: there are conn_reuse_mode",
        ),
        (
            "setting sloppy_tcp=yes",
            2,
            "neither a number nor `default'",
        ),
        (
            "setting -o json sloppy_tcp=1",
            2,
            "--output does not go with a value",
        ),
        ("setting sloppy_tcp=2", 1, "refused: Range"),
        ("setting schedule_icmp=1", 1, "refused: Unsupported"),
        ("setting nat_icmp_send=1", 1, "refused: Unsupported"),
    ] {
        let error = said(line, &mut table, code);
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[test]
fn what_clients_hear_without_a_server_is_shown_and_changed() {
    let mut table = Table::default();
    said("-A -t 10.0.0.1:80 -s rr", &mut table, 0);
    said("-A -f 7 -6 -s rr", &mut table, 0);
    said("service -t 10.0.0.1:80 --no-server reset", &mut table, 0);
    said("service -f 7 -6 --no-server silent", &mut table, 0);
    let answers: Vec<NoServer> = table
        .services
        .services
        .iter()
        .map(|s| s.no_server)
        .collect();
    assert_eq!(answers, [NoServer::Reset, NoServer::Silent]);
    assert_eq!(
        said("service", &mut table, 0),
        "TCP 10.0.0.1:80 --no-server reset\nmark 7 (IPv6) --no-server silent\n"
    );
    assert_eq!(
        said("service -f 7 -6", &mut table, 0),
        "mark 7 (IPv6) --no-server silent\n"
    );
    for (line, code, why) in [
        ("service -u 10.0.0.1:80", 1, "no service UDP 10.0.0.1:80"),
        ("service -f 7 --no-server icmp", 1, "refused: NoService"),
        ("service --no-server icmp", 2, "--no-server needs a service"),
        (
            "service -t 10.0.0.1:80 -u 10.0.0.1:80",
            2,
            "is a second service",
        ),
        ("service -t x:y", 2, "is no ADDRESS:PORT"),
        ("service -6", 2, "--ipv6 goes with --fwmark-service"),
        (
            "service -t 10.0.0.1:80 --no-server no",
            2,
            "one of icmp, reset, silent",
        ),
    ] {
        let error = said(line, &mut table, code);
        assert!(error.contains(why), "{line}: {error}");
    }
}
