//! The two that are compared: the kernel's `ip_vs` in a machine, and lb in a lab.

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::lab::Lab;
use xtask::lab::background::Background;
use xtask::lab::director::{Director, Programs};
use xtask::lab::plan::{self, CLIENT, VIP};
use xtask::vm::{Series, oracle};

/// A table as `-L -n` prints it: for each service's line those of its servers.
pub(crate) type Table = BTreeMap<String, Vec<String>>;

/// A packet that was sent on to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) from: SocketAddrV4,
    /// The virtual address.
    pub(crate) to: SocketAddrV4,
    pub(crate) server: Ipv4Addr,
}

/// A director that takes ipvsadm's commands; [`VIP`] is one of its addresses.
pub(crate) trait Subject {
    /// Carries commands out, in order.
    fn edit(&mut self, commands: &[String]) -> Result<()>;

    /// Makes the addresses behind `first` virtual ones as well, `count` with that one.
    fn add_addresses(&mut self, first: Ipv4Addr, count: u8) -> Result<()>;

    /// Takes IPv4 packets of clients', in order, and gives those that went to a server, in order.
    fn forwarded(&mut self, packets: &[Vec<u8>]) -> Result<Vec<Forwarded>>;

    /// Takes IPv4 packets of clients', in order.
    fn send(&mut self, packets: &[Vec<u8>]) -> Result<()> {
        self.forwarded(packets).map(drop)
    }

    /// What a listing command prints.
    fn list(&mut self, options: &str) -> Result<String>;

    /// How many connections the servers have together.
    fn connections(&mut self) -> Result<u64> {
        let table = self.table()?;
        let numbers = table.values().flatten().map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [.., active, inactive] = fields[..] else {
                anyhow::bail!("no server's line: {line:?}");
            };
            Ok(active.parse::<u64>()? + inactive.parse::<u64>()?)
        });
        numbers.sum()
    }

    /// What `-L -n` says of every service.
    fn table(&mut self) -> Result<Table> {
        table(&self.list("-L -n")?)
    }
}

/// What a listing says of every service.
fn table(listing: &str) -> Result<Table> {
    let mut table = Table::new();
    let mut service = None;
    for line in listing.lines().skip(3) {
        if line.starts_with("  -> ") {
            let servers: Option<&mut Vec<String>> =
                service.as_ref().and_then(|name| table.get_mut(name));
            servers
                .with_context(|| format!("a server of no service: {line:?}"))?
                .push(line.to_owned());
        } else {
            table.insert(line.to_owned(), Vec::new());
            service = Some(line.to_owned());
        }
    }
    Ok(table)
}

/// An IPv4 packet with one UDP datagram.
pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        .udp(from.port(), to.port())
        .write(&mut packet, b"lb")
        .expect("it is short, and memory takes it");
    packet
}

/// An IPv4 packet with a TCP segment that carries these flags, a letter each.
pub(crate) fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: &str) -> Vec<u8> {
    let mut header = TcpHeader::new(from.port(), to.port(), 1, 64_000);
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            'A' => header.ack = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            other => panic!("no flag {other}"),
        }
    }
    let mut packet = Vec::new();
    PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        .tcp_header(header)
        .write(&mut packet, &[])
        .expect("it is short, and memory takes it");
    packet
}

/// Where an Ethernet frame goes that a director sent, if it is a client's packet; `server` knows
/// servers by their Ethernet addresses.
fn parse(frame: &[u8], server: impl Fn([u8; 6]) -> Option<Ipv4Addr>) -> Option<Forwarded> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let server = server(*frame.first_chunk()?)?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else {
        return None;
    };
    let (from, to) = match packet.transport {
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        _ => return None,
    };
    Some(Forwarded {
        from: SocketAddrV4::new(ip.header().source_addr(), from),
        to: SocketAddrV4::new(ip.header().destination_addr(), to),
        server,
    })
}

/// The kernel's `ip_vs`.
pub(crate) struct Kernel(oracle::Director);

impl Kernel {
    pub(crate) fn boot() -> Result<Self> {
        let mut director = oracle::Director::boot(Series::V6_1)?;
        director.add_address(VIP)?;
        Ok(Self(director))
    }
}

