//! Packets without ports of their own, on the way of their flow: later fragments and ICMP errors.
//! Of masqueraded flows' packets only the network header is translated here.

use super::{Ending, Packet, Stages, Tables, Verdict, forward, kind};
use crate::flow::{Tuple, Word};
use crate::layout::server_flags;
use crate::reason::Reason;
use crate::wire::Frame;

/// Forwards a packet to the server of `word`, by its method. One that goes through a tunnel has
/// further to go, to [`into_tunnel`]: the stages of both together would be too deep for the kernel.
#[inline(always)]
pub fn to_server<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    word: Word,
) -> Ending {
    let server = tables.server(word.server());
    // The kind is said once more, so that what concerns ports is left out here.
    let (Some((flags, way)), kind::LATER..) = (server, packet.kind) else {
        return Ending::refusal(Reason::Inconsistent as u32);
    };
    if is_tunnel(flags) {
        return Ending::further();
    }
    Ending::of(forward::forward::<F, T, { forward::tunnels::NONE }>(
        frame, tables, packet, word, flags, way,
    ))
}

/// Forwards a packet to the server of `word`, which is reached through a tunnel.
#[inline(always)]
pub(super) fn into_tunnel<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    word: Word,
) -> Result<Verdict, Reason> {
    let (flags, way) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    if !is_tunnel(flags) {
        return Err(Reason::Inconsistent);
    }
    forward::forward::<F, T, { forward::tunnels::STAGE }>(frame, tables, packet, word, flags, way)
}

#[inline(always)]
const fn is_tunnel(flags: u32) -> bool {
    !matches!(
        flags & server_flags::METHOD,
        server_flags::ROUTE | server_flags::MASQUERADE | server_flags::LOCAL
    )
}

/// Forwards a packet of the server of `word` to the client of the flow whose server's half is
/// `flow`.
#[inline(always)]
pub fn to_client<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    flow: &Tuple,
    word: Word,
) -> Result<Verdict, Reason> {
    if packet.kind < kind::LATER {
        return Err(Reason::Inconsistent);
    }
    let (key, now) = (flow.key(tables.flow_seed()), tables.now());
    let found = tables.find_flow(&key, flow, now);
    let (entry, _) = found.ok_or(Reason::NoFlow)?;
    let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
    // The entry may have become another flow's since it was found.
    if details.client != flow.client {
        return Err(Reason::NoFlow);
    }
    let (server, address, back) = (word.server(), details.address, details.back);
    forward::to_client(frame, tables, packet, server, address, flow.port(), back)
}
