//! Which service a packet is for.

pub mod directory;

use crate::addr::{Addr, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a packet and a service have in common: virtual address, port, protocol.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Key {
    addr: Addr,
    /// The port's two bytes, the protocol number, zero: as they lie.
    port_protocol: u32,
}

impl Key {
    /// The key of an address, port and protocol.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: Port, protocol: u8) -> Self {
        let port_protocol = u32::from_le(port_le(port) as u32 | (protocol as u32) << 16);
        Self {
            addr,
            port_protocol,
        }
    }

    /// The IP protocol number; 0 of a mark's key.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        (self.port_protocol.to_le() >> 16) as u8
    }

    /// The key of a mark of IPv4 packets, or of IPv6 packets.
    #[inline(always)]
    #[must_use]
    pub const fn of_mark(mark: u32, v4: bool) -> Self {
        Self {
            addr: Addr::from_words([0, 0, 0, mark]),
            // No protocol number has so many bits.
            port_protocol: u32::from_le(if v4 { 4 } else { 6 } << 24),
        }
    }

    /// The virtual address.
    #[must_use]
    pub const fn addr(&self) -> Addr {
        self.addr
    }

    /// The virtual port.
    #[must_use]
    pub const fn port(&self) -> Port {
        Port::from_word(u16::from_le(self.port_protocol.to_le() as u16))
    }

    /// The hash of the key under a directory's seed.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        use crate::hash::{finish, fold};
        let [a, b, c, d] = self.addr.words();
        let low = c as u64 | (d as u64) << 32;
        // The upper half is zero for IPv4, and folding it would cost every IPv4 packet.
        let upper = a as u64 | (b as u64) << 32;
        let state = if upper == 0 { seed } else { fold(seed, upper) };
        finish(fold(fold(state, low), self.port_protocol as u64))
    }
}

/// The two bytes of a port as they lie, as a little-endian number.
#[inline(always)]
const fn port_le(port: Port) -> u16 {
    u16::from_le(port.word())
}
