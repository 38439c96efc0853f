//! Addresses, ports and protocols as they lie in packets and maps.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address in its v4-mapped form (`::ffff:a.b.c.d`).
///
/// Four words exactly as they lie in memory, in network order: compare and hash them, but do
/// not count with them.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Addr([u32; 4]);

impl Addr {
    /// What stands before an IPv4 address in its v4-mapped form, as a word in memory.
    const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

    /// The mapped form of an IPv4 address given as the word that lies in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, Self::MAPPED, word])
    }

    /// The address given as the words that lie in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The four words as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The address given as its two halves as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves([left, right]: [u64; 2]) -> Self {
        const fn parts(half: u64) -> [u32; 2] {
            let half = half.to_le();
            [u32::from_le(half as u32), u32::from_le((half >> 32) as u32)]
        }
        let ([a, b], [c, d]) = (parts(left), parts(right));
        Self([a, b, c, d])
    }

    /// The two halves as they lie in memory.
    ///
    /// Put together in registers. As words stored and loaded as halves they would have to reach
    /// memory in between, behind every other store.
    #[inline(always)]
    #[must_use]
    pub const fn halves(self) -> [u64; 2] {
        const fn half(left: u32, right: u32) -> u64 {
            u64::from_le(left.to_le() as u64 | (right.to_le() as u64) << 32)
        }
        let [a, b, c, d] = self.0;
        [half(a, b), half(c, d)]
    }

    /// Whether this is no address: IPv6's unspecified one, which is all zero.
    #[inline(always)]
    #[must_use]
    pub const fn is_unset(self) -> bool {
        let [left, right] = self.halves();
        left | right == 0
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::MAPPED
    }

    /// The IPv4 address as the word that lies in a packet; the last word of any other address.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> u32 {
        self.0[3]
    }

    /// The address's leading bits, as many as `prefix` says of the 128-bit form (RFC 4291).
    #[inline(always)]
    #[must_use]
    pub const fn network(self, prefix: u32) -> Self {
        const fn part(word: u32, bits: u32) -> u32 {
            if bits == 0 {
                0
            } else if bits >= 32 {
                word
            } else {
                word & (u32::MAX << (32 - bits)).to_be()
            }
        }
        let [a, b, c, d] = self.0;
        Self([
            part(a, prefix),
            part(b, prefix.saturating_sub(32)),
            part(c, prefix.saturating_sub(64)),
            part(d, prefix.saturating_sub(96)),
        ])
    }

    /// The IPv4 address as a number in host order; the last word of any other address.
    #[inline(always)]
    #[must_use]
    pub const fn v4_number(self) -> u32 {
        u32::from_be(self.0[3])
    }
}

#[cfg(feature = "std")]
impl From<std::net::IpAddr> for Addr {
    fn from(address: std::net::IpAddr) -> Self {
        let octets = match address {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        zerocopy::transmute!(octets)
    }
}

#[cfg(feature = "std")]
impl From<Addr> for std::net::IpAddr {
    fn from(addr: Addr) -> Self {
        let octets: [u8; 16] = zerocopy::transmute!(addr);
        std::net::Ipv6Addr::from(octets).to_canonical()
    }
}

/// A port in network order, as it lies in a packet.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Port(u16);

impl Port {
    /// The port with this number.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The port that lies in a packet as this word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// The first of two ports that lie in a packet as this word.
    #[inline(always)]
    #[must_use]
    pub const fn first_of(ports: u32) -> Self {
        Self(u16::from_le(ports.to_le() as u16))
    }

    /// The second of two ports that lie in a packet as this word.
    #[inline(always)]
    #[must_use]
    pub const fn second_of(ports: u32) -> Self {
        Self(u16::from_le((ports.to_le() >> 16) as u16))
    }

    /// The word as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u16 {
        self.0
    }

    /// The port's number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// IP protocol numbers (IANA) that the datapath knows.
pub mod protocol {
    /// IPv4 in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Internet Control Message Protocol for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 in IP (RFC 4213).
    pub const IPV6: u8 = 41;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 47;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn both_families_round_trip() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "255.255.255.255",
            "2001:db8::1",
            "::",
            "::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(address)), address);
            assert_eq!(Addr::from(address).is_v4(), address.is_ipv4());
        }
    }

    #[test]
    fn an_ipv4_word_is_the_mapped_address() {
        let addr = Addr::from_v4_word(u32::from_ne_bytes([10, 0, 0, 1]));
        assert_eq!(addr, "10.0.0.1".parse::<IpAddr>().unwrap().into());
        assert_eq!(addr.v4_number(), 0x0a00_0001);
    }

    #[test]
    fn ports_lie_in_network_order() {
        assert_eq!(Port::new(80).as_bytes(), [0, 80]);
        assert_eq!(
            Port::from_word(u16::from_ne_bytes([0x1f, 0x90])).number(),
            8080
        );
    }
}
