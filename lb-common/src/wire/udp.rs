//! UDP (RFC 768).

use super::view;
use crate::addr::Port;

view!(
    /// A UDP header.
    Udp, 8
);

impl Udp<'_> {
    /// Source and destination port as one word.
    #[inline(always)]
    #[must_use]
    pub fn ports_word(&self) -> u32 {
        u32::from_ne_bytes(self.bytes::<0, 4>())
    }

    /// The destination port.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Port {
        Port::from_word(u16::from_ne_bytes(self.bytes::<2, 2>()))
    }

    /// The datagram's length in bytes, header included.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<4, 2>())
    }
}
