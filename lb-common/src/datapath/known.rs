//! The way of nearly every packet: plain, of a known flow, and nothing to do but to send it on.
//!
//! In the kernel this is a program of its own, for which all that is known of a packet fits the
//! registers. Whatever it does not see to the end it leaves as it was, to [`super::rest`].

use super::{Ending, Packet, Stages, Verdict, find, follow, forward, parse, reply};
use crate::flow::Word;
use crate::layout::{Hint, features, server_flags};
use crate::reason::Reason;
use crate::state::Direction;
use crate::wire::Frame;

/// Decides on a plain packet of a known flow, or for an address of no service;
/// [`Ending::FURTHER`] for all others.
#[inline(always)]
pub fn known<F: Frame, T: Stages>(frame: &mut F, tables: &T) -> Ending {
    // The same for both families, so that the compiler makes a way of its own for each.
    if let Some(packet) = parse::plain_v4(frame) {
        return plain(frame, tables, &packet);
    }
    match parse::plain_v6(frame) {
        Some(packet) => plain(frame, tables, &packet),
        None => Ending::further(),
    }
}

#[inline(always)]
fn plain<F: Frame, T: Stages>(frame: &mut F, tables: &T, packet: &Packet) -> Ending {
    let features = tables.features();
    if !tables.hint(Hint::Virtual, packet.tuple.address) {
        return stranger(frame, tables, packet, features);
    }
    let ours = packet.destination == tables.ingress_mac();
    // Flows come before services, as in ipvs: of a known one's packet the service needs no look.
    if ours
        && features & features::HELPERS == 0
        && let Some(Ok(verdict)) = request(frame, tables, packet)
    {
        return Ending::of(Ok(verdict));
    }
    // It opens a flow, or is no known one's, or no service's, or whoever sent it may have to be told.
    // Where a flow has been looked for in vain, at least its place in the table is in the cache.
    Ending::further()
}

/// A client's packet.
#[inline(always)]
fn request<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
) -> Option<Result<Verdict, Reason>> {
    let now = tables.now();
    let key = packet.tuple.key(tables.flow_seed());
    let (entry, word) = tables.find_flow(&key, &packet.tuple, now)?;
    if packet.is_syn() {
        return None;
    }
    let (flags, way) = tables.server(word.server())?;
    if flags & server_flags::AVAILABLE == 0 {
        return None;
    }
    let masqueraded = flags & server_flags::METHOD == server_flags::MASQUERADE;
    let direction = if masqueraded {
        Direction::Input
    } else {
        Direction::InputOnly
    };
    let class = follow::next_class(direction, packet, word.class());
    let next = word.moved(class, now.after(tables.timeout(class)));
    if next != word {
        // Their other halves and templates move along.
        if masqueraded || word.has(Word::CONTROLLED) {
            return None;
        }
        let counts = tables.continue_flow(entry, word, next);
        if let Some(counts) = counts
            && counts.active != 0
        {
            tables.count_flow(word.server(), counts);
        }
    }
    Some(forward::forward::<F, T, { forward::tunnels::HERE }>(
        frame, tables, packet, word, flags, way,
    ))
}

/// A packet for an address of no service: other people's, or a masqueraded server's.
#[inline(always)]
fn stranger<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    features: u32,
) -> Ending {
    if features & find::FURTHER != 0 {
        return Ending::further();
    }
    let may_reply = features & features::MASQUERADE != 0
        && tables.hint(Hint::Masqueraded, packet.tuple.client)
        && packet.destination == tables.ingress_mac();
    if !may_reply {
        return Ending::of(Err(Reason::NoService));
    }
    if features & features::HELPERS != 0 {
        return Ending::further();
    }
    match reply::known(frame, tables, packet) {
        Some(Ok(verdict)) => Ending::of(Ok(verdict)),
        Some(Err(_)) | None => Ending::further(),
    }
}
