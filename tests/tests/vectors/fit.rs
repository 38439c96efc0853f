//! The design number of flows, and a flood, through the object in the kernel.

use lb_common::flow::Word;
use lb_common::layout::{HotBucket, ServerState, Sizes, WAYS, maps};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::wire::MacAddr;
use lb_tests::case::{INGRESS, tcp_service};
use lb_tests::kernel::{Kernel, STANDSTILL};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{DIRECTOR_MAC, tcp};

const SERVERS: usize = 16;
const XDP_TX: u32 = 3;

/// The object with one service and room for so many flows.
struct Director {
    kernel: Kernel,
    frame: Vec<u8>,
}

impl Director {
    fn new(flows: u32) -> Self {
        let sizes = Sizes {
            services: 1,
            servers: SERVERS as u32,
            flows,
        };
        let vip = "10.0.0.100:80";
        let memory = Memory::new(sizes)
            .with_services(&[tcp_service(vip, Rr, &[1; SERVERS])])
            .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
        Self {
            kernel: Kernel::load(&memory, STANDSTILL).expect("loading takes root"),
            frame: tcp("192.0.2.1:1", vip, SYN).bytes(),
        }
    }

    /// Sends a segment of the client at this address and port; gives the server it went to.
    fn send(&mut self, client: (u32, u16), flags: u8) -> u8 {
        // Checksums are not made right: the director keeps a wrong one wrong.
        self.frame[26..30].copy_from_slice(&client.0.to_be_bytes());
        self.frame[34..36].copy_from_slice(&client.1.to_be_bytes());
        self.frame[47] = flags;
        let (action, frame) = self.kernel.run(&self.frame).expect("it runs");
        assert_eq!(action, XDP_TX);
        frame[5]
    }

    fn connect(&mut self, client: (u32, u16)) -> u8 {
        let server = self.send(client, SYN);
        assert_eq!(self.send(client, ACK), server);
        server
    }

    fn reason(&self, reason: Reason) -> u64 {
        self.kernel.values::<u64>(maps::REASONS)[reason as usize]
    }

    /// How many flows have an entry, and how many of them are counted as active.
    fn flows(&self) -> (u64, u64) {
        let buckets: Vec<HotBucket> = self.kernel.values(maps::FLOWS);
        let words = buckets.iter().flat_map(|bucket| bucket.entries);
        let entries = words.filter(|[_, word]| Word::from_bits(*word) != Word::VOID);
        let servers: Vec<ServerState> = self.kernel.values(maps::SERVER_STATES);
        let active = servers.iter().map(|server| u64::from(server.active)).sum();
        (entries.count() as u64, active)
    }
}

/// Clients of ordinary networks: addresses one behind the other, few ports each.
fn client(n: u32) -> (u32, u16) {
    (0x0b00_0000 + n / 4, 40_000 + (n % 4) as u16)
}

/// Sources all over the unicast addresses, in the order of a multiplicative generator.
fn flood(n: u32) -> (u32, u16) {
    let mixed = n.wrapping_mul(0x9e37_79b1);
    (0x1000_0000 | mixed >> 4, mixed as u16)
}

#[test]
fn a_million_flows_fit() {
    const FLOWS: u32 = 1_000_000;
    let mut director = Director::new(FLOWS);
    let servers: Vec<u8> = (0..FLOWS).map(|n| director.connect(client(n))).collect();
    let (tracked, active) = director.flows();
    assert_eq!(tracked, active);
    let lost = u64::from(FLOWS) - tracked;
    assert!(
        lost <= u64::from(FLOWS) / 10_000,
        "{lost} flows found no room"
    );
    assert_eq!(director.reason(Reason::Untracked), lost * 2);
    assert_eq!(director.reason(Reason::Evicted), 0);
    for (n, server) in (0..).zip(servers) {
        assert_eq!(director.send(client(n), ACK), server, "flow {n}");
    }
    assert_eq!(director.reason(Reason::Untracked), lost * 3);
    assert_eq!(director.flows(), (tracked, active));
    println!("{lost} of {FLOWS} flows found no room");
}

#[test]
fn a_flood_takes_no_established_flow() {
    const ESTABLISHED: u32 = 10_000;
    const FULL: u32 = 200_000;
    const FLOOD: u32 = 1_000_000;
    let flows = 25_000;
    let mut director = Director::new(flows);
    (0..FULL).for_each(|n| _ = director.send(flood(n), SYN));
    let entries = u64::from(
        Sizes {
            services: 1,
            servers: 1,
            flows,
        }
        .buckets(),
    ) * WAYS as u64;
    assert!(director.flows().0 > entries * 99 / 100, "the table is full");
    let servers: Vec<u8> = (0..ESTABLISHED)
        .map(|n| director.connect(client(n)))
        .collect();
    (FULL..FLOOD).for_each(|n| _ = director.send(flood(n), SYN));
    for (n, server) in (0..).zip(servers) {
        assert_eq!(director.send(client(n), ACK), server, "flow {n}");
    }
    // Half-open flows made room each time: so no flow went by hash.
    assert_eq!(director.reason(Reason::Untracked), 0);
    let (tracked, active) = director.flows();
    assert_eq!(tracked, active);
}
