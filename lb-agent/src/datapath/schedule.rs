//! What schedulers need in the maps: where they stand after edits, lookup tables, flags; and the
//! places for all that.

use super::grace;
use super::mapped::Mapped;
use super::pool::{Block, Pool};
use crate::model::{self, Step};
use anyhow::ensure;
use lb_common::addr::Addr;
use lb_common::api::Family;
use lb_common::layout::{Member, Service, Sizes, TableWord};
use lb_common::sched::build::{self, most_servers};
use lb_common::sched::{
    Kind, Turn, Weights, first_turn, turn_after_change, turn_after_changes, turn_of_scheduler,
};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Slots in a [`TableWord`].
const SLOTS: u32 = 4;

/// A service before an edit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'a> {
    pub(crate) kind: Kind,
    pub(crate) turn: Turn,
    pub(crate) members: &'a [Member],
    /// Its [`Service::table`].
    pub(crate) memory: u32,
}

/// Where a scheduler begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) turn: Turn,
    /// For lblc and lblcr, [`Service::table`]; for others 0.
    pub(crate) memory: u32,
}

/// Plans for a service that has this scheduler and list, and went through these steps.
///
/// Without steps that lead there, as when an agent died in the middle of an edit, the turn is
/// what the edits that seem likely make it.
#[must_use]
pub(crate) fn plan(
    kind: Kind,
    members: &[Member],
    before: Option<Before<'_>>,
    steps: &[Step],
) -> Plan {
    let mut course = Course {
        kind: before.map(|before| before.kind),
        turn: before.map_or_else(Turn::default, |before| before.turn),
        members: before.map_or_else(Vec::new, |before| before.members.to_vec()),
        begun: before.is_none(),
    };
    for step in steps {
        course.take(step);
    }
    let mut turn = course.turn;
    if course.kind != Some(kind) || course.members != members {
        turn = match before {
            Some(before) if before.kind == kind => {
                turn_after_changes(kind, before.turn, before.members, members)
            }
            Some(_) => turn_of_scheduler(kind, weights(members)),
            None => first_turn(kind, members.iter().rev().map(|member| member.weight)),
        };
        course.begun |= before.is_none_or(|before| before.kind != kind);
    }
    let memory = match before {
        _ if !kind.remembers() => 0,
        Some(before) if !course.begun => before.memory,
        Some(_) | None => RandomState::new().build_hasher().finish() as u32,
    };
    Plan { turn, memory }
}

/// A service on its way through steps.
struct Course {
    kind: Option<Kind>,
    turn: Turn,
    members: Vec<Member>,
    /// It got its scheduler on the way.
    begun: bool,
}

impl Course {
    fn take(&mut self, step: &Step) {
        let at = |server: &model::ServerId| {
            let same = |member: &Member| member.server == server.0;
            self.members.iter().position(same)
        };
        match step {
            Step::Begin => {
                *self = Self {
                    kind: None,
                    turn: Turn::default(),
                    members: Vec::new(),
                    begun: true,
                };
            }
            Step::Schedule(name) => {
                let kind = Kind::from_name(name);
                if let Some(kind) = kind
                    && self.kind != Some(kind)
                {
                    self.turn = turn_of_scheduler(kind, weights(&self.members));
                    self.begun = true;
                }
                self.kind = kind;
            }
            Step::Add(server, weight) => {
                let (server, weight) = (server.0, *weight);
                self.members.insert(0, Member { server, weight });
                self.step(|index| Some(index + 1));
            }
            Step::Weigh(server, weight) => {
                if let Some(at) = at(server) {
                    self.members[at].weight = *weight;
                }
                self.step(Some);
            }
            Step::Remove(server) => {
                let Some(at) = at(server) else { return };
                self.members.remove(at);
                self.step(|index| (index != at).then(|| index - usize::from(index > at)));
            }
        }
    }

    fn step(&mut self, same: impl Fn(usize) -> Option<usize>) {
        if let Some(kind) = self.kind {
            self.turn = turn_after_change(kind, self.turn, weights(&self.members), same);
        }
    }
}

fn weights(members: &[Member]) -> Weights {
    Weights::of(members.iter().map(|member| member.weight))
}

