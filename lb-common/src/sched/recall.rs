//! lblc and lblcr: a destination keeps the server, or the set of servers, that was chosen for it
//! (net/netfilter/ipvs/ip_vs_lblc.c, ip_vs_lblcr.c).
//!
//! What they remember lies in the flow table, in entries of [`Role::Cache`]: for each destination
//! of a service one that names its server; for lblcr the one that was added last, and for each
//! server of the set another one that names the one added before, or the server itself at the
//! end. So a set is walked in ipvs's order. `back` of a destination's entry is the tick of the
//! last change of its set.
//!
//! The entries' keys hold [`Service::table`], a number that the agent gives a service with its
//! scheduler: one that gets the scheduler anew knows nothing of before.
//!
//! deviates: ipvs looks for what is out of date every half an hour, here it is so at once; ipvs has
//! room for 24,576 destinations of a service, here they share the flow table with the flows, and
//! make room for those. A set that lost an entry ends there.

use super::least::{Load, overhead};
use super::{Choice, Kind, threshold};
use crate::addr::Addr;
use crate::datapath::{Packet, Tables};
use crate::flow::{Role, Tuple, Word};
use crate::layout::{Service, server_flags, service_flags};
use crate::repeat::Body;
use crate::state::Class;
use crate::time::Tick;

/// Which entry of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// That of a server in the destination's set.
    Member = 0,
    /// The destination's own.
    Destination = 1,
}

/// The choice for a connection to the packet's destination, when `fresh` is the one that would be
/// made without memory.
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, packet: &Packet, record: u32, fresh: Choice) -> Choice {
    let Some(service) = tables.service(record) else {
        return fresh;
    };
    let (now, lifetime) = (tables.now(), tables.timeout(Class::CACHE));
    let tuple = destination(packet, service);
    let key = tuple.key(tables.flow_seed());
    let Some((entry, seen)) = tables.find_flow(&key, &tuple, now) else {
        return fresh.to_remember();
    };
    let word = seen.moved(Class::CACHE, now.after(lifetime));
    if word != seen {
        tables.continue_flow(entry, seen, word);
    }
    let mut set = Set {
        tables,
        service,
        tuple,
        now,
        lifetime,
        fresh: fresh.server().unwrap_or(u32::MAX),
        at: Link {
            owner: word.server(),
            entry,
            word,
        },
        size: 0,
        has_fresh: false,
        least: None,
        least_load: Load::NONE,
        overloaded: false,
        most: None,
        most_load: Load::NONE,
        most_at: Link {
            owner: word.server(),
            entry,
            word,
        },
        most_rest: word,
    };
    tables.repeat(service.len.max(1), &mut set);

    let mut has_fresh = set.has_fresh;
    if set.size > 1 && set.most.is_some() {
        let changed = tables.flow_details(entry).map_or(0, |details| details.back);
        if Tick::new(changed).after(lifetime).is_past(now) {
            tables.continue_flow(set.most_at.entry, set.most_at.word, set.most_rest);
            tables.set_flow_back(entry, now.bits());
            has_fresh &= set.most != fresh.server();
        }
    }
    match set.least {
        Some(least) if !(set.overloaded && fresh.is_any_light()) => Choice::of(Some(least)),
        _ if has_fresh => fresh,
        _ => fresh.to_remember(),
    }
}

/// An entry that names a server: the destination's, or that of the server `owner`.
#[derive(Clone, Copy)]
struct Link<E> {
    owner: u32,
    entry: E,
    word: Word,
}

/// The walk through a destination's servers; of lblc there is one.
struct Set<'a, T: Tables> {
    tables: &'a T,
    service: &'a Service,
    /// The destination's.
    tuple: Tuple,
    now: Tick,
    lifetime: u32,
    /// The server that would be chosen without memory.
    fresh: u32,
    /// The entry that names the server to look at.
    at: Link<T::Entry>,
    size: u32,
    has_fresh: bool,
    least: Option<u32>,
    least_load: Load,
    /// The least loaded server has more active connections than its weight says.
    overloaded: bool,
    most: Option<u32>,
    most_load: Load,
    /// The entry that names the most loaded server, and its word without that server.
    most_at: Link<T::Entry>,
    most_rest: Word,
}

