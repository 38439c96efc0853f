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

    /// The traffic class: six bits of DSCP, two of ECN.
    #[inline(always)]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (u16::from_be_bytes(self.bytes::<0, 2>()) >> 4) as u8
    }

    /// Sets the low two bits of the traffic class, the ECN field (RFC 3168), to those of `ecn`.
    #[inline(always)]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.0[1] = self.0[1] & 0xcf | (ecn & 0b11) << 4;
    }

    /// The flow label: 20 bits.
    #[inline(always)]
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes(self.bytes::<0, 4>()) & 0x000f_ffff
    }

    /// Sets the version to 6, the traffic class and the low 20 bits of the flow label.
    #[inline(always)]
    pub fn set_traffic_class_and_flow_label(&mut self, traffic_class: u8, flow_label: u32) {
        let word = 6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0x000f_ffff;
        self.0[0..4].copy_from_slice(&word.to_be_bytes());
    }

    /// The length in bytes of what follows this header, extension headers included.
    #[inline(always)]
    #[must_use]
    pub fn payload_length(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<4, 2>())
    }

    /// Sets the payload length, in bytes.
    #[inline(always)]
    pub fn set_payload_length(&mut self, bytes: u16) {
        self.0[4..6].copy_from_slice(&bytes.to_be_bytes());
    }

    /// The protocol number of what follows this header.
    #[inline(always)]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Sets the protocol number of what follows this header.
    #[inline(always)]
    pub fn set_next_header(&mut self, protocol: u8) {
        self.0[6] = protocol;
    }

    /// Hop limit.
    #[inline(always)]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Sets the hop limit.
    #[inline(always)]
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.0[7] = hops;
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

    /// Sets the source address.
    #[inline(always)]
    pub fn set_source(&mut self, address: Addr) {
        let bytes: [u8; 16] = zerocopy::transmute!(address);
        self.0[8..24].copy_from_slice(&bytes);
    }

    /// The destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Addr {
        zerocopy::transmute!(self.bytes::<24, 16>())
    }

    /// Sets the destination address.
    #[inline(always)]
    pub fn set_destination(&mut self, address: Addr) {
        let bytes: [u8; 16] = zerocopy::transmute!(address);
        self.0[24..40].copy_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_where_rfc_8200_has_it() {
        let from = Addr::from_words([1, 2, 3, 4].map(u32::to_be));
        let to = Addr::from_words([5, 6, 7, 8].map(u32::to_be));
        let mut bytes = [0xee; 40];
        let mut ip = Ipv6::at(bytes.as_mut_slice(), 0).unwrap();
        ip.set_traffic_class_and_flow_label(0xb9, 0xfff1_2345);
        ip.set_payload_length(0x0102);
        ip.set_next_header(41);
        ip.set_hop_limit(64);
        ip.set_source(from);
        ip.set_destination(to);
        assert_eq!((ip.version(), ip.traffic_class()), (6, 0xb9));
        assert_eq!((ip.flow_label(), ip.payload_length()), (0x12345, 0x0102));
        ip.set_ecn(0b11);
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0xbb, 0x12345));
        ip.set_ecn(0b01);
        assert_eq!((ip.next_header(), ip.hop_limit()), (41, 64));
        assert_eq!((ip.source(), ip.destination()), (from, to));
        assert_eq!(bytes[..8], [0x6b, 0x91, 0x23, 0x45, 1, 2, 41, 64]);
        assert_eq!(bytes[8..16], [0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(bytes[36..], [0, 0, 0, 8]);
    }
}