impl Subject for Kernel {
    fn edit(&mut self, commands: &[String]) -> Result<()> {
        // One process for all of them: starting one is slow in emulation.
        let commands = commands.join("\n");
        let script = format!("ipvsadm -R <<'END'\n{commands}\nEND\n");
        let output = self.0.run(&script)?;
        ensure!(
            output.status == 0 && output.stderr.is_empty(),
            "ipvsadm refuses one of these: {output:?}\n{commands}"
        );
        Ok(())
    }

    fn add_addresses(&mut self, first: Ipv4Addr, count: u8) -> Result<()> {
        for address in following(first, count).skip(1) {
            self.0.add_address(address)?;
        }
        Ok(())
    }

    fn forwarded(&mut self, packets: &[Vec<u8>]) -> Result<Vec<Forwarded>> {
        let frames: Vec<Vec<u8>> = packets
            .iter()
            .map(|packet| {
                let header = [&oracle::DIRECTOR_MAC[..], &oracle::mac_of(CLIENT), &[8, 0]];
                [&header.concat(), &packet[..]].concat()
            })
            .collect();
        let server = |mac: [u8; 6]| {
            let [_, _, a, b, c, d] = mac;
            let address = Ipv4Addr::new(a, b, c, d);
            (oracle::mac_of(address) == mac && address != CLIENT).then_some(address)
        };
        let sent = self.0.send_all(&frames)?;
        Ok(sent
            .iter()
            .filter_map(|frame| parse(frame, server))
            .collect())
    }

    fn list(&mut self, options: &str) -> Result<String> {
        self.0.ipvsadm(options)?.success()
    }
}

/// So many addresses from this one on.
fn following(first: Ipv4Addr, count: u8) -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, d] = first.octets();
    (d..d + count).map(move |d| Ipv4Addr::new(a, b, c, d))
}

/// The service by which [`Product`] tells that everything before has been forwarded. Its ways
/// are known, so those to the same servers of other services are.
const FENCE: SocketAddrV4 = SocketAddrV4::new(VIP, 1);

/// lb: its agent on a lab's director, its `lb-ctl`.
pub(crate) struct Product<'a> {
    lab: &'a Lab,
    director: Director<'a>,
    _agent: Background,
    /// Sends IPv4 packets from the client.
    client: OwnedFd,
    /// Sees the frames of the bridge, of which `port` is the director's.
    bridge: OwnedFd,
    port: usize,
    servers: HashMap<[u8; 6], Ipv4Addr>,
}

impl<'a> Product<'a> {
    pub(crate) fn start(lab: &'a Lab) -> Result<Self> {
        let director = Director::new(lab, 1, Programs::built()?);
        let agent = director.start()?;
        let client = lab.client().inside(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
        })??;
        let (bridge, port) = lab.host("bridge").inside(open_bridge)??;
        let mut servers = HashMap::new();
        let names = lab.hosts().iter().map(|host| host.name());
        let count = names.filter(|name| name.starts_with("server")).count();
        for number in 1..=count {
            let mac = lab.server(number).mac()?;
            servers.insert(mac_address(&mac)?, plan::server_address(number));
        }
        let mut product = Self {
            lab,
            director,
            _agent: agent,
            client,
            bridge,
            port,
            servers,
        };
        product.add_addresses(VIP, 1)?;
        product.learn_ways()?;
        Ok(product)
    }

    /// Makes the service of the fence, and waits until lb knows the way to each of its servers.
    fn learn_ways(&mut self) -> Result<()> {
        let mut commands = vec![format!("-A -u {FENCE} -s rr")];
        let servers: Vec<Ipv4Addr> = self.servers.values().copied().collect();
        commands.extend(
            servers
                .iter()
                .map(|s| format!("-a -u {FENCE} -r {s}:1 -g -w 1")),
        );
        self.edit(&commands)?;
        for client in (1..)
            .map(|port| SocketAddrV4::new(CLIENT, port))
            .take(servers.len())
        {
            let deadline = Instant::now() + Duration::from_secs(30);
            while self
                .cross(&[udp(client, FENCE)], Duration::from_millis(50))?
                .is_none()
            {
                ensure!(Instant::now() < deadline, "lb knows no way to a server");
            }
        }
        Ok(())
    }

    /// Sends packets, the last of which is for the fence, and gives what was forwarded until then;
    /// none when the last one was not within `limit`.
    fn cross(&mut self, packets: &[Vec<u8>], limit: Duration) -> Result<Option<Vec<Forwarded>>> {
        self.lab.client().inside(|| -> Result<()> {
            stay_on_one_cpu()?;
            for packet in packets {
                let to: [u8; 4] = packet[16..20].try_into()?;
                let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(to), 0));
                sendto(self.client.as_raw_fd(), packet, &to, MsgFlags::empty())?;
            }
            Ok(())
        })??;
        let deadline = Instant::now() + limit;
        let mut frame = [0; 2048];
        let mut forwarded = Vec::new();
        loop {
            match recvfrom::<LinkAddr>(self.bridge.as_raw_fd(), &mut frame) {
                // What the bridge sends to the director passes the same port.
                Ok((len, Some(from)))
                    if from.ifindex() == self.port && from.pkttype() != libc::PACKET_OUTGOING =>
                {
                    let server = |mac: [u8; 6]| self.servers.get(&mac).copied();
                    match parse(&frame[..len], server) {
                        Some(packet) if packet.to == FENCE => return Ok(Some(forwarded)),
                        Some(packet) => forwarded.push(packet),
                        None => {}
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < deadline => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error).context("cannot read the bridge's frames"),
            }
        }
    }
}

