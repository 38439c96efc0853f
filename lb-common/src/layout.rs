//! The maps: names, sizes and the shape of every value.
//!
//! All values are integers and byte arrays without padding, little end first unless they hold
//! packet bytes. Beside each field stands who writes it:
//!
//! * *agent*: the agent alone, a plain store of the whole word;
//! * *both*: either, by atomic operations only;
//! * *program*: the XDP program alone.
//!
//! [`LAYOUT`] names this whole file. A change to any value or meaning raises it; the agent keeps
//! its pins under `v<LAYOUT>` and never opens another layout's maps.

use crate::addr::{Addr, Port};
use crate::wire::MacAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of this layout.
pub const LAYOUT: u32 = 3;

/// Names of the maps, as the object has them.
pub mod maps {
    /// One [`super::Control`].
    pub const CONTROL: &str = "CONTROL";
    /// The displacements of both directories, `u32` each.
    pub const DISPLACEMENTS: &str = "DISPLACEMENTS";
    /// The slots of both directories, [`super::DirectorySlot`].
    pub const SLOTS: &str = "SLOTS";
    /// Service records, [`super::Service`].
    pub const SERVICES: &str = "SERVICES";
    /// What services remember between packets, [`super::ServiceState`], by service id.
    pub const SERVICE_STATES: &str = "SERVICE_STATES";
    /// The lists of services' servers, [`super::Member`].
    pub const MEMBERS: &str = "MEMBERS";
    /// Servers, [`super::Server`], by server id.
    pub const SERVERS: &str = "SERVERS";
    /// What is counted of servers across CPUs, [`super::ServerState`], by server id.
    pub const SERVER_STATES: &str = "SERVER_STATES";
    /// Packets and bytes, [`super::Traffic`], by [`super::traffic_index`].
    pub const TRAFFIC: &str = "TRAFFIC";
    /// How often each reason was met, `u64`, by [`super::reason_index`].
    pub const REASONS: &str = "REASONS";
    /// Buckets of flows, [`super::HotBucket`].
    pub const FLOWS: &str = "FLOWS";
    /// What flows are, [`super::ColdBucket`], by the same index.
    pub const FLOW_DETAILS: &str = "FLOW_DETAILS";
    /// Interfaces, [`super::Interface`], by [`super::port_index`].
    pub const PORTS: &str = "PORTS";
    /// Lookup tables of hashing schedulers, [`super::TableWord`].
    pub const TABLES: &str = "TABLES";
    /// Hints of addresses, `u64`, by [`super::Hint`].
    pub const HINTS: &str = "HINTS";
    /// Mark rules, [`super::MarkRule`], two lists of [`super::MARK_RULES`].
    pub const RULES: &str = "RULES";
    /// The ways back to clients of masqueraded services, a word, by [`super::BackWay`].
    pub const BACK_WAYS: &str = "BACK_WAYS";
    /// How many answers each CPU has given, a word, see [`super::Answers`].
    pub const ANSWERS: &str = "ANSWERS";
    /// The program for packets that take more than a look, at its only place.
    pub const PROGRAMS: &str = "PROGRAMS";
    /// What the program's functions hand to each other, one for each CPU. Not for the agent.
    pub const SCRATCH: &str = "SCRATCH";
    /// A ring buffer of packets for the agent, [`super::punt`].
    pub const PUNTS: &str = "PUNTS";
}

/// Names of the object's constants, `u32` each, set at load: to the verifier they are numbers.
pub mod globals {
    /// Jiffies are shifted right by this to get ticks, see [`crate::time::Clock`].
    pub const TICK_SHIFT: &str = "TICK_SHIFT";
    /// [`super::Sizes::buckets`].
    pub const BUCKETS: &str = "BUCKETS";
    /// [`super::Sizes::servers`]: how far apart two CPUs' traffic is.
    pub const SERVERS: &str = "SERVER_COUNT";
    /// [`super::Sizes::slots`]: where the second directory's slots begin.
    pub const DIRECTORY_SLOTS: &str = "DIRECTORY_SLOTS";
    /// [`super::Sizes::displacements`]: where the second directory's displacements begin.
    pub const DIRECTORY_DISPLACEMENTS: &str = "DIRECTORY_DISPLACEMENTS";
}

