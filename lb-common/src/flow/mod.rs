//! Flows and the table that remembers them.
//!
//! # The table
//!
//! Set-associative, in two parallel arrays. A bucket of the hot array is one cache line of four
//! entries, 16 bytes each: a 64-bit keyed digest of the flow, and a [`Word`] with its server,
//! class and deadline. The cold array says what the flow is. A hit reads one line, whatever the
//! family; the bucket's address depends on packet bytes only.
//!
//! A flow may lie in any of [`CANDIDATES`] buckets, the first preferred. At the design fill of
//! one half, 3.6 % of flows lie in a second bucket, 0.4 % further on, less than 0.01 % find no
//! place: 77 of a million, in the kernel.
//!
//! # Who changes what
//!
//! | change | by | how |
//! |---|---|---|
//! | digest to [`BUSY`] | the program | compare-and-swap; only the winner goes on |
//! | details | the program | plain stores while the digest is `BUSY` |
//! | digest from `BUSY` to the flow's | the program that made it `BUSY` | plain store, at the very end |
//! | word of a live flow (class, deadline) | the program | compare-and-swap; a loser lets it be |
//! | word of an expired flow to [`Word::VOID`] | the agent | compare-and-swap |
//! | word, on insertion | the program that made the digest `BUSY` | compare-and-swap against a word that may be lost; a loser puts the digest back |
//!
//! An entry is free when its word is void or its deadline is past, whatever its digest but [`BUSY`].
//! An expired entry may so stay beside a new one of the same flow; it is found no more. Each
//! word leaves the table by exactly one atomic operation, and whoever made that one takes the
//! flow from its server's counts: so counts are exact without locks, but for an agent
//! killed between the two: that its sweep corrects.
//!
//! The last store of an insertion is plain because it follows stores to memory that no cache
//! has, and an atomic operation would wait for those: it would cost half as much again as all
//! the rest. A CPU that reorders stores may so show a digest before its details; a reader who
//! must not be wrong compares the digest with [`Tuple::key`] of what it read.

mod table;

pub use table::{Insertion, continue_flow, find, find_further, insert, publish};

use crate::addr::{Addr, Port};
use crate::hash::{below, finish, fold};
use crate::layout::{FlowDetails, WAYS};
use crate::repeat::Repeat;
use crate::state::Class;
use crate::time::Tick;

/// Buckets in which a flow may lie.
pub const CANDIDATES: usize = 4;

/// The digest of an entry that never held a flow.
pub const EMPTY: u64 = 0;

/// The digest of an entry that is being written.
pub const BUSY: u64 = 1;

/// What tells one flow from another: the packet's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The client.
    pub client: Addr,
    /// The virtual address.
    pub address: Addr,
    /// Client's port, then the virtual port, as they lie.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// What the entry of this tuple stands for.
    pub role: Role,
}

/// What an entry of the table stands for. Entries of different roles never meet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A connection, as its client's packets show it.
    Connection = 0,
    /// A masqueraded connection as its server's packets show it: [`Tuple::address`] is the
    /// server, the second port the server's.
    Reply = 1,
    /// A persistence template: the client is a network, its port is 0.
    Template = 2,
    /// An IP packet in fragments; the ports are its identification.
    Fragment = 3,
    /// What lblc and lblcr remember of a destination; the ports are the service's id.
    Cache = 4,
    /// The template of a call, kept by the agent: the client is a network, address and ports are a
    /// digest of the service and what names the call.
    Call = 5,
}

impl Role {
    /// The role with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Connection),
            1 => Some(Self::Reply),
            2 => Some(Self::Template),
            3 => Some(Self::Fragment),
            4 => Some(Self::Cache),
            5 => Some(Self::Call),
            _ => None,
        }
    }
}

impl Tuple {
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

    /// The word of two ports, the first and the second as they lie.
    #[inline(always)]
    #[must_use]
    pub const fn ports(first: Port, second: Port) -> u32 {
        let (first, second) = (first.word().to_le() as u32, second.word().to_le() as u32);
        u32::from_le(first | second << 16)
    }

    /// [`FlowDetails::protocol`] of the tuple in that role.
    #[inline(always)]
    #[must_use]
    pub const fn protocol_and(&self, role: Role) -> u32 {
        self.protocol as u32 | (role as u32) << 8
    }

