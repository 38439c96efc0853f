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
use super::{Choice, Kind};
use crate::addr::Addr;
use crate::datapath::{Packet, Stages, Tables};
use crate::flow::{Role, Tuple, Word};
use crate::layout::{ServerState, Service, server_flags, service_flags};
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
pub fn recall<T: Stages>(tables: &T, packet: &Packet, record: u32, fresh: Choice) -> Choice {
    let Some(service) = tables.service(record) else {
        return fresh;
    };
    let (now, lifetime) = (tables.now(), tables.timeout(Class::CACHE));
    let tuple = destination(packet, service);
    let key = tuple.key(tables.flow_seed());
    let Some((entry, seen)) = tables.find_flow(&key, &tuple, now) else {
        return fresh.with(Choice::TO_REMEMBER);
    };
    let word = seen.moved(Class::CACHE, now.after(lifetime));
    if word != seen {
        tables.continue_flow(entry, seen, word);
    }
    let mut prune = 0;
    if service.scheduler == LBLCR {
        let changed = tables.flow_details(entry).map_or(0, |details| details.back);
        if Tick::new(changed).after(lifetime).is_past(now) {
            prune = Choice::TO_PRUNE;
        }
    }
    let mut set = Least {
        tables,
        packet,
        service,
        server: word.server(),
        fresh: fresh.server().unwrap_or(u32::MAX),
        least: 0,
        least_load: Load::MOST,
        overloaded: 0,
        has_fresh: 0,
    };
    tables.repeat(links(tables), &mut set);
    if set.least != 0 && !(set.overloaded != 0 && fresh.has(Choice::LIGHT)) {
        return Choice::of(Some(set.least as u32 - 1)).with(prune);
    }
    let remember = if set.has_fresh != 0 {
        0
    } else {
        Choice::TO_REMEMBER
    };
    fresh.with(prune | remember)
}

const LBLCR: u32 = Kind::Lblcr as u32;

/// How many servers of a destination are looked at. They may be more than the service has: the set
/// holds those that left it as well, for they may come back.
///
/// The verifier is offered a walk of one turn as well. It tries that first, and then finds that the
/// walk of many adds nothing: without it, it would go round several times.
#[inline(always)]
fn links<T: Tables>(tables: &T) -> u32 {
    const MOST: u32 = 1 << 12;

    if tables.blur() == 0 { MOST } else { 1 }
}

/// The search for the least loaded of a destination's servers; of lblc there is one.
#[repr(C)]
struct Least<'a, T> {
    tables: &'a T,
    packet: &'a Packet,
    service: &'a Service,
    /// The server to look at.
    server: u32,
    /// The server that would be chosen without memory.
    fresh: u32,
    /// The least loaded server's id plus 1; 0 for none.
    least: u64,
    least_load: Load,
    /// Not 0 when that has more active connections than its weight says.
    overloaded: u64,
    /// Not 0 when `fresh` is among them.
    has_fresh: u64,
}

impl<T: Stages> Body for Least<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let server = self.server;
        if self.service.scheduler == LBLCR {
            // A link that gave way to another flow ends the set.
            let link = follow(self.tables, self.packet, self.service, server);
            self.server = link.map_or(server, |(_, word)| word.server());
        }
        self.has_fresh |= u64::from(server == self.fresh);
        self.weigh(server);
        self.server == server
    }
}

impl<T: Stages> Least<'_, T> {
    #[inline(always)]
    fn weigh(&mut self, server: u32) {
        let Some((state, load)) = load(self.tables, server) else {
            return;
        };
        let flags = self.tables.server(server).map_or(0, |(flags, _)| flags);
        // lblc heeds thresholds when it chooses a server, and no more.
        let heeds =
            self.service.scheduler == LBLCR && self.service.flags & service_flags::THRESHOLDS != 0;
        if flags & server_flags::AVAILABLE == 0 || heeds && self.tables.is_overloaded(server) {
            return;
        }
        if load.is_less(self.least_load) {
            self.least = u64::from(server) + 1;
            self.least_load = load;
            let weight = u64::from(load.weight);
            self.overloaded = weight.wrapping_sub(state.active.into()) >> 63;
        }
    }
}

