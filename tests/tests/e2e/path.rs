//! Paths that are narrower than their ends: whoever sends too much is told, and nothing vanishes.
//!
//! ```text
//!  client          access          edge               director1          inner          server2
//!  10.5.0.1 ---- 10.5.0.2
//!                10.4.0.1 ---- 10.4.0.2
//!                              10.0.0.9 === bridge === 10.0.0.2 ====== 10.0.0.8
//!                                              |                       10.6.0.1 ---- 10.6.0.12
//!                                  server1 10.0.0.11
//! ```
//!
//! The link from access to edge may be narrow, or the one to server 2. Servers answer clients by
//! edge, masqueraded ones by the director.

use crate::transfer::{FAMILIES, Family, decapsulate, publish, real_server};
use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::network::{forwards, join, join_bridge};
use lb_tests::scene::{DEADLINE, Scene};
use lb_tests::transfer::{Echo, File};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt,
    sockopt,
};
use serde_json::Value;
use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use xtask::lab::host::Host;
use xtask::lab::wait;

/// Of common links.
const WIDE: u16 = 1500;

const NARROW: u16 = 1400;

#[test]
fn servers_hear_of_a_narrow_link_to_the_client() -> Result<()> {
    let scene = scene(NARROW)?;
    let (client, host) = (scene.lab.client(), scene.lab.server(1));
    decapsulate(&real_server(&scene, 1)?, "eth0")?;
    let director = scene.director();
    let _agent = director.start()?;
    let file = File::new(client, &[host])?;
    for family in FAMILIES {
        let [far, vip, own] = family.of([CLIENT, VIP, SERVER1]);
        for (method, port, source) in [("-i", 80, vip), ("-m", 8080, own)] {
            let what = || format!("{method} of {vip}");
            let service = SocketAddr::new(vip, port);
            let server = SocketAddr::new(own, 80);
            publish(&director, "-t", service, server, &[method]).with_context(what)?;
            let mtu = || path_mtu(host, far, Some(source)).with_context(what);
            ensure!(mtu()?.is_none(), "{}: it knew before", what());
            file.download(service).with_context(what)?;
            assert_eq!(mtu()?, Some(NARROW.into()), "{}", what());
            file.upload(service, host).with_context(what)?;
        }
    }
    Ok(())
}

#[test]
fn servers_hear_of_a_narrow_link_of_the_directors() -> Result<()> {
    let mut scene = Scene::new(1)?;
    scene.lab.add("access")?;
    let lab = &scene.lab;
    let (client, access, host) = (lab.client(), lab.host("access"), lab.server(1));
    let director = scene.director();
    client.run("ip", ["link", "delete", "eth0"])?;
    join([(client, "eth0", 1), (access, "eth0", 2)], 5, WIDE)?;
    join(
        [(access, "eth1", 1), (director.host(), "eth1", 2)],
        4,
        NARROW,
    )?;
    // Without it this end takes no frames that a program redirects to the other.
    access.run("ethtool", ["-K", "eth1", "gro", "on"])?;
    for router in [access, director.host()] {
        forwards(router)?;
    }
    for (at, [v4, v6], [via4, via6]) in [
        (client, ["default"; 2], ["10.5.0.2", "fd05::2"]),
        (
            access,
            ["10.0.0.0/24", "fd00::/64"],
            ["10.4.0.2", "fd04::2"],
        ),
        (director.host(), CLIENTS, ["10.4.0.1", "fd04::1"]),
        (host, CLIENTS, ["10.0.0.2", "fd00::2"]),
    ] {
        at.run("ip", ["-4", "route", "add", v4, "via", via4])?;
        at.run("ip", ["-6", "route", "add", v6, "via", via6])?;
    }
    let mut command = director.agent("eth0");
    command.args(["--interface", "eth1"]);
    let _agent = director.start_with(command)?;
    let file = File::new(client, &[host])?;
    for family in FAMILIES {
        let [far, vip, own] = family.of([CLIENT, VIP, SERVER1]);
        let service = SocketAddr::new(vip, 80);
        publish(&director, "-t", service, SocketAddr::new(own, 80), &["-m"])?;
        assert_eq!(path_mtu(host, far, Some(own))?, None, "it knew before");
        file.download(service)?;
        assert_eq!(path_mtu(host, far, Some(own))?, Some(NARROW.into()));
        file.upload(service, host)?;
    }
    Ok(())
}

