//! VLAN tags (IEEE 802.1Q clause 9).

use super::view;

view!(
    /// What follows an Ethernet header, or another tag, whose type is [`super::ethertype::VLAN`]
    /// or [`super::ethertype::QINQ`].
    Vlan, 4
);

impl Vlan<'_> {
    /// Tag control information: priority, drop eligibility, VLAN identifier.
    #[inline(always)]
    #[must_use]
    pub fn tci(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<0, 2>())
    }

    /// Sets the tag control information.
    #[inline(always)]
    pub fn set_tci(&mut self, tci: u16) {
        self.0[0..2].copy_from_slice(&tci.to_be_bytes());
    }

    /// The type of what follows.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<2, 2>())
    }

    /// Sets the type of what follows.
    #[inline(always)]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        self.0[2..4].copy_from_slice(&ethertype.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_802_1q_has_it() {
        let mut bytes = [0xee; 4];
        let mut tag = Vlan::at(bytes.as_mut_slice(), 0).unwrap();
        tag.set_tci(0x6064);
        tag.set_ethertype(0x0800);
        assert_eq!((tag.tci(), tag.ethertype()), (0x6064, 0x0800));
        assert_eq!(bytes, [0x60, 0x64, 0x08, 0x00]);
    }
}
