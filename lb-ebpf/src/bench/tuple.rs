//! The parser of the comparison programs.

use crate::packet::Head;
use aya_ebpf::programs::XdpContext;

/// Ethernet, IPv4 without options and the first 20 bytes behind it.
pub(crate) type Plain = Head<54>;

/// A flow's five-tuple as it stands in the packet, in words that are stored whole: a word across
/// two of them on the stack is refused by the verifier.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    /// Source address, destination address.
    addresses: u64,
    /// Source port, destination port, and above them the IP protocol number.
    ports_protocol: u64,
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
            addresses: packet.load::<26, _>(),
            ports_protocol: u64::from(packet.load::<34, u32>()) | u64::from(protocol) << 32,
        };
        Some((tuple, packet))
    }

    /// The source address.
    #[inline(always)]
    pub(crate) fn source(self) -> u32 {
        self.addresses as u32
    }

    /// Source port, destination port.
    #[inline(always)]
    pub(crate) fn ports(self) -> u32 {
        self.ports_protocol as u32
    }
}
