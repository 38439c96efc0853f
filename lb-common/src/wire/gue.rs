//! Generic UDP encapsulation (draft-ietf-intarea-gue-09).

use super::view;

view!(
    /// A GUE header of version 0, without its extension fields. In version 1 there is no header:
    /// its place is the inner packet's, whose own version reads as variant 1 here.
    Gue, 4
);

impl Gue<'_> {
    /// The bit that tells a control message from a packet.
    const CONTROL: u8 = 0x20;

    /// The variant, the two highest bits: 0 for a header, 1 for an IP packet in its place.
    #[inline(always)]
    #[must_use]
    pub fn variant(&self) -> u8 {
        self.0[0] >> 6
    }

    /// The four highest bits: in variant 1 the inner packet's version.
    #[inline(always)]
    #[must_use]
    pub fn first_nibble(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Whether this is a control message.
    #[inline(always)]
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.0[0] & Self::CONTROL != 0
    }

    /// The length of the extension fields in bytes: 0 to 124. What follows them is the payload.
    #[inline(always)]
    #[must_use]
    pub fn extensions_len(&self) -> usize {
        usize::from(self.0[0] & 0x1f) * 4
    }

    /// Sets variant 0, no control message, and the length of the extension fields in bytes, a
    /// multiple of 4 that is at most 124.
    #[inline(always)]
    pub fn set_extensions_len(&mut self, bytes: u8) {
        self.0[0] = (bytes / 4) & 0x1f;
    }

    /// The protocol number of the payload, of a control message its type.
    #[inline(always)]
    #[must_use]
    pub fn proto_ctype(&self) -> u8 {
        self.0[1]
    }

    /// Sets the protocol number of the payload.
    #[inline(always)]
    pub fn set_proto_ctype(&mut self, protocol: u8) {
        self.0[1] = protocol;
    }

    /// The flags, each of which stands for an extension field.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<2, 2>())
    }

    /// Sets the flags.
    #[inline(always)]
    pub fn set_flags(&mut self, flags: u16) {
        self.0[2..4].copy_from_slice(&flags.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_the_draft_has_it() {
        let mut bytes = [0xee; 4];
        let mut gue = Gue::at(bytes.as_mut_slice(), 0).unwrap();
        gue.set_extensions_len(8);
        gue.set_proto_ctype(41);
        gue.set_flags(0x0100);
        assert_eq!((gue.variant(), gue.is_control()), (0, false));
        assert_eq!((gue.extensions_len(), gue.proto_ctype()), (8, 41));
        assert_eq!(gue.flags(), 0x0100);
        assert_eq!(bytes, [2, 41, 1, 0]);
    }

    #[test]
    fn an_ip_packet_reads_as_variant_1() {
        for first in [0x45, 0x4f, 0x60, 0x6f] {
            let mut bytes = [first, 0, 0, 0];
            assert_eq!(Gue::at(bytes.as_mut_slice(), 0).unwrap().variant(), 1);
        }
        assert!(
            Gue::at([0x20, 0, 0, 0].as_mut_slice(), 0)
                .unwrap()
                .is_control()
        );
    }
}
