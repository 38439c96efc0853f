//! Direct routing: the frame goes on with new Ethernet addresses and one hop less
//! (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_dr_xmit`).

use super::{Packet, Way};
use crate::reason::Reason;
use crate::wire::{Ethernet, Frame, Ipv4};

/// Rewrites a frame for its way.
#[inline(always)]
pub(super) fn route<F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    way: &Way,
) -> Result<(), Reason> {
    if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    Ipv4::at(frame, Ethernet::LEN)
        .ok_or(Reason::Malformed)?
        .decrement_ttl();
    Ethernet::at(frame, 0)
        .ok_or(Reason::Malformed)?
        .set_addresses(way.destination, way.source);
    Ok(())
}
