//! Debian's ldirectord, as it is: it finds lb-ctl where it looks for ipvsadm.

use anyhow::{Context as _, Result, ensure};
use lb_tests::scene::{self, DEADLINE, Scene};
use lb_tests::udp::Responder;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use xtask::lab::background::Background;
use xtask::lab::director::Director;
use xtask::lab::plan::VIP;
use xtask::lab::wait::{self, Seen};
use xtask::load::{PATIENCE, Traffic};

/// Two real servers and a fallback for each kind of service. Dead servers of the TCP and the mark
/// service are quiesced, those of the UDP service removed; nginx answers for all of them.
const CONFIGURATION: &str = r#"
checktimeout = 5
negotiatetimeout = 5
checkinterval = 1
supervised = yes
autoreload = no

virtual = 10.0.0.100:80
	real = 10.0.0.11:80 gate 1
	real = 10.0.0.12:80 gate 1
	fallback = 10.0.0.13:80 gate
	service = http
	request = "/"
	receive = "server"
	scheduler = rr
	protocol = tcp
	checktype = negotiate
	quiescent = yes

virtual = 10.0.0.100:6970
	real = 10.0.0.11:6970 gate 1
	real = 10.0.0.12:6970 gate 1
	fallback = 10.0.0.13:6970 gate
	service = http
	checkport = 80
	request = "/"
	receive = "server"
	scheduler = rr
	protocol = udp
	checktype = negotiate
	quiescent = no

virtual = 7
	real = 10.0.0.11 gate 1
	real = 10.0.0.12 gate 1
	fallback = 10.0.0.13 gate
	service = http
	checkport = 443
	request = "/"
	receive = "server"
	scheduler = rr
	protocol = fwm
	checktype = negotiate
	quiescent = yes
"#;

/// Requests of each phase.
const PHASE: u64 = 50;

#[test]
fn ldirectord_directs_lb() -> Result<()> {
    let scene = Scene::new(3)?;
    let director = scene.director();
    let _agent = director.start()?;
    let udp = SocketAddr::from((VIP, 6970));
    let respond = |n| Responder::start(scene.lab.server(n), udp);
    let _responders = (1..=3).map(respond).collect::<Result<Vec<_>>>()?;
    let rule = "mark add --protocol tcp --to 10.0.0.100/32 --port 443 7";
    director.ctl(rule.split(' '))?;
    let mut ldirectord = start(&director)?;
    let mut ports = 20_000..;
    let mut phase = |servers: &[usize], table: &str| -> Result<()> {
        becomes(&director, &ldirectord, table)?;
        serve(&scene, servers, &mut ports).with_context(|| format!("served by {servers:?}"))
    };
    let both = table(&["11 1", "12 1"], &["11 1", "12 1"]);
    phase(&[1, 2], &both)?;

    // A connection to a living server does not notice what becomes of the others.
    let mut sessions = scene.sessions(2)?;
    let at = sessions
        .iter_mut()
        .map(|s| s.ask())
        .collect::<Result<Vec<_>>>()?;
    let second = at
        .iter()
        .position(|name| name == "server2")
        .context("a session there")?;
    let session = sessions.swap_remove(second);
    drop(sessions);
    let held = scene.traffic_on(vec![session], Duration::from_millis(20))?;
    scene.stop_server(1)?;
    phase(&[2], &table(&["11 0", "12 1"], &["12 1"]))?;
    scene.start_server(1)?;
    phase(&[1, 2], &both)?;
    let held = held.stop();
    assert_eq!(held.failures, Vec::<String>::new());
    assert!(held.answered() > 0);

    scene.stop_server(2)?;
    phase(&[1], &table(&["11 1", "12 0"], &["11 1"]))?;
    scene.stop_server(1)?;
    phase(&[3], &table(&["11 0", "12 0", "13 1"], &["13 1"]))?;
    scene.start_server(2)?;
    phase(&[2], &table(&["11 0", "12 1"], &["12 1"]))?;
    scene.start_server(1)?;
    phase(&[1, 2], &both)?;

    let status = ldirectord.terminate()?;
    assert!(status.success(), "{status}: {}", ldirectord.log());
    assert_eq!(services(&director)?, "");
    let log = ldirectord.log();
    assert!(!log.contains("failed"), "some command was refused: {log}");
    Ok(())
}