    /// The tuple of the packet with both ends exchanged.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self, role: Role) -> Self {
        Self {
            client: self.address,
            address: self.client,
            ports: self.ports.rotate_left(16),
            protocol: self.protocol,
            role,
        }
    }

    /// The flow's key under the table's seeds.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self, seed: [u64; 2]) -> Key {
        let [c0, c1, c2, c3] = self.client.words();
        let [a0, a1, a2, a3] = self.address.words();
        let tail = self.ports as u64 | (self.protocol as u64) << 32 | (self.role as u64) << 40;
        let (left, right) = if self.client.is_v4() {
            (
                fold(seed[0], c3 as u64 | (a3 as u64) << 32),
                fold(seed[1], tail),
            )
        } else {
            let left = fold(
                fold(seed[0], c0 as u64 | (c1 as u64) << 32),
                a0 as u64 | (a1 as u64) << 32,
            );
            let right = fold(
                fold(seed[1], c2 as u64 | (c3 as u64) << 32),
                a2 as u64 | (a3 as u64) << 32,
            );
            (left, fold(right, tail))
        };
        // Digest and place come from different mixtures of both halves, so that flows in one
        // bucket do not have alike digests.
        Key {
            digest: finish(left ^ right.rotate_left(32)) | 2,
            place: finish(left.wrapping_add(right)),
        }
    }
}

/// A flow as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Tells the flow from others; never [`EMPTY`] or [`BUSY`].
    pub digest: u64,
    /// Chooses its buckets.
    place: u64,
}

impl Key {
    /// The flow's `n`th bucket, `n` below [`CANDIDATES`]: two anywhere, then the neighbour of
    /// each, which mostly is in the cache with it and always on the same page. Flows without a
    /// place are as few as if all four lay anywhere.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(&self, n: usize, buckets: u32) -> u32 {
        // The upper half for the even ones.
        let hash = self.place >> ((n & 1 ^ 1) * 32);
        let bucket = below(hash as u32, buckets);
        let beside = bucket ^ (n >> 1) as u32;
        // The last of an odd number has no neighbour.
        if beside < buckets { beside } else { bucket }
    }

    /// The key in two words.
    #[inline(always)]
    #[must_use]
    pub const fn bits(&self) -> [u64; 2] {
        [self.digest, self.place]
    }

    /// The key of two words that [`Key::bits`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits([digest, place]: [u64; 2]) -> Self {
        Self { digest, place }
    }

    /// A number for choosing a server without a table: `server`'s score for this flow.
    #[inline(always)]
    #[must_use]
    pub const fn score(&self, server: u32) -> u64 {
        finish(fold(self.digest, server as u64))
    }
}

/// A flow's changing half, in one word so that it changes at once.
///
/// From the low end: server id (20 bits), class (6), flags (6), deadline (24), flags (8). The flags
/// are, from the low end: live, [`Word::REPLY`], [`Word::CONTROLLED`], [`Word::KEEPS_PORT`],
/// [`Word::ONE_PACKET`]; [`Word::PORT_BELOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// The word of an entry that holds no flow.
    pub const VOID: Self = Self(0);

    const LIVE: u64 = 1 << 26;
    const DEADLINE: u32 = 32;

    /// The entry is the server's half of a masqueraded connection: it counts for nothing, and its
    /// class and deadline follow the client's half.
    pub const REPLY: u64 = 1 << 27;
    /// The connection was opened by a template, which lives as long as it.
    pub const CONTROLLED: u64 = 1 << 28;
    /// The server's port is the virtual port, and not the server's own: a connection to a port
    /// that is not the service's.
    pub const KEEPS_PORT: u64 = 1 << 29;
    /// The reply to a datagram that was scheduled by itself: there is no client's half.
    pub const ONE_PACKET: u64 = 1 << 30;
    /// Of a flow that is being opened: its template is to be made. Never in the table.
    pub const NEW_TEMPLATE: u64 = 1 << 31;
    /// The server's port is the one below its own: an FTP server's data port.
    pub const PORT_BELOW: u64 = 1 << 56;
    const FLAGS: u64 =
        Self::REPLY | Self::CONTROLLED | Self::KEEPS_PORT | Self::ONE_PACKET | Self::PORT_BELOW;

    /// A live flow's word.
    #[inline(always)]
    #[must_use]
    pub const fn new(server: u32, class: Class, deadline: Tick) -> Self {
        Self(
            (server as u64 & 0xf_ffff)
                | (class.number() as u64) << 20
                | Self::LIVE
                | (deadline.bits() as u64) << Self::DEADLINE,
        )
    }

    /// The word with these bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word's bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word with flags added.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    /// The word without flags.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    /// Whether the word has one of these flags.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// The word with another server.
    #[inline(always)]
    #[must_use]
    pub const fn to(self, server: u32) -> Self {
        Self(self.0 & !0xf_ffff | server as u64 & 0xf_ffff)
    }

    /// How far the server's port is below its own: 1 with [`Word::PORT_BELOW`], else 0.
    #[inline(always)]
    #[must_use]
    pub const fn ports_below(self) -> u16 {
        (self.0 >> 56) as u16
    }

    /// The server's id.
    #[inline(always)]
    #[must_use]
    pub const fn server(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }

    /// The state's class.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> Class {
        Class::new((self.0 >> 20) as u8)
    }

    /// When the flow expires.
    #[inline(always)]
    #[must_use]
    pub const fn deadline(self) -> Tick {
        Tick::new((self.0 >> Self::DEADLINE) as u32)
    }

    /// 1 for a flow that has not expired, else 0: [`Word::is_live`] without branches.
    #[inline(always)]
    #[must_use]
    pub const fn live(self, now: Tick) -> u64 {
        self.0 >> Self::LIVE.trailing_zeros() & !self.deadline().past(now) as u64 & 1
    }

    /// Whether this is a flow that has not expired.
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self, now: Tick) -> bool {
        self.live(now) != 0
    }

    /// The same flow in another class, with another deadline.
    #[inline(always)]
    #[must_use]
    pub const fn moved(self, class: Class, deadline: Tick) -> Self {
        Self::new(self.server(), class, deadline).with(self.0 & Self::FLAGS)
    }
}

