//! A packet of a known flow.

use super::{Packet, Stages, Tables};
use crate::addr::protocol;
use crate::flow::{Tuple, Word};
use crate::layout::{server_flags, settings};
use crate::state::{Class, Direction, sctp, tcp};
use crate::time::Tick;
use crate::wire::tcp_flags::SYN;

/// Whether a packet begins a new connection on the ports of one that is over
/// (net/netfilter/ipvs/ip_vs_core.c: `is_new_conn_expected`, `ip_vs_in_hook`).
///
/// deviates: the new connection is scheduled at once. ipvs drops the SYN when the old connection was
/// known to netfilter, and the client waits a second.
#[inline(always)]
pub(super) fn may_reopen<T: Tables>(tables: &T, packet: &Packet, word: Word) -> bool {
    let opens = match packet.tuple.protocol {
        protocol::TCP => packet.flags & SYN != 0 && packet.opens(),
        protocol::SCTP => packet.opens(),
        _ => false,
    };
    opens && is_over(tables, word)
}

/// Whether a connection gives way to a new one on its ports.
#[inline(never)]
fn is_over<T: Tables>(tables: &T, word: Word) -> bool {
    let settings = tables.settings();
    let flags = tables.server(word.server()).map_or(0, |(flags, _)| flags);
    if settings & settings::EXPIRE_NODEST_CONN != 0 && flags & server_flags::QUIESCED != 0 {
        return true;
    }
    let class = word.class();
    let over = class == tcp::State::TimeWait.into()
        || class == tcp::State::Close.into()
        || class == sctp::State::Closed.into();
    let waits = settings & settings::CONN_REUSE_FIN_WAIT != 0
        && class == tcp::State::FinWait.into()
        && flags & server_flags::METHOD != server_flags::MASQUERADE;
    settings & (settings::CONN_REUSE_MODE | settings::CONN_REUSE_FIN_WAIT) != 0
        && !word.has(Word::CONTROLLED)
        && (over || waits)
}

/// Moves a flow's state and deadline on, after a packet of its client's.
#[inline(always)]
pub(super) fn follow<T: Stages>(
    tables: &T,
    packet: &Packet,
    entry: T::Entry,
    word: Word,
    flags: u32,
    now: Tick,
) {
    let masqueraded = flags & server_flags::METHOD == server_flags::MASQUERADE;
    let direction = if masqueraded {
        Direction::Input
    } else {
        Direction::InputOnly
    };
    if let Some(next) = advance(tables, direction, packet, entry, word, now) {
        if masqueraded {
            tables.keep_reply(packet, next);
        }
        if next.has(Word::CONTROLLED)
            && let Some(service) = tables.server_service(next.server())
        {
            tables.hold_template_of(packet, service, next);
        }
    }
}

/// Keeps a connection's template as long as the connection.
#[inline(always)]
fn hold<T: Stages>(tables: &T, connection: &Tuple, word: Word) {
    if let Some(service) = tables.server_service(word.server()) {
        tables.hold_template(connection, service, word);
    }
}

/// The same for a connection that is in the table, if it has a template.
#[inline(always)]
pub fn hold_known<T: Stages>(tables: &T, connection: &Tuple) {
    let key = connection.key(tables.flow_seed());
    if let Some((_, word)) = tables.find_flow(&key, connection, tables.now())
        && word.has(Word::CONTROLLED)
    {
        hold(tables, connection, word);
    }
}

/// Gives a flow its next state and deadline, and its server's counts what follows from it.
/// Returns the new word if it differs from the old one and the flow is still there.
#[inline(always)]
pub(super) fn advance<T: Tables>(
    tables: &T,
    direction: Direction,
    packet: &Packet,
    entry: T::Entry,
    word: Word,
    now: Tick,
) -> Option<Word> {
    let class = next_class(direction, packet, word.class());
    let next = word.moved(class, now.after(tables.timeout(class)));
    if next == word {
        return None;
    }
    let counts = tables.continue_flow(entry, word, next)?;
    if counts.active != 0 {
        tables.count_flow(word.server(), counts);
    }
    Some(next)
}

/// The class of a flow after a packet.
#[inline(always)]
pub(super) fn next_class(direction: Direction, packet: &Packet, class: Class) -> Class {
    match packet.tuple.protocol {
        protocol::TCP => tcp::next(direction, class, packet.flags),
        protocol::SCTP => sctp::next(direction, class, packet.flags),
        _ => Class::UDP,
    }
}