/// Starts ldirectord on the director, where ipvsadm is lb-ctl.
fn start(director: &Director<'_>) -> Result<Background> {
    let host = director.host();
    let configuration = host.dir().join("ldirectord.cf");
    let log = host.dir().join("ldirectord.log");
    let text = format!("logfile = \"{}\"\n{CONFIGURATION}", log.display());
    std::fs::write(&configuration, text)?;
    // The mount goes with the process: its mount namespace is its own.
    let script = "mount --bind \"$1\" /usr/sbin/ipvsadm && exec ldirectord \"$2\" start";
    let mut command = host.command("sh");
    command
        .args(["-c", script, "sh"])
        .arg(&director.programs().ctl)
        .arg(&configuration)
        .env("LB_SOCKET", director.socket());
    host.spawn("ldirectord", command)
}

/// The services when those whose dead servers are quiesced have these servers, and the one whose
/// dead servers are removed has those: the end of an address, and a weight.
fn table(quiesced: &[&str], removed: &[&str]) -> String {
    let rows = |port: u16, servers: &[&str]| -> String {
        servers
            .iter()
            .map(|server| {
                let (last, weight) = server.split_once(' ').unwrap_or((server, "1"));
                format!("-> 10.0.0.{last}:{port} Route {weight}\n")
            })
            .collect()
    };
    format!(
        "TCP 10.0.0.100:80 rr\n{}UDP 10.0.0.100:6970 rr\n{}FWM 7 rr\n{}",
        rows(80, quiesced),
        rows(6970, removed),
        rows(0, quiesced)
    )
}

/// `-L -n` without titles, connections and blanks.
fn services(director: &Director<'_>) -> Result<String> {
    let listing = director.ctl(["-L", "-n"])?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kept = if words.first() == Some(&"->") {
            4
        } else {
            words.len()
        };
        words[..kept.min(words.len())].join(" ") + "\n"
    };
    Ok(listing.lines().skip(3).map(line).collect())
}

fn becomes(director: &Director<'_>, ldirectord: &Background, table: &str) -> Result<()> {
    wait::until(format_args!("the table is\n{table}"), DEADLINE, || {
        let found = services(director)?;
        Ok(if found == table {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{found}\n{}", ldirectord.log()))
        })
    })
}

/// Makes requests to all services; each has to be answered, by these servers and all of them.
///
/// The next of `ports` are the client's UDP ports, none of which had a flow: one that had a flow to
/// a removed server is not answered, as in ipvs (`expire_nodest_conn` is 0).
fn serve(scene: &Scene, servers: &[usize], ports: &mut impl Iterator<Item = u16>) -> Result<()> {
    let client = scene.lab.client();
    let marked = SocketAddr::from((VIP, 443));
    let traffic: Vec<Traffic> = client.inside(|| {
        [scene::vip(), marked]
            .map(|to| Traffic::short(to, 1, Duration::from_millis(5)))
            .into()
    })?;
    let names: BTreeSet<String> = servers.iter().map(|n| format!("server{n}")).collect();
    let ports: Vec<u16> = ports.take(PHASE as usize).collect();
    let asked = client.inside(|| ports.into_iter().map(ask).collect::<Result<BTreeSet<_>>>())??;
    ensure!(asked == names, "{asked:?} answered over UDP");
    for traffic in traffic {
        wait::until("there were requests enough", DEADLINE, || {
            Ok(match traffic.answered() {
                answered if answered >= PHASE => Seen::Done(()),
                answered => Seen::NotYet(format!("{answered} answered")),
            })
        })?;
        let tally = traffic.stop();
        ensure!(tally.failures.is_empty(), "{:?}", tally.failures);
        let answered: BTreeSet<String> = tally.answers.into_keys().collect();
        ensure!(answered == names, "{answered:?} answered");
    }
    Ok(())
}

/// Who answers a datagram from this port.
fn ask(port: u16) -> Result<String> {
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    socket.connect((VIP, 6970))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who")?;
    let mut answer = [0; 64];
    let length = socket
        .recv(&mut answer)
        .with_context(|| format!("no answer to port {port}"))?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
