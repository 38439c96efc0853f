//! IPv4 (RFC 791).

use super::{checksum, view};

view!(
    /// An IPv4 header without its options.
    Ipv4, 20
);

impl Ipv4<'_> {
    /// The version, 4.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// The header's length in bytes, options included: 0 to 60.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Whether the version is 4, there are no options, and the packet is no fragment.
    #[inline(always)]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0[0] == 0x45 && !self.is_fragment()
    }

    /// The packet's length in bytes, header included.
    #[inline(always)]
    #[must_use]
    pub fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<2, 2>())
    }

    /// The ECN field (RFC 3168): the low two bits of what was the type of service.
    #[inline(always)]
    #[must_use]
    pub fn ecn(&self) -> u8 {
        self.0[1] & 0b11
    }

    /// Sets the ECN field to the low two bits of `ecn`, and mends the checksum.
    #[inline(always)]
    pub fn set_ecn(&mut self, ecn: u8) {
        let old = u16::from_ne_bytes(self.bytes::<0, 2>());
        self.0[1] = self.0[1] & !0b11 | ecn & 0b11;
        let new = u16::from_ne_bytes(self.bytes::<0, 2>());
        let sum = u16::from_ne_bytes(self.bytes::<10, 2>());
        let sum = checksum::add(checksum::add(sum, old), !new);
        self.0[10..12].copy_from_slice(&sum.to_ne_bytes());
    }

    /// The sum of this header's five words, options left out.
    #[inline(always)]
    #[must_use]
    pub fn words_sum(&self) -> u64 {
        u64::from(u32::from_ne_bytes(self.bytes::<0, 4>()))
            + u64::from(u32::from_ne_bytes(self.bytes::<4, 4>()))
            + u64::from(u32::from_ne_bytes(self.bytes::<8, 4>()))
            + u64::from(u32::from_ne_bytes(self.bytes::<12, 4>()))
            + u64::from(u32::from_ne_bytes(self.bytes::<16, 4>()))
    }

    /// The type of service: six bits of DSCP, two of ECN.
    #[inline(always)]
    #[must_use]
    pub fn type_of_service(&self) -> u8 {
        self.0[1]
    }

    /// Writes the whole of the header, without options, checksum included.
    ///
    /// By words: what is written by bytes has to reach memory before it can be summed.
    #[inline(always)]
    pub fn write(&mut self, header: &Header) {
        let [high, low] = header.bytes.to_be_bytes();
        let [first, second] = header.identification.to_be_bytes();
        let dont_fragment = u8::from(header.dont_fragment) << 6;
        let mut words = [
            u32::from_ne_bytes([0x45, header.type_of_service, high, low]),
            u32::from_ne_bytes([first, second, dont_fragment, 0]),
            u32::from_ne_bytes([header.ttl, header.protocol, 0, 0]),
            header.source_word,
            header.destination_word,
        ];
        let [a, b, c, d, e] = words.map(u64::from);
        let [first, second] = checksum::field(a + b + c + d + e).to_ne_bytes();
        words[2] |= u32::from_ne_bytes([0, 0, first, second]);
        for (place, word) in self.0.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Whether this is a fragment: more follow, or it does not start at 0.
    #[inline(always)]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.bytes::<6, 2>()) & 0x3fff != 0
    }

    /// Where the fragment's data belongs in the packet, in units of eight bytes.
    #[inline(always)]
    #[must_use]
    pub fn fragment_offset(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<6, 2>()) & 0x1fff
    }

    /// Whether routers must not fragment the packet.
    #[inline(always)]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.0[6] & 0x40 != 0
    }

    /// What all fragments of a packet have in common, as a word.
    #[inline(always)]
    #[must_use]
    pub fn identification_word(&self) -> u16 {
        u16::from_ne_bytes(self.bytes::<4, 2>())
    }

    /// Time to live.
    #[inline(always)]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Takes one from the time to live, which must not be 0, and mends the checksum
    /// (RFC 1141: the sum grows by 0x0100 as the field shrinks by it).
    #[inline(always)]
    pub fn decrement_ttl(&mut self) {
        self.0[8] = self.0[8].wrapping_sub(1);
        let sum = u16::from_ne_bytes(self.bytes::<10, 2>());
        let sum = checksum::add(sum, u16::from_be(0x0100));
        self.0[10..12].copy_from_slice(&sum.to_ne_bytes());
    }

    /// The protocol number of what follows.
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// The source address as a word.
    #[inline(always)]
    #[must_use]
    pub fn source_word(&self) -> u32 {
        u32::from_ne_bytes(self.bytes::<12, 4>())
    }

    /// The header checksum as a word.
    #[inline(always)]
    #[must_use]
    pub fn checksum_word(&self) -> u16 {
        u16::from_ne_bytes(self.bytes::<10, 2>())
    }

    /// Sets the header checksum.
    #[inline(always)]
    pub fn set_checksum_word(&mut self, word: u16) {
        self.0[10..12].copy_from_slice(&word.to_ne_bytes());
    }

    /// Sets the source address.
    #[inline(always)]
    pub fn set_source_word(&mut self, word: u32) {
        self.0[12..16].copy_from_slice(&word.to_ne_bytes());
    }

    /// Sets the destination address.
    #[inline(always)]
    pub fn set_destination_word(&mut self, word: u32) {
        self.0[16..20].copy_from_slice(&word.to_ne_bytes());
    }

    /// The destination address as a word.
    #[inline(always)]
    #[must_use]
    pub fn destination_word(&self) -> u32 {
        u32::from_ne_bytes(self.bytes::<16, 4>())
    }
}