/// Most servers that can exist: server ids have [`crate::flow::Word`]'s 20 bits.
pub const MAX_SERVERS: u32 = 1 << 20;

/// Most servers in one service: a [`crate::sched::Turn`]'s cursor has 16 bits.
pub const MAX_MEMBERS: u32 = u16::MAX as u32;

/// Entries of the map of interfaces.
pub const PORTS: u32 = 1024;

/// Where an interface's Ethernet address lies. The agent refuses two interfaces with one index.
#[inline(always)]
#[must_use]
pub const fn port_index(ifindex: u32) -> u32 {
    ifindex % PORTS
}

/// Where a CPU counts a server's traffic. Each CPU has a part of its own, so that counting is a
/// plain store; it is not a per-CPU map because the agent could not have that in its memory.
#[inline(always)]
#[must_use]
pub const fn traffic_index(cpu: u32, servers: u32, server: u32, reply: bool) -> u32 {
    (cpu * servers + server) * 2 + reply as u32
}

/// Counters of reasons that each CPU has, a whole number of cache lines.
pub const REASONS_PER_CPU: u32 = 64;

/// Where a CPU counts the reason with this number.
#[inline(always)]
#[must_use]
pub const fn reason_index(cpu: u32, reason: u32) -> u32 {
    cpu * REASONS_PER_CPU + reason % REASONS_PER_CPU
}

/// What every packet needs to know: one cache line, and the timeouts behind it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Control {
    /// Which of the directories counts, 0 or 1. *agent*: this store switches services.
    pub directory: u32,
    /// [`LAYOUT`]. *agent*, at start.
    pub layout: u32,
    /// Keys the flow hash. *agent*, once in the life of the flow table.
    pub flow_seed: [u64; 2],
    /// The two directories of services. *agent*, only the one that does not count.
    pub directories: [Directory; 2],
    /// [`features`]: what lookups may find anything. *agent*: set before what it stands for,
    /// cleared after.
    pub features: u32,
    /// [`settings`]. *agent*.
    pub settings: u32,
    /// Timeouts in ticks by [`crate::state::Class`]. *agent*.
    pub timeouts: [u32; 64],
    /// Names the state that server ids are of; 0 before there is one. *agent*.
    pub state: u64,
    /// The kernel's jiffies a second, by which all deadlines are. *agent*, once in the life of the
    /// flow table.
    pub hz: u32,
    /// Which list of mark rules counts, 0 or 1 in the low bit, and above it how many rules it
    /// has. *agent*: this store switches lists.
    pub rules: u32,
    /// What a packet that the agent sends again begins its metadata with. *agent*, at start.
    pub token: u64,
    /// Zero.
    pub zero: [u32; 10],
}

/// Bits of [`Control::features`]. Packets pay only for lookups that can find something.
pub mod features {
    /// There are services with port 0.
    pub const ANY_PORT: u32 = 1;
    /// There are services on port 21, whose data connections are theirs as well.
    pub const FTP: u32 = 1 << 1;
    /// There are mark rules and mark services.
    pub const MARKS: u32 = 1 << 2;
    /// There are, or were while flows of theirs live, masqueraded servers.
    pub const MASQUERADE: u32 = 1 << 3;
    /// There are tunnelled servers.
    pub const TUNNEL: u32 = 1 << 4;
    /// The agent takes part in some services' packets, see [`super::service_flags::HELPED`].
    pub const HELPERS: u32 = 1 << 5;
    /// FTP services on other ports than 21 have a helper: their data connections are found as
    /// flows, or as what the agent expects.
    pub const EXPECTED: u32 = 1 << 6;
    /// Masqueraded servers may open connections to clients: the agent sees their UDP packets of no
    /// flow.
    pub const CALLS: u32 = 1 << 7;
}

