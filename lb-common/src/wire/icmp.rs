//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::view;

view!(
    /// An ICMP header of either family: type, code, checksum and four bytes more.
    Icmp, 8
);

/// Whether a type is an error that quotes a packet, and that ipvs looks at
/// (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_in_icmp`).
#[inline(always)]
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED)
}

/// Whether an ICMPv6 type is an error (RFC 4443, section 2.1).
#[inline(always)]
#[must_use]
pub const fn is_error_v6(kind: u8) -> bool {
    kind < 128
}

/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Source quench.
pub const SOURCE_QUENCH: u8 = 4;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;

/// The code of [`UNREACHABLE`]: port unreachable.
pub const PORT_UNREACHABLE: u8 = 3;
/// The code of [`UNREACHABLE`]: fragmentation needed and DF set.
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// ICMPv6: destination unreachable.
pub const UNREACHABLE_V6: u8 = 1;
/// ICMPv6: packet too big.
pub const TOO_BIG_V6: u8 = 2;
/// ICMPv6: time exceeded.
pub const TIME_EXCEEDED_V6: u8 = 3;
/// The code of [`UNREACHABLE_V6`]: port unreachable.
pub const PORT_UNREACHABLE_V6: u8 = 4;

impl Icmp<'_> {
    /// The type.
    #[inline(always)]
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.0[0]
    }

    /// The code.
    #[inline(always)]
    #[must_use]
    pub fn code(&self) -> u8 {
        self.0[1]
    }

    /// The checksum as a word.
    #[inline(always)]
    #[must_use]
    pub fn checksum_word(&self) -> u16 {
        u16::from_ne_bytes(self.bytes::<2, 2>())
    }

    /// Sets the checksum.
    #[inline(always)]
    pub fn set_checksum_word(&mut self, word: u16) {
        self.0[2..4].copy_from_slice(&word.to_ne_bytes());
    }
    /// Sets type and code, and clears the checksum.
    #[inline(always)]
    pub fn set_kind_and_code(&mut self, kind: u8, code: u8) {
        self.0[0] = kind;
        self.0[1] = code;
        self.set_checksum_word(0);
    }

    /// Sets the four bytes behind the checksum, in host order: of fragmentation needed (RFC 1191,
    /// section 4) and of packet too big the MTU, of other errors 0.
    #[inline(always)]
    pub fn set_rest(&mut self, rest: u32) {
        self.0[4..8].copy_from_slice(&rest.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_rfc_792_has_it() {
        let mut bytes = [0xee; 8];
        let mut icmp = Icmp::at(bytes.as_mut_slice(), 0).unwrap();
        icmp.set_kind_and_code(UNREACHABLE, FRAGMENTATION_NEEDED);
        icmp.set_rest(1480);
        assert_eq!((icmp.kind(), icmp.code(), icmp.checksum_word()), (3, 4, 0));
        assert_eq!(bytes, [3, 4, 0, 0, 0, 0, 5, 200]);
    }
}