/// The fields of a whole packet's header without options.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Six bits of DSCP, two of ECN.
    pub type_of_service: u8,
    /// The packet's length, header included.
    pub bytes: u16,
    /// The identification, in host order.
    pub identification: u16,
    /// Routers must not fragment the packet.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// The protocol number of what follows.
    pub protocol: u8,
    /// The source address, as it lies.
    pub source_word: u32,
    /// The destination address, as it lies.
    pub destination_word: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(bytes: &[u8]) -> u16 {
        let sum: u32 = bytes
            .chunks(2)
            .map(|b| u32::from(u16::from_be_bytes([b[0], b[1]])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn what_is_written_lies_where_rfc_791_has_it() {
        let mut bytes = [0xee; 20];
        let mut ip = Ipv4::at(bytes.as_mut_slice(), 0).unwrap();
        let header = Header {
            type_of_service: 0xb9,
            bytes: 0x0102,
            identification: 0x0304,
            dont_fragment: true,
            ttl: 5,
            protocol: 6,
            source_word: u32::from_ne_bytes([7, 8, 9, 10]),
            destination_word: u32::from_ne_bytes([11, 12, 13, 14]),
        };
        ip.write(&Header {
            dont_fragment: false,
            ..header
        });
        assert!(!ip.dont_fragment());
        ip.write(&header);
        assert_eq!(
            (ip.version(), ip.header_len(), ip.type_of_service()),
            (4, 20, 0xb9)
        );
        assert_eq!((ip.total_length(), ip.dont_fragment()), (0x0102, true));
        assert_eq!((ip.is_fragment(), ip.ttl(), ip.protocol()), (false, 5, 6));
        assert_eq!(sum(&bytes), 0);
        bytes[10..12].fill(0);
        let right = [
            0x45, 0xb9, 1, 2, 3, 4, 0x40, 0, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 13, 14,
        ];
        assert_eq!(bytes, right);
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right_as_ecn_changes(mut bytes in any::<[u8; 20]>(), ecn: u8) {
            bytes[10] = 0;
            bytes[11] = 0;
            let right = sum(&bytes);
            bytes[10..12].copy_from_slice(&right.to_be_bytes());
            let before = bytes[1];
            Ipv4::at(bytes.as_mut_slice(), 0).unwrap().set_ecn(ecn);
            prop_assert_eq!(bytes[1], before & 0xfc | ecn & 0b11);
            prop_assert_eq!(sum(&bytes), 0);
        }

        #[test]
        fn the_checksum_stays_right_as_ttl_shrinks(mut bytes in any::<[u8; 20]>()) {
            prop_assume!(bytes[8] > 0);
            bytes[10] = 0;
            bytes[11] = 0;
            let right = sum(&bytes);
            bytes[10..12].copy_from_slice(&right.to_be_bytes());
            let ttl = bytes[8];
            Ipv4::at(bytes.as_mut_slice(), 0).unwrap().decrement_ttl();
            prop_assert_eq!(bytes[8], ttl - 1);
            prop_assert_eq!(sum(&bytes), 0);
        }
    }
}