/// Bits of [`Control::settings`], by the names of ipvs's sysctls.
pub mod settings {
    /// A new connection from the ports of one that is over is scheduled anew.
    pub const CONN_REUSE_MODE: u32 = 1;
    /// So is one from the ports of one that is in FIN_WAIT, if not masqueraded (mode bit 2).
    pub const CONN_REUSE_FIN_WAIT: u32 = 1 << 1;
    /// Packets of connections whose server is gone or quiesced (for new ones) are scheduled anew.
    pub const EXPIRE_NODEST_CONN: u32 = 1 << 2;
    /// Templates of quiesced servers do not count.
    pub const EXPIRE_QUIESCENT_TEMPLATE: u32 = 1 << 3;
    /// TCP connections are taken up in their middle.
    pub const SLOPPY_TCP: u32 = 1 << 4;
    /// SCTP associations are taken up in their middle.
    pub const SLOPPY_SCTP: u32 = 1 << 5;
    /// Tunnels honour DF and their paths' MTU.
    pub const PMTU_DISC: u32 = 1 << 6;

    /// What ipvs starts with.
    pub const DEFAULT: u32 = CONN_REUSE_MODE | PMTU_DISC;
}

impl Default for Control {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// Where a service is found: parameters of a hash without collisions
/// ([`crate::service::directory`]).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Directory {
    /// Keys the hash.
    pub seed: u64,
    /// How many displacements it has; none mean that it has no services.
    pub displacements: u32,
    /// How many slots it has.
    pub slots: u32,
}

/// A place in a directory: a service's key, and where its record is.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct DirectorySlot {
    /// The key.
    pub key: crate::service::Key,
    /// Index of the service's record plus 1; 0 for an empty slot. *agent*: this store switches
    /// one service, or adds or removes it.
    pub record: u32,
    /// Zero.
    pub zero: [u32; 2],
}

/// A service as new flows need it. A record never changes while a slot names it: a change
/// writes another record and stores its index in the slot and in the [`ServiceState`].
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Service {
    /// The turn to start from when the state's turn is of another generation.
    pub turn: u64,
    /// The service's id: the index of its [`ServiceState`].
    pub id: u32,
    /// Where its servers begin in the members, newest first.
    pub first: u32,
    /// How many servers it has.
    pub len: u32,
    /// [`crate::sched::Kind`].
    pub scheduler: u32,
    /// For wrr, the highest weight less the step, plus one.
    pub weight_max: u32,
    /// For wrr, the greatest common divisor of the weights.
    pub weight_step: u32,
    /// Counts changes of the list; the low 16 bits are the turn's generation.
    pub generation: u32,
    /// [`service_flags`].
    pub flags: u32,
    /// For sh, dh and mh, where its lookup table begins, counted in slots; for lblc and lblcr a
    /// random number, another one each time the service gets its scheduler.
    pub table: u32,
    /// For sh, dh and mh, how many slots its lookup table has.
    pub table_len: u32,
    /// The virtual address; all zero for a mark service.
    pub address: Addr,
    /// The virtual port in host order; 0 for any, and for a mark service.
    pub port: u32,
    /// The mark of a mark service, else 0.
    pub mark: u32,
    /// Ticks that a template lives after its last connection began; 0 without persistence.
    pub persistence: u32,
    /// The part of a client's address that persistence looks at, as a prefix length of the
    /// 128-bit form; [`Service::mask`] counts for IPv4.
    pub prefix: u32,
    /// For IPv4, the mask of client addresses as it lies in a packet; any bit pattern.
    pub mask: u32,
    /// Zero.
    pub zero: [u32; 11],
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// The first flag of `-b`: sh-fallback, mh-fallback.
    pub const SCHED_1: u32 = 1;
    /// The second flag of `-b`: sh-port, mh-port.
    pub const SCHED_2: u32 = 1 << 1;
    /// The third flag of `-b`.
    pub const SCHED_3: u32 = 1 << 2;
    /// One-packet scheduling.
    pub const ONE_PACKET: u32 = 1 << 3;
    /// The service was deleted; only its flows' packets are still its own.
    pub const DELETED: u32 = 1 << 4;
    /// Some of its servers have connection thresholds.
    pub const THRESHOLDS: u32 = 1 << 5;
    /// Some of its servers are masqueraded, and replies come back this way.
    pub const MASQUERADE: u32 = 1 << 6;
    /// The agent sees its packets first: FTP control connections, SIP calls.
    pub const HELPED: u32 = 1 << 7;
    /// Without a server, clients get a TCP reset, and for other protocols port unreachable.
    pub const REFUSE_RESET: u32 = 1 << 8;
    /// Without a server, packets are dropped without a word.
    pub const REFUSE_SILENTLY: u32 = 1 << 9;
}

