//! Which addresses are wanted and how each is reached: a machine without I/O.
//!
//! Questions and answers of the kernel come in as events; what there is to do goes out as
//! [`Effect`]s. Three indices keep every step small: wanted addresses in order (a changed route
//! covers a range of them), next hops with the addresses behind them (a changed neighbour
//! concerns exactly these), and the kernel's own tables of links and neighbours.
//!
//! ```text
//! want -> Pending -> route known -> neighbour asked -> Resolved
//!            ^           |  ^            |  ^             |
//!            |           v  |            v  |             |
//!            |         Unresolved      Unresolved         |
//!            +--- route, rule or link changed ------------+
//! ```

mod hops;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::{Bound, RangeInclusive};

use super::decide::{self, Hop, Keeper, Link, Neighbour, Route, State};
use super::message::Event;
use super::way::{Unresolved, Way};

/// Number of a question to the kernel; answers to any but the latest about an address are void.
pub(super) type Question = u64;

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask the kernel for the route to an address.
    LookUp(IpAddr, Question),
    /// Ask the kernel to keep a neighbour; `exclusive` unless the entry is known to be nobody's.
    Keep { hop: Hop, exclusive: bool },
    /// Remove a neighbour entry that lb made.
    Release(Hop),
    /// Tell the datapath.
    Changed(IpAddr, Way),
}

/// All that is known.
#[derive(Default)]
pub(super) struct Table {
    wanted: BTreeMap<IpAddr, Wanted>,
    hops: HashMap<Hop, InUse>,
    links: HashMap<u32, Link>,
    neighbours: HashMap<Hop, Neighbour>,
    /// Addresses whose route may have changed.
    doubtful: BTreeSet<IpAddr>,
    /// Last address the periodic check put in doubt.
    checked: Option<IpAddr>,
    last_question: Question,
    effects: Vec<Effect>,
}

/// An address that real servers have.
struct Wanted {
    /// How many servers have it.
    count: usize,
    question: Question,
    route: Route,
    way: Way,
}

/// A next hop that routes of wanted addresses lead through.
struct InUse {
    addresses: HashSet<IpAddr>,
    reach: Result<[u8; 6], Unresolved>,
    /// The kernel was asked to keep it, and has not forgotten it since.
    asked: bool,
    /// `errno` where the kernel would not keep it.
    refusal: Option<i32>,
}

impl Table {
    /// Adds one server's interest in an address.
    pub(super) fn want(&mut self, address: IpAddr) {
        if let Some(wanted) = self.wanted.get_mut(&address) {
            wanted.count += 1;
            return;
        }
        let objection = decide::objection(address);
        let pending = Unresolved::Pending;
        let way = Way::Unresolved(pending.clone());
        let route = Route::None(pending);
        self.wanted.insert(
            address,
            Wanted {
                count: 1,
                question: 0,
                route,
                way,
            },
        );
        match objection {
            Some(why) => self.settle_route(address, Route::None(why)),
            None => self.look_up(address),
        }
    }

    /// Takes one server's interest in an address back.
    pub(super) fn unwant(&mut self, address: IpAddr) {
        let Some(wanted) = self.wanted.get_mut(&address) else {
            return;
        };
        wanted.count -= 1;
        if wanted.count == 0 {
            if let Some(hop) = hop_of(&wanted.route) {
                self.leave_hop(address, hop);
            }
            self.wanted.remove(&address);
            self.doubtful.remove(&address);
        }
    }

    /// The way to a wanted address.
    pub(super) fn way(&self, address: IpAddr) -> Option<&Way> {
        self.wanted.get(&address).map(|wanted| &wanted.way)
    }

    /// Whether an answer to this question still matters.
    pub(super) fn awaits(&self, address: IpAddr, question: Question) -> bool {
        self.wanted
            .get(&address)
            .is_some_and(|wanted| wanted.question == question)
    }

    /// Takes the kernel's answer to a question.
    pub(super) fn answered(&mut self, address: IpAddr, question: Question, route: Route) {
        if self.awaits(address, question) {
            self.settle_route(address, route);
        }
    }