#[test]
fn clients_hear_what_room_a_tunnel_leaves() -> Result<()> {
    let scene = scene(WIDE)?;
    let (client, host) = (scene.lab.client(), scene.lab.server(1));
    decapsulate(&real_server(&scene, 1)?, "eth0")?;
    let director = scene.director();
    let _agent = director.start()?;
    let file = File::new(client, &[host])?;
    let gue = ["-i", "--tun-type", "gue", "--tun-port", "6080"];
    for (method, shim) in [
        (&gue[..1], 0),
        (&["-i", "--tun-type", "gre", "--tun-csum"], 8),
        (&gue, 12),
    ] {
        for family in FAMILIES {
            for (outer, header) in FAMILIES.into_iter().zip([20, 40]) {
                let what = || format!("{method:?}, IP{family:?} in IP{outer:?}");
                let service = SocketAddr::new(family.of([VIP])[0], 80);
                let server = SocketAddr::new(outer.of([SERVER1])[0], 80);
                publish(&director, "-t", service, server, method).with_context(what)?;
                let mtu = || path_mtu(client, service.ip(), None).with_context(what);
                forget(client)?;
                ensure!(mtu()?.is_none(), "{}: it knew before", what());
                file.upload(service, host).with_context(what)?;
                let room = u64::from(WIDE) - header - shim;
                assert_eq!(mtu()?, Some(room), "{}", what());
                file.download(service).with_context(what)?;
                director.ctl(["-D", "-t", &service.to_string()])?;
            }
        }
    }
    Ok(())
}

#[test]
fn clients_hear_of_a_narrow_link_to_a_tunnelled_server() -> Result<()> {
    let scene = scene(WIDE)?;
    let (client, host) = (scene.lab.client(), scene.lab.server(2));
    decapsulate(&real_server(&scene, 2)?, "eth1")?;
    let director = scene.director();
    let _agent = director.start()?;
    let file = File::new(client, &[host])?;
    for (outer, header) in FAMILIES.into_iter().zip([20, 40]) {
        for family in FAMILIES {
            let what = || format!("IP{family:?} in IP{outer:?}");
            let service = SocketAddr::new(family.of([VIP])[0], 80);
            let server = SocketAddr::new(outer.of([SERVER2])[0], 80);
            publish(&director, "-t", service, server, &["-i"]).with_context(what)?;
            forget(client)?;
            file.upload(service, host).with_context(what)?;
            let mtu = path_mtu(client, service.ip(), None).with_context(what)?;
            assert_eq!(mtu, Some(u64::from(NARROW) - header), "{}", what());
            director.ctl(["-D", "-t", &service.to_string()])?;
        }
    }
    Ok(())
}

#[test]
fn a_trace_shows_the_routers_the_director_and_the_service() -> Result<()> {
    let scene = scene(WIDE)?;
    let (client, host) = (scene.lab.client(), scene.lab.server(1));
    decapsulate(&real_server(&scene, 1)?, "eth0")?;
    let director = scene.director();
    let _agent = director.start()?;
    let routers: [[&str; 3]; 2] = [
        ["10.5.0.2", "10.4.0.2", "10.0.0.2"],
        ["fd05::2", "fd04::2", "fd00::2"],
    ];
    for (family, routers) in FAMILIES.into_iter().zip(routers) {
        let [vip, own] = family.of([VIP, SERVER1]);
        for (method, port) in [("-g", 9000), ("-i", 9001), ("-m", 9002)] {
            let service = SocketAddr::new(vip, port);
            let server = SocketAddr::new(own, port);
            publish(&director, "-u", service, server, &[method])?;
            let listen = if method == "-m" { server } else { service };
            let _echo = Echo::start(host, listen)?;
            for (hops, router) in (1..).zip(routers) {
                let seen = probe(client, service, hops)?;
                let router: IpAddr = router.parse()?;
                assert_eq!(seen, Hop::Router(router), "{method} {vip}, {hops} hops");
            }
            let seen = probe(client, service, 4)?;
            assert_eq!(seen, Hop::Answer, "{method} {vip}");
        }
    }
    Ok(())
}