/// What a service remembers between packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ServiceState {
    /// The [`crate::sched::Turn`]. *program*, by compare-and-swap.
    pub turn: u64,
    /// Until this tick, plus 1, flows of the service may be untracked; 0 for none. *program*.
    pub untracked: u32,
    /// Index of the service's record plus 1; 0 for none. *agent*.
    pub record: u32,
}

/// A server in a service's list.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Member {
    /// The server's id.
    pub server: u32,
    /// Its weight; 0 while it is quiesced.
    pub weight: u32,
}

/// How packets reach a server.
///
/// The first three words are the way: 48 bits of matter each, and above them the same 16-bit
/// tag, changed with every change of the way. Whoever reads three words with unequal tags, or
/// with tag 0, has no way. So no CPU ever sends to a mixture of two ways, whatever the order in
/// which it sees the stores.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Server {
    /// [`crate::datapath::Way`]. *agent*.
    pub way: [u64; 3],
    /// [`server_flags`]. *agent*.
    pub flags: u32,
    /// Its service's id. *agent*, before the server is in a list.
    pub service: u32,
    /// Its address. *agent*, likewise.
    pub addr: Addr,
    /// Its port in host order; 0 for the packet's own. *agent*, likewise.
    pub port: u32,
    /// For GUE, the UDP port in host order. *agent*.
    pub tunnel_port: u32,
    /// Upper connection threshold; 0 for none. *agent*.
    pub upper: u32,
    /// Lower connection threshold; never 0 when there is an upper one. *agent*.
    pub lower: u32,
    /// For tunnels, the outer source address, of the family of [`Server::addr`]. *agent*, only
    /// while there is no way.
    pub source: Addr,
    /// Its weight, as in its service's list. *agent*.
    pub weight: u32,
    /// Zero.
    pub zero: [u32; 11],
}

/// Bits of [`Server::flags`].
pub mod server_flags {
    /// The server is in its service's list; without it, its flows' packets are dropped.
    pub const AVAILABLE: u32 = 1;
    /// The server's weight is 0: new connections only by templates.
    pub const QUIESCED: u32 = 1 << 1;
    /// Forwarding: [`METHOD`] of the flags is one of the following.
    pub const METHOD: u32 = 0xf0;
    /// Direct routing.
    pub const ROUTE: u32 = 0;
    /// Address translation.
    pub const MASQUERADE: u32 = 1 << 4;
    /// IP in IP.
    pub const IPIP: u32 = 2 << 4;
    /// Generic routing encapsulation.
    pub const GRE: u32 = 3 << 4;
    /// Generic UDP encapsulation.
    pub const GUE: u32 = 4 << 4;
    /// To the director itself.
    pub const LOCAL: u32 = 5 << 4;
    /// The outer header of GRE or GUE carries a checksum.
    pub const CHECKSUM: u32 = 1 << 8;
}

