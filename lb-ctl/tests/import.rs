//! `lb-ctl import`: what keepalived and ldirectord make of a file, import says.

mod common;

use common::call::{Call, call};
use common::machine::Files;
use common::table::Table;
use common::transcript;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import");

/// Runs `lb-ctl import` for a machine with some files.
fn import(language: &str, file: &str, files: &[(&'static str, &'static str)]) -> Call {
    let machine = Files(files.to_vec());
    let words = ["import", language, file];
    call("lb-ctl", &words, "", &mut Table::default(), &machine)
}

/// Imports text from standard input.
fn import_text(language: &str, text: &str) -> Call {
    let words = ["import", language, "-"];
    let machine = Files(Vec::new());
    call("lb-ctl", &words, text, &mut Table::default(), &machine)
}

#[test]
fn the_rules_make_the_tables_that_were_recorded() {
    let mut compared = 0;
    for (language, ending) in [("keepalived", "conf"), ("ldirectord", "cf")] {
        let folder = Path::new(FOLDER).join(language);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let recorded = path.with_extension("table");
            if path.extension().is_none_or(|is| is != ending) || !recorded.exists() {
                continue;
            }
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).unwrap();
            let rules = import_text(language, &text);
            assert!([0, 1].contains(&rules.code), "{name}: {}", rules.err);

            let mut table = Table::default();
            let machine = Files(Vec::new());
            let restored = call("ipvsadm", &["-R"], &rules.out, &mut table, &machine);
            assert_eq!((restored.err.as_str(), restored.code), ("", 0), "{name}");
            for step in transcript::read(&std::fs::read_to_string(&recorded).unwrap()) {
                let words = step.words();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let seen = call("ipvsadm", &words, "", &mut table, &machine);
                assert_eq!(seen.out, step.answer.out, "{name}: ipvsadm {}", step.line);
                compared += 1;
            }
        }
    }
    assert!(compared >= 16, "only {compared} listings were compared");
}

#[test]
fn every_line_that_is_left_out_is_listed() {
    let call = import(
        "keepalived",
        "keepalived.conf",
        &[("keepalived.conf", KEEPALIVED)],
    );
    assert_eq!(call.out, KEEPALIVED_RULES);
    assert_eq!(call.err, KEEPALIVED_LEFT_OUT);
    assert_eq!(call.code, 1);
}

const KEEPALIVED: &str = "\
! A director of two
global_defs {
   notification_email {
     root@localhost
   }
   router_id LVS_1
   lvs_sync_daemon eth0 VI_1
}
vrrp_instance VI_1 {
    state MASTER      # not ours
    authentication {
        auth_type PASS
        auth_pass secret
    }
}
virtual_server 10.0.0.1 80 {
    delay_loop 6
    lvs_sched wlc
    lvs_method DR
    protocol TCP
    quorum 2
    quorum_up /bin/up
    mh-port
    persistence_timeout forever
    sorry_server 192.168.0.200 80
    real_server 192.168.0.1 80 {
        weight 3x
        HTTP_GET {
            url {
                path /
            }
        }
        notify_down \"/bin/down {\"
    }
    real_server 2001:db8::1 80 {
        weight 1
    }
}
virtual_server 10.0.0.2 80 {
    lvs_sched rr
}
@host1 virtual_server group nobody {
@host1     real_server 192.168.0.1 80
@host1 }
@host2 include other.conf
include other.conf
";

const KEEPALIVED_RULES: &str = "\
-A -t 10.0.0.1:80 -s wlc
-a -t 10.0.0.1:80 -r 192.168.0.1:80 -g -w 3
";

