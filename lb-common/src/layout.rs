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

use crate::addr::Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of this layout.
pub const LAYOUT: u32 = 1;

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
    /// The Ethernet address of each interface, a word, by [`super::port_index`].
    pub const PORTS: &str = "PORTS";
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

/// Where a CPU counts a reason.
#[inline(always)]
#[must_use]
pub const fn reason_index(cpu: u32, reason: crate::reason::Reason) -> u32 {
    cpu * REASONS_PER_CPU + reason as u32
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
    /// Names the state that server ids are of; 0 before there is one. *agent*.
    pub state: u64,
    /// Timeouts in ticks by [`crate::state::Class`]. *agent*.
    pub timeouts: [u32; 64],
    /// The kernel's jiffies a second, by which all deadlines are. *agent*, once in the life of the
    /// flow table.
    pub hz: u32,
    /// Zero.
    pub zero: [u32; 15],
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

/// A service as the scheduler needs it. A record never changes while a slot names it: a change
/// writes another record and stores its index in the slot.
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
    /// Zero.
    pub zero: [u32; 7],
}

/// What a service remembers between packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ServiceState {
    /// The [`crate::sched::Turn`]. *program*, by compare-and-swap.
    pub turn: u64,
    /// Until this tick, plus 1, flows of the service may be untracked; 0 for none. *program*.
    pub untracked: u32,
    /// Zero.
    pub zero: u32,
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
    /// Its port in host order. *agent*, likewise.
    pub port: u32,
    /// Zero.
    pub zero: [u32; 3],
}

/// Bits of [`Server::flags`].
pub mod server_flags {
    /// The server is in its service's list; without it, its flows' packets are dropped.
    pub const AVAILABLE: u32 = 1;
}

/// What is counted of a server across CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ServerState {
    /// Connections scheduled to it, ever. *both*.
    pub connections: u64,
    /// Flows in an active state. *both*.
    pub active: u32,
    /// Other flows. *both*.
    pub inactive: u32,
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
    /// IP protocol number.
    pub protocol: u32,
    /// Zero.
    pub zero: u32,
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
        services: 16_384,
        servers: 131_072,
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

    /// Service records: one for each service and as many as may await their grace period.
    #[must_use]
    pub const fn records(self) -> u32 {
        self.services * 2
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
            + of::<u64>(PORTS)
            + of::<u64>(REASONS_PER_CPU) * cpus as u64
    }
}

const _: () = assert!(size_of::<Control>() == 384 && size_of::<Directory>() == 16);
const _: () = assert!(size_of::<DirectorySlot>() == 32);
const _: () = assert!(crate::reason::Reason::COUNT <= REASONS_PER_CPU);
const _: () = assert!(size_of::<Service>() == 64);
const _: () = assert!(size_of::<ServiceState>() == 16);
const _: () = assert!(size_of::<Server>() == 64);
const _: () = assert!(size_of::<ServerState>() == 16);
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