/// What is counted of a server across CPUs.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ServerState {
    /// Connections scheduled to it, ever. *both*.
    pub connections: u64,
    /// Flows in an active state. *both*.
    pub active: u32,
    /// Other flows. *both*.
    pub inactive: u32,
    /// Persistence templates. *both*.
    pub persistent: u32,
    /// 1 while it has more connections than its thresholds allow, see
    /// [`crate::sched::threshold`]. *both*, a plain store: whoever is last is right.
    pub overloaded: u32,
}

/// Packets and bytes of one server, in one direction, on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Traffic {
    /// Packets. *program*.
    pub packets: u64,
    /// Bytes from the network header on. *program*.
    pub bytes: u64,
}

/// Flows in a bucket.
pub const WAYS: usize = 4;

/// Four flows in a cache line. *both*, by the protocol of [`crate::flow`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HotBucket {
    /// Pairs of digest and [`crate::flow::Word`].
    pub entries: [[u64; 2]; WAYS],
}

/// What the four flows of a bucket are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ColdBucket {
    /// In the bucket's order.
    pub entries: [FlowDetails; WAYS],
}

/// What a flow is: written before the flow is published, read for listing, expiry and sync,
/// never for an established packet. *program*, while the entry is claimed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowDetails {
    /// The client.
    pub client: Addr,
    /// The virtual address.
    pub address: Addr,
    /// Client's port, then the virtual port, as they lie in the packet.
    pub ports: u32,
    /// The service's id.
    pub service: u32,
    /// IP protocol number, and in the second byte [`crate::flow::Role`].
    pub protocol: u32,
    /// Of a reply: where in [`maps::BACK_WAYS`] the way to the client is, plus 1; 0 for none.
    /// *program*. Of a connection with a helper: [`helper_marks`]. *agent*, while it lives. Of
    /// others zero.
    pub back: u32,
}

impl FlowDetails {
    /// The client's port.
    #[inline(always)]
    #[must_use]
    pub const fn client_port(&self) -> Port {
        Port::first_of(self.ports)
    }

    /// The virtual port.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self) -> Port {
        Port::second_of(self.ports)
    }
}

/// Bits of [`FlowDetails::back`] of a connection with a helper.
pub mod helper_marks {
    /// Its TCP numbers differ on both sides.
    pub const CHANGED: u32 = 1;
    /// It has led to other connections.
    pub const PARENT: u32 = 1 << 1;
}

/// An interface that carries the program. *agent*.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface {
    /// Its Ethernet address, as [`MacAddr::word`], and above it, in 16 bits, the longest packet that
    /// it sends, in bytes from the network header on; 0 when that is not known.
    pub mac_and_mtu: u64,
    /// Its index.
    pub ifindex: u32,
    /// Its IPv4 address as it lies in a packet; 0 for none.
    pub v4: u32,
    /// Its IPv6 address, not link-local; all zero for none.
    pub v6: Addr,
}

impl Interface {
    /// [`Interface::mac_and_mtu`] of both.
    #[inline(always)]
    #[must_use]
    pub const fn mac_and_mtu(mac: MacAddr, mtu: u16) -> u64 {
        mac.word() | (mtu as u64) << 48
    }
}

/// Four slots of lookup tables: each the place in the service's list plus 1, 0 for empty.
///
/// *agent*, before a record names the table.
pub type TableWord = [u16; 4];

/// Which of the hints: each is a set of addresses that may contain more, as a bitmap of
/// [`HINT_BITS`] by [`hint_bit`]. *agent*, whole words.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Virtual addresses.
    Virtual = 0,
    /// Addresses of masqueraded servers.
    Masqueraded = 1,
    /// Addresses of tunnelled servers.
    Tunnelled = 2,
}

/// Bits of one hint.
pub const HINT_BITS: u32 = 1 << 18;

/// Words of all hints.
pub const HINT_WORDS: u32 = 3 * HINT_BITS / 64;

