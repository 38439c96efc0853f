//! Next hops: who uses them, how they stand, and what follows from that.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::super::decide::{self, Hop, Keeper, Route};
use super::super::way::Unresolved;
use super::{Effect, InUse, Table, hop_of};

impl Table {
    pub(super) fn join_hop(&mut self, address: IpAddr, hop: Hop) {
        match self.hops.entry(hop) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().addresses.insert(address);
            }
            Entry::Vacant(entry) => {
                entry.insert(InUse {
                    addresses: HashSet::from([address]),
                    reach: Err(Unresolved::Pending),
                    asked: false,
                    refusal: None,
                });
                self.review_hop(hop);
            }
        }
    }

    pub(super) fn leave_hop(&mut self, address: IpAddr, hop: Hop) {
        let Entry::Occupied(mut entry) = self.hops.entry(hop) else {
            return;
        };
        entry.get_mut().addresses.remove(&address);
        if entry.get().addresses.is_empty() {
            let in_use = entry.remove();
            let keeper = self.neighbours.get(&hop).map(|neighbour| neighbour.keeper);
            // Without a notification yet, an entry that lb asked for is still being resolved.
            if keeper == Some(Keeper::Lb) || (keeper.is_none() && in_use.asked) {
                self.effects.push(Effect::Release(hop));
            }
        }
    }

    /// Asks the kernel to keep a next hop where nobody does, then refreshes it.
    pub(super) fn review_hop(&mut self, hop: Hop) {
        let Some(in_use) = self.hops.get_mut(&hop) else {
            return;
        };
        let link = self.links.get(&hop.ifindex);
        let neighbour = self.neighbours.get(&hop);
        if link.is_some_and(|link| link.running && link.ethernet.is_some()) {
            let nobodys = neighbour.is_none_or(|n| n.keeper == Keeper::Nobody);
            if nobodys && !in_use.asked {
                in_use.asked = true;
                self.effects.push(Effect::Keep {
                    hop,
                    exclusive: neighbour.is_none(),
                });
            }
        } else {
            in_use.asked = false;
            in_use.refusal = None;
        }
        self.refresh_hop(hop);
    }

    /// Publishes the ways through a next hop where how it stands has changed.
    pub(super) fn refresh_hop(&mut self, hop: Hop) {
        let Some(in_use) = self.hops.get_mut(&hop) else {
            return;
        };
        let link = self.links.get(&hop.ifindex);
        let reach = decide::reach(hop, link, self.neighbours.get(&hop), in_use.refusal);
        if in_use.reach != reach {
            in_use.reach = reach;
            self.publish_behind(hop);
        }
    }

    pub(super) fn publish_behind(&mut self, hop: Hop) {
        let Some(in_use) = self.hops.get(&hop) else {
            return;
        };
        for address in in_use.addresses.iter().copied().collect::<Vec<_>>() {
            self.publish(address);
        }
    }

    pub(super) fn doubt_behind(&mut self, hop: Hop) {
        if let Some(in_use) = self.hops.get(&hop) {
            self.doubtful.extend(&in_use.addresses);
        }
    }

    pub(super) fn publish(&mut self, address: IpAddr) {
        let Some(wanted) = self.wanted.get_mut(&address) else {
            return;
        };
        let hop = hop_of(&wanted.route);
        let ifindex = match &wanted.route {
            Route::Encapsulated { ifindex } => Some(*ifindex),
            Route::Via { hop, .. } => Some(hop.ifindex),
            Route::None(_) => None,
        };
        let link = ifindex.and_then(|index| self.links.get(&index));
        let reach = hop
            .and_then(|hop| self.hops.get(&hop))
            .map(|in_use| &in_use.reach);
        let way = decide::way(&wanted.route, link, reach);
        if wanted.way != way {
            wanted.way = way.clone();
            self.effects.push(Effect::Changed(address, way));
        }
    }
}