/// The addresses of both families.
type Addresses = [&'static str; 2];

const CLIENT: Addresses = ["10.5.0.1", "fd05::1"];

const VIP: Addresses = ["10.0.0.100", "fd00::100"];

const SERVER1: Addresses = ["10.0.0.11", "fd00::11"];

/// Behind the narrow link.
const SERVER2: Addresses = ["10.6.0.12", "fd06::12"];

impl Family {
    fn of<const N: usize>(self, addresses: [Addresses; N]) -> [IpAddr; N] {
        addresses.map(|[v4, v6]| {
            let address = match self {
                Self::V4 => v4,
                Self::V6 => v6,
            };
            address.parse().expect("an address")
        })
    }
}

/// The network, with this MTU between access and edge.
fn scene(between: u16) -> Result<Scene> {
    let mut scene = Scene::new(2)?;
    for router in ["access", "edge", "inner"] {
        scene.lab.add(router)?;
    }
    let lab = &scene.lab;
    let (client, access, edge) = (lab.client(), lab.host("access"), lab.host("edge"));
    let (director, inner) = (lab.director(1), lab.host("inner"));
    for router in [access, edge, inner, director] {
        forwards(router)?;
    }
    client.run("ip", ["link", "delete", "eth0"])?;
    join([(client, "eth0", 1), (access, "eth0", 2)], 5, WIDE)?;
    join([(access, "eth1", 1), (edge, "eth1", 2)], 4, between)?;
    join_bridge(lab, edge, 9)?;
    join_bridge(lab, inner, 8)?;
    let server2 = lab.server(2);
    join([(inner, "eth1", 1), (server2, "eth1", 12)], 6, NARROW)?;

    for (host, [v4, v6], [via4, via6]) in [
        (client, ["default"; 2], ["10.5.0.2", "fd05::2"]),
        (access, ["default"; 2], ["10.4.0.2", "fd04::2"]),
        (edge, CLIENTS, ["10.4.0.1", "fd04::1"]),
        (director, CLIENTS, ["10.0.0.9", "fd00::9"]),
        (lab.server(1), CLIENTS, ["10.0.0.9", "fd00::9"]),
        (server2, CLIENTS, ["10.0.0.9", "fd00::9"]),
        (
            director,
            ["10.6.0.0/24", "fd06::/64"],
            ["10.0.0.8", "fd00::8"],
        ),
    ] {
        host.run("ip", ["-4", "route", "add", v4, "via", via4])?;
        host.run("ip", ["-6", "route", "add", v6, "via", via6])?;
    }
    for (version, from, to, via) in [
        ("-4", SERVER1[0], CLIENTS[0], "10.0.0.2"),
        ("-6", SERVER1[1], CLIENTS[1], "fd00::2"),
    ] {
        let server = lab.server(1);
        let rule = [version, "rule", "add", "from", from, "lookup", "100"];
        server.run("ip", rule)?;
        let route = [version, "route", "add", to, "via", via, "table", "100"];
        server.run("ip", route)?;
    }
    Ok(scene)
}

const CLIENTS: Addresses = ["10.5.0.0/24", "fd05::/64"];

/// What a host has heard of the longest packet on the path to an address, in bytes.
fn path_mtu(host: &Host, to: IpAddr, from: Option<IpAddr>) -> Result<Option<u64>> {
    let mut get = ["-json", "route", "get"].map(str::to_owned).to_vec();
    get.push(to.to_string());
    get.extend(
        from.into_iter()
            .flat_map(|a| ["from".into(), a.to_string()]),
    );
    let said: Value = serde_json::from_str(&host.run("ip", get)?)?;
    let metrics = said[0]["metrics"].as_array().into_iter().flatten();
    Ok(metrics.filter_map(|metric| metric["mtu"].as_u64()).next())
}

/// Has a host forget what it heard.
fn forget(host: &Host) -> Result<()> {
    for version in ["-4", "-6"] {
        host.run("ip", [version, "route", "flush", "cache"])?;
    }
    Ok(())
}

/// Who answers a datagram.
#[derive(Debug, PartialEq, Eq)]
enum Hop {
    /// A router: its time to live was exceeded.
    Router(IpAddr),
    /// The service.
    Answer,
}

/// Sends a datagram that lives for so many hops, again until somebody says something.
fn probe(client: &Host, service: SocketAddr, hops: u8) -> Result<Hop> {
    client.inside(|| {
        let any: IpAddr = match service {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        if service.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
            setsockopt(&socket, sockopt::Ipv4Ttl, &hops.into())?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            setsockopt(&socket, sockopt::Ipv6Ttl, &hops.into())?;
        }
        socket.connect(service)?;
        // Routers answer so many a second and no more.
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        wait::until("somebody answers", DEADLINE, || {
            // A report that came after its time stands in the way of the next datagram.
            let heard = socket
                .send(b"who is there?")
                .and_then(|_| socket.recv(&mut [0; 64]));
            Ok(match heard {
                Ok(_) => wait::Seen::Done(Hop::Answer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait::Seen::NotYet("silence".to_owned())
                }
                Err(_) => wait::Seen::Done(Hop::Router(reporter(&socket)?)),
            })
        })
    })?
}

/// Who reported that the time to live of a datagram was exceeded.
fn reporter(socket: &UdpSocket) -> Result<IpAddr> {
    /// Type and code.
    const EXCEEDED: [u8; 2] = [11, 0];
    const EXCEEDED_V6: [u8; 2] = [3, 0];

    let mut data = [0; 64];
    let mut parts = [IoSliceMut::new(&mut data)];
    let mut space = vec![0; 512];
    let flags = MsgFlags::MSG_ERRQUEUE;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
    for control in message?.cmsgs()? {
        let (error, reporter) = if let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = control
        {
            (error, IpAddr::from(SockaddrIn::from(from).ip()))
        } else if let ControlMessageOwned::Ipv6RecvErr(error, Some(from)) = control {
            (error, IpAddr::from(SockaddrIn6::from(from).ip()))
        } else {
            continue;
        };
        let expected = if reporter.is_ipv4() {
            EXCEEDED
        } else {
            EXCEEDED_V6
        };
        let said = [error.ee_type, error.ee_code];
        ensure!(said == expected, "{reporter} says {said:?}");
        return Ok(reporter);
    }
    bail!("the kernel does not say who reported it")
}