/// Where a hint has an address: the word's index and the bit in it.
#[inline(always)]
#[must_use]
pub const fn hint_bit(hint: Hint, address: Addr) -> (u32, u32) {
    let [a, b, c, d] = address.words();
    let low = c as u64 | (d as u64) << 32;
    let high = a as u64 | (b as u64) << 32;
    let hash = crate::hash::finish(crate::hash::fold(low, high)) as u32;
    let bit = hash % HINT_BITS;
    (hint as u32 * (HINT_BITS / 64) + bit / 64, bit % 64)
}

/// Rules in each of the two lists of mark rules.
pub const MARK_RULES: u32 = 256;

/// Which packets get a mark; the first rule that matches counts. *agent*, only in the list that
/// does not count.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MarkRule {
    /// The source network, IPv4 in its mapped form; bits behind the prefix are zero.
    pub source: Addr,
    /// The destination network, likewise.
    pub destination: Addr,
    /// The source's prefix length in the 128-bit form: 96 and more for IPv4.
    pub source_prefix: u32,
    /// The destination's.
    pub destination_prefix: u32,
    /// IP protocol number; 0 for any.
    pub protocol: u32,
    /// First destination port in host order, and in the upper half the last.
    pub ports: u32,
    /// Index of the ingress interface; 0 for any.
    pub ifindex: u32,
    /// The mark, not 0.
    pub mark: u32,
    /// 4 or 6.
    pub family: u32,
    /// Zero.
    pub zero: u32,
}

/// Ways back to clients that can be remembered at once.
pub const BACK_WAYS: u32 = 1 << 14;

/// How frames get back to a client: the next hop's Ethernet address in the low 48 bits, and above
/// it [`port_index`] of the egress interface plus 1. 0 for none. *program*, by compare-and-swap.
pub type BackWay = u64;

/// How many answers (ICMP errors, resets) one CPU has given in a tick: the tick in the upper half
/// of its word, the number in the lower. *program*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    tick: u32,
    count: u32,
}

impl Answers {
    /// Most answers of one CPU in a tick.
    pub const A_TICK: u32 = 1000;

    /// The number in a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            tick: (bits >> 32) as u32,
            count: bits as u32,
        }
    }

    /// The number as a word.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.tick as u64) << 32 | self.count as u64
    }

    /// One answer more, if it may be given.
    #[inline(always)]
    #[must_use]
    pub const fn another(self, now: crate::time::Tick) -> Option<Self> {
        let tick = now.bits();
        let given = if self.tick == tick { self.count } else { 0 };
        if given >= Self::A_TICK {
            return None;
        }
        Some(Self {
            tick,
            count: given + 1,
        })
    }
}

/// What the program hands to the agent: an entry of [`maps::PUNTS`] is [`punt::Header`] and the
/// packet's first bytes.
pub mod punt {
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    /// Most bytes of a packet in an entry.
    pub const BYTES: usize = 2048;

    /// Bytes of the ring buffer.
    pub const RING: u32 = 1 << 19;

    /// Why the agent gets a packet.
    #[repr(u32)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Why {
        /// A fragment that came before the first one of its packet.
        EarlyFragment = 1,
        /// A path to a tunnelled server has a smaller MTU.
        TunnelError = 2,
        /// A packet of a service with a helper, from the client.
        FromClient = 3,
        /// A packet of a service with a helper, from the server.
        FromServer = 4,
    }

    /// What stands before the packet.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct Header {
        /// [`Why`].
        pub why: u32,
        /// The ingress interface.
        pub ifindex: u32,
        /// The packet's length.
        pub len: u32,
        /// The service's id for [`Why::FromClient`] and [`Why::FromServer`], all ones when a server's
        /// packet is of no flow; else 0.
        pub id: u32,
    }
}

/// The sizes that maps are made with; the agent chooses them at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Sizes {
    /// Most services.
    pub services: u32,
    /// Most servers, over all services.
    pub servers: u32,
    /// Flows the table is designed for; 99.99 % of that many find room.
    pub flows: u32,
}

