//! Ethernet II (IEEE 802.3 clause 3).

use super::view;

view!(
    /// An Ethernet header.
    Ethernet, 14
);

/// Values of [`Ethernet::ethertype`].
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// A VLAN tag (IEEE 802.1Q: C-TAG).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A provider's VLAN tag, the outer one of two (IEEE 802.1Q: S-TAG).
    pub const QINQ: u16 = 0x88a8;
}

/// An Ethernet address: the six bytes as they lie, in the low bytes of a word, little end first.
///
/// One word, so that two CPUs cannot see half of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacAddr(u64);

impl MacAddr {
    const MASK: u64 = 0xffff_ffff_ffff;

    /// The address in the low 48 bits of `word`.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word & Self::MASK)
    }

    /// The address in the low 48 bits of a word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The address with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// The address's bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

impl Ethernet<'_> {
    /// The type of what follows.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<12, 2>())
    }

    /// Sets the type of what follows.
    #[inline(always)]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        self.0[12..14].copy_from_slice(&ethertype.to_be_bytes());
    }

    /// The destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> MacAddr {
        MacAddr::from_word(u64::from_le_bytes(self.bytes::<0, 8>()))
    }

    /// The source address.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> MacAddr {
        MacAddr::from_word(u64::from_le_bytes(self.bytes::<4, 8>()) >> 16)
    }

    /// Sets both addresses.
    #[inline(always)]
    pub fn set_addresses(&mut self, destination: MacAddr, source: MacAddr) {
        let first = destination.word() | source.word() << 48;
        let rest = (source.word() >> 16) as u32;
        self.0[0..8].copy_from_slice(&first.to_le_bytes());
        self.0[8..12].copy_from_slice(&rest.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_and_read() {
        let mut bytes = [0u8; 14];
        let (to, from) = ([2, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]);
        let mut ethernet = Ethernet::at(bytes.as_mut_slice(), 0).unwrap();
        ethernet.set_addresses(MacAddr::new(to), MacAddr::new(from));
        ethernet.set_ethertype(ethertype::IPV4);
        assert_eq!(ethernet.destination().bytes(), to);
        assert_eq!(ethernet.source().bytes(), from);
        assert_eq!(ethernet.ethertype(), ethertype::IPV4);
        assert_eq!(bytes, [2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x08, 0]);
    }

    #[test]
    fn a_cut_header_has_no_view() {
        assert!(Ethernet::at([0u8; 13].as_mut_slice(), 0).is_none());
        assert!(Ethernet::at([0u8; 20].as_mut_slice(), usize::MAX).is_none());
    }
}
