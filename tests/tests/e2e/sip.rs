//! Calls: services with the persistence engine `sip`.

use anyhow::{Context, Result, ensure};
use lb_tests::network;
use lb_tests::scene::{self, Scene};
use lb_tests::udp::Responder;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use xtask::lab::director::Director;
use xtask::lab::host::Host;
use xtask::lab::plan::{CLIENT, VIP, VIP6, server_address};

/// Another address of the client's.
const OTHER: &str = "10.0.0.5";

/// SIP's own port.
const PORT: u16 = 5060;

#[test]
fn a_call_stays_with_its_server_whatever_port_it_comes_from() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let mut agent = director.start()?;
    for (vip, client, servers) in [
        (
            IpAddr::from(VIP),
            IpAddr::from(CLIENT),
            ["10.0.0.11", "10.0.0.12"],
        ),
        (
            VIP6.into(),
            network::CLIENT6.parse()?,
            ["fd00::11", "fd00::12"],
        ),
    ] {
        let service = SocketAddr::new(vip, PORT);
        let _answering = start(&scene, &director, service, servers)?;
        let ask = |port, call| ask(scene.lab.client(), (client, port).into(), service, call);
        let server = ask(6001, "first@lab")?;
        assert_eq!(ask(6002, "first@lab")?, server);
        assert_eq!(ask(6003, "second@lab")?, 3 - server);
        assert_eq!(ask(6004, "third@lab")?, server);
        assert_eq!(ask(6005, "second@lab")?, 3 - server);
        // A known connection is followed, whatever the call.
        assert_eq!(ask(6001, "second@lab")?, server);

        let listed = director.ctl(["-L", "-n"])?;
        ensure!(listed.contains("rr persistent 300 pe sip"), "{listed}");
        let listed = templates(&director, service)?;
        let named = |call: &str, server: usize| {
            let at = SocketAddr::new(servers[server - 1].parse().ok()?, PORT).to_string();
            let client = SocketAddr::new(client, 0).to_string();
            Some(vec![
                "UDP".to_owned(),
                "ASSURED".to_owned(),
                client,
                service.to_string(),
                at,
                "sip".to_owned(),
                call.to_owned(),
            ])
        };
        let mut expected = [
            named("first@lab", server),
            named("second@lab", 3 - server),
            named("third@lab", server),
        ]
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .context("addresses")?;
        expected.sort();
        assert_eq!(listed, expected);

        agent.kill()?;
        agent = director.start()?;
        assert_eq!(ask(6006, "second@lab")?, 3 - server);
        assert_eq!(ask(6007, "first@lab")?, server);
    }
    Ok(())
}

#[test]
fn the_mask_joins_addresses_and_one_packet_schedules_each_datagram() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    scene.lab.client().run(
        "ip",
        ["address", "add", &format!("{OTHER}/24"), "dev", "eth0"],
    )?;
    for number in [1, 2] {
        let via = ["route", "add", OTHER, "via", "10.0.0.2"];
        scene.lab.server(number).run("ip", via)?;
    }
    let director = scene.director();
    let _agent = director.start()?;
    let service = SocketAddr::new(VIP.into(), PORT);
    let _answering = start(&scene, &director, service, ["10.0.0.11", "10.0.0.12"])?;
    let other: IpAddr = OTHER.parse()?;
    let ask = |client: IpAddr, port, call: &str| {
        let client = SocketAddr::new(client, port);
        ask(scene.lab.client(), client, service, call)
    };
    let server = ask(CLIENT.into(), 6001, "call")?;
    assert_eq!(ask(other, 6001, "call")?, 3 - server, "another client's");
    let name = service.to_string();
    let edit = ["-E", "-u", &name, "-s", "rr", "-p", "300", "--pe", "sip"];
    director.ctl(edit.iter().chain(&["-M", "255.255.255.0"]))?;
    let server = ask(CLIENT.into(), 6002, "wide")?;
    assert_eq!(ask(other, 6002, "wide")?, server);

    director.ctl(edit.iter().chain(&["-o"]))?;
    let from = |port: u16, calls: &[&str]| -> Result<Vec<usize>> {
        calls
            .iter()
            .map(|call| ask(CLIENT.into(), port, call))
            .collect()
    };
    let [first, second] = from(6003, &["a", "b"])?[..] else {
        unreachable!("two calls have two answers")
    };
    assert_eq!(second, 3 - first);
    assert_eq!(from(6003, &["a", "b", "a"])?, [first, second, first]);
    assert_eq!(from(6004, &["b", "a"])?, [second, first]);
    Ok(())
}

