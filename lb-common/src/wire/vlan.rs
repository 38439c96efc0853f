//! VLAN tags (IEEE 802.1Q).

use super::view;

view!(
    /// A tag, without the Ethernet type before it that says so.
    Vlan, 4
);

impl Vlan<'_> {
    /// The type of what follows.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<2, 2>())
    }
}
