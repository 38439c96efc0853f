//! A packet of no known flow: schedule a server and remember it.

use super::{Packet, Tables};
use crate::addr::{Addr, protocol};
use crate::flow::{self, Counts, Insertion, Word};
use crate::layout::Service;
use crate::reason::Reason;
use crate::sched;
use crate::state::{Class, tcp};
use crate::time::Tick;

/// Opens a flow; returns its server.
///
/// Out of line, so that packets of known flows do not pay for its registers and stack.
#[inline(never)]
pub(super) fn open<T: Tables>(
    tables: &T,
    packet: &Packet,
    record: u32,
    key: flow::Key,
) -> Result<u32, Reason> {
    if is_martian(packet) {
        return Err(Reason::Martian);
    }
    let service = tables.service(record).ok_or(Reason::Inconsistent)?;
    let untracked = tables
        .untracked(service.id)
        .is_some_and(|until| !until.is_past(tables.now()));
    let server = if untracked && !packet.is_syn() {
        // It may be of a flow that found no room when it opened: where that one went, go on.
        sched::schedule_stateless(tables, service, &key)
    } else if packet.opens() {
        sched::schedule(tables, service)
    } else {
        return Err(Reason::NoFlow);
    };
    let server = server.ok_or(Reason::NoServer)?;
    remember(tables, packet, service, &key, server)
}

/// Gives the flow an entry with `server`; without room, a server that needs no memory.
#[inline(always)]
fn remember<T: Tables>(
    tables: &T,
    packet: &Packet,
    service: &Service,
    key: &flow::Key,
    server: u32,
) -> Result<u32, Reason> {
    // Asked again: kept, it would lie in memory all the while.
    let now = tables.now();
    let class = first_class(packet);
    let word = Word::new(server, class, now.after(tables.timeout(class)));
    match tables.insert_flow(key, word, &packet.tuple, service.id, now) {
        Insertion::Inserted { lost, own, entry } => {
            let counts = Counts::of(class);
            tables.count_flow(
                server,
                if packet.opens() {
                    counts.scheduled()
                } else {
                    counts
                },
            );
            if lost != Word::VOID {
                count_lost(tables, lost, now, own);
            }
            // Last: until the stores to memory that no cache has are through, every atomic
            // operation would wait.
            tables.publish_flow(entry, key, &packet.tuple, service.id);
            Ok(server)
        }
        Insertion::Full => {
            tables.count_event(Reason::Untracked);
            let server = sched::schedule_stateless(tables, service, key).ok_or(Reason::NoServer)?;
            // Of a datagram nobody can tell whether it is the flow's first.
            if packet.is_syn() {
                let scheduled = Counts {
                    connections: 1,
                    active: 0,
                    inactive: 0,
                };
                tables.count_flow(server, scheduled);
            }
            let longest = match packet.tuple.protocol {
                protocol::TCP => Class::from(tcp::State::Established),
                _ => Class::UDP,
            };
            tables.set_untracked(service.id, now.after(tables.timeout(longest)));
            Ok(server)
        }
    }
}

/// Counts what an insertion took the place of, its `own` older entry or another's.
///
/// Out of line, for the kernel gives all functions on a way through the program 512 bytes of
/// stack together.
#[inline(never)]
fn count_lost<T: Tables>(tables: &T, lost: Word, now: Tick, own: bool) {
    tables.count_flow(lost.server(), Counts::of(lost.class()).taken());
    if lost.is_live(now) && !own {
        tables.count_event(Reason::Evicted);
    }
}

/// The class of a flow after its first packet.
///
/// A TCP flow that is first seen in its middle is half-open until it is seen again: a flood of
/// stray segments must not fill the table with flows that never make room.
#[inline(always)]
fn first_class(packet: &Packet) -> Class {
    match packet.tuple.protocol {
        protocol::TCP if packet.opens() => {
            tcp::next_input_only(tcp::State::None.into(), packet.flags)
        }
        protocol::TCP => tcp::State::SynRecv.into(),
        _ => Class::UDP_FIRST,
    }
}

/// Whether the source address cannot be a client's: this network (RFC 1122), loopback,
/// multicast, reserved, broadcast, or the service's own address.
#[inline(always)]
fn is_martian(packet: &Packet) -> bool {
    let client: Addr = packet.tuple.client;
    let first = client.v4_number() >> 24;
    client == packet.tuple.address || client.is_v4() && (first == 0 || first == 127 || first >= 224)
}
