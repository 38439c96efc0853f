//! Fragments: the later ones follow the first.
//!
//! Only the first fragment of a packet has ports. Where it went is an entry of the flow table by
//! addresses, protocol and identification ([`Role::Fragment`]), and the others go there too, each
//! by itself: nothing is put together here.
//!
//! deviates: ipvs has IPv4 packets put together before it looks at them (`ip_vs_gather_frags`), and
//! a tunnel or a server gets the whole, fragmented anew. Here the fragments stay as they are.

use super::{Packet, Tables};
use crate::addr::protocol;
use crate::flow::{Role, Tuple, Word};
use crate::layout::{Hint, punt, server_flags};
use crate::reason::Reason;
use crate::state::Class;
use crate::wire::{Frame, Ipv4};

/// What the fragments of a client's packet are found by, of which `packet` is the first, and where
/// they go: with the connection of `word`.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, packet: &Packet, word: Word) -> (Tuple, Word) {
    let deadline = tables.now().after(tables.timeout(Class::FRAGMENT));
    let word = Word::new(word.server(), Class::FRAGMENT, deadline);
    (tuple(packet), word)
}

/// The same for a masqueraded server's packet, which went back to its client. None when its flow
/// is gone meanwhile.
///
/// An entry with [`Word::REPLY`] is described by its packet's own ends: by these the later
/// fragments find the flow again.
#[inline(always)]
pub fn remember_reply<T: Tables>(tables: &T, packet: &Packet) -> Option<(Tuple, Word)> {
    let flow = packet.tuple.reversed(Role::Reply);
    let (key, now) = (flow.key(tables.flow_seed()), tables.now());
    let (_, word) = tables.find_flow(&key, &flow, now)?;
    let (tuple, word) = remember(tables, packet, word);
    Some((tuple, word.with(Word::REPLY)))
}

/// Where a later fragment goes: the word of its packet's entry. With [`Word::REPLY`] also what the
/// server's half of its flow is found by, by which it goes back to its client.
#[inline(always)]
pub fn find<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
) -> Result<(Tuple, Word), Reason> {
    let protocol = packet.tuple.protocol;
    if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Err(Reason::Fragment);
    }
    let tuple = tuple(packet);
    let (key, now) = (tuple.key(tables.flow_seed()), tables.now());
    let Some((entry, word)) = tables.find_flow(&key, &tuple, now) else {
        return Err(early(tables, packet));
    };
    let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
    let (flags, _) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    // The entry may have become another packet's since it was found, its server another service's.
    if details.client != tuple.client
        || details.address != tuple.address
        || tables.server_service(word.server()) != Some(details.service)
    {
        return Err(Reason::Fragment);
    }
    if offset(frame, packet) < header(protocol) {
        return Err(Reason::Overlap);
    }
    if !word.has(Word::REPLY) && flags & server_flags::AVAILABLE == 0 {
        return Err(Reason::ServerGone);
    }
    let flow = Tuple {
        ports: details.ports.rotate_left(16),
        ..packet.tuple.reversed(Role::Reply)
    };
    Ok((flow, word))
}

/// What becomes of a fragment whose first one was not seen: perhaps it is on its way, and the agent
/// keeps this one until then. What cannot be lb's, is the host's.
#[inline(always)]
fn early<T: Tables>(tables: &T, packet: &Packet) -> Reason {
    let Tuple {
        client, address, ..
    } = packet.tuple;
    let ours = tables.hint(Hint::Virtual, address) || tables.hint(Hint::Masqueraded, client);
    if ours && !tables.is_resent() && tables.punt(punt::Why::EarlyFragment, 0) {
        Reason::EarlyFragment
    } else {
        Reason::Fragment
    }
}

/// What all fragments of a packet are found by.
///
/// deviates: of an IPv6 packet with another extension header behind the fragment header, only the
/// first fragment goes to the server: the later ones do not tell which protocol it is.
#[inline(always)]
#[must_use]
pub const fn tuple(packet: &Packet) -> Tuple {
    Tuple {
        ports: packet.fragment,
        role: Role::Fragment,
        ..packet.tuple
    }
}

/// Where a later fragment's data belongs in its packet, in units of eight bytes.
#[inline(always)]
fn offset<F: Frame>(frame: &mut F, packet: &Packet) -> u16 {
    if packet.tuple.client.is_v4() {
        Ipv4::at(frame, packet.network()).map_or(0, |ip| ip.fragment_offset())
    } else {
        // The fragment header is the last one before the fragment's data. The mask changes nothing
        // but what the verifier can know.
        let field = frame.window::<2>(packet.transport().wrapping_sub(6) & 0x1ff);
        field.map_or(0, |field| u16::from_be_bytes(*field) >> 3)
    }
}

/// How much of a packet the first fragment has to itself, in the same units: its transport header.
/// A later one that begins within it would overwrite what the first was judged by (RFC 1858,
/// RFC 3128).
#[inline(always)]
const fn header(protocol: u8) -> u16 {
    match protocol {
        protocol::TCP => 3,
        protocol::SCTP => 2,
        _ => 1,
    }
}
