//! Direct routing: the frame goes on with new Ethernet addresses and one hop less
//! (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_dr_xmit`).

use super::super::{Packet, Way};
use crate::reason::Reason;
use crate::wire::{Ethernet, Frame, Ipv4, Ipv6, MacAddr};

/// Rewrites a frame for its way.
#[inline(always)]
pub(super) fn route<F: Frame>(frame: &mut F, packet: &Packet, way: &Way) -> Result<(), Reason> {
    hop(frame, packet)?;
    address(frame, way.destination, way.source)
}

/// Takes one from the TTL, or hop limit, which must not be 0.
#[inline(always)]
pub(super) fn hop<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), Reason> {
    hop_at(frame, packet.network(), packet.tuple.client.is_v4())
}

/// The same of the header at `network`.
#[inline(always)]
pub(super) fn hop_at<F: Frame>(frame: &mut F, network: usize, is_v4: bool) -> Result<(), Reason> {
    if is_v4 {
        Ipv4::at(frame, network)
            .ok_or(Reason::Malformed)?
            .decrement_ttl();
    } else {
        Ipv6::at(frame, network)
            .ok_or(Reason::Malformed)?
            .decrement_hop_limit();
    }
    Ok(())
}

/// Sets the Ethernet addresses.
#[inline(always)]
pub(super) fn address<F: Frame>(
    frame: &mut F,
    destination: MacAddr,
    source: MacAddr,
) -> Result<(), Reason> {
    Ethernet::at(frame, 0)
        .ok_or(Reason::Malformed)?
        .set_addresses(destination, source);
    Ok(())
}