/// Whether two records of a service say the same, wherever they and what they name lie.
#[must_use]
pub(crate) fn is_same(old: &Service, new: &Service) -> bool {
    let Service {
        turn,
        first,
        generation,
        table,
        table_len,
        ..
    } = *old;
    let there = Service {
        turn,
        first,
        generation,
        table,
        table_len,
        ..*new
    };
    *old == there
}

/// The lookup table of a service, if its scheduler has one.
///
/// # Errors
/// When it has more servers than the scheduler has room for.
pub(crate) fn table<'a>(
    service: &model::Service,
    kind: Kind,
    servers: impl Iterator<Item = &'a model::Server>,
) -> anyhow::Result<Option<Vec<u16>>> {
    let address = |server: &model::Server| {
        let address = Addr::from(server.address.address);
        match service.address.family() {
            Family::Ipv4 if !address.is_v4() => Addr::from_v4_word(address.words()[0]),
            Family::Ipv4 | Family::Ipv6 => address,
        }
    };
    let servers: Vec<build::Server> = servers
        .map(|server| build::Server {
            weight: server.options.weight,
            last_weight: server.last_weight,
            address: address(server),
            port: server.address.port,
        })
        .collect();
    let most = most_servers(kind);
    ensure!(
        servers.len() <= most as usize,
        "{}: {} has room for {most} servers: remove one, or choose another scheduler",
        service.address,
        kind.name()
    );
    Ok(build::table(kind, &servers))
}

/// How many words a table takes.
#[must_use]
pub(crate) fn words(table: &[u16]) -> u32 {
    (table.len() as u32).div_ceil(SLOTS)
}

/// The first slot of a block of words.
#[must_use]
pub(crate) fn first_slot(block: Block) -> u32 {
    block.first * SLOTS
}

/// The block of the table that a record names.
#[must_use]
pub(crate) fn table_of(kind: Kind, service: &Service) -> Option<Block> {
    let has_one = !kind.remembers() && service.table_len != 0;
    has_one.then(|| Block::new(service.table / SLOTS, service.table_len.div_ceil(SLOTS)))
}

/// Writes a table.
pub(crate) fn store(tables: &Mapped<TableWord>, block: Block, table: &[u16]) {
    for (index, slots) in (block.first..).zip(table.chunks(SLOTS as usize)) {
        let mut word = TableWord::default();
        word[..slots.len()].copy_from_slice(slots);
        tables.store(index, word);
    }
}

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of service records.
    Records,
    /// Of members.
    Members,
    /// Of words of lookup tables.
    Tables,
}

/// The places in the arrays that a service's record names, and of records.
#[derive(Debug)]
pub(crate) struct Pools {
    records: Pool,
    members: Pool,
    tables: Pool,
}

impl Pools {
    /// Pools of these sizes, of which some blocks are in use already.
    pub(crate) fn new(
        sizes: Sizes,
        records: impl IntoIterator<Item = Block>,
        members: impl IntoIterator<Item = Block>,
        tables: impl IntoIterator<Item = Block>,
    ) -> Self {
        Self {
            records: Pool::new(sizes.records(), records),
            members: Pool::new(sizes.members(), members),
            tables: Pool::new(sizes.table_words(), tables),
        }
    }

    fn pool(&mut self, which: Which) -> &mut Pool {
        match which {
            Which::Records => &mut self.records,
            Which::Members => &mut self.members,
            Which::Tables => &mut self.tables,
        }
    }

    /// Takes a block, after a grace period if that is what it takes.
    pub(crate) fn take(&mut self, which: Which, len: u32) -> Option<Block> {
        if let found @ Some(_) = self.pool(which).take(len) {
            return found;
        }
        let pools = [&self.records, &self.members, &self.tables];
        if !pools.into_iter().any(Pool::has_retired) {
            return None;
        }
        if let Err(error) = grace::wait() {
            tracing::error!("{error:#}");
            return None;
        }
        self.reclaim();
        self.pool(which).take(len)
    }

    /// See [`Pool::give`].
    pub(crate) fn give(&mut self, which: Which, block: Block) {
        self.pool(which).give(block);
    }

    /// See [`Pool::retire`].
    pub(crate) fn retire(&mut self, which: Which, block: Block) {
        self.pool(which).retire(block);
    }

