//! ICMP errors reach the server whose packet could not go on.

use anyhow::{Context, Result};
use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, UdpHeader, icmpv4};
use lb_tests::scene::{DEADLINE, Scene};
use lb_tests::udp::Responder;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use xtask::lab::host::Host;
use xtask::lab::plan::{CLIENT, VIP, server_address};
use xtask::lab::wait;

const PORT: u16 = 9001;

#[test]
fn fragmentation_needed_reaches_the_right_server() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = format!("{VIP}:{PORT}");
    director.ctl(["-A", "-u", &service, "-s", "rr"])?;
    let mut responders = Vec::new();
    let mut watches = BTreeMap::new();
    for number in [1, 2] {
        let host = scene.lab.server(number);
        let server = format!("{}:{PORT}", server_address(number));
        director.ctl(["-a", "-u", &service, "-r", &server, "-g"])?;
        responders.push(Responder::start(host, (VIP, PORT).into())?);
        watches.insert(host.name().to_owned(), watch(host)?);
    }
    // Which server has the flow, its own answers tell.
    let flows = scene.lab.client().inside(|| -> Result<Vec<_>> {
        (0..8)
            .map(|_| {
                let socket = UdpSocket::bind((CLIENT, 0))?;
                socket.set_read_timeout(Some(DEADLINE))?;
                socket.send_to(b"who", (VIP, PORT))?;
                let mut name = [0; 64];
                let (len, from) = socket.recv_from(&mut name).context("no answer")?;
                assert_eq!(from, SocketAddr::from((VIP, PORT)));
                let name = String::from_utf8_lossy(&name[..len]).into_owned();
                Ok((socket, name))
            })
            .collect()
    })??;
    scene.lab.client().inside(|| -> Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let icmp = SockProtocol::Icmp;
        let raw = socket(AddressFamily::Inet, SockType::Raw, flags, icmp)?;
        for (socket, _) in &flows {
            let to = SockaddrIn::from(SocketAddrV4::new(VIP, 0));
            let error = too_big(socket.local_addr()?.port());
            sendto(raw.as_raw_fd(), &error, &to, MsgFlags::empty())?;
        }
        Ok(())
    })??;

    let mut wanted = BTreeMap::<&str, Vec<u16>>::new();
    for (socket, name) in &flows {
        let port = socket.local_addr()?.port();
        wanted.entry(name).or_default().push(port);
    }
    assert_eq!(wanted.len(), 2, "rr gives both servers flows: {wanted:?}");
    for (name, ports) in &wanted {
        let mut got = Vec::new();
        wait::until(format_args!("{name} gets its errors"), DEADLINE, || {
            got.extend(errors(&watches[*name])?);
            Ok(if got.len() >= ports.len() {
                wait::Seen::Done(())
            } else {
                wait::Seen::NotYet(format!("{got:?} of {ports:?}"))
            })
        })?;
        assert_eq!(got, *ports, "{name}");
    }
    // And no other's: each error was sent on before the next one came.
    for (name, socket) in &watches {
        assert_eq!(errors(socket)?, [0_u16; 0], "{name}");
    }
    Ok(())
}

/// A socket that sees the ICMP packets that a host gets.
fn watch(host: &Host) -> Result<OwnedFd> {
    host.inside(|| -> Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let icmp = SockProtocol::Icmp;
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, icmp)?;
        let patience = TimeVal::milliseconds(50);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        Ok(socket)
    })?
}

/// The client's ports in the errors about the virtual service that came so far.
fn errors(socket: &OwnedFd) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    let mut packet = [0; 2048];
    loop {
        let len = match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(len) => len,
            Err(Errno::EAGAIN) => return Ok(ports),
            Err(error) => return Err(error.into()),
        };
        let (_, icmp) = Ipv4Header::from_slice(&packet[..len])?;
        // Type and code of fragmentation needed.
        if icmp[..2] != [3, 4] {
            continue;
        }
        let (quoted, udp) = Ipv4Header::from_slice(&icmp[8..])?;
        let (udp, _) = UdpHeader::from_slice(udp)?;
        assert_eq!(Ipv4Addr::from(quoted.source), VIP);
        assert_eq!(udp.source_port, PORT);
        ports.push(udp.destination_port);
    }
}

/// An error about a datagram from the service to this port of the client.
fn too_big(client_port: u16) -> Vec<u8> {
    let (vip, client): (Ipv4Addr, Ipv4Addr) = (VIP, CLIENT);
    let mut ip =
        Ipv4Header::new(1480, 64, IpNumber::UDP, vip.octets(), client.octets()).expect("it fits");
    ip.header_checksum = ip.calc_header_checksum();
    let udp = UdpHeader {
        source_port: PORT,
        destination_port: client_port,
        length: 1480,
        checksum: 0x1234,
    };
    let quote = [&ip.to_bytes()[..], &udp.to_bytes()].concat();
    let kind = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), &quote);
    [&icmp.to_bytes()[..], &quote].concat()
}
