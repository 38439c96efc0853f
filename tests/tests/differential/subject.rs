//! The two that are compared: the kernel's `ip_vs` in a machine, and lb in a lab.

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use xtask::lab::background::Background;
use xtask::lab::director::{Director, Programs};
use xtask::lab::plan::{CLIENT, DIRECTOR, VIP};
use xtask::lab::{Lab, listing};
use xtask::vm::{Series, oracle};

/// A table as `-L -n` prints it: for each service's line those of its servers.
pub(crate) type Table = BTreeMap<String, Vec<String>>;

/// A director that takes ipvsadm's commands; [`VIP`] is one of its addresses.
pub(crate) trait Subject {
    /// Carries commands out, in order.
    fn edit(&mut self, commands: &[String]) -> Result<()>;

    /// Takes IPv4 packets of the client's, in order.
    fn send(&mut self, packets: &[Vec<u8>]) -> Result<()>;

    /// What a listing command prints.
    fn list(&mut self, options: &str) -> Result<String>;

    /// The servers of the flows that the client opens to `services` from those ports, by UDP.
    fn picks(&mut self, flows: &[(u16, SocketAddrV4)]) -> Result<Vec<Option<SocketAddrV4>>>;

    /// What `-L -n` says of every service.
    fn table(&mut self) -> Result<Table> {
        let listing = self.list("-L -n")?;
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
}

/// An IPv4 packet with one UDP datagram from the client.
pub(crate) fn udp(port: u16, to: SocketAddrV4) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(CLIENT.octets(), to.ip().octets(), 64)
        .udp(port, to.port())
        .write(&mut packet, b"lb")
        .expect("it is short, and memory takes it");
    packet
}

/// The kernel's `ip_vs`.
pub(crate) struct Kernel(oracle::Director);

impl Kernel {
    pub(crate) fn boot() -> Result<Self> {
        let mut director = oracle::Director::boot(Series::V6_1)?;
        director.add_address(VIP)?;
        Ok(Self(director))
    }

    /// Sends a packet and gives the server that it goes to.
    fn pass(&mut self, packet: &[u8]) -> Result<Option<SocketAddrV4>> {
        let header = [&oracle::DIRECTOR_MAC[..], &oracle::mac_of(CLIENT), &[8, 0]].concat();
        match &self.0.send(&[&header, packet].concat())?[..] {
            [] => Ok(None),
            [frame] => oracle::server(frame),
            frames => anyhow::bail!("a packet made {} frames", frames.len()),
        }
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

    fn send(&mut self, packets: &[Vec<u8>]) -> Result<()> {
        for packet in packets {
            self.pass(packet)?;
        }
        Ok(())
    }

    fn list(&mut self, options: &str) -> Result<String> {
        self.0.ipvsadm(options)?.success()
    }

    fn picks(&mut self, flows: &[(u16, SocketAddrV4)]) -> Result<Vec<Option<SocketAddrV4>>> {
        let pick = |&(port, service)| self.pass(&udp(port, service));
        flows.iter().map(pick).collect()
    }
}

/// lb: its agent on a lab's director, its `lb-ctl`.
pub(crate) struct Product<'a> {
    lab: &'a Lab,
    director: Director<'a>,
    _agent: Background,
    /// Sends IPv4 packets from the client.
    client: OwnedFd,
    /// On the director, for the datagram after the last packet.
    fence: UdpSocket,
}

impl<'a> Product<'a> {
    pub(crate) fn start(lab: &'a Lab) -> Result<Self> {
        let host = lab.director(1);
        let director = Director::new(lab, 1, Programs::built()?);
        let agent = director.start()?;
        let fence = host.inside(|| UdpSocket::bind((DIRECTOR, 0)))??;
        // Longer than any exchange takes on a busy host.
        fence.set_read_timeout(Some(Duration::from_secs(60)))?;
        let client = lab.client().inside(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
        })??;
        // Packets that wait for an answer to ARP could be overtaken.
        let mac = host.mac()?;
        for address in [VIP, DIRECTOR] {
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
            lab.client().run("ip", neighbour)?;
        }
        Ok(Self {
            lab,
            director,
            _agent: agent,
            client,
            fence,
        })
    }
}

impl Subject for Product<'_> {
    fn edit(&mut self, commands: &[String]) -> Result<()> {
        for command in commands {
            self.director.ctl(command.split_whitespace())?;
        }
        Ok(())
    }

    /// Packets keep their order on the way from one CPU to the one queue of the director's
    /// interface. So when the director's socket has the datagram behind them, the program has
    /// decided on all of them.
    fn send(&mut self, packets: &[Vec<u8>]) -> Result<()> {
        let std::net::SocketAddr::V4(fence) = self.fence.local_addr()? else {
            anyhow::bail!("the fence has an IPv6 address");
        };
        let last = udp(fence.port(), fence);
        self.lab.client().inside(|| -> Result<()> {
            stay_on_one_cpu()?;
            for packet in packets.iter().chain([&last]) {
                let to: [u8; 4] = packet[16..20].try_into()?;
                let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(to), 0));
                sendto(self.client.as_raw_fd(), packet, &to, MsgFlags::empty())?;
            }
            Ok(())
        })??;
        self.fence
            .recv(&mut [0; 16])
            .context("the director did not get the last datagram")?;
        Ok(())
    }

    fn list(&mut self, options: &str) -> Result<String> {
        self.director.ctl(options.split_whitespace())
    }

    fn picks(&mut self, flows: &[(u16, SocketAddrV4)]) -> Result<Vec<Option<SocketAddrV4>>> {
        let packets: Vec<_> = flows.iter().map(|&(port, to)| udp(port, to)).collect();
        self.send(&packets)?;
        let servers: HashMap<u16, _> = listing::connections(&self.list("-L -n -c")?)?
            .into_iter()
            .map(|connection| (connection.client.port(), connection.server))
            .collect();
        let pick = |(port, _): &(u16, _)| match servers.get(port) {
            None => Ok(None),
            Some(std::net::SocketAddr::V4(server)) => Ok(Some(*server)),
            Some(server) => anyhow::bail!("{server} is not IPv4"),
        };
        flows.iter().map(pick).collect()
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
