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
    /// Sets ports and length, the latter in bytes with this header, and no checksum.
    #[inline(always)]
    pub fn set(&mut self, source: Port, destination: Port, length: u16) {
        self.0[0..2].copy_from_slice(&source.word().to_ne_bytes());
        self.0[2..4].copy_from_slice(&destination.word().to_ne_bytes());
        self.0[4..6].copy_from_slice(&length.to_be_bytes());
        self.0[6..8].fill(0);
    }

    /// Sets the checksum, given as a word; 0 for none.
    #[inline(always)]
    pub fn set_checksum_word(&mut self, word: u16) {
        self.0[6..8].copy_from_slice(&word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_rfc_768_has_it() {
        let mut bytes = [0xee; 8];
        let mut udp = Udp::at(bytes.as_mut_slice(), 0).unwrap();
        udp.set(Port::new(0x0102), Port::new(0x0304), 0x0506);
        assert_eq!(
            (udp.destination(), udp.length()),
            (Port::new(0x0304), 0x0506)
        );
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 0, 0]);
        let mut udp = Udp::at(bytes.as_mut_slice(), 0).unwrap();
        udp.set_checksum_word(u16::from_ne_bytes([7, 8]));
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
