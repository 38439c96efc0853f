//! The parser of the comparison programs.

use crate::packet::Head;
use aya_ebpf::programs::XdpContext;

/// Ethernet, IPv4 without options and the first 20 bytes behind it.
pub(crate) type Plain = Head<54>;

/// A flow's five-tuple as it stands in the packet, network order in memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    /// Source address.
    pub(crate) source: u32,
    /// Destination address.
    pub(crate) destination: u32,
    /// Source port, destination port.
    pub(crate) ports: u32,
    /// IP protocol number.
    pub(crate) protocol: u32,
}

impl Tuple {
    /// The five-tuple of an unfragmented TCP or UDP packet without IPv4 options.
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Option<(Self, Plain)> {
        let packet = Plain::of(ctx)?;
        let protocol = packet.load::<23, u8>();
        let fragment = packet.load::<20, u16>() & 0x3fff_u16.to_be();
        if packet.load::<12, u16>() != 0x0800_u16.to_be()
            || packet.load::<14, u8>() != 0x45
            || fragment != 0
            || (protocol != 6 && protocol != 17)
        {
            return None;
        }
        let tuple = Self {
            source: packet.load::<26, _>(),
            destination: packet.load::<30, _>(),
            ports: packet.load::<34, _>(),
            protocol: u32::from(protocol),
        };
        Some((tuple, packet))
    }
}