#[test]
fn a_datagram_without_a_call_goes_nowhere() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = SocketAddr::new(VIP.into(), PORT);
    let _answering = start(&scene, &director, service, ["10.0.0.11", "10.0.0.12"])?;
    let client = scene.lab.client();
    let socket = client.inside(|| UdpSocket::bind((CLIENT, 6001)))??;
    socket.send_to(b"OPTIONS sip:lab SIP/2.0\r\nFrom: me\r\n\r\n", service)?;
    // It goes the same way before this one, which is answered.
    ask(client, (CLIENT, 6002).into(), service, "call")?;
    socket.set_nonblocking(true)?;
    let nothing = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock));
    assert_eq!(templates(&director, service)?.len(), 1);
    Ok(())
}

#[test]
fn a_server_calls_a_client_by_the_virtual_address() -> Result<()> {
    let scene = Scene::new(1)?;
    network::reply_through_director(&scene.lab, 1)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = SocketAddr::new(VIP.into(), PORT);
    add(&director, service, &["10.0.0.11"])?;
    let from = |host: &Host, address| host.inside(|| UdpSocket::bind(address));
    let client = from(scene.lab.client(), (CLIENT, 7000).into())??;
    let server_end = SocketAddr::new(server_address(1).into(), PORT);
    let server = from(scene.lab.server(1), server_end)??;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(scene::DEADLINE))?;
    }
    let (call, mut datagram) = (message("out@lab"), [0; 512]);
    server.send_to(&call, (CLIENT, 7000))?;
    let (len, sender) = client.recv_from(&mut datagram)?;
    assert_eq!((&datagram[..len], sender), (&call[..], service));
    client.send_to(&call, service)?;
    let (len, sender) = server.recv_from(&mut datagram)?;
    assert_eq!(
        (&datagram[..len], sender),
        (&call[..], (CLIENT, 7000).into())
    );
    assert_eq!(templates(&director, service)?.len(), 1);
    // One that is none of a service's goes on as it is.
    let other = from(scene.lab.server(1), (server_address(1), 5061).into())??;
    other.send_to(&call, (CLIENT, 7000))?;
    let (_, sender) = client.recv_from(&mut datagram)?;
    assert_eq!(sender, (server_address(1), 5061).into());
    Ok(())
}

/// Adds the service, and starts what answers on its servers.
fn start(
    scene: &Scene,
    director: &Director<'_>,
    service: SocketAddr,
    servers: [&str; 2],
) -> Result<Vec<Responder>> {
    add(director, service, &servers)?;
    (1..)
        .zip(servers)
        .map(|(number, server)| {
            let listen = SocketAddr::new(server.parse()?, PORT);
            Responder::start_with(scene.lab.server(number), listen, accept)
        })
        .collect()
}

/// Adds the service with these masqueraded servers.
fn add(director: &Director<'_>, service: SocketAddr, servers: &[&str]) -> Result<()> {
    let name = service.to_string();
    director.ctl(["-A", "-u", &name, "-s", "rr", "-p", "300", "--pe", "sip"])?;
    for server in servers {
        let server = SocketAddr::new(server.parse()?, PORT).to_string();
        director.ctl(["-a", "-u", &name, "-r", &server, "-m"])?;
    }
    Ok(())
}

/// A message of a call.
fn message(call: &str) -> Vec<u8> {
    format!("OPTIONS sip:lab SIP/2.0\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n\r\n").into()
}

/// The answer of a server of this name to a message: it is of the same call.
fn accept(name: &str, message: &[u8]) -> Vec<u8> {
    let message = String::from_utf8_lossy(message);
    let rest = message.split_once("\r\n").map_or("", |(_, rest)| rest);
    format!("SIP/2.0 200 OK\r\nServer: {name}\r\n{rest}").into()
}

/// The number of the server that answers a message of a call from this end.
fn ask(host: &Host, client: SocketAddr, service: SocketAddr, call: &str) -> Result<usize> {
    let socket = host.inside(|| UdpSocket::bind(client))??;
    socket.connect(service)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answer = [0; 512];
    socket.send(&message(call))?;
    let len = socket
        .recv(&mut answer)
        .with_context(|| format!("no answer to {client}"))?;
    let answer = std::str::from_utf8(&answer[..len])?;
    let server = answer
        .lines()
        .find_map(|line| line.strip_prefix("Server: "));
    scene::server_number(server.with_context(|| format!("no server in {answer:?}"))?)
}

/// The templates that are listed for a service, without their times, sorted.
fn templates(director: &Director<'_>, service: SocketAddr) -> Result<Vec<Vec<String>>> {
    let listed = director.ctl(["-L", "-n", "-c", "--persistent-conn"])?;
    let mut lines: Vec<Vec<String>> = listed
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .filter(|fields: &Vec<String>| {
            fields.len() == 8 && fields[6] == "sip" && fields[4] == service.to_string()
        })
        .collect();
    for line in &mut lines {
        line.remove(1);
    }
    lines.sort();
    Ok(lines)
}