/// A change of a server's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections scheduled.
    pub connections: u32,
    /// Added to the active flows.
    pub active: i32,
    /// Added to the inactive flows.
    pub inactive: i32,
    /// Added to the templates.
    pub persistent: i32,
}

impl Counts {
    /// What the entry of this word stands for.
    #[inline(always)]
    #[must_use]
    pub const fn of(word: Word) -> Self {
        let class = word.class();
        let connection = (class.is_connection() && !word.has(Word::REPLY)) as i32;
        let active = class.is_active() as i32 & connection;
        Self {
            connections: 0,
            active,
            inactive: connection - active,
            persistent: class.is_template() as i32,
        }
    }

    /// The same with a new connection.
    #[inline(always)]
    #[must_use]
    pub const fn scheduled(self) -> Self {
        Self {
            connections: 1,
            ..self
        }
    }

    /// The opposite change.
    #[inline(always)]
    #[must_use]
    pub const fn taken(self) -> Self {
        Self {
            connections: 0,
            active: -self.active,
            inactive: -self.inactive,
            persistent: -self.persistent,
        }
    }
}

/// One bucket of the hot array. `way` is below [`WAYS`].
pub trait Bucket {
    /// Reads a digest.
    fn digest(&self, way: usize) -> u64;
    /// Reads a word.
    fn word(&self, way: usize) -> Word;
    /// Puts `new` in the place of the digest `old`; false when another digest stood there.
    fn swap_digest(&self, way: usize, old: u64, new: u64) -> bool;
    /// Stores a digest in the place of [`BUSY`], which was the caller's.
    fn set_digest(&self, way: usize, new: u64);
    /// Puts `new` in the place of the word `old`; false when another word stood there.
    fn swap_word(&self, way: usize, old: Word, new: Word) -> bool;
}

/// Flows, however they are kept.
///
/// The kernel keeps them in [`Buckets`], and so does everything that says nothing else. It is a
/// seam of its own so that the datapath can be measured over another table.
pub trait Flows: Repeat {
    /// Where a flow is kept.
    type Entry: Copy;

    /// An entry as one number other than 0.
    fn entry_bits(entry: Self::Entry) -> u64;

    /// The entry of a number that [`Flows::entry_bits`] gave; none for 0.
    fn entry_from_bits(bits: u64) -> Option<Self::Entry>;

    /// The live entry of a flow, which has a key and a tuple.
    fn find_flow(&self, key: &Key, tuple: &Tuple, now: Tick) -> Option<(Self::Entry, Word)>;

    /// See [`continue_flow`].
    fn continue_flow(&self, entry: Self::Entry, old: Word, new: Word) -> Option<Counts>;

    /// See [`insert`].
    fn insert_flow(
        &self,
        key: &Key,
        word: Word,
        tuple: &Tuple,
        service: u32,
        own: Option<Self::Entry>,
        now: Tick,
    ) -> Insertion<Self::Entry>;

    /// See [`publish`].
    fn publish_flow(&self, entry: Self::Entry, key: &Key, tuple: &Tuple, about: About);

    /// What the flow kept at `entry` is. Another flow may be there by now: compare the key.
    fn flow_details(&self, entry: Self::Entry) -> Option<FlowDetails>;

    /// Changes [`FlowDetails::back`] of a reply.
    fn set_flow_back(&self, entry: Self::Entry, back: u32);
}

