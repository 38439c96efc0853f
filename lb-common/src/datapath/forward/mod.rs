//! Forwarding methods: a packet on its way to its server, or back to its client
//! (net/netfilter/ipvs/ip_vs_xmit.c).

mod masquerade;
mod route;
mod tunnel;

pub(super) use tunnel::move_link;
pub use tunnel::{Inner, encapsulate};

use super::{Packet, Stages, Tables, Verdict, Way, reply};
use crate::addr::{Addr, Port};
use crate::flow::{Tuple, Word};
use crate::layout::server_flags;
use crate::reason::Reason;
use crate::wire::{Frame, MacAddr};

/// What [`forward`] does with packets for tunnels.
pub(super) mod tunnels {
    /// There are none.
    pub(in super::super) const NONE: u8 = 0;
    /// They are a stage.
    pub(in super::super) const STAGE: u8 = 1;
    /// Nearly all are done in place.
    pub(in super::super) const HERE: u8 = 2;
}

/// Rewrites a frame for its server, counts it, and says where it leaves; `TUNNELS` is one of
/// [`tunnels`].
///
/// deviates: the method is the one that the server has now. In ipvs a connection keeps the one that the
/// server had when it began (`ip_vs_bind_xmit`).
#[inline(always)]
pub(super) fn forward<F: Frame, T: Stages, const TUNNELS: u8>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    word: Word,
    flags: u32,
    way: [u64; 3],
) -> Result<Verdict, Reason> {
    let server = word.server();
    let method = flags & server_flags::METHOD;
    if method == server_flags::LOCAL {
        tables.count_packet(server, packet.bytes.into(), false);
        return Ok(Verdict::Pass);
    }
    let way = Way::decode(way).ok_or(Reason::Unresolved)?;
    if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    match method {
        server_flags::ROUTE => {
            fits(tables, packet, way.mtu)?;
            route::route(frame, packet, &way)?;
        }
        server_flags::MASQUERADE => {
            fits(tables, packet, way.mtu)?;
            masquerade::to_server(frame, tables, packet, &way, word)?;
        }
        _ => match TUNNELS {
            tunnels::NONE => return Err(Reason::Inconsistent),
            tunnels::STAGE => tunnel::stage(frame, tables, packet, &way, server, flags)?,
            _ => tunnel::here(frame, tables, packet, &way, server, flags)?,
        },
    }
    tables.count_packet(server, packet.bytes.into(), false);
    Ok(leave(tables, way.ifindex))
}

/// Rewrites a masqueraded server's frame for its client, counts it, and says where it leaves:
/// `address` and `port` are the virtual ones, `back` is [`crate::layout::FlowDetails::back`].
#[inline(always)]
pub(super) fn to_client<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    server: u32,
    address: Addr,
    port: Port,
    back: u32,
) -> Result<Verdict, Reason> {
    let way = match back.checked_sub(1) {
        Some(index) => tables.back_way(index),
        None => 0,
    };
    let (destination, place) = reply::decode(way);
    let Some((ifindex, mac_and_mtu)) = tables.egress(place.wrapping_sub(1)) else {
        // Routing takes one from the TTL itself.
        masquerade::to_client(frame, tables, packet, address, port)?;
        tables.count_packet(server, packet.bytes.into(), true);
        tables.count_event(Reason::RoutedByHost);
        return Ok(Verdict::Pass);
    };
    if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let mtu = (mac_and_mtu >> 48) as u16;
    if mtu != 0 {
        fits(tables, packet, mtu)?;
    }
    masquerade::to_client(frame, tables, packet, address, port)?;
    tables.count_packet(server, packet.bytes.into(), true);
    route::hop(frame, packet)?;
    route::address(frame, destination, MacAddr::from_word(mac_and_mtu))?;
    Ok(leave(tables, ifindex))
}

/// Whether a packet is no longer than a way allows.
///
/// deviates: a packet that is, and may be fragmented, is refused as well, and its sender told the
/// MTU. An XDP program cannot send two frames for one.
#[inline(always)]
fn fits<T: Tables>(tables: &T, packet: &Packet, mtu: u16) -> Result<(), Reason> {
    if packet.bytes <= mtu {
        return Ok(());
    }
    tables.set_mtu(mtu);
    Err(Reason::TooBig)
}

#[inline(always)]
fn leave<T: Tables>(tables: &T, ifindex: u32) -> Verdict {
    if ifindex == tables.ingress() {
        Verdict::Transmit
    } else {
        Verdict::Redirect(ifindex)
    }
}

/// The server's port of a flow: its own or the one below, unless it has none or the flow keeps the
/// virtual one.
#[inline(always)]
#[must_use]
pub fn server_port(tuple: &Tuple, word: Word, port: u16) -> Port {
    port_of(tuple, word.has(Word::KEEPS_PORT), word.ports_below(), port)
}

/// The same, of what counts of the word.
#[inline(always)]
const fn port_of(tuple: &Tuple, keeps: bool, below: u16, port: u16) -> Port {
    if port == 0 || keeps {
        tuple.port()
    } else {
        Port::new(port.wrapping_sub(below))
    }
}