impl Sizes {
    /// What an agent uses that is told nothing else.
    pub const DEFAULT: Self = Self {
        services: 12_000,
        servers: 100_000,
        flows: 1_000_000,
    };

    /// Slots of one directory: half of them stay empty.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.services * 2
    }

    /// Displacements of one directory: one for four services.
    #[must_use]
    pub const fn displacements(self) -> u32 {
        self.services.div_ceil(4)
    }

    /// Service records: one for each service, and more that may await their grace period.
    #[must_use]
    pub const fn records(self) -> u32 {
        self.services + self.services / 4 + 64
    }

    /// Words of lookup tables: eight for each service, since few services have one; one of sh or dh
    /// takes 64, one of mh 1,024.
    #[must_use]
    pub const fn table_words(self) -> u32 {
        let words = (self.services * 8).next_power_of_two();
        if words < 1 << 12 { 1 << 12 } else { words }
    }

    /// Members: each list is rounded up to a power of two and may exist twice for a moment.
    #[must_use]
    pub const fn members(self) -> u32 {
        (self.servers * 4).next_power_of_two()
    }

    /// Buckets of the flow table: half full at the design number of flows, where four candidate
    /// buckets leave less than 0.01 % of flows without a place (measured by the tests).
    #[must_use]
    pub const fn buckets(self) -> u32 {
        (self.flows as u64 * 2).div_ceil(WAYS as u64) as u32
    }

    /// The flows that a table of so many buckets is designed for.
    #[must_use]
    pub const fn flows_of(buckets: u32) -> u32 {
        (buckets as u64 * WAYS as u64 / 2) as u32
    }

    /// Bytes of all maps on a machine with `cpus` CPUs.
    #[must_use]
    pub const fn bytes(self, cpus: u32) -> u64 {
        const fn of<T>(count: u32) -> u64 {
            count as u64 * size_of::<T>() as u64
        }
        of::<Control>(1)
            + of::<u32>(2 * self.displacements())
            + of::<DirectorySlot>(2 * self.slots())
            + of::<Service>(self.records())
            + of::<ServiceState>(self.services)
            + of::<Member>(self.members())
            + of::<Server>(self.servers)
            + of::<ServerState>(self.servers)
            + of::<Traffic>(2 * self.servers) * cpus as u64
            + of::<HotBucket>(self.buckets())
            + of::<ColdBucket>(self.buckets())
            + of::<Interface>(PORTS)
            + of::<TableWord>(self.table_words())
            + of::<u64>(HINT_WORDS)
            + of::<MarkRule>(2 * MARK_RULES)
            + of::<BackWay>(BACK_WAYS)
            + of::<u64>(1) * cpus as u64
            + punt::RING as u64
            + of::<u64>(REASONS_PER_CPU) * cpus as u64
    }
}

const _: () = assert!(size_of::<Control>() == 384 && size_of::<Directory>() == 16);
const _: () = assert!(size_of::<DirectorySlot>() == 32);
const _: () = assert!(crate::reason::Reason::COUNT <= REASONS_PER_CPU);
const _: () = assert!(size_of::<Service>() == 128);
const _: () = assert!(size_of::<ServiceState>() == 16);
const _: () = assert!(size_of::<Server>() == 128);
const _: () = assert!(size_of::<ServerState>() == 24);
const _: () = assert!(size_of::<Interface>() == 32 && size_of::<MarkRule>() == 64);
const _: () = assert!(size_of::<HotBucket>() == 64);
const _: () = assert!(size_of::<FlowDetails>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_flows_fit_the_memory_budget() {
        let sizes = Sizes::DEFAULT;
        let per_flow = sizes.bytes(2) as f64 / f64::from(sizes.flows);
        assert!(per_flow <= 160.0, "{per_flow} bytes a flow");
    }
}
