//! Datagrams that are longer than a frame arrive whole, in whatever order their parts come.

use anyhow::{Context, Result, ensure};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, UdpHeader};
use lb_tests::scene::Scene;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xtask::lab::host::Host;
use xtask::lab::plan::{CLIENT, VIP, server_address};

const PORT: u16 = 9000;

/// Bytes of a datagram: three fragments.
const LENGTH: usize = 4000;

/// Datagrams that are under way at once.
const WINDOW: usize = 16;

/// How long an answer may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_thousand_long_datagrams_arrive() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = format!("{VIP}:{PORT}");
    director.ctl(["-A", "-u", &service, "-s", "rr"])?;
    let mut echoes = Vec::new();
    for number in [1, 2] {
        let server = format!("{}:{PORT}", server_address(number));
        director.ctl(["-a", "-u", &service, "-r", &server, "-g"])?;
        echoes.push(Echo::start(scene.lab.server(number), PORT)?);
    }
    // One flow for each server.
    scene.lab.client().inside(|| -> Result<()> {
        for first in [0, 500] {
            let socket = UdpSocket::bind((CLIENT, 0))?;
            exchange(&socket, first..first + 500, |datagram| {
                Ok(socket.send_to(datagram, (VIP, PORT)).map(drop)?)
            })?;
        }
        Ok(())
    })??;
    let echoed: Vec<usize> = echoes.into_iter().map(Echo::stop).collect();
    assert_eq!(echoed, [500, 500]);
    Ok(())
}

#[test]
fn fragments_out_of_order_arrive_as_well() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = format!("{VIP}:{PORT}");
    director.ctl(["-A", "-u", &service, "-s", "rr"])?;
    let server = format!("{}:{PORT}", server_address(1));
    director.ctl(["-a", "-u", &service, "-r", &server, "-g"])?;
    let echo = Echo::start(scene.lab.server(1), PORT)?;
    scene.lab.client().inside(|| -> Result<()> {
        let orders: [[usize; 3]; 5] = [[2, 1, 0], [2, 0, 1], [1, 2, 0], [1, 0, 2], [0, 2, 1]];
        for (order, first) in orders.into_iter().zip((0..).step_by(100)) {
            // The first fragment of the flow is one that comes last.
            let socket = UdpSocket::bind((CLIENT, 0))?;
            let raw = raw()?;
            let from = socket.local_addr()?.port();
            exchange(&socket, first..first + 100, |datagram| {
                let parts = fragments(from, datagram);
                order.iter().try_for_each(|part| send(&raw, &parts[*part]))
            })
            .with_context(|| format!("in the order {order:?}"))?;
        }
        Ok(())
    })??;
    assert_eq!(echo.stop(), 500);
    Ok(())
}

/// Sends the datagrams of these numbers, and waits for the answer to each.
fn exchange(
    socket: &UdpSocket,
    numbers: std::ops::Range<u32>,
    send: impl Fn(&[u8]) -> Result<()>,
) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut missing = BTreeSet::new();
    let receive = |missing: &mut BTreeSet<u32>| -> Result<()> {
        let mut answer = [0; 4];
        let received = socket.recv(&mut answer);
        let len = received.with_context(|| format!("no answer to {missing:?}"))?;
        let number = u32::from_be_bytes(answer);
        ensure!(len == 4 && missing.remove(&number), "answer {number} twice");
        Ok(())
    };
    for number in numbers {
        while missing.len() >= WINDOW {
            receive(&mut missing)?;
        }
        missing.insert(number);
        send(&datagram(number))?;
    }
    while !missing.is_empty() {
        receive(&mut missing)?;
    }
    Ok(())
}

/// A datagram that is unlike every other, in each of its fragments.
fn datagram(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(LENGTH / 4)
}

/// Answers every whole datagram with its number, until it is stopped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Echo {
    fn start(host: &Host, port: u16) -> Result<Self> {
        let socket = host.inside(|| UdpSocket::bind((VIP, port)))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || echo(&socket, &stop)
        });
        Ok(Self { stop, thread })
    }

    /// How many datagrams there were.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the echo does not panic")
    }
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) -> usize {
    let mut buffer = [0; 8192];
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        // Nothing came in time.
        let Ok((len, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let number: [u8; 4] = buffer[..4].try_into().expect("four bytes");
        assert_eq!(
            buffer[..len],
            datagram(u32::from_be_bytes(number)),
            "a datagram of parts of others"
        );
        let SocketAddr::V4(client) = client else {
            panic!("{client} is no client of the lab")
        };
        socket.send_to(&number, client).expect("it can be reached");
        count += 1;
    }
    count
}

/// A socket that sends IP packets as they are.
fn raw() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let kind = SockType::Raw;
    Ok(socket(AddressFamily::Inet, kind, flags, SockProtocol::Raw)?)
}

fn send(raw: &OwnedFd, packet: &[u8]) -> Result<()> {
    let to = SockaddrIn::from(SocketAddrV4::new(VIP, 0));
    sendto(raw.as_raw_fd(), packet, &to, MsgFlags::empty())?;
    Ok(())
}

/// The fragments of a datagram from this port of the client to the service.
fn fragments(from: u16, payload: &[u8]) -> Vec<Vec<u8>> {
    /// A multiple of 8 that a link takes.
    const PART: usize = 1480;

    let (client, vip): (Ipv4Addr, Ipv4Addr) = (CLIENT, VIP);
    let mut ip = Ipv4Header {
        time_to_live: 64,
        protocol: IpNumber::UDP,
        source: client.octets(),
        destination: vip.octets(),
        // The datagrams of a flow that are under way at once differ in it.
        identification: u16::from_be_bytes([payload[2], payload[3]]) + 1,
        ..Ipv4Header::default()
    };
    let udp = UdpHeader::with_ipv4_checksum(from, PORT, &ip, payload).expect("it fits");
    let whole = [&udp.to_bytes()[..], payload].concat();
    let parts: Vec<&[u8]> = whole.chunks(PART).collect();
    let last = parts.len() - 1;
    let mut fragment = |(n, part): (usize, &&[u8])| {
        ip.more_fragments = n < last;
        ip.fragment_offset = IpFragOffset::try_new((n * PART / 8) as u16).expect("13 bits");
        ip.set_payload_len(part.len()).expect("it fits");
        ip.header_checksum = ip.calc_header_checksum();
        [&ip.to_bytes()[..], part].concat()
    };
    parts.iter().enumerate().map(&mut fragment).collect()
}
