//! Address translation (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_nat_xmit`;
//! ip_vs_core.c: `handle_response`).

use super::super::{Packet, Tables, Way};
use super::{route, server_port};
use crate::addr::{Addr, Port, protocol};
use crate::flow::Word;
use crate::reason::Reason;
use crate::wire::{Frame, Ipv4, Ipv6, checksum};

/// Gives a client's packet the server's address and port.
#[inline(always)]
pub(super) fn to_server<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    way: &Way,
    word: Word,
) -> Result<(), Reason> {
    let (address, port) = tables
        .server_end(word.server())
        .ok_or(Reason::Inconsistent)?;
    if packet.bytes > way.mtu {
        return Err(Reason::TooBig);
    }
    let port = server_port(&packet.tuple, word, port);
    translate(frame, packet, End::Destination, address, port)?;
    route::route(frame, packet, way)
}

/// Gives a server's packet the virtual address and port.
#[inline(always)]
pub(super) fn to_client<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    translate(frame, packet, End::Source, address, port)
}

/// Which end of a packet is translated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sets one end of a packet and mends the checksums. A later fragment has no ports, and what
/// changes of its packet's checksum was mended in the first one.
#[inline(always)]
fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    end: End,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    let old = match end {
        End::Source => packet.tuple.client,
        End::Destination => packet.tuple.address,
    };
    if old.is_v4() != address.is_v4() {
        return Err(Reason::Inconsistent);
    }
    let change = network(frame, packet, end, old, address)?;
    if packet.kind == super::super::kind::LATER {
        return Ok(());
    }
    transport(frame, packet, end, port, change)
}

/// Sets an address; returns what to add to the checksums that cover it.
#[inline(always)]
fn network<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    end: End,
    old: Addr,
    new: Addr,
) -> Result<u32, Reason> {
    let at = packet.network();
    let change = checksum::change(old.words(), new.words());
    if new.is_v4() {
        let mut ip = Ipv4::at(frame, at).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source_word(new.v4_word()),
            End::Destination => ip.set_destination_word(new.v4_word()),
        }
        let sum = checksum::mend(ip.checksum_word(), change);
        ip.set_checksum_word(sum);
    } else {
        let mut ip = Ipv6::at(frame, at).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source(new),
            End::Destination => ip.set_destination(new),
        }
    }
    Ok(change)
}

/// Sets a port and mends the transport checksum, by the address's `change` as well.
#[inline(always)]
fn transport<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    end: End,
    port: Port,
    change: u32,
) -> Result<(), Reason> {
    let at = packet.transport();
    let (old, offset) = match end {
        End::Source => (packet.tuple.client_port(), at),
        End::Destination => (packet.tuple.port(), at + 2),
    };
    let change = change + checksum::change_of_word(old.word(), port.word());
    let ports = frame.window::<2>(offset).ok_or(Reason::Malformed)?;
    *ports = port.word().to_ne_bytes();
    let udp = packet.tuple.protocol == protocol::UDP;
    let field = at + if udp { 6 } else { 16 };
    let field = frame.window::<2>(field).ok_or(Reason::Malformed)?;
    let before = u16::from_ne_bytes(*field);
    if udp && before == 0 {
        return Ok(());
    }
    let after = checksum::mend(before, change);
    // For UDP a field of zero means that there is no checksum (RFC 768).
    let after = if udp && after == 0 { 0xffff } else { after };
    *field = after.to_ne_bytes();
    Ok(())
}