const KEEPALIVED_LEFT_OUT: &str = "\
keepalived.conf:3: notification_email: ipvs sends no messages
keepalived.conf:4: root@localhost: ipvs sends no messages
keepalived.conf:6: router_id LVS_1: it is about the program, not about ipvs
keepalived.conf:7: lvs_sync_daemon eth0 VI_1: keepalived starts it as master or backup with VRRP; lb-ctl --start-daemon starts it by hand
keepalived.conf:9: vrrp_instance VI_1: ipvs does not decide which director is active
keepalived.conf:10: state MASTER: ipvs does not decide which director is active
keepalived.conf:11: authentication: ipvs does not decide which director is active
keepalived.conf:12: auth_type PASS: ipvs does not decide which director is active
keepalived.conf:13: auth_pass ...: ipvs does not decide which director is active
keepalived.conf:17: delay_loop 6: ipvs checks no servers
keepalived.conf:21: quorum 2: ipvs knows no quorum
keepalived.conf:22: quorum_up /bin/up: ipvs runs no programs
keepalived.conf:23: mh-port: keepalived ignores it unless `lvs_sched mh' stands above
keepalived.conf:24: persistence_timeout forever: `forever' is no number
keepalived.conf:25: 192.168.0.200:80 as fallback: ipvs has no fallback: add the server by hand while no other is up
keepalived.conf:27: weight 3x: keepalived takes it for 3
keepalived.conf:28: HTTP_GET: ipvs checks no servers
keepalived.conf:29: url: ipvs checks no servers
keepalived.conf:30: path /: ipvs checks no servers
keepalived.conf:33: notify_down \"/bin/down {\": ipvs runs no programs
keepalived.conf:35: real_server 2001:db8::1 80: only a tunnel leads to a server of another family
keepalived.conf:36: weight 1: it is part of real_server
keepalived.conf:39: virtual_server 10.0.0.2 80: keepalived ignores a virtual server without real servers
keepalived.conf:40: lvs_sched rr: it is part of virtual_server
keepalived.conf:42: virtual_server group nobody: there is no group `nobody'
keepalived.conf:43: real_server 192.168.0.1 80: it is part of virtual_server
keepalived.conf:46: include other.conf: other.conf is not read: entity not found
lb-ctl import: 1 lines of keepalived.conf begin with @ and are not for `host1'; --config-id tells for whom to read it
lb-ctl import: 27 lines were not carried over
";

#[test]
fn nothing_left_out_is_success() {
    let rules = "-A -t 10.0.0.1:80 -s sh -p 600 -M 255.255.255.0 -b sh-port,flag-3\n\
                 -a -t 10.0.0.1:80 -r 192.168.0.1:8080 -m -w 3 -x 100 -y 50\n\
                 -A -f 4294967295 -6 -s rr\n--set 600 0 30\n\
                 --start-daemon backup --mcast-interface eth1 --syncid 7 --sync-maxlen 1400 \
                 --mcast-group 224.0.0.81 --mcast-port 8848 --mcast-ttl 1\n";
    let call = import_text("ipvsadm", rules);
    assert_eq!(
        (call.out.as_str(), call.err.as_str(), call.code),
        (rules, "", 0)
    );
}

#[test]
fn names_become_numbers_and_edits_one_table() {
    let call = import_text(
        "ipvsadm",
        "-A -t vip:http -s rr\n-a -t vip:http -r rs -m\n-e -t vip:http -r rs -m -w 5\n\
         -A -u vip:domain\n-D -u vip:domain\n",
    );
    let rules = "-A -t 10.0.0.77:80 -s rr\n-a -t 10.0.0.77:80 -r 192.168.0.77:80 -m -w 5\n";
    assert_eq!((call.out.as_str(), call.code), (rules, 0));
}

#[test]
fn what_ldirectord_has_and_ipvs_has_not_is_listed() {
    let call = import_text(
        "ldirectord",
        "checktimeout=3\nvirtual=10.0.0.1:80\n\treal=192.168.0.1:80 gate 2 \"/\",\"OK\"\n\
         \tfallback=127.0.0.1:80\n\tpasswd=\"secret\"\n\temailalert=root\n\tscheduler=wlc # fine\n",
    );
    assert_eq!(
        call.out,
        "-A -t 10.0.0.1:80 -s wlc\n-a -t 10.0.0.1:80 -r 192.168.0.1:80 -g -w 2\n"
    );
    assert_eq!(
        call.err,
        "standard input:1: checktimeout=3: ipvs checks no servers\n\
         standard input:3: \"/\",\"OK\": ipvs checks no servers\n\
         standard input:4: 127.0.0.1:80 as fallback: ipvs has no fallback: add the server by hand \
         while no other is up\n\
         standard input:5: passwd = ...: ipvs checks no servers\n\
         standard input:6: emailalert=root: ipvs sends no messages\n\
         lb-ctl import: 5 lines were not carried over\n"
    );
}

