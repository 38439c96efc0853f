//! A director with one server for every transport, reached by any method.

use crate::case::{INGRESS, SIZES};
use crate::frame::Frame;
use crate::packet::{CLIENT_MAC, DIRECTOR_MAC};
use crate::twin::{Outcome, Twin};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::{Verdict, Way};
use lb_common::flow::Word;
use lb_common::layout::{Hint, features, port_index, server_flags, traffic_index};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind;
use lb_common::service::Key;
use lb_common::wire::MacAddr;
use std::net::{IpAddr, SocketAddr};

/// The Ethernet address of the way to the server.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];

/// The director's own addresses on the interface that frames come in by.
pub const OWN: (&str, &str) = ("10.0.0.2", "fd00::2");

/// How the server is reached.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its address and port.
    pub end: &'static str,
    /// Method and further flags, of [`server_flags`].
    pub flags: u32,
    /// For tunnels, the director's address.
    pub source: &'static str,
    /// For GUE.
    pub tunnel_port: u16,
    /// The longest packet on the way to it.
    pub mtu: u16,
}

impl Server {
    /// A server reached by this method, without a tunnel.
    #[must_use]
    pub const fn new(end: &'static str, flags: u32) -> Self {
        Self {
            end,
            flags,
            source: "::",
            tunnel_port: 0,
            mtu: 1500,
        }
    }
}

/// Services for TCP, UDP and SCTP at one address and port, each with the same one server.
#[derive(Debug)]
pub struct Director {
    /// Both datapaths.
    pub twin: Twin,
}

const PROTOCOLS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];

/// Where the way back to the client is kept.
const BACK: usize = 7;

/// An address as the tables have it.
///
/// # Panics
///
/// When it is none.
#[must_use]
pub fn addr(text: &str) -> Addr {
    let address: IpAddr = text.parse().expect("an address");
    address.into()
}

impl Director {
    /// A director for services at `vip`.
    ///
    /// # Panics
    ///
    /// When an address is none.
    #[must_use]
    pub fn new(vip: &str, server: Server) -> Self {
        let vip: SocketAddr = vip.parse().expect("an address and port");
        let end: SocketAddr = server.end.parse().expect("an address and port");
        let services = PROTOCOLS.map(|protocol| NewService {
            key: Key::new(vip.ip().into(), Port::new(vip.port()), protocol),
            scheduler: Kind::Rr,
            servers: vec![NewServer {
                addr: end.ip().into(),
                weight: 1,
                way: Some(Way {
                    destination: MacAddr::new(SERVER_MAC),
                    source: MacAddr::new(DIRECTOR_MAC),
                    ifindex: INGRESS,
                    mtu: server.mtu,
                }),
            }],
        });
        let mut memory = Memory::new(SIZES)
            .with_services(&services)
            .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
        let interface = &mut memory.ports[port_index(INGRESS) as usize];
        interface.v4 = addr(OWN.0).v4_word();
        interface.v6 = addr(OWN.1);
        for place in &mut memory.servers[..PROTOCOLS.len()] {
            place.flags |= server.flags;
            place.port = end.port().into();
            place.source = addr(server.source);
            place.tunnel_port = server.tunnel_port.into();
        }
        if server.flags & server_flags::METHOD == server_flags::MASQUERADE {
            memory.control.features |= features::MASQUERADE;
            memory.add_hint(Hint::Masqueraded, end.ip().into());
        }
        let place = u64::from(port_index(INGRESS) + 1);
        memory.back_ways[BACK].set(MacAddr::new(CLIENT_MAC).word() | place << 48);
        Self {
            twin: Twin::new(memory),
        }
    }

    /// The same without servers, and with these [`lb_common::layout::service_flags`].
    #[must_use]
    pub fn without_servers(mut self, flags: u32) -> Self {
        self.twin.change(|tables| {
            for service in &mut tables.services[..PROTOCOLS.len()] {
                service.len = 0;
                service.flags |= flags;
            }
        });
        self
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Memory {
        self.twin.tables()
    }

    /// Lets this many ticks pass.
    pub fn pass(&mut self, ticks: u32) {
        self.twin.pass(ticks);
    }

    /// Changes the tables.
    pub fn change(&mut self, change: impl FnOnce(&mut Memory)) {
        self.twin.change(change);
    }

    /// Gives all replies the way back to the client, which the kernel that runs the tests has no
    /// route for.
    pub fn give_ways_back(&mut self) {
        self.twin.change(|tables| {
            for (hot, cold) in tables.flows.iter().zip(&tables.flow_details) {
                let mut details = cold.get();
                for (way, entry) in hot.get().entries.iter().enumerate() {
                    if Word::from_bits(entry[1]).has(Word::REPLY) {
                        details.entries[way].back = BACK as u32 + 1;
                    }
                }
                cold.set(details);
            }
        });
    }

    /// Runs a frame.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        self.twin.run(frame)
    }

    /// Runs a frame that must be sent on, and counted as a packet to its server or back from it;
    /// gives it as it was sent.
    ///
    /// # Panics
    ///
    /// When something else becomes of it.
    pub fn sends(&mut self, frame: &Frame) -> Vec<u8> {
        let before = self.traffic();
        let outcome = self.run(&frame.bytes());
        assert_eq!(outcome.result, Ok(Verdict::Transmit), "{frame:?}");
        let (packets, bytes) = self.traffic();
        assert_eq!(packets, before.0 + 1, "packets");
        assert_eq!(bytes, before.1 + frame.packet().len() as u64, "bytes");
        outcome.frame
    }

    /// Runs a frame that must not go on, and stays as it is.
    ///
    /// # Panics
    ///
    /// When something else becomes of it.
    pub fn refuses(&mut self, frame: &[u8], reason: Reason) {
        let before = self.twin.tables().reason(reason);
        let outcome = self.run(frame);
        assert_eq!(outcome.result, Err(reason), "{frame:02x?}");
        assert_eq!(outcome.frame, frame, "the frame changed");
        assert_eq!(self.twin.tables().reason(reason), before + 1, "{reason:?}");
    }

    /// Runs a frame that must be answered for this reason; gives the answer.
    ///
    /// # Panics
    ///
    /// When something else becomes of it.
    pub fn answers(&mut self, frame: &[u8], reason: Reason) -> Vec<u8> {
        let counted = |twin: &Twin| {
            let tables = twin.tables();
            (tables.reason(reason), tables.reason(Reason::Answered))
        };
        let before = counted(&self.twin);
        let outcome = self.run(frame);
        assert_eq!(outcome.result, Ok(Verdict::Answer(reason)), "{frame:02x?}");
        assert_eq!(counted(&self.twin), (before.0 + 1, before.1 + 1));
        outcome.frame
    }

    /// Packets and bytes, of all servers in both directions.
    fn traffic(&self) -> (u64, u64) {
        let tables = self.twin.tables();
        let mut sums = (0, 0);
        for server in 0..tables.sizes.servers {
            for reply in [false, true] {
                let index = traffic_index(0, tables.sizes.servers, server, reply);
                let traffic = tables.traffic[index as usize].get();
                sums.0 += traffic.packets;
                sums.1 += traffic.bytes;
            }
        }
        sums
    }
}
