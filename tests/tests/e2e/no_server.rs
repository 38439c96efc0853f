//! What clients hear when there is no server, or no service any more.

use anyhow::{Context, Result};
use lb_tests::scene::{self, DEADLINE, Scene};
use lb_tests::udp::Responder;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use xtask::lab::director::Director;
use xtask::lab::plan::VIP;
use xtask::lab::wait;
use xtask::load::PATIENCE;

#[test]
fn clients_are_refused_as_was_asked_for() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let _agent = director.start()?;
    let udp = SocketAddr::from((VIP, 53));
    director.ctl(["-A", "-t", scene::SERVICE, "-s", "rr"])?;
    director.ctl(["-A", "-u", "10.0.0.100:53", "-s", "rr"])?;
    let refused = Err(ErrorKind::ConnectionRefused);
    // By ICMP; then by a reset, which is for TCP only.
    for answer in ["icmp", "reset"] {
        director.ctl(["service", "-t", scene::SERVICE, "--no-server", answer])?;
        director.ctl(["service", "-u", "10.0.0.100:53", "--no-server", answer])?;
        let before = counted(&director, "answered")?;
        let (connected, asked) = scene.lab.client().inside(|| -> Result<_> {
            let connected = TcpStream::connect_timeout(&scene::vip(), PATIENCE);
            Ok((connected.map(drop).map_err(|e| e.kind()), ask(udp)?))
        })??;
        assert_eq!((connected, asked), (refused, refused), "{answer}");
        assert_eq!(counted(&director, "answered")?, before + 2);
    }
    assert!(counted(&director, "no_server_reset")? > 0);

    // Silently: the packet is counted, and nothing went back.
    director.ctl(["service", "-u", "10.0.0.100:53", "--no-server", "silent"])?;
    let answered = counted(&director, "answered")?;
    let silence = scene.lab.client().inside(|| -> Result<_> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(udp)?;
        socket.set_nonblocking(true)?;
        socket.send(b"who")?;
        wait::until("the packet is counted", DEADLINE, || {
            Ok(match counted(&director, "no_server_silent")? {
                0 => wait::Seen::NotYet("not counted".to_owned()),
                _ => wait::Seen::Done(()),
            })
        })?;
        Ok(socket.recv(&mut [0; 16]).map_err(|error| error.kind()))
    })??;
    assert_eq!(silence, Err(ErrorKind::WouldBlock));
    assert_eq!(counted(&director, "answered")?, answered);

    // Another agent answers likewise.
    assert_eq!(
        director.ctl(["service"])?,
        "TCP 10.0.0.100:80 --no-server reset\nUDP 10.0.0.100:53 --no-server silent\n"
    );
    Ok(())
}

#[test]
fn a_service_without_a_scheduler_has_no_server_to_choose() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "none", &[1, 1])?;
    let connected = scene.lab.client().inside(|| {
        TcpStream::connect_timeout(&scene::vip(), PATIENCE).map_err(|error| error.kind())
    })?;
    assert_eq!(connected.err(), Some(ErrorKind::ConnectionRefused));
    // With one it has, in the order of the list.
    director.ctl(["-E", "-t", scene::SERVICE, "-s", "rr"])?;
    assert_eq!(scene.fetch(4)?, [2, 1, 2, 1]);
    director.ctl(["-E", "-t", scene::SERVICE, "-s", "none"])?;
    let table = director.ctl(["-L", "-n"])?;
    assert!(table.contains("TCP  10.0.0.100:80 none\n  -> "), "{table}");
    Ok(())
}

#[test]
fn a_connection_goes_on_when_its_service_comes_back() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let mut sessions = scene.sessions(1)?;
    let mut session = sessions.pop().context("a session")?;
    director.ctl(["-D", "-t", scene::SERVICE])?;
    assert_eq!(director.ctl(["-L", "-n"])?.lines().count(), 3);

    let before = counted(&director, "server_gone")?;
    let asking = std::thread::spawn(move || session.ask());
    // What the client sends meanwhile is dropped, and it sends it again.
    dropped(&director, before)?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let answer = asking.join().expect("no panic")?;
    assert_eq!(answer, "server2");
    Ok(())
}

#[test]
fn a_flow_whose_server_is_gone_waits_or_goes_elsewhere() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = SocketAddr::from((VIP, 53));
    let respond = |n| Responder::start(scene.lab.server(n), service);
    let _responders = [1, 2]
        .into_iter()
        .map(respond)
        .collect::<Result<Vec<_>>>()?;
    director.ctl(["-A", "-u", "10.0.0.100:53", "-s", "rr"])?;
    for server in ["10.0.0.11:53", "10.0.0.12:53"] {
        director.ctl(["-a", "-u", "10.0.0.100:53", "-r", server, "-g", "-w", "1"])?;
    }
    scene.lab.client().inside(|| -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(service)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let who = || -> Result<usize> {
            socket.send(b"who")?;
            let mut answer = [0; 64];
            let length = socket.recv(&mut answer)?;
            scene::server_number(std::str::from_utf8(&answer[..length])?)
        };
        assert_eq!(who()?, 2);
        director.ctl(["-d", "-u", "10.0.0.100:53", "-r", "10.0.0.12:53"])?;
        let before = counted(&director, "server_gone")?;
        socket.send(b"who")?;
        dropped(&director, before)?;
        director.ctl(["setting", "expire_nodest_conn=1"])?;
        assert_eq!(who()?, 1);
        Ok(())
    })?
}

/// What a datagram from a new socket meets: an error that the network told of.
fn ask(to: SocketAddr) -> Result<Result<(), ErrorKind>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who")?;
    Ok(socket
        .recv(&mut [0; 16])
        .map(drop)
        .map_err(|error| error.kind()))
}

/// Waits until more packets were dropped because their server is gone.
fn dropped(director: &Director<'_>, before: u64) -> Result<()> {
    wait::until("a packet is dropped", DEADLINE, || {
        Ok(match counted(director, "server_gone")? {
            now if now > before => wait::Seen::Done(()),
            _ => wait::Seen::NotYet("none is".to_owned()),
        })
    })
}

/// How often the agent counted a reason.
pub(crate) fn counted(director: &Director<'_>, reason: &str) -> Result<u64> {
    // Servers may be unreachable meanwhile, of which the exit code tells.
    let status = director.ctl_output(["status", "-o", "json"])?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let reasons = status["agent"]["reasons"].as_array();
    let reasons = reasons.with_context(|| format!("no reasons: {status}"))?;
    let found = reasons.iter().find(|entry| entry["reason"] == reason);
    Ok(found
        .and_then(|entry| entry["packets"].as_u64())
        .unwrap_or(0))
}