/// Text that a language refuses, and the first line of what is said to it.
const BAD: &[(&str, &str, &str)] = &[
    (
        "keepalived",
        "virtual_server 10.0.0.1 80 {\nreal_server 10.0.0.2 80 {\n}\n",
        "standard input:1: the block that begins here has no end; close it with }",
    ),
    (
        "keepalived",
        "global_defs {\n}\n}\n",
        "standard input:3: } closes no block; remove it, or write the { it belongs to",
    ),
    (
        "keepalived",
        "{\n}\n",
        "standard input:1: the block has no name; write its keyword before {",
    ),
    (
        "keepalived",
        "\nnotify \"/bin/x\n",
        "standard input:2: a quote is not closed; close it with \"",
    ),
    (
        "keepalived",
        "$A=$B\n$B=$A\nx $A\n",
        "standard input:3: its parameters stand for each other without end; break the circle",
    ),
    (
        "keepalived",
        "$A= \\\nx \\\n$A\n\n$A\n",
        "standard input:3: its parameters stand for each other without end; break the circle",
    ),
    (
        "keepalived",
        "router_id ${_ENV HOME}\n",
        "standard input:1: ${_ENV HOME} is known to a running keepalived only; write its value",
    ),
    (
        "keepalived",
        "~SEQ(N, 1, 99999999) x\n",
        "standard input:1: sequences and parameters make more than 1000000 lines or 268435456 \
         bytes; write fewer",
    ),
    (
        "keepalived",
        "~SEQ(N, 9, 1, 3) x\n",
        "standard input:1: `~SEQ(N, 9, 1, 3) x' is no sequence; write ~SEQ(name, start, step, \
         end) and a line, where start and step may be missing and step leads from start to end",
    ),
    (
        "keepalived",
        "~LST({A, B}, {1, 2, 3}) x\n",
        "standard input:1: `~LST({A, B}, {1, 2, 3}) x' is no list; write ~LST(name, value, ...) \
         or ~LST({name, ...}, {value, ...}, ...) and a line",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1\n",
        "standard input:1: `10.0.0.1' is no virtual service; write address:port or a firewall mark",
    ),
    (
        "ldirectord",
        "virtual=[2001:db8::1]:80\n",
        "standard input:1: an IPv6 service begins with virtual6, not with virtual",
    ),
    (
        "ldirectord",
        "virtual6=10.0.0.1:80\n",
        "standard input:1: `10.0.0.1' is no IPv6 address in brackets; write [address]:port",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\n    real=192.168.0.1 gate\n",
        "standard input:3: the line is indented and belongs to no virtual service; write it right \
         below its `virtual = ...', without a blank line between, or do not indent it",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n  real=192.168.0.1 gate\n",
        "standard input:2: the line is indented by less than four blanks or a tab",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\treal=192.168.0.1 bridge\n",
        "standard input:2: the forwarding method is none of gate, masq, ipip",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\treal=192.168.0.1 gate 1 u:7 l:3\n",
        "standard input:2: the line goes on with `l:3'; behind the method may stand a weight, \
         \"request\", \"receive\", l:number and u:number, in this order",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\treal=192.168.0.9->192.168.0.1 gate\n",
        "standard input:2: 192.168.0.9 is above 192.168.0.1; exchange them",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\tpersistent=0\n",
        "standard input:1: invalid timeout value `0' specified, says ipvsadm of `-A -t \
         10.0.0.1:80 -s wrr -p 0'",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\n\tschedflags=mh-port\n",
        "standard input:1: incompatible scheduler flag `mh-port', says ipvsadm of `-A -t \
         10.0.0.1:80 -s wrr -b mh-port'",
    ),
    (
        "ldirectord",
        "virtual=10.0.0.1:80\nvirtual=10.0.0.1:http\n",
        "standard input:2: virtual=10.0.0.1:http: Service already exists; remove one of the two",
    ),
    (
        "ldirectord",
        "timeout=3\n",
        "standard input:1: ldirectord knows no `timeout' here; remove the line, or put its key \
         right",
    ),
    (
        "ipvsadm",
        "-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.0.0.2 -w x\n",
        "standard input:2: illegal weight specified; put it right as ipvsadm(8) has it",
    ),
    (
        "ipvsadm",
        "hello\n",
        "standard input:1: the line does not begin with one of ipvsadm's commands; rules begin \
         with -A or -a, and comments with # in the first column",
    ),
];

#[test]
fn a_mistake_is_told_with_its_place_and_cure_and_nothing_is_printed() {
    for (language, text, message) in BAD {
        let call = import_text(language, text);
        let end = "lb-ctl import: nothing was printed, since standard input cannot be understood";
        assert_eq!(
            call.err,
            format!("{message}\n{end}\n"),
            "{language}: {text}"
        );
        assert_eq!(
            (call.out.as_str(), call.code),
            ("", 3),
            "{language}: {text}"
        );
    }
}

