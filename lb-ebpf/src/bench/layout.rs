//! What `cargo xtask bench` and the ruler's programs share: this file is compiled into both.

/// Bytes of a packet that the feeder writes anew for every repeat; the rest of a longer packet
/// is what the run started with.
pub(crate) const TEMPLATE: usize = 80;

/// Entries of the kernel's hash maps that stand for comparison: four times the largest number
/// of flows, the fill that lb's own flow table is designed for.
pub(crate) const CAPACITY: u32 = 1 << 22;

/// Servers that the comparison programs know.
pub(crate) const SERVERS: u32 = 128;

/// Bytes of an IPv4 header without options: what IPIP adds.
pub(crate) const IPIP: u16 = 20;

/// Orders in which flows are visited: the values of [`Feed::order`].
pub(crate) struct Order;

impl Order {
    /// Uniformly random.
    pub(crate) const RANDOM: u32 = 0;
    /// One after the other.
    pub(crate) const SEQUENTIAL: u32 = 1;
    /// Never the same flow again, and none of the established ones.
    pub(crate) const FRESH: u32 = 2;
}

/// What the feeder writes; set by user space between runs, read for every packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Feed {
    /// The packet's first bytes, in the machine's words so that they are copied as words.
    pub(crate) template: [u8; TEMPLATE],
    /// The number of flows minus one; the number is a power of two. Not used when fresh.
    pub(crate) mask: u64,
    /// The last 32 bits of the first service's (in replies, server's) address, host order.
    pub(crate) peer: u32,
    /// The service's (server's) port, host order.
    pub(crate) peer_port: u32,
    /// Services at consecutive addresses, at least 1; a flow always belongs to the same one.
    pub(crate) services: u32,
    /// The length of the packet in bytes.
    pub(crate) length: u32,
    /// One of [`Order`].
    pub(crate) order: u32,
    /// 1 when the flow's client is the packet's destination (a server's reply), else 0.
    pub(crate) reply: u32,
    /// The sum of the IPv4 header's 16-bit words, in memory order, without the checksum and the
    /// addresses.
    pub(crate) header_sum: u32,
    /// Not used.
    pub(crate) zero: [u32; 1],
}

/// The feeder's own state, one for each CPU; it only ever counts up.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    /// The random generator's state, never 0.
    pub(crate) random: u64,
    /// The next flow of [`Order::SEQUENTIAL`].
    pub(crate) next: u64,
    /// How many flows [`Order::FRESH`] has given out.
    pub(crate) fresh: u64,
    /// Packets of which the previous repeat changed the first byte, the destination's.
    pub(crate) readdressed: u64,
    /// Bytes by which previous repeats made packets longer.
    pub(crate) grown: u64,
}

/// A tunnelled server of the comparison programs: its outer headers but for length and source,
/// ready to be stored.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// The first 8 bytes of the Ethernet header, as a word in memory order.
    pub(crate) ethernet: u64,
    /// The next 4 bytes.
    pub(crate) ethernet_rest: u32,
    /// The outer destination, as a word in memory order.
    pub(crate) address: u32,
    /// The sum of the outer header's 16-bit words, in memory order, without length, checksum
    /// and source.
    pub(crate) sum: u32,
    /// Not used.
    pub(crate) zero: u32,
}

const _: () = assert!(size_of::<Server>() == 24);
const _: () = assert!(size_of::<Feed>() == TEMPLATE + 40 && size_of::<Tally>() == 40);
