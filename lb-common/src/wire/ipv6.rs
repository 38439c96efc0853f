//! IPv6 (RFC 8200).

use super::view;
use crate::addr::Addr;

view!(
    /// An IPv6 header without extension headers.
    Ipv6, 40
);

impl Ipv6<'_> {
    /// The version, 6.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// The traffic class: DSCP and ECN.
    #[inline(always)]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (u16::from_be_bytes(self.bytes::<0, 2>()) >> 4) as u8
    }

    /// The length in bytes of what follows the header, extension headers included.
    #[inline(always)]
    #[must_use]
    pub fn payload_length(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<4, 2>())
    }

    /// The protocol number, or extension header, of what follows.
    #[inline(always)]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// The hop limit.
    #[inline(always)]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Takes one from the hop limit, which must not be 0.
    #[inline(always)]
    pub fn decrement_hop_limit(&mut self) {
        self.0[7] = self.0[7].wrapping_sub(1);
    }

    /// The source address.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Addr {
        zerocopy::transmute!(self.bytes::<8, 16>())
    }

    /// The destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Addr {
        zerocopy::transmute!(self.bytes::<24, 16>())
    }

    /// Sets the source address.
    #[inline(always)]
    pub fn set_source(&mut self, address: Addr) {
        let bytes: [u8; 16] = zerocopy::transmute!(address);
        self.0[8..24].copy_from_slice(&bytes);
    }

    /// Sets the destination address.
    #[inline(always)]
    pub fn set_destination(&mut self, address: Addr) {
        let bytes: [u8; 16] = zerocopy::transmute!(address);
        self.0[24..40].copy_from_slice(&bytes);
    }
}
