//! Test vectors: services, frames in order, and for each what becomes of it and which counters
//! move.

use crate::oracle;
use crate::packet::{DIRECTOR_MAC, Packet};
use crate::twin::Twin;
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::{Verdict, Way};
use lb_common::flow::Word;
use lb_common::layout::{FlowDetails, Sizes, traffic_index};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind;
use lb_common::service::Key;
use lb_common::state::Class;
use lb_common::wire::MacAddr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// The interface that frames come in by, the loopback interface for the kernel.
pub const INGRESS: u32 = 1;

/// The sizes of a case's tables, unless it says otherwise.
pub const SIZES: Sizes = Sizes {
    services: 8,
    servers: 16,
    flows: 64,
};

/// A service for TCP at `address` with servers of these weights, newest first. Every server's
/// way leads out of the interface that frames come in by.
///
/// # Panics
///
/// When `address` is no address and port.
#[must_use]
pub fn tcp_service(address: &str, scheduler: Kind, weights: &[u32]) -> NewService {
    service(address, protocol::TCP, scheduler, weights)
}

/// The same for UDP.
///
/// # Panics
///
/// When `address` is no address and port.
#[must_use]
pub fn udp_service(address: &str, scheduler: Kind, weights: &[u32]) -> NewService {
    service(address, protocol::UDP, scheduler, weights)
}

fn service(address: &str, protocol: u8, scheduler: Kind, weights: &[u32]) -> NewService {
    let address: SocketAddrV4 = address.parse().expect("an address and port");
    let addr = Addr::from(IpAddr::V4(*address.ip()));
    let server = |(n, weight): (usize, &u32)| NewServer {
        addr: IpAddr::V4(Ipv4Addr::new(10, 1, 0, n as u8 + 1)).into(),
        weight: *weight,
        way: Some(way(n as u8)),
    };
    NewService {
        key: Key::new(addr, Port::new(address.port()), protocol),
        scheduler,
        servers: weights.iter().enumerate().map(server).collect(),
    }
}

/// A way out of the interface that frames come in by, to the host with this number.
#[must_use]
pub fn way(host: u8) -> Way {
    Way {
        destination: MacAddr::new([2, 0, 0, 0, 3, host]),
        source: MacAddr::new(DIRECTOR_MAC),
        ifindex: INGRESS,
        mtu: 1500,
    }
}

/// A case that runs: see [`case`].
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    twin: Twin,
    step: usize,
}

/// Begins a case with these services, on tables of [`SIZES`]. Server ids count up over all
/// services in order.
#[must_use]
pub fn case(name: &'static str, services: &[NewService]) -> Case {
    case_sized(name, SIZES, services)
}

/// The same on tables of these sizes.
#[must_use]
pub fn case_sized(name: &'static str, sizes: Sizes, services: &[NewService]) -> Case {
    let memory = Memory::new(sizes)
        .with_services(services)
        .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
    Case {
        name,
        twin: Twin::new(memory),
        step: 0,
    }
}

