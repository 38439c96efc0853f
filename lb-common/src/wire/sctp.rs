//! SCTP (RFC 9260).

use super::view;

view!(
    /// An SCTP header and its first chunk's.
    Sctp, 16
);

impl Sctp<'_> {
    /// Source and destination port as one word.
    #[inline(always)]
    #[must_use]
    pub fn ports_word(&self) -> u32 {
        u32::from_ne_bytes(self.bytes::<0, 4>())
    }

    /// The type of the first chunk.
    #[inline(always)]
    #[must_use]
    pub fn first_chunk(&self) -> u8 {
        self.0[12]
    }
}