/// Takes the most loaded server out of a set of several that has not changed for a day. The choice
/// is to be remembered if it was made anew, and of that server.
#[inline(always)]
pub fn prune<T: Tables>(tables: &T, packet: &Packet, record: u32, choice: Choice) -> Choice {
    let Some(service) = tables.service(record) else {
        return choice;
    };
    let tuple = destination(packet, service);
    let key = tuple.key(tables.flow_seed());
    let Some((entry, word)) = tables.find_flow(&key, &tuple, tables.now()) else {
        return choice;
    };
    // Of a set of one server nobody asks when it changed.
    tables.set_flow_back(entry, tables.now().bits());
    let mut set = Most {
        tables,
        packet,
        service,
        entry,
        word,
        owner: word.server(),
        rest: word.server(),
        load: Load::MOST,
        most_entry: entry,
        most_word: Word::VOID,
    };
    tables.repeat(links(tables), &mut set);
    // Of a set of one server, it itself would take its place.
    if set.most_word == Word::VOID || set.most_word.server() == set.rest {
        return choice;
    }
    tables.continue_flow(set.most_entry, set.most_word, set.most_word.to(set.rest));
    let most = Some(set.most_word.server());
    if choice.has(Choice::FRESH) && choice.server() == most {
        return choice.with(Choice::TO_REMEMBER);
    }
    choice
}

/// The search for the most loaded of a destination's servers.
#[repr(C)]
struct Most<'a, T: Tables> {
    tables: &'a T,
    packet: &'a Packet,
    service: &'a Service,
    /// The entry that names the server to look at, and the server whose entry it is: of the
    /// destination's entry the server that it names.
    entry: T::Entry,
    word: Word,
    owner: u32,
    /// The server that takes the most loaded one's place in the entry that names it.
    rest: u32,
    /// The most loaded server's load.
    load: Load,
    /// The entry that names the most loaded server, and its word; void for none.
    most_entry: T::Entry,
    most_word: Word,
}

impl<T: Tables> Body for Most<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let server = self.word.server();
        let link = follow(self.tables, self.packet, self.service, server);
        // A link that gave way to another flow ends the set.
        let (entry, word) = link.unwrap_or((self.entry, self.word));
        if let Some((_, load)) = load(self.tables, server)
            && (self.most_word == Word::VOID || self.load.is_less(load))
        {
            self.load = load;
            (self.most_entry, self.most_word) = (self.entry, self.word);
            let next = word.server();
            self.rest = if next == server { self.owner } else { next };
        }
        (self.entry, self.word, self.owner) = (entry, word, server);
        word.server() == server
    }
}

/// The load of a server that has a weight.
#[inline(always)]
fn load<T: Tables>(tables: &T, server: u32) -> Option<(ServerState, Load)> {
    let (state, weight) = (tables.server_state(server)?, tables.server_weight(server)?);
    let load = Load {
        load: overhead(&state),
        weight,
    };
    (weight != 0).then_some((state, load))
}

/// The entry of a server in a destination's set. It has to live as long as the destination's.
#[inline(always)]
fn follow<T: Tables>(
    tables: &T,
    packet: &Packet,
    service: &Service,
    server: u32,
) -> Option<(T::Entry, Word)> {
    let (now, lifetime) = (tables.now(), tables.timeout(Class::CACHE));
    let tuple = member(packet, service, server);
    let (entry, mut word) = tables.find_flow(&tuple.key(tables.flow_seed()), &tuple, now)?;
    if word.deadline().remaining(now) <= lifetime {
        let longer = word.moved(Class::CACHE, now.after(2 * lifetime));
        tables.continue_flow(entry, word, longer);
        word = longer;
    }
    Some((entry, word))
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
    if service.scheduler != LBLCR {
        return None;
    }
    let before = tables.find_flow(&tuple.key(tables.flow_seed()), &tuple, now);
    let before = before.map_or(server, |(_, word)| word.server());
    let word = Word::new(before, Class::CACHE, now.after(2 * lifetime));
    Some((member(packet, service, server), word))
}

/// The tuple of a destination's entry.
#[inline(always)]
fn destination(packet: &Packet, service: &Service) -> Tuple {
    Tuple {
        client: owner(service, 0),
        address: packet.tuple.address,
        ports: service.id,
        protocol: 0,
        role: Role::Cache,
    }
}

/// The tuple of the entry of a server in a destination's set.
#[inline(always)]
fn member(packet: &Packet, service: &Service, server: u32) -> Tuple {
    Tuple {
        client: owner(service, server + 1),
        ..destination(packet, service)
    }
}

/// What stands in the client's place; never an IPv4 address, for with those the upper words of a
/// destination's address would not count. No two words of it are constants, as [`Load`] says.
#[inline(always)]
fn owner(service: &Service, number: u32) -> Addr {
    let table = service.table;
    Addr::from_words([table, number, table, table])
}
