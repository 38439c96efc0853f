//! The program itself, end to end, against an agent on a Unix socket.

mod common;

use common::server::Server;
use common::transcript::{self, Answer, Step};
use lb_common::api::{Next, Warning, WarningKind};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lb-ctl");

/// Runs the program under a name and gives it some input.
fn run(name: &str, socket: &Path, words: &[&str], input: &str) -> Answer {
    let mut child = Command::new(PROGRAM)
        .arg0(name)
        .args(words)
        .env("LB_SOCKET", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that does not read its input may have closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    Answer {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output
            .status
            .code()
            .and_then(|code| code.try_into().ok())
            .expect("an exit code"),
    }
}

fn done(out: &str) -> Answer {
    Answer {
        out: out.to_owned(),
        ..Answer::default()
    }
}

#[test]
fn the_program_answers_as_recorded() {
    for (name, steps) in transcript::all() {
        if !["ldirectord", "restore", "daemon"].contains(&name.as_str()) {
            continue;
        }
        let server = Server::start();
        for step in &steps {
            let Step {
                line,
                input,
                answer,
            } = step;
            let words = step.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(
                run("ipvsadm", server.path(), &words, input),
                *answer,
                "{name}: {line}"
            );
        }
    }
}

#[test]
fn lines_of_a_restore_travel_together() {
    let server = Server::start();
    let mut rules = String::new();
    for host in 1..=200 {
        rules += &format!("-A -t 10.0.0.{host}:80 -s rr\n");
        rules += &format!("-a -t 10.0.0.{host}:80 -r 10.1.0.{host} -m\n");
    }
    assert_eq!(run("lb-ctl", server.path(), &["-R"], &rules), done(""));
    let table = server.table.lock().unwrap();
    assert_eq!(table.services.services.len(), 200);
    assert!(table.posts <= 10, "{} requests for 400 lines", table.posts);
}

#[test]
fn a_restore_keeps_what_stands_before_its_first_error() {
    let server = Server::start();
    let rules = "-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n-A -t nowhere\n-A -t 10.0.0.2:80\n";
    let answer = run("lb-ctl", server.path(), &["-R"], rules);
    assert_eq!(answer.code, 2);
    assert_eq!(
        answer.err,
        "Service already exists\nillegal virtual server address[:port] specified\n"
    );
    assert_eq!(server.table.lock().unwrap().services.services.len(), 1);
}

#[test]
fn connections_are_printed_as_they_come() {
    let server = Server::start();
    server.table.lock().unwrap().connections = CONNECTIONS.to_owned();
    let answer = run("ipvsadm", server.path(), &["-L", "-n", "-c"], "");
    assert_eq!(answer, done(CONNECTION_ROWS));
    let answer = run("ipvsadm", server.path(), &["-Lnc", "--persistent-conn"], "");
    let last = answer.out.lines().last().unwrap();
    assert_eq!(
        last,
        "UDP 00:07  UDP         10.0.0.9:5060      10.0.0.1:5060      10.0.0.2:5060    sip                a\"b"
    );
}

const CONNECTIONS: &str = r#"{"protocol":"tcp","expires":899,"state":"ESTABLISHED","client":"192.168.10.10","client_port":8080,"address":"10.0.0.1","port":80,"server":{"address":"192.168.0.1","port":80}}
{"protocol":null,"expires":3600,"state":"ASSURED","client":"192.168.10.0","client_port":0,"address":"0.0.0.7","port":0,"server":{"address":"192.168.0.1","port":0}}
{"protocol":"tcp","expires":7199,"state":"ESTABLISHED","client":"2001:db8::63","client_port":54321,"address":"2001:db8::1","port":80,"server":{"address":"2001:db8::2","port":80}}
{"protocol":"udp","expires":7,"state":"UDP","client":"10.0.0.9","client_port":5060,"address":"10.0.0.1","port":5060,"server":{"address":"10.0.0.2","port":5060},"engine":["sip","a\"b"]}
"#;

const CONNECTION_ROWS: &str = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.168.10.10:8080 10.0.0.1:80        192.168.0.1:80
IP  60:00  ASSURED     192.168.10.0:0     0.0.0.7:0          192.168.0.1:0
TCP 119:59 ESTABLISHED [2001:db8::63]:54321 [2001:db8::1]:80   [2001:db8::2]:80
UDP 00:07  UDP         10.0.0.9:5060      10.0.0.1:5060      10.0.0.2:5060
";

#[test]
fn without_an_agent_the_message_names_the_socket_and_the_cure() {
    let nowhere = Path::new("/nonexistent/agent.sock");
    let answer = run("lb-ctl", nowhere, &["-L", "-n"], "");
    assert_eq!(answer.code, 2);
    assert!(answer.out.is_empty());
    assert!(answer.err.starts_with(
        "Can't initialize ipvs: no agent answers on /nonexistent/agent.sock: No such file"
    ));
    assert!(answer.err.contains("Is lb-agent running"));

    let answer = run("/sbin/ipvsadm", nowhere, &["-C"], "");
    assert_eq!(answer.code, 2);
    assert_eq!(
        answer.err,
        "Can't initialize ipvs: No such file or directory\n\
         Are you sure that IP Virtual Server is built in the kernel or as module?\n"
    );
    assert_eq!(run("lb-ctl", nowhere, &["status"], "").code, 3);
    assert_eq!(run("lb-ctl", nowhere, &["-h"], "").code, 0);
}

#[test]
fn the_name_decides_whose_grammar_it_is() {
    let server = Server::start();
    let socket = server.path();
    assert_eq!(run("lb-ctl", socket, &["status"], "").code, 0);
    assert_eq!(run("ipvsadm", socket, &["status"], "").code, 255);
    let unknown = run("lb-ctl", socket, &["frobnicate"], "");
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("there are: status, list, "));
    let help = run("lb-ctl", socket, &["help"], "");
    assert_eq!(help.code, 0);
    assert!(help.out.contains("status"));
    let listing = run("lb-ctl", socket, &[], "");
    assert!(
        listing
            .out
            .starts_with("IP Virtual Server version 1.2.1 (size=4096)\n")
    );

    // A link is what an operator installs.
    let link = std::env::temp_dir().join(format!("lb-ctl-test-{}", std::process::id()));
    std::fs::create_dir(&link).unwrap();
    let ipvsadm = link.join("ipvsadm");
    symlink(PROGRAM, &ipvsadm).unwrap();
    let output = Command::new(&ipvsadm).arg("-v").output().unwrap();
    std::fs::remove_dir_all(&link).unwrap();
    let version = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);
}

