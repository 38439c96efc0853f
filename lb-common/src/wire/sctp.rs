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
    /// The checksum as the register of [`super::crc32c`] that it is made of.
    #[inline(always)]
    #[must_use]
    pub fn checksum(&self) -> u32 {
        u32::from_le_bytes(self.bytes::<8, 4>())
    }

    /// Sets the checksum, likewise.
    #[inline(always)]
    pub fn set_checksum(&mut self, register: u32) {
        self.0[8..12].copy_from_slice(&register.to_le_bytes());
    }
}
