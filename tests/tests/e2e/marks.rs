//! Mark rules: one service of several ports and protocols.

use anyhow::Result;
use lb_tests::network::{self, FAR_VIP};
use lb_tests::scene::{self, Scene};
use lb_tests::udp::Responder;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use xtask::lab::plan::VIP;
use xtask::load::{self, PATIENCE};

#[test]
fn a_clients_tcp_and_udp_go_to_one_server() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let agent = director.start()?;
    let media = SocketAddr::from((VIP, 6970));
    let respond = |n| Responder::start(scene.lab.server(n), media);
    let _responders = [1, 2]
        .into_iter()
        .map(respond)
        .collect::<Result<Vec<_>>>()?;
    let others = ["10.0.0.5", "10.0.0.6"];
    for other in others {
        let address = format!("{other}/24");
        scene
            .lab
            .client()
            .run("ip", ["address", "add", &address, "dev", "eth0"])?;
    }
    director.ctl(["-A", "-f", "7", "-s", "rr", "-p", "300"])?;
    for server in ["10.0.0.11:0", "10.0.0.12:0"] {
        director.ctl(["-a", "-f", "7", "-r", server, "-g", "-w", "1"])?;
    }
    let control = "--protocol tcp --to 10.0.0.100/32 --port 80 7";
    let stream = "--protocol udp --to 10.0.0.100/32 --port 6970-6999 7";
    for rule in [control, stream] {
        director.ctl(["mark", "add"].into_iter().chain(rule.split(' ')))?;
    }
    let pair = |client: &str| -> Result<[usize; 2]> {
        let client: IpAddr = client.parse()?;
        scene
            .lab
            .client()
            .inside(|| Ok([tcp(client)?, udp(client, media)?]))?
    };
    assert_eq!(pair("10.0.0.1")?, [2, 2]);
    assert_eq!(pair("10.0.0.5")?, [1, 1]);

    // Another agent has the rules, and what a client's template says still counts.
    drop(agent);
    let _agent = director.start()?;
    let rules = format!("   1  {control}\n   2  {stream}\n");
    assert_eq!(director.ctl(["mark", "list"])?, rules);
    assert_eq!(pair("10.0.0.1")?, [2, 2]);
    assert_eq!(pair("10.0.0.6")?, [2, 2]);

    // Without its rule a datagram is nobody's but the director's, which has no such port.
    director.ctl(["mark", "delete", "2"])?;
    let refused = scene.lab.client().inside(|| -> Result<_> {
        let socket = UdpSocket::bind((others[0], 0))?;
        socket.connect(media)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"who")?;
        Ok(socket.recv(&mut [0; 16]).map_err(|error| error.kind()))
    })??;
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(scene.lab.client().inside(|| tcp(others[0].parse()?))??, 1);
    Ok(())
}

#[test]
fn a_rule_for_an_interface_marks_what_comes_in_by_it() -> Result<()> {
    let scene = Scene::new(2)?;
    network::second_network(&scene.lab)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let mut command = director.agent("eth0");
    command.args(["--interface", "eth1"]);
    let _agent = director.start_with(command)?;
    for (mark, server) in [("1", "10.0.0.11:80"), ("2", "10.0.0.12:80")] {
        director.ctl(["-A", "-f", mark, "-s", "rr"])?;
        director.ctl(["-a", "-f", mark, "-r", server, "-m"])?;
    }
    director.ctl(["mark", "add", "--interface", "eth1", "--port", "80", "2"])?;
    director.ctl(["mark", "add", "--to", "10.0.0.100", "--port", "80", "1"])?;
    let far = SocketAddr::new(FAR_VIP.parse()?, 80);
    let fetch = |target| scene.lab.client().inside(|| load::fetch(target));
    for _ in 0..2 {
        assert_eq!(scene::server_number(&fetch(scene::vip())??)?, 1);
        assert_eq!(scene::server_number(&fetch(far)??)?, 2);
    }
    Ok(())
}

/// The server that answers an HTTP request from an address.
fn tcp(client: IpAddr) -> Result<usize> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
    };
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    let descriptor = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let local = SockaddrStorage::from(SocketAddr::new(client, 0));
    bind(descriptor.as_raw_fd(), &local)?;
    connect(descriptor.as_raw_fd(), &SockaddrStorage::from(scene::vip()))?;
    let mut stream = TcpStream::from(descriptor);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    scene::server_number(answer.lines().last().unwrap_or_default())
}

/// The server that answers a datagram from an address.
fn udp(client: IpAddr, to: SocketAddr) -> Result<usize> {
    let socket = UdpSocket::bind((client, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    scene::server_number(std::str::from_utf8(&answer[..length])?)
}
