//! TCP (RFC 9293).

use super::view;

view!(
    /// A TCP header without its options.
    Tcp, 20
);

/// Bits of [`Tcp::flags`].
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

impl Tcp<'_> {
    /// Source and destination port as one word.
    #[inline(always)]
    #[must_use]
    pub fn ports_word(&self) -> u32 {
        u32::from_ne_bytes(self.bytes::<0, 4>())
    }

    /// The header's length in bytes, options included.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.0[12] >> 4) * 4
    }

    /// The control bits.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.0[13]
    }
    /// The sequence number.
    #[inline(always)]
    #[must_use]
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes(self.bytes::<4, 4>())
    }

    /// The acknowledgement number.
    #[inline(always)]
    #[must_use]
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be_bytes(self.bytes::<8, 4>())
    }

    /// Makes this a reset from the second port of `ports` to the first, without options, window or
    /// checksum.
    #[inline(always)]
    pub fn reset(&mut self, ports: u32, sequence: u32, acknowledgement: u32, flags: u8) {
        self.0[0..4].copy_from_slice(&ports.rotate_left(16).to_ne_bytes());
        self.0[4..8].copy_from_slice(&sequence.to_be_bytes());
        self.0[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        self.0[12] = 5 << 4;
        self.0[13] = flags;
        self.0[14..20].fill(0);
    }

    /// Sets the checksum, given as a word.
    #[inline(always)]
    pub fn set_checksum_word(&mut self, word: u16) {
        self.0[16..18].copy_from_slice(&word.to_ne_bytes());
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_lies_where_rfc_9293_has_it() {
        let mut bytes = [0xee; 20];
        let ports = u32::from_ne_bytes([1, 2, 3, 4]);
        let mut tcp = Tcp::at(bytes.as_mut_slice(), 0).unwrap();
        tcp.reset(ports, 0x0506_0708, 0x090a_0b0c, flags::RST | flags::ACK);
        assert_eq!(
            (tcp.sequence(), tcp.acknowledgement()),
            (0x0506_0708, 0x090a_0b0c)
        );
        assert_eq!((tcp.header_len(), tcp.flags()), (20, 0x14));
        tcp.set_checksum_word(u16::from_ne_bytes([13, 14]));
        let right = [
            3, 4, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 0x50, 0x14, 0, 0, 13, 14, 0, 0,
        ];
        assert_eq!(bytes, right);
    }
}