    /// Takes a notification.
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Link(index, link) => self.link(index, Some(link)),
            Event::LinkGone(index) => self.link(index, None),
            Event::Neighbour(hop, neighbour) => {
                if let Some(in_use) = self.hops.get_mut(&hop) {
                    in_use.refusal = None;
                    // An entry seen in lb's keeping is asked for again as soon as it is not.
                    in_use.asked &= neighbour.keeper != Keeper::Lb;
                }
                let neighbour = self.sober(hop, neighbour);
                self.neighbours.insert(hop, neighbour);
                self.review_hop(hop);
            }
            Event::NeighbourGone(hop) => {
                self.neighbours.remove(&hop);
                if let Some(in_use) = self.hops.get_mut(&hop) {
                    in_use.asked = false;
                }
                self.review_hop(hop);
            }
            Event::Routes(range) => self.doubt(range),
            Event::AddressGone(own) => {
                let preferring = self.wanted.iter().filter(|(_, wanted)| {
                    matches!(wanted.route, Route::Via { preferred_source, .. }
                        if preferred_source == Some(own))
                });
                self.doubtful
                    .extend(preferring.map(|(address, _)| *address));
            }
        }
    }

    /// Takes the outcome of a [`Effect::Keep`] that the kernel refused.
    pub(super) fn refused(&mut self, hop: Hop, errno: i32) {
        if let Some(in_use) = self.hops.get_mut(&hop) {
            in_use.asked = false;
            in_use.refusal = Some(errno);
            self.refresh_hop(hop);
        }
    }

    /// Takes what the kernel has where an exclusive [`Effect::Keep`] met an existing entry;
    /// none where the entry vanished meanwhile.
    pub(super) fn found(&mut self, hop: Hop, neighbour: Option<Neighbour>) {
        if let Some(in_use) = self.hops.get_mut(&hop) {
            in_use.asked = false;
        }
        // A notification that arrived meanwhile is at least as new as this answer, and one that
        // is newer than this answer is still to come.
        if let (Entry::Vacant(entry), Some(neighbour)) = (self.neighbours.entry(hop), neighbour) {
            entry.insert(neighbour);
        }
        self.review_hop(hop);
    }

    /// Replaces the tables of links and neighbours by what the kernel has, and reviews everything
    /// that differs.
    pub(super) fn resync(
        &mut self,
        links: HashMap<u32, Link>,
        neighbours: HashMap<Hop, Neighbour>,
    ) {
        let gone: Vec<u32> = self
            .links
            .keys()
            .filter(|index| !links.contains_key(index))
            .copied()
            .collect();
        for index in gone {
            self.link(index, None);
        }
        self.neighbours = neighbours
            .into_iter()
            .map(|(hop, n)| (hop, self.sober(hop, n)))
            .collect();
        for (index, link) in links {
            self.link(index, Some(link));
        }
        for hop in self.hops.keys().copied().collect::<Vec<_>>() {
            if let Some(in_use) = self.hops.get_mut(&hop) {
                // Asking again where the kernel's entry is not lb's mends whatever was missed.
                in_use.asked = false;
            }
            self.review_hop(hop);
        }
    }

    /// Puts every route in doubt.
    pub(super) fn doubt_all(&mut self) {
        self.doubtful.extend(self.wanted.keys());
    }

    /// Puts the next `most` routes in doubt, in turn.
    pub(super) fn doubt_some(&mut self, most: usize) {
        let after = self.checked.map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<IpAddr> = self
            .wanted
            .range((after, Bound::Unbounded))
            .take(most)
            .map(|(address, _)| *address)
            .collect();
        self.checked = if some.len() < most {
            None
        } else {
            some.last().copied()
        };
        self.doubtful.extend(some);
    }

    /// Removes entries of an earlier life of the agent that nothing uses.
    pub(super) fn release_leftovers(&mut self) {
        let leftovers = self
            .neighbours
            .iter()
            .filter(|(hop, n)| n.keeper == Keeper::Lb && !self.hops.contains_key(hop))
            .map(|(hop, _)| Effect::Release(*hop));
        self.effects.extend(leftovers);
    }

    /// Whether there are routes to look up again.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Asks for every route in doubt.
    pub(super) fn look_up_doubtful(&mut self) {
        for address in std::mem::take(&mut self.doubtful) {
            self.look_up(address);
        }
    }

    /// What there is to do, in order.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A neighbour that failed and is asked again has still failed: asking is no sign of life,
    /// and the kernel asks every few seconds.
    fn sober(&self, hop: Hop, new: Neighbour) -> Neighbour {
        let failed = self
            .neighbours
            .get(&hop)
            .is_some_and(|old| old.state == State::Failed);
        let state = if failed && new.state == State::Incomplete {
            State::Failed
        } else {
            new.state
        };
        Neighbour { state, ..new }
    }

    fn look_up(&mut self, address: IpAddr) {
        let Some(wanted) = self.wanted.get_mut(&address) else {
            return;
        };
        if decide::objection(address).is_none() {
            self.last_question += 1;
            wanted.question = self.last_question;
            self.effects
                .push(Effect::LookUp(address, self.last_question));
        }
    }

    fn doubt(&mut self, range: RangeInclusive<IpAddr>) {
        self.doubtful
            .extend(self.wanted.range(range).map(|(address, _)| *address));
    }

    fn settle_route(&mut self, address: IpAddr, route: Route) {
        let Some(wanted) = self.wanted.get_mut(&address) else {
            return;
        };
        let new = hop_of(&route);
        let old = hop_of(&std::mem::replace(&mut wanted.route, route));
        if old != new {
            if let Some(hop) = old {
                self.leave_hop(address, hop);
            }
            if let Some(hop) = new {
                self.join_hop(address, hop);
            }
        }
        self.publish(address);
    }

    fn link(&mut self, index: u32, link: Option<Link>) {
        let old = match &link {
            Some(link) => self.links.insert(index, link.clone()),
            None => self.links.remove(&index),
        };
        if old == link {
            return;
        }
        let runs = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.running);
        if runs(&link) && !runs(&old) {
            // Routes come back with a link without being announced, and any may be better.
            self.doubt_all();
        }
        for hop in self
            .hops
            .keys()
            .filter(|hop| hop.ifindex == index)
            .copied()
            .collect::<Vec<_>>()
        {
            self.review_hop(hop);
            // Name, MTU and source address are part of the way even where reach stands.
            self.publish_behind(hop);
            if runs(&old) && !runs(&link) {
                self.doubt_behind(hop);
            }
        }
    }
}

fn hop_of(route: &Route) -> Option<Hop> {
    match route {
        Route::Via { hop, .. } => Some(*hop),
        Route::Encapsulated { .. } | Route::None(_) => None,
    }
}