impl Case {
    /// Both datapaths.
    pub fn twin(&mut self) -> &mut Twin {
        &mut self.twin
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Memory {
        self.twin.tables()
    }

    /// Changes the tables, as the agent would.
    pub fn change(mut self, change: impl FnOnce(&mut Memory)) -> Self {
        self.twin.change(change);
        self
    }

    /// Sends a packet; this, and nothing else, must come of it.
    pub fn send(mut self, packet: &Packet, expect: Expect) -> Self {
        self.sends(&packet.bytes(), expect);
        self
    }

    /// The same for a frame as it is.
    ///
    /// # Panics
    ///
    /// When something else comes of it.
    pub fn sends(&mut self, frame: &[u8], expect: Expect) {
        self.run(frame, |_| expect);
    }

    /// Sends a packet that must go to a server; which one, the caller learns.
    ///
    /// # Panics
    ///
    /// When it does not, or something else comes of it.
    pub fn chosen(&mut self, packet: &Packet, expect: impl FnOnce(u32) -> Expect) -> u32 {
        let frame = packet.bytes();
        let next_hop = |frame: &[u8]| frame.first_chunk().map(|mac: &[u8; 6]| MacAddr::new(*mac));
        self.run(&frame, |(tables, after)| {
            let mut servers = (0..).zip(&tables.servers);
            let server = servers.find(|(_, server)| {
                Way::decode(server.way).map(|way| way.destination) == next_hop(after)
            });
            expect(server.expect("the frame goes to a server").0)
        })
        .expect("the frame goes to a server")
    }

    fn run(
        &mut self,
        frame: &[u8],
        expect: impl FnOnce((&Memory, &[u8])) -> Expect,
    ) -> Option<u32> {
        self.step += 1;
        let at = format!("{}, frame {}", self.name, self.step);
        let before = counters(self.tables());
        let outcome = self.twin.run(frame);
        let expect = expect((self.tables(), &outcome.frame));
        assert_eq!(outcome.result, expect.result, "{at}");
        let mut moves = expect.moves;
        match expect.server {
            Some(server) => {
                let way = Way::decode(self.tables().servers[server as usize].way);
                oracle::routed(frame, &outcome.frame, &way.expect("a server with a way"));
                let bytes = i64::from(u16::from_be_bytes([frame[16], frame[17]]));
                moves.insert(Counter::Bytes(server), bytes);
            }
            // Answers have vectors of their own.
            None if matches!(expect.result, Ok(Verdict::Answer(_))) => {}
            None => assert_eq!(outcome.frame, frame, "{at}: the frame changed"),
        }
        assert_eq!(difference(&before, &counters(self.tables())), moves, "{at}");
        expect.server
    }

    /// Lets this many ticks pass.
    pub fn pass(mut self, ticks: u32) -> Self {
        self.twin.pass(ticks);
        self
    }

    /// Lets the timeout of a class pass, to its last tick.
    pub fn pass_timeout(self, class: Class) -> Self {
        let ticks = self.tables().control.timeouts[usize::from(class.number())];
        self.pass(ticks)
    }

    /// The flow of the client with this address and port.
    ///
    /// # Panics
    ///
    /// When `client` is no address and port.
    #[must_use]
    pub fn flow(&self, client: &str) -> Option<(Word, FlowDetails)> {
        let client: SocketAddrV4 = client.parse().expect("an address and port");
        let addr = Addr::from(IpAddr::V4(*client.ip()));
        self.tables().live_flows().find(|(_, details)| {
            let port = u16::from_be_bytes([
                details.ports.to_ne_bytes()[0],
                details.ports.to_ne_bytes()[1],
            ]);
            details.client == addr && port == client.port()
        })
    }

    /// The client's flow must be in this state, with all of its timeout left.
    ///
    /// # Panics
    ///
    /// When there is no such flow, or it is not.
    pub fn is_in(self, client: &str, class: impl Into<Class>) -> Self {
        let class = class.into();
        let (word, _) = self.flow(client).expect("the client's flow");
        let at = format!("{}, after frame {}", self.name, self.step);
        assert_eq!(word.class().name(), class.name(), "{at}");
        assert_eq!(word.class(), class, "{at}");
        let timeout = self.tables().control.timeouts[usize::from(class.number())];
        assert_eq!(
            word.deadline().remaining(self.tables().now),
            timeout,
            "{at}"
        );
        self
    }
}

/// What must come of a frame.
#[derive(Clone, Debug)]
pub struct Expect {
    result: Result<Verdict, Reason>,
    server: Option<u32>,
    moves: BTreeMap<Counter, i64>,
}

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    Reason(&'static str),
    Connections(u32),
    Active(u32),
    Inactive(u32),
    Packets(u32),
    Bytes(u32),
    Flows,
}

/// The frame goes to this server, and is counted as traffic of it.
#[must_use]
pub fn to(server: u32) -> Expect {
    Expect {
        result: Ok(Verdict::Transmit),
        server: Some(server),
        moves: BTreeMap::from([(Counter::Packets(server), 1)]),
    }
}

/// The frame goes to this server and opens an active flow, as a SYN does.
#[must_use]
pub fn opens(server: u32) -> Expect {
    to(server).connection(server).active(server, 1).flows(1)
}

/// The frame goes to this server and opens an inactive flow, as a datagram does.
#[must_use]
pub fn opens_inactive(server: u32) -> Expect {
    to(server).connection(server).inactive(server, 1).flows(1)
}

/// The frame goes to no server for this reason, stays as it is, and nothing else is counted.
#[must_use]
pub fn refused(reason: Reason) -> Expect {
    Expect {
        result: Err(reason),
        server: None,
        moves: BTreeMap::new(),
    }
    .event(reason)
}

/// The frame goes to no server for this reason, and its sender is told.
#[must_use]
pub fn answered(reason: Reason) -> Expect {
    Expect {
        result: Ok(Verdict::Answer(reason)),
        ..refused(reason)
    }
    .event(Reason::Answered)
}

impl Expect {
    /// And out of another interface than it came in by.
    #[must_use]
    pub fn redirected(mut self, ifindex: u32) -> Self {
        self.result = Ok(Verdict::Redirect(ifindex));
        self
    }

    /// And this event is counted.
    #[must_use]
    pub fn event(self, reason: Reason) -> Self {
        self.moves(Counter::Reason(reason.label()), 1)
    }

    /// And a connection is counted as scheduled to a server.
    #[must_use]
    pub fn connection(self, server: u32) -> Self {
        self.moves(Counter::Connections(server), 1)
    }

    /// And a server has so many more active flows.
    #[must_use]
    pub fn active(self, server: u32, more: i64) -> Self {
        self.moves(Counter::Active(server), more)
    }

    /// And a server has so many more inactive flows.
    #[must_use]
    pub fn inactive(self, server: u32, more: i64) -> Self {
        self.moves(Counter::Inactive(server), more)
    }

    /// And the table has so many more live flows.
    #[must_use]
    pub fn flows(self, more: i64) -> Self {
        self.moves(Counter::Flows, more)
    }

    fn moves(mut self, counter: Counter, by: i64) -> Self {
        *self.moves.entry(counter).or_default() += by;
        self.moves.retain(|_, by| *by != 0);
        self
    }
}

fn counters(memory: &Memory) -> BTreeMap<Counter, i64> {
    let signed = |count: u64| i64::try_from(count).expect("a count that a test reaches");
    let mut counters = BTreeMap::from([(Counter::Flows, memory.live_flows().count() as i64)]);
    for reason in Reason::ALL {
        counters.insert(
            Counter::Reason(reason.label()),
            signed(memory.reason(*reason)),
        );
    }
    for server in 0..memory.sizes.servers {
        let state = memory.server_states[server as usize].get();
        let index = traffic_index(0, memory.sizes.servers, server, false);
        let traffic = memory.traffic[index as usize].get();
        counters.extend([
            (Counter::Connections(server), signed(state.connections)),
            (Counter::Active(server), state.active.into()),
            (Counter::Inactive(server), state.inactive.into()),
            (Counter::Packets(server), signed(traffic.packets)),
            (Counter::Bytes(server), signed(traffic.bytes)),
        ]);
    }
    counters
}

fn difference(
    before: &BTreeMap<Counter, i64>,
    after: &BTreeMap<Counter, i64>,
) -> BTreeMap<Counter, i64> {
    let moves = after
        .iter()
        .map(|(counter, now)| (*counter, now - before[counter]));
    moves.filter(|(_, by)| *by != 0).collect()
}