#[test]
fn files_include_others_beside_them() {
    let files = [
        (
            "/etc/ka/main.conf",
            "include sub/a.conf\ninclude rest/*\nincludem none/*\n",
        ),
        (
            "/etc/ka/sub/a.conf",
            "$PORT=81\ninclude b.conf\nvirtual_server 10.0.0.1 ${PORT} {\nprotocol TCP\n\
             snmp_name ${_PWD}\nreal_server 192.168.0.1 80 {\n}\n}\n",
        ),
        ("/etc/ka/sub/b.conf", "$PORT=80\n"),
        (
            "/etc/ka/rest/c.conf",
            "virtual_server 10.0.0.2 ${PORT} {\nprotocol TCP\nreal_server 192.168.0.1 80 {\n}\n}\n",
        ),
    ];
    let call = import("keepalived", "/etc/ka/main.conf", &files);
    assert_eq!(
        call.out,
        "-A -t 10.0.0.1:80 -s wlc\n-a -t 10.0.0.1:80 -r 192.168.0.1:80 -m -w 1\n\
         -A -t 10.0.0.2:80 -s wlc\n-a -t 10.0.0.2:80 -r 192.168.0.1:80 -m -w 1\n"
    );
    assert_eq!(
        call.err,
        "/etc/ka/sub/a.conf:5: snmp_name /etc/ka/sub: ipvs sends no messages\n\
         lb-ctl import: 1 line was not carried over\n"
    );

    let circle = import("keepalived", "a", &[("a", "include a\n")]);
    assert_eq!(circle.code, 3);
    assert!(
        circle
            .err
            .starts_with("a:1: files include each other more than 32 deep; break the circle\n"),
        "{}",
        circle.err
    );
}

#[test]
fn ranges_of_keepalived_2_4_are_said_one_by_one() {
    let call = import_text(
        "keepalived",
        "virtual_server_group G {\n10.0.2.254-10.0.3.1 80\n10.0.5.8/30 80\n2.0.0.0/8\n}\n\
         virtual_server group G {\nprotocol TCP\nlvs_sched rr\nreal_server 192.168.0.1 80 {\n}\n}\n",
    );
    let services: Vec<&str> = call
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("-A -t ")?.strip_suffix(":80 -s rr"))
        .collect();
    let expected = [
        "10.0.2.254",
        "10.0.2.255",
        "10.0.3.0",
        "10.0.3.1",
        "10.0.5.8",
        "10.0.5.9",
        "10.0.5.10",
        "10.0.5.11",
    ];
    assert_eq!(services, expected);
    assert_eq!(
        call.err,
        "standard input:4: 2.0.0.0/8: a group of more than 65536 addresses is not said one by \
         one; use a mark for it\nlb-ctl import: 1 line was not carried over\n"
    );
}

#[test]
fn conditions_follow_the_name_that_is_given() {
    let text = "@a virtual_server 10.0.0.1 80 {\n@b virtual_server 10.0.0.2 80 {\nprotocol TCP\n\
                real_server 192.168.0.1 80 {\n}\n}\n";
    let machine = Files(Vec::new());
    for (id, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        let words = ["import", "keepalived", "-", "--config-id", id];
        let call = call("lb-ctl", &words, text, &mut Table::default(), &machine);
        assert!(
            call.out.starts_with(&format!("-A -t {address}:80 ")),
            "{}",
            call.out
        );
        assert_eq!(call.code, 0);
    }
    let words = ["import", "ipvsadm", "-", "-i", "a"];
    let refused = call("lb-ctl", &words, text, &mut Table::default(), &machine);
    assert_eq!(refused.code, 2);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let call = import("ldirectord", "/nowhere.cf", &[]);
    assert_eq!(call.code, 3);
    assert_eq!(
        call.err,
        "lb-ctl import: cannot read /nowhere.cf: entity not found\n"
    );
}

#[test]
fn nothing_in_a_file_steers_the_terminal() {
    let call = import_text("keepalived", "router_id \x1b[2J\x07\n");
    assert_eq!(
        call.err,
        "standard input:1: router_id ?[2J?: keepalived knows no such word here\n\
         lb-ctl import: 1 line was not carried over\n"
    );
}

#[test]
fn large_configurations_take_their_time_once() {
    let services = 20_000;
    let rules: String = (0..services)
        .map(|n| {
            let service = format!("-t 10.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255);
            format!("-A {service} -s rr\n-a {service} -r 192.168.0.1:80 -g -w 1\n")
        })
        .collect();
    let call = import_text("ipvsadm", &rules);
    assert_eq!(call.code, 0, "{}", call.err);
    assert_eq!(call.out, rules);
}