/// A socket that sees all frames of the bridge's namespace, and the index of the director's port.
fn open_bridge() -> Result<(OwnedFd, usize)> {
    /// Bytes of frames that may wait, by the kernel's count: room for several batches.
    const WAITING: usize = 64 << 20;
    let port = if_nametoindex(plan::director(1).as_str())?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &WAITING)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
    Ok((socket, port as usize))
}

fn mac_address(text: &str) -> Result<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    bytes?
        .try_into()
        .map_err(|_| anyhow::anyhow!("no Ethernet address: {text:?}"))
}

impl Subject for Product<'_> {
    fn edit(&mut self, commands: &[String]) -> Result<()> {
        let path = self.director.host().dir().join("commands");
        std::fs::write(&path, commands.join("\n"))?;
        let output = Command::new(&self.director.programs().ctl)
            .env("LB_SOCKET", self.director.socket())
            .arg("-R")
            .stdin(File::open(&path)?)
            .output()?;
        ensure!(
            output.status.success() && output.stderr.is_empty(),
            "lb-ctl refuses one of these: {output:?}\n{}",
            commands.join("\n")
        );
        Ok(())
    }

    fn add_addresses(&mut self, first: Ipv4Addr, count: u8) -> Result<()> {
        // The program takes what comes to its Ethernet address. Packets that wait for an answer to
        // ARP could be overtaken.
        let mac = self.director.host().mac()?;
        for address in following(first, count) {
            let address = address.to_string();
            let neighbour = [
                "neighbour",
                "replace",
                &address,
                "lladdr",
                &mac,
                "dev",
                "eth0",
            ];
            self.lab.client().run("ip", neighbour)?;
        }
        Ok(())
    }

    /// Packets keep their order on the way from one CPU to the one queue of the director's
    /// interface and back to the bridge. So when a last packet has come back, all have.
    fn forwarded(&mut self, packets: &[Vec<u8>]) -> Result<Vec<Forwarded>> {
        /// So many that the sockets' buffers hold them.
        const BATCH: usize = 1000;
        let mut forwarded = Vec::new();
        for batch in packets.chunks(BATCH) {
            let fence = udp(SocketAddrV4::new(CLIENT, 1), FENCE);
            let mut packets = batch.to_vec();
            packets.push(fence);
            // Longer than any exchange takes on a busy host.
            let crossed = self.cross(&packets, Duration::from_secs(60))?;
            forwarded.extend(crossed.context("the last packet was not forwarded")?);
        }
        Ok(forwarded)
    }

    fn list(&mut self, options: &str) -> Result<String> {
        self.director.ctl(options.split_whitespace())
    }

    fn table(&mut self) -> Result<Table> {
        let mut table = table(&self.list("-L -n")?)?;
        table.remove(&format!("UDP  {FENCE} rr"));
        Ok(table)
    }
}

/// Keeps this thread on a CPU that it may run on.
fn stay_on_one_cpu() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let cpu = (0..CpuSet::count())
        .find(|&cpu| allowed.is_set(cpu) == Ok(true))
        .context("this thread may run on no CPU")?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(this, &one).context("cannot stay on one CPU")
}