#[test]
fn the_socket_option_beats_the_environment() {
    let server = Server::start();
    let path = server.path().display().to_string();
    let nowhere = Path::new("/nonexistent/agent.sock");
    let answer = run(
        "lb-ctl",
        nowhere,
        &["--socket", &path, "-L", "--timeout"],
        "",
    );
    assert_eq!(answer, done("Timeout (tcp tcpfin udp): 900 120 300\n"));
    assert_eq!(run("lb-ctl", nowhere, &["--socket"], "").code, 2);
}

#[test]
fn status_is_text_or_json() {
    let server = Server::start();
    run("lb-ctl", server.path(), &["-A", "-t", "10.0.0.1:80"], "");
    let text = run("lb-ctl", server.path(), &["status"], "");
    assert_eq!(
        text.out,
        "lb-agent 0.1.0, pid 4711, map layout 1\nattached to eth0 (native)\n\
         flow table for 2048 flows, 4096 entries\n\
         1 service, 0 servers; connections: 0 active, 0 inactive\n\
         packets that did not go to a server:\n           7 no service\n"
    );
    assert_eq!(text.code, 0);
    let json = run("lb-ctl", server.path(), &["status", "-o", "json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["agent"]["pid"], 4711);
    assert_eq!(json["services"], 1);
    assert_eq!(
        run("lb-ctl", server.path(), &["status", "-o", "yaml"], "").code,
        2
    );
}

#[test]
fn status_says_no_when_packets_cannot_reach_a_server() {
    let server = Server::start();
    let socket = server.path();
    run("lb-ctl", socket, &["-A", "-t", "10.0.0.1:80"], "");
    let add = ["-a", "-t", "10.0.0.1:80", "-r", "192.168.0.1"];
    run("lb-ctl", socket, &add, "");
    assert_eq!(run("lb-ctl", socket, &["status"], "").code, 0);
    {
        let mut table = server.table.lock().unwrap();
        table.services.services[0].servers[0].next = Next::Unresolved {
            why: "no route to it".to_owned(),
        };
    }
    let status = run("lb-ctl", socket, &["status"], "");
    assert_eq!(status.code, 1);
    let unreachable = "unreachable: 192.168.0.1:80 of TCP 10.0.0.1:80: no route to it\n";
    assert!(status.out.contains(unreachable), "{}", status.out);
}

#[test]
fn status_says_no_while_a_configured_interface_is_gone() {
    let server = Server::start();
    server.table.lock().unwrap().missing = vec!["eth1".to_owned()];
    let status = run("lb-ctl", server.path(), &["status"], "");
    assert_eq!(status.code, 1);
    let attached = "attached to eth0 (native)\nno interface eth1: its packets are not balanced";
    assert!(status.out.contains(attached), "{}", status.out);
    let json = run("lb-ctl", server.path(), &["status", "-o", "json"], "");
    assert_eq!(json.code, 1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["agent"]["missing"], serde_json::json!(["eth1"]));
}

#[test]
fn status_says_no_while_a_warning_is_seen() {
    let server = Server::start();
    let warning = Warning {
        kind: WarningKind::NoReplies,
        message: "nothing comes back from it".to_owned(),
    };
    server.table.lock().unwrap().warnings = vec![warning];
    let status = run("lb-ctl", server.path(), &["status"], "");
    assert_eq!(status.code, 1);
    let told = "connections: 0 active, 0 inactive\nwarning: nothing comes back from it\n";
    assert!(status.out.contains(told), "{}", status.out);
    let json = run("lb-ctl", server.path(), &["status", "-o", "json"], "");
    assert_eq!(json.code, 1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let told = serde_json::json!({
        "kind": "no_replies",
        "seen": true,
        "message": "nothing comes back from it",
    });
    assert_eq!(json["agent"]["warnings"], serde_json::json!([told]));
}

#[test]
fn of_many_warnings_of_a_kind_some_are_printed() {
    let server = Server::start();
    let warning = |kind, number: u32| Warning {
        kind,
        message: format!("number {number}"),
    };
    let silent = (0..12).map(|number| warning(WarningKind::NoReplies, number));
    let others = (20..30).map(|number| warning(WarningKind::LinkLocal, number));
    server.table.lock().unwrap().warnings = silent.chain(others).collect();
    let status = run("lb-ctl", server.path(), &["status"], "");
    let silent = "\nwarning: number 9\nwarning: and 2 more (no_replies): `-o json` lists them\n";
    assert!(status.out.contains(silent), "{}", status.out);
    assert!(
        status.out.contains("\nwarning: number 29\n"),
        "{}",
        status.out
    );
    assert_eq!(
        status.out.matches("\nwarning: ").count(),
        21,
        "{}",
        status.out
    );
    let json = run("lb-ctl", server.path(), &["status", "-o", "json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["agent"]["warnings"].as_array().unwrap().len(), 22);
}

#[test]
fn what_nobody_has_seen_go_wrong_is_a_note() {
    let server = Server::start();
    let warning = Warning {
        kind: WarningKind::PartialChecksums,
        message: "eth0 is a veth interface".to_owned(),
    };
    server.table.lock().unwrap().warnings = vec![warning];
    let status = run("lb-ctl", server.path(), &["status"], "");
    assert_eq!(status.code, 0);
    let told = "\nnote: eth0 is a veth interface\n";
    assert!(status.out.contains(told), "{}", status.out);
}

#[test]
fn nothing_depends_on_the_terminal() {
    let server = Server::start();
    server.table.lock().unwrap().connections = CONNECTIONS.to_owned();
    run("lb-ctl", server.path(), &["-A", "-t", "10.0.0.1:80"], "");
    let calls: &[&[&str]] = &[
        &["status"],
        &["status", "-o", "json"],
        &["list", "services"],
        &["list", "connections", "-o", "json"],
        &["help"],
        &["help", "import"],
        &["man"],
        &["-h"],
        &["-L"],
        &["frobnicate"],
    ];
    let settings = [
        ("NO_COLOR", "1"),
        ("CLICOLOR_FORCE", "1"),
        ("TERM", "xterm-256color"),
        ("COLUMNS", "20"),
        ("LC_ALL", "tr_TR.UTF-8"),
    ];
    for words in calls {
        let plain = run("lb-ctl", server.path(), words, "");
        assert!(!plain.out.contains('\x1b') && !plain.err.contains('\x1b'));
        let mut command = Command::new(PROGRAM);
        command.arg0("lb-ctl").args(*words);
        command.env("LB_SOCKET", server.path());
        let set = command.envs(settings).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&set.stdout), plain.out, "{words:?}");
    }
}

#[test]
fn no_reader_hears_every_verb_in_vain() {
    let server = Server::start();
    let line = CONNECTIONS.lines().next().unwrap();
    server.table.lock().unwrap().connections = format!("{line}\n").repeat(20_000);
    let rules = "-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n";
    let calls: &[&[&str]] = &[
        &["status"],
        &["list", "connections"],
        &["list", "connections", "-o", "json"],
        &["list", "services", "-o", "json"],
        &["schema", "services"],
        &["import", "ipvsadm", "-"],
        &["help"],
        &["man"],
        &["completions", "bash"],
    ];
    for words in calls {
        for closed in ["out", "err", "both"] {
            let mut child = Command::new(PROGRAM)
                .args(*words)
                .env("LB_SOCKET", server.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
            if closed != "err" {
                out = None;
            }
            if closed != "out" {
                err = None;
            }
            let mut stdin = child.stdin.take().unwrap();
            let _ = stdin.write_all(rules.as_bytes());
            drop(stdin);
            for mut pipe in out.into_iter() {
                std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
            }
            let mut said = String::new();
            for mut pipe in err.into_iter() {
                std::io::Read::read_to_string(&mut pipe, &mut said).unwrap();
            }
            let code = child.wait().unwrap().code();
            // What import left out stays left out, whoever reads of it.
            let expected: &[i32] = if words[0] == "import" { &[0, 1] } else { &[0] };
            let good = code.is_some_and(|code| expected.contains(&code));
            assert!(good, "{words:?} without {closed}: {code:?}");
            assert!(!said.contains("panicked"), "{words:?}: {said}");
        }
    }
}

#[test]
fn a_full_disk_is_told() {
    let server = Server::start();
    for (words, code) in [(["help", "list"], 3), (["-L", "-n"], 1)] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = Command::new(PROGRAM)
            .args(words)
            .env("LB_SOCKET", server.path())
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
    }
}

#[test]
fn bash_completes_what_the_tables_say() {
    let server = Server::start();
    let socket = server.path();
    run("lb-ctl", socket, &["-A", "-t", "10.0.0.1:80"], "");
    run("lb-ctl", socket, &["-A", "-t", "[2001:db8::1]:80"], "");
    let script = run("lb-ctl", socket, &["completions", "bash"], "");
    let complete = |line: &str| -> Vec<String> {
        let program = format!(
            "{}\ncompopt() {{ echo \"compopt $*\"; }}\nCOMP_LINE=$1 COMP_POINT=${{#1}} _lb_ctl\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.out
        );
        let line = format!("{PROGRAM} {line}");
        let output = Command::new("bash")
            .args(["--noprofile", "--norc", "-c", &program, "bash", &line])
            .env("LB_SOCKET", socket)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(complete("st"), ["status"]);
    assert_eq!(complete("list -o j"), ["json"]);
    assert_eq!(complete("-A -t 10.0.0.9:80 -s wr"), ["wrr"]);
    assert_eq!(complete("--stop-daemon "), ["master", "backup"]);
    // Readline breaks words at colons, and replaces what is behind the last.
    assert_eq!(complete("-D -t 10.0.0.1:"), ["80"]);
    assert_eq!(complete("-D -t [2001:d"), ["db8::1]:80"]);
    assert_eq!(complete("-a -t "), ["10.0.0.1:80", "[2001:db8::1]:80"]);
    assert_eq!(complete("import ldirectord "), ["compopt -o default", ""]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let server = Server::start();
    {
        let line = CONNECTIONS.lines().next().unwrap();
        server.table.lock().unwrap().connections = format!("{line}\n").repeat(20_000);
    }
    let mut child = Command::new(PROGRAM)
        .args(["-L", "-n", "-c"])
        .env("LB_SOCKET", server.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
