//! Address translation (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_nat_xmit`;
//! ip_vs_core.c: `handle_response`).

use super::super::{Packet, Tables, Way, kind};
use super::{port_of, route};
use crate::addr::{Addr, Port, protocol};
use crate::flow::Word;
use crate::reason::Reason;
use crate::wire::{Frame, Ipv4, Ipv6, Sctp, checksum, crc32c};

/// Gives a client's packet the server's address and port.
#[inline(always)]
pub(super) fn to_server<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    way: &Way,
    word: Word,
) -> Result<(), Reason> {
    // What counts of the word, before it takes more of the kernel's small stack.
    let (keeps, below) = (word.has(Word::KEEPS_PORT), word.ports_below());
    let (address, port) = tables
        .server_end(word.server())
        .ok_or(Reason::Inconsistent)?;
    let port = port_of(&packet.tuple, keeps, below, port);
    translate(frame, tables, packet, End::Destination, address, port)?;
    route::route(frame, packet, way)
}

/// Gives a server's packet the virtual address and port.
#[inline(always)]
pub(super) fn to_client<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    translate(frame, tables, packet, End::Source, address, port)
}

/// Which end of a packet is translated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sets one end of a packet and mends the checksums. A later fragment has no ports, and what
/// changes of its packet's checksum was mended in the first one. An ICMP error has none either:
/// what it quotes is translated by itself.
///
/// deviates: the first fragment of an SCTP packet cannot have its port changed, because the checksum
/// depends on the length of the whole packet, which it does not tell. ipvs puts packets together.
#[inline(always)]
fn translate<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    end: End,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    let (old, old_port) = match end {
        End::Source => (packet.tuple.client, packet.tuple.client_port()),
        End::Destination => (packet.tuple.address, packet.tuple.port()),
    };
    if old.is_v4() != address.is_v4() {
        return Err(Reason::Inconsistent);
    }
    let is_sctp = packet.tuple.protocol == protocol::SCTP;
    if is_sctp && packet.kind == kind::FIRST && port != old_port {
        return Err(Reason::Fragment);
    }
    let change = network(frame, packet, end, old, address)?;
    if packet.kind >= kind::LATER {
        return Ok(());
    }
    let at = packet.transport()
        + match end {
            End::Source => 0,
            End::Destination => 2,
        };
    let field = frame.window::<2>(at).ok_or(Reason::Malformed)?;
    *field = port.word().to_ne_bytes();
    if is_sctp {
        return sctp(frame, tables, packet, at, old_port, port);
    }
    let change = change + checksum::change_of_word(old_port.word(), port.word());
    transport(frame, packet, change)
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

/// Mends the checksum of TCP or UDP. A datagram without one has none afterwards, over IPv6 as well:
/// so it is in ipvs, and a translator need not know whether the receiver allows it (RFC 6936,
/// section 3.6).
#[inline(always)]
fn transport<F: Frame>(frame: &mut F, packet: &Packet, change: u32) -> Result<(), Reason> {
    let is_udp = packet.tuple.protocol == protocol::UDP;
    let at = packet.transport() + if is_udp { 6 } else { 16 };
    let field = frame.window::<2>(at).ok_or(Reason::Malformed)?;
    let before = u16::from_ne_bytes(*field);
    if is_udp && before == 0 {
        return Ok(());
    }
    let after = checksum::mend(before, change);
    // For UDP a field of zero means that there is no checksum (RFC 768).
    let after = if is_udp && after == 0 { 0xffff } else { after };
    *field = after.to_ne_bytes();
    Ok(())
}

/// Mends the checksum of SCTP, which covers no addresses, for a port that lies at `at`.
#[inline(always)]
fn sctp<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    at: usize,
    old: Port,
    new: Port,
) -> Result<(), Reason> {
    if old == new {
        return Ok(());
    }
    let end = packet.network() + usize::from(packet.bytes);
    let change = crc32c::change_of_word(tables, old.word(), new.word(), (end - at) as u16);
    let mut sctp = Sctp::at(frame, packet.transport()).ok_or(Reason::Malformed)?;
    let register = sctp.checksum() ^ change;
    sctp.set_checksum(register);
    Ok(())
}
