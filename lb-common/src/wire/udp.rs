//! UDP (RFC 768).

use super::view;

view!(
    /// A UDP header.
    Udp, 8
);

impl Udp<'_> {
    /// Source and destination port as one word.
    #[inline(always)]
    #[must_use]
    pub fn ports_word(&self) -> u32 {
        u32::from_ne_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// The datagram's length in bytes, header included.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }
}
