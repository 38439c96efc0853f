//! The inner packet.

use super::Refusal;
use super::tunnel::Shim;
use crate::addr::Addr;
use crate::wire::{Frame, Ipv4, Ipv6, ethertype};

/// What the inner header says.
///
/// Without a type that has values to spare, as in [`Outer`](super::outer::Outer) and [`Shim`]: a
/// refusal would be kept in the bytes of a field then, and the compiler takes fields apart for it.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    pub(super) destination: Addr,
    /// The ECN field.
    pub(super) ecn: u8,
    /// Where it ends by its own lengths, from the frame's first byte; beyond every frame when they
    /// contradict each other.
    pub(super) end: usize,
}

impl Inner {
    /// Reads the inner header.
    #[inline(always)]
    pub(super) fn parse<F: Frame + ?Sized>(frame: &mut F, shim: &Shim) -> Result<Self, Refusal> {
        if shim.ethertype == ethertype::IPV4 {
            let ip = Ipv4::at(frame, shim.inner).ok_or(Refusal::Malformed)?;
            let (header_len, bytes) = (ip.header_len(), usize::from(ip.total_length()));
            Ok(Self {
                destination: Addr::from_v4_word(ip.destination_word()),
                ecn: ip.ecn(),
                end: if ip.version() == 4 && header_len >= Ipv4::LEN && header_len <= bytes {
                    shim.inner + bytes
                } else {
                    usize::MAX
                },
            })
        } else {
            let ip = Ipv6::at(frame, shim.inner).ok_or(Refusal::Malformed)?;
            let destination = ip.destination();
            if destination.is_v4() {
                // Such an address never stands in a packet (RFC 4291, section 2.5.5.2); here it
                // would read as the virtual IPv4 address.
                return Err(Refusal::NotVirtual);
            }
            Ok(Self {
                destination,
                ecn: ip.traffic_class() & 0b11,
                end: if ip.version() == 6 {
                    shim.inner + Ipv6::LEN + usize::from(ip.payload_length())
                } else {
                    usize::MAX
                },
            })
        }
    }
}

/// Sets the ECN field of the header at `offset`.
#[inline(always)]
pub(super) fn set_ecn<F: Frame + ?Sized>(frame: &mut F, offset: usize, kind: u16, ecn: u8) {
    // The header was read before, so it is there.
    if kind == ethertype::IPV4 {
        if let Some(mut ip) = Ipv4::at(frame, offset) {
            ip.set_ecn(ecn);
        }
    } else if let Some(mut ip) = Ipv6::at(frame, offset) {
        ip.set_ecn(ecn);
    }
}
