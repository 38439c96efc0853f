//! Generic routing encapsulation (RFC 2784, RFC 2890).

use super::view;

view!(
    /// The part of a GRE header that every packet has.
    Gre, 4
);

view!(
    /// What follows it when [`gre_flags::CHECKSUM`] is set: Checksum and Reserved1.
    GreChecksum, 4
);

/// Bits of [`Gre::flags`].
pub mod gre_flags {
    /// Checksum present.
    pub const CHECKSUM: u16 = 0x8000;
    /// Key present.
    pub const KEY: u16 = 0x2000;
    /// Sequence number present.
    pub const SEQUENCE: u16 = 0x1000;
    /// Bits of which a receiver that does not know them must discard the packet: routing, key,
    /// sequence number and two more that RFC 2784 reserves, and the version's three.
    pub const MUST_BE_ZERO: u16 = 0x7c07;
}

impl Gre<'_> {
    /// The first 16 bits: [`gre_flags`], reserved bits, version.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<0, 2>())
    }

    /// Sets the first 16 bits.
    #[inline(always)]
    pub fn set_flags(&mut self, flags: u16) {
        self.0[0..2].copy_from_slice(&flags.to_be_bytes());
    }

    /// The type of what follows, a number of [`super::ethertype`].
    #[inline(always)]
    #[must_use]
    pub fn protocol_type(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<2, 2>())
    }

    /// Sets the type of what follows.
    #[inline(always)]
    pub fn set_protocol_type(&mut self, ethertype: u16) {
        self.0[2..4].copy_from_slice(&ethertype.to_be_bytes());
    }
}

impl GreChecksum<'_> {
    /// The checksum of GRE header and payload, as a word.
    #[inline(always)]
    #[must_use]
    pub fn checksum_word(&self) -> u16 {
        u16::from_ne_bytes(self.bytes::<0, 2>())
    }

    /// Sets the checksum, given as a word, and Reserved1 to 0.
    #[inline(always)]
    pub fn set_checksum_word(&mut self, word: u16) {
        self.0[0..2].copy_from_slice(&word.to_ne_bytes());
        self.0[2..4].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_rfc_2784_has_it() {
        let mut bytes = [0xee; 8];
        let mut gre = Gre::at(bytes.as_mut_slice(), 0).unwrap();
        gre.set_flags(gre_flags::CHECKSUM);
        gre.set_protocol_type(0x86dd);
        assert_eq!((gre.flags(), gre.protocol_type()), (0x8000, 0x86dd));
        let word = u16::from_ne_bytes([0x12, 0x34]);
        let mut checksum = GreChecksum::at(bytes.as_mut_slice(), Gre::LEN).unwrap();
        checksum.set_checksum_word(word);
        assert_eq!(checksum.checksum_word(), word);
        assert_eq!(bytes, [0x80, 0, 0x86, 0xdd, 0x12, 0x34, 0, 0]);
    }
}