impl<T: Tables> Body for Set<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let server = self.at.word.server();
        let mut next = self.at;
        if self.replicates() {
            let tuple = member(self.tuple, server, self.service);
            let key = tuple.key(self.tables.flow_seed());
            let Some((entry, seen)) = self.tables.find_flow(&key, &tuple, self.now) else {
                return true;
            };
            // It has to live as long as the destination's entry.
            let mut word = seen;
            if seen.deadline().remaining(self.now) <= self.lifetime {
                word = seen.moved(Class::CACHE, self.now.after(2 * self.lifetime));
                self.tables.continue_flow(entry, seen, word);
            }
            next = Link {
                owner: server,
                entry,
                word,
            };
        }
        self.size += 1;
        self.has_fresh |= server == self.fresh;
        self.weigh(server, next.word.server());
        self.at = next;
        next.word.server() == server
    }
}

impl<T: Tables> Set<'_, T> {
    #[inline(always)]
    fn replicates(&self) -> bool {
        self.service.scheduler == Kind::Lblcr as u32
    }

    /// Compares a server with the others of the set, of which `next` comes behind it, or itself.
    #[inline(always)]
    fn weigh(&mut self, server: u32, next: u32) {
        let (Some(state), Some(weight)) = (
            self.tables.server_state(server),
            self.tables.server_weight(server),
        ) else {
            return;
        };
        if weight == 0 {
            return;
        }
        let load = Load {
            load: overhead(&state),
            weight,
        };
        if self.most.is_none() || self.most_load.is_less(load) {
            self.most = Some(server);
            self.most_load = load;
            self.most_at = self.at;
            let rest = if next == server { self.at.owner } else { next };
            self.most_rest = self.at.word.to(rest);
        }
        // lblc heeds thresholds when it chooses a server, and no more.
        let heeds = self.replicates() && self.service.flags & service_flags::THRESHOLDS != 0;
        let flags = self.tables.server(server).map_or(0, |(flags, _)| flags);
        if flags & server_flags::AVAILABLE == 0
            || heeds && threshold::is_overloaded(self.tables, server)
        {
            return;
        }
        if self.least.is_none() || load.is_less(self.least_load) {
            self.least = Some(server);
            self.least_load = load;
            self.overloaded = state.active > weight;
        }
    }
}

/// An entry that remembers a choice: its tuple and word; none when there is no such entry.
///
/// The member's entry is to be made first: the destination's entry names it.
#[inline(always)]
pub fn remembered<T: Tables>(
    tables: &T,
    packet: &Packet,
    record: u32,
    chosen: Word,
    part: Part,
) -> Option<(Tuple, Word)> {
    let service = tables.service(record)?;
    let (now, lifetime) = (tables.now(), tables.timeout(Class::CACHE));
    let tuple = destination(packet, service);
    let server = chosen.server();
    if part == Part::Destination {
        let word = Word::new(server, Class::CACHE, now.after(lifetime));
        return Some((tuple, word));
    }
    if service.scheduler != Kind::Lblcr as u32 {
        return None;
    }
    let before = tables.find_flow(&tuple.key(tables.flow_seed()), &tuple, now);
    let before = before.map_or(server, |(_, word)| word.server());
    let word = Word::new(before, Class::CACHE, now.after(2 * lifetime));
    Some((member(tuple, server, service), word))
}

/// The tuple of a destination's entry.
#[inline(always)]
fn destination(packet: &Packet, service: &Service) -> Tuple {
    Tuple {
        client: Addr::from_words([service.table, 0, 0, 0]),
        address: packet.tuple.address,
        ports: service.id,
        protocol: 0,
        role: Role::Cache,
    }
}

/// The tuple of the entry of a server in a destination's set.
#[inline(always)]
fn member(destination: Tuple, server: u32, service: &Service) -> Tuple {
    Tuple {
        client: Addr::from_words([service.table, server + 1, 0, 0]),
        ..destination
    }
}
