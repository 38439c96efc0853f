//! The control API through a real Unix socket, and the socket's own rules.

use super::socket::Socket;
use super::*;
use crate::cli::Conflict;
use crate::director::Reach;
use crate::director::memory::Memory;
use crate::model::ServerId;
use crate::model::tests::{add_server, add_service};
use crate::net::{NextHop, NextHops};
use crate::state::Store;
use crate::state::tests::TestDirectory;
use lb_common::api::{
    Agent, Connection, Daemons, Edit, MarkRule, Marks, NoServer, Origin, RefusalKind,
    Services as Listed, Setting, Settings, Timeouts,
};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A served director; dropping stops it.
struct Lab {
    path: PathBuf,
    maps: Memory,
    director: Shared,
    stop: watch::Sender<bool>,
    server: Option<tokio::task::JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
    _directory: TestDirectory,
}

impl Lab {
    fn new() -> Self {
        Self::with(8, Duration::from_secs(60))
    }

    fn with(clients: usize, idle: Duration) -> Self {
        let directory = TestDirectory::new();
        let path = directory.join("run/agent.sock");
        let maps = Memory::default();
        let (store, state) = Store::open(&directory.join("state")).expect("readable");
        let configured = BTreeMap::from([(Setting::SloppyTcp, 1)]);
        let director = Director::start(store, state, Box::new(maps.clone()), configured);
        let director = director.expect("a start");
        let director = Shared::new(director);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (stop, stopped) = watch::channel(false);
        let server = {
            let _context = runtime.enter();
            let socket = Socket::bind_with(&path, clients, idle).expect("a free path");
            {
                let (hops, changes) = NextHops::spawn().expect("netlink");
                let ways = Ways { hops, changes };
                tokio::spawn(serve(socket, director.clone(), ways, stopped))
            }
        };
        Self {
            path,
            maps,
            director,
            stop,
            server: Some(server),
            runtime,
            _directory: directory,
        }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).expect("it listens")
    }

    /// Sends a request as written here, and returns status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        send(&mut stream, method, path, body);
        receive(stream)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("the type that the API names")
    }

    fn edit(&self, edits: Vec<Edit>) -> Outcomes {
        let body = serde_json::to_vec(&Edits { edits }).expect("JSON");
        let (status, body) = self.ask("POST", "/v1/edits", &body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("outcomes")
    }

    fn error(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let (status, body) = self.ask(method, path, body);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let error = body["error"].as_str().expect("an error").to_owned();
        (status, error)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server).expect("it ends by itself");
        }
    }
}

fn send(stream: &mut UnixStream, method: &str, path: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: lb\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    // A body that is refused is not read to its end.
    let _ = stream.write_all(body);
}

fn receive(stream: UnixStream) -> (u16, Vec<u8>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).expect("a status");
    let status = status.parse().expect("a number");
    let mut chunked = false;
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a header");
        match line.trim_end() {
            "" => break,
            "transfer-encoding: chunked" => chunked = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !chunked {
        stream.read_to_end(&mut body).expect("a body");
        return (status, body);
    }
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a chunk's size");
        let size = usize::from_str_radix(line.trim_end(), 16).expect("hexadecimal");
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..]).expect("a chunk");
        stream.read_line(&mut line).expect("its end");
        if size == 0 {
            return (status, body);
        }
    }
}

#[test]
fn every_path_answers_what_the_api_says() {
    let lab = Lab::new();
    let outcomes = lab.edit(vec![add_service(1), add_server(1, 1), add_server(2, 1)]);
    let kinds: Vec<_> = outcomes
        .outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|refusal| refusal.kind))
        .collect();
    assert_eq!(kinds, [None, None, Some(RefusalKind::NoService)]);
    lab.maps.connect(ServerId(0), 4000, 60);

    let listed: Listed = lab.get("/v1/services");
    assert_eq!(listed.slots, 4096);
    assert_eq!(listed.services[0].counters.in_bytes, 60);
    assert_eq!(listed.services[0].servers[0].active, 1);
    let agent: Agent = lab.get("/v1/agent");
    assert_eq!(agent.pid, std::process::id());
    assert_eq!(agent.reasons, [("not-ours".to_owned(), 7)]);
    assert_eq!(lab.get::<Timeouts>("/v1/timeouts").tcp, 900);
    assert_eq!(lab.get::<Daemons>("/v1/daemons"), Daemons::default());
}

