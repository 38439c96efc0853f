//! Packets without ports of their own, on the way of their flow: later fragments and ICMP errors.

use super::{Packet, Stages, Verdict, forward, kind};
use crate::flow::{Tuple, Word};
use crate::reason::Reason;
use crate::wire::Frame;

/// Forwards a packet to the server of `word`, by its method; with [`Word::REPLY`] to the client of
/// the flow whose server's half is `flow`. Of masqueraded flows only the network header is
/// translated.
#[inline(always)]
pub fn forward<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    flow: &Tuple,
    word: Word,
) -> Result<Verdict, Reason> {
    let server = word.server();
    let packet = &Packet {
        kind: kind::LATER,
        ..*packet
    };
    if !word.has(Word::REPLY) {
        let (flags, way) = tables.server(server).ok_or(Reason::Inconsistent)?;
        return forward::without_tunnels(frame, tables, packet, word, flags, way);
    }
    let (key, now) = (flow.key(tables.flow_seed()), tables.now());
    let found = tables.find_flow(&key, flow, now);
    let (entry, _) = found.ok_or(Reason::NoFlow)?;
    let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
    // The entry may have become another flow's since it was found.
    if details.client != flow.client {
        return Err(Reason::NoFlow);
    }
    let (address, back) = (details.address, details.back);
    forward::to_client(frame, tables, packet, server, address, flow.port(), back)
}
