//! A packet of a known flow.

use super::{Packet, Tables};
use crate::addr::protocol;
use crate::flow::Word;
use crate::state::{Class, tcp};
use crate::time::Tick;
use crate::wire::tcp_flags::SYN;

/// Whether a packet begins a new connection on the ports of one that is over
/// (net/netfilter/ipvs/ip_vs_core.c: `is_new_conn_expected`, conn_reuse_mode 1).
///
/// deviates: the new connection is scheduled at once. ipvs drops the SYN when the old connection was
/// known to netfilter, and the client waits a second.
#[inline(always)]
pub(super) fn may_reopen(packet: &Packet, word: Word) -> bool {
    let over = [tcp::State::TimeWait as u8, tcp::State::Close as u8];
    let class = word.class().number();
    packet.flags & SYN != 0 && packet.opens() && (class == over[0] || class == over[1])
}

/// Moves a flow's state and deadline on.
#[inline(always)]
pub(super) fn follow<T: Tables>(
    tables: &T,
    packet: &Packet,
    entry: T::Entry,
    word: Word,
    now: Tick,
) {
    let class = next_class(packet, word.class());
    let next = word.moved(class, now.after(tables.timeout(class)));
    if next != word
        && let Some(counts) = tables.continue_flow(entry, word, next)
        && counts.active != 0
    {
        tables.count_flow(word.server(), counts);
    }
}

/// The class of a flow after a packet.
#[inline(always)]
pub(super) fn next_class(packet: &Packet, class: Class) -> Class {
    if packet.tuple.protocol == protocol::TCP {
        tcp::next_input_only(class, packet.flags)
    } else {
        Class::UDP
    }
}