#[test]
fn settings_are_the_defaults_the_configurations_or_an_edits() {
    let lab = Lab::new();
    let set = |body: &str| {
        let (status, body) = lab.ask("POST", "/v1/settings", body.as_bytes());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<Outcomes>(&body)
            .expect("outcomes")
            .outcomes
    };
    let of = |name| {
        let settings = lab.get::<Settings>("/v1/settings").settings;
        let status = settings.into_iter().find(|status| status.name == name);
        status
            .map(|status| (status.value, status.origin))
            .expect("every setting is told")
    };
    let default = |setting: Setting| setting.bits(setting.default());
    let others = Setting::ALL
        .into_iter()
        .filter(|setting| *setting != Setting::SloppyTcp);
    let bits = others.map(default).fold(0, |all, bits| all | bits);
    let sloppy = Setting::SloppyTcp.bits(1);
    assert_eq!(of(Setting::SloppyTcp), (1, Origin::Configuration));
    assert_eq!(of(Setting::PmtuDisc), (1, Origin::Default));
    assert_eq!(lab.maps.tables().settings, Some(bits | sloppy));

    assert_eq!(set(r#"{"settings":{"sloppy_tcp":0}}"#), [None]);
    assert_eq!(of(Setting::SloppyTcp), (0, Origin::Edit));
    assert_eq!(lab.maps.tables().settings, Some(bits));
    assert_eq!(set(r#"{"settings":{"sloppy_tcp":null}}"#), [None]);
    assert_eq!(of(Setting::SloppyTcp), (1, Origin::Configuration));

    // In the order of their names, each by itself.
    let outcomes =
        set(r#"{"settings":{"sloppy":1,"pmtu_disc":2,"conn_reuse_mode":3,"nat_icmp_send":1}}"#);
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|o| o.as_ref().map(|o| o.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            None,
            Some(RefusalKind::Unsupported),
            Some(RefusalKind::Range),
            Some(RefusalKind::Invalid)
        ]
    );
    assert_eq!(of(Setting::NatIcmpSend), (0, Origin::Default));
    assert_eq!(of(Setting::ConnReuseMode), (3, Origin::Edit));
}

#[test]
fn marks_and_answers_without_a_server_are_told() {
    let lab = Lab::new();
    let rule = MarkRule {
        protocol: None,
        from: "192.0.2.0/24".parse().ok(),
        to: None,
        ports: None,
        interface: None,
        mark: 7,
    };
    let service = crate::model::tests::service(1);
    let answer = NoServer::Silent;
    let outcomes = lab.edit(vec![
        add_service(1),
        Edit::SetNoServer { service, answer },
        Edit::AddMarkRule { rule: rule.clone() },
    ]);
    assert_eq!(outcomes.outcomes, [None, None, None]);
    assert_eq!(lab.get::<Marks>("/v1/marks").rules, [rule]);
    let listed: Listed = lab.get("/v1/services");
    assert_eq!(listed.services[0].no_server, NoServer::Silent);
}

#[test]
fn connections_come_one_a_line() {
    let lab = Lab::new();
    assert_eq!(
        lab.ask("GET", "/v1/connections", b""),
        (200, Vec::new()),
        "none"
    );
    lab.edit(vec![add_service(1), add_server(1, 1)]);
    for port in 0..5000 {
        lab.maps.connect(ServerId(0), port, 60);
    }
    let (status, body) = lab.ask("GET", "/v1/connections", b"");
    assert_eq!(status, 200);
    let lines: Vec<Connection> = body
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a connection"))
        .collect();
    let ports: Vec<_> = lines.iter().map(|line| line.client_port).collect();
    assert_eq!(ports, (0..5000).collect::<Vec<_>>());
    assert_eq!(lines[0].server, crate::model::tests::server(1));
}

#[test]
fn a_client_that_does_not_read_its_connections_blocks_no_one() {
    let lab = Lab::new();
    lab.edit(vec![add_service(1), add_server(1, 1)]);
    for port in 0..20_000 {
        lab.maps.connect(ServerId(0), port, 60);
    }
    let mut reader = lab.connect();
    send(&mut reader, "GET", "/v1/connections", b"");
    let mut first = [0];
    reader.read_exact(&mut first).expect("the answer has begun");
    let outcomes = lab.edit(vec![add_server(1, 2)]);
    assert_eq!(outcomes.outcomes, [None]);
    drop(reader);
}

#[test]
fn bad_requests_are_told_why() {
    let lab = Lab::new();
    let (status, error) = lab.error("GET", "/v2/services", b"");
    assert_eq!(status, 404);
    assert!(error.contains("/v1/services"), "{error}");
    let (status, error) = lab.error("GET", "/v1/../../etc/passwd", b"");
    assert_eq!(status, 404, "{error}");
    let (status, error) = lab.error("GET", "/v1/edits", b"");
    assert_eq!(
        (status, error.as_str()),
        (405, "/v1/edits does not take GET: use POST")
    );
    let (status, error) = lab.error("POST", "/v1/edits", b"{\"edits\": [{\"add\": 1}]}");
    assert_eq!(status, 400);
    assert!(error.contains("unknown variant `add`"), "{error}");
    let (status, error) = lab.error("POST", "/v1/edits", &vec![b' '; BODY_MAX + 1]);
    assert_eq!(status, 413);
    assert!(error.contains("in several requests"), "{error}");
}

#[test]
fn clients_that_say_nothing_are_cut_off_and_others_wait_for_room() {
    let lab = Lab::with(2, Duration::from_millis(200));
    let mut idle = [lab.connect(), lab.connect()];
    idle[1].write_all(b"POST /v1/ed").expect("it reads");
    // The third gets in when the first two are gone.
    let agent: Agent = lab.get("/v1/agent");
    assert_eq!(agent.layout, 1);
    for stream in &mut idle {
        let mut rest = Vec::new();
        // Closed by the server, whatever it said before.
        let _ = stream.read_to_end(&mut rest);
    }
}

#[test]
fn the_socket_is_the_owners_and_goes_with_the_agent() {
    let lab = Lab::new();
    let mode = std::fs::metadata(&lab.path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = lab.path.clone();
    let error = {
        let _context = lab.runtime.enter();
        Socket::bind(&path).expect_err("in use")
    };
    assert!(error.is::<Conflict>(), "{error}");
    drop(lab);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_a_file_is_not() {
    let directory = TestDirectory::new();
    let path = directory.join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a free path"));
    assert!(path.exists());
    let socket = Socket::bind(&path).expect("replaced");
    UnixStream::connect(&path).expect("it listens");
    drop(socket);
    std::fs::write(&path, "mine").expect("writable");
    let error = Socket::bind(&path).expect_err("a file").to_string();
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "mine");
}

#[test]
fn next_hops_show_in_the_listing() {
    let lab = Lab::new();
    lab.edit(vec![add_service(1), add_server(1, 1)]);
    let address = crate::model::tests::server(1).address;
    let hop = NextHop {
        ifindex: 2,
        interface: "eth0".into(),
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
        preferred_source: None,
    };
    let set = lab
        .director
        .with(move |director| director.set_reach(address, Reach::Hop(hop)));
    lab.runtime.block_on(set);
    let (_, body) = lab.ask("GET", "/v1/services", b"");
    let body = String::from_utf8(body).expect("text");
    let next = r#""next":{"resolved":{"interface":"eth0","mac":"02:00:00:00:00:02"}}"#;
    assert!(body.contains(next), "{body}");
}