    /// See [`Pool::reclaim`].
    pub(crate) fn reclaim(&mut self) {
        self.records.reclaim();
        self.members.reclaim();
        self.tables.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerId;
    use proptest::prelude::*;

    fn list(members: &[(u32, u32)]) -> Vec<Member> {
        members
            .iter()
            .map(|&(server, weight)| Member { server, weight })
            .collect()
    }

    fn add(server: u32, weight: u32) -> Step {
        Step::Add(ServerId(server), weight)
    }

    fn schedule(kind: Kind) -> Step {
        Step::Schedule(kind.name().to_owned())
    }

    #[test]
    fn a_batch_leaves_rr_where_its_edits_one_by_one_leave_it() {
        let old = list(&[(3, 1), (2, 1), (1, 1)]);
        let turn = Turn {
            place: 2,
            ..Turn::default()
        };
        let before = Before {
            kind: Kind::Rr,
            turn,
            members: &old,
            memory: 0,
        };
        // Removed and added again, the last one stays where it was: rr stands before it.
        let steps = [Step::Remove(ServerId(3)), add(3, 1)];
        let plan = plan(Kind::Rr, &old, Some(before), &steps);
        assert_eq!(plan.turn.place, 2);
        let steps = [
            Step::Remove(ServerId(2)),
            Step::Remove(ServerId(1)),
            add(2, 1),
        ];
        let new = list(&[(2, 1), (3, 1)]);
        assert_eq!(
            super::plan(Kind::Rr, &new, Some(before), &steps).turn.place,
            2
        );
    }

    #[test]
    fn a_service_that_is_made_anew_in_a_batch_begins_anew() {
        let old = list(&[(1, 4)]);
        let before = Before {
            kind: Kind::Lblc,
            turn: Turn::default(),
            members: &old,
            memory: 7,
        };
        let same = plan(Kind::Lblc, &old, Some(before), &[schedule(Kind::Lblc)]);
        assert_eq!(same.memory, 7);
        let again = [Step::Begin, schedule(Kind::Lblc), add(1, 4)];
        assert_ne!(plan(Kind::Lblc, &old, Some(before), &again).memory, 7);
        let there_and_back = [schedule(Kind::Wlc), schedule(Kind::Lblc)];
        assert_ne!(
            plan(Kind::Lblc, &old, Some(before), &there_and_back).memory,
            7
        );
        assert_eq!(
            plan(Kind::Wlc, &old, Some(before), &[schedule(Kind::Wlc)]).memory,
            0
        );
    }

    #[test]
    fn wrr_begins_with_the_weights_that_were_there_when_it_came() {
        let new = list(&[(2, 1), (1, 6)]);
        let steps = [Step::Begin, schedule(Kind::Wrr), add(1, 6), add(2, 1)];
        let grown = plan(Kind::Wrr, &new, None, &steps).turn;
        assert_eq!(grown, first_turn(Kind::Wrr, [6, 1].into_iter()));
        let steps = [
            Step::Begin,
            schedule(Kind::Rr),
            add(1, 6),
            add(2, 1),
            schedule(Kind::Wrr),
        ];
        let changed = plan(Kind::Wrr, &new, None, &steps).turn;
        assert_eq!(changed.weight, 6);
        assert_ne!(grown, changed);
    }

    proptest! {
        #[test]
        fn one_step_is_what_it_seems_to_be(
            weights in prop::collection::vec(0u32..9, 1..6),
            kind in prop::sample::select(vec![Kind::Rr, Kind::Wrr]),
            place in 0u16..6,
            weight in 0u32..9,
            which in any::<prop::sample::Index>(),
            to in 0u32..9,
            what in 0..3,
        ) {
            let old: Vec<Member> = (0..)
                .zip(&weights)
                .map(|(server, &weight)| Member { server, weight })
                .collect();
            let turn = Turn { generation: 3, place: place.min(old.len() as u16), weight };
            let before = Before { kind, turn, members: &old, memory: 0 };
            let (mut new, at) = (old.clone(), which.index(old.len()));
            let server = ServerId(old[at].server);
            let step = match what {
                0 => {
                    new.insert(0, Member { server: 9, weight: to });
                    add(9, to)
                }
                1 => {
                    new.remove(at);
                    Step::Remove(server)
                }
                _ => {
                    new[at].weight = to;
                    Step::Weigh(server, to)
                }
            };
            let planned = plan(kind, &new, Some(before), &[step]).turn;
            prop_assert_eq!(planned, turn_after_changes(kind, turn, &old, &new));
        }
    }
}