/// What is noted of a flow besides its tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// [`FlowDetails::service`].
    pub service: u32,
    /// [`FlowDetails::back`].
    pub back: u32,
    /// The role in [`FlowDetails::protocol`].
    pub role: Role,
}

impl<B: Buckets> Flows for B {
    type Entry = Place;

    #[inline(always)]
    fn entry_bits(place: Place) -> u64 {
        1 + u64::from(place.bucket) * WAYS as u64 + u64::from(place.way)
    }

    #[inline(always)]
    fn entry_from_bits(bits: u64) -> Option<Place> {
        bits.checked_sub(1).map(|bits| Place {
            bucket: (bits / WAYS as u64) as u32,
            way: bits as u32 % WAYS as u32,
        })
    }

    #[inline(always)]
    fn find_flow(&self, key: &Key, _: &Tuple, now: Tick) -> Option<(Place, Word)> {
        find(self, key, now)
    }

    #[inline(always)]
    fn continue_flow(&self, place: Place, old: Word, new: Word) -> Option<Counts> {
        continue_flow(self, place, old, new)
    }

    #[inline(always)]
    fn insert_flow(
        &self,
        key: &Key,
        word: Word,
        _: &Tuple,
        _: u32,
        own: Option<Place>,
        now: Tick,
    ) -> Insertion<Place> {
        insert(self, key, word, own, now)
    }

    #[inline(always)]
    fn publish_flow(&self, place: Place, key: &Key, tuple: &Tuple, about: About) {
        publish(self, place, key, tuple, &about);
    }

    #[inline(always)]
    fn flow_details(&self, place: Place) -> Option<FlowDetails> {
        self.details(place)
    }

    #[inline(always)]
    fn set_flow_back(&self, place: Place, back: u32) {
        self.set_back(place, back);
    }
}

/// The flow table's two arrays.
pub trait Buckets: Repeat + Sized {
    /// A bucket of the hot array.
    type Bucket<'a>: Bucket
    where
        Self: 'a;

    /// How many buckets there are.
    fn buckets(&self) -> u32;

    /// The bucket at `index`, or none beyond the table.
    fn bucket(&self, index: u32) -> Option<Self::Bucket<'_>>;

    /// See [`find_further`].
    fn find_further(&self, key: &Key, now: Tick) -> Option<Place> {
        find_further(self, key, now)
    }

    /// Writes what the flow at `place` is. The entry must be [`BUSY`] with the caller.
    fn describe(&self, place: Place, tuple: &Tuple, about: About);

    /// What was written about the flow at `place`.
    fn details(&self, place: Place) -> Option<FlowDetails>;

    /// Writes [`FlowDetails::back`] of the flow at `place`.
    fn set_back(&self, place: Place, back: u32);
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket's index.
    pub bucket: u32,
    /// The way within it, below [`WAYS`].
    pub way: u32,
}

const _: () = assert!(WAYS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_keeps_its_parts(server in 0u32..1 << 20, class in 0u8..64, deadline in 0u32..1 << 24) {
            let word = Word::new(server, Class::new(class), Tick::new(deadline));
            prop_assert_eq!(word.server(), server);
            prop_assert_eq!(word.class().number(), class);
            prop_assert_eq!(word.deadline().bits(), deadline);
            prop_assert!(word.is_live(Tick::new(deadline)));
            prop_assert!(!word.is_live(Tick::new(deadline + 1)));
        }

        #[test]
        fn a_key_is_usable(client in any::<u32>(), ports in any::<u32>(), seed in any::<[u64; 2]>()) {
            let tuple = Tuple {
                client: Addr::from_v4_word(client),
                address: Addr::from_v4_word(1),
                ports,
                protocol: 6,
                role: Role::Connection,
            };
            let key = tuple.key(seed);
            prop_assert!(key.digest != EMPTY && key.digest != BUSY);
            for n in 0..CANDIDATES {
                prop_assert!(key.bucket(n, 1000) < 1000);
            }
        }
    }

    #[test]
    fn ports_are_told_apart() {
        let ports = u32::from_ne_bytes([0x9c, 0x40, 0, 80]);
        let tuple = Tuple {
            client: Addr::default(),
            address: Addr::default(),
            ports,
            protocol: 6,
            role: Role::Connection,
        };
        assert_eq!(tuple.client_port().number(), 40_000);
        assert_eq!(tuple.port().number(), 80);
    }

    #[test]
    fn void_is_never_live() {
        for now in [0, 1, 1 << 23, (1 << 24) - 1] {
            assert!(!Word::VOID.is_live(Tick::new(now)));
        }
    }
}
