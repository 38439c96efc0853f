//! Where a scheduler stands after an edit of its service.

use super::{Kind, Turn, Weights, gcd};
#[cfg(feature = "std")]
use crate::layout::Member;

/// The turn of a service that got this scheduler in place of another one: at the head, wrr with
/// the highest current weight (`ip_vs_rr_init_svc`, `ip_vs_wrr_init_svc`).
#[must_use]
pub fn turn_of_scheduler(kind: Kind, weights: Weights) -> Turn {
    Turn {
        weight: match kind {
            Kind::Rr => 0,
            Kind::Wrr => weights.max,
        },
        ..Turn::default()
    }
}

/// The turn of a service after its list or weights changed from `old` to `new`; `same` tells at
/// which index of the new list the server of an old index is, if it is.
///
/// rr goes on behind the server it chose last, or behind the one before it when that one was
/// removed (`ip_vs_rr_del_dest`); wrr begins again at the head, with the current weight fitted
/// to the new weights (`ip_vs_wrr_dest_changed`).
#[must_use]
pub fn turn_after_change(
    kind: Kind,
    turn: Turn,
    weights: Weights,
    same: impl Fn(usize) -> Option<usize>,
) -> Turn {
    match kind {
        Kind::Rr => {
            let place = (1..=usize::from(turn.place))
                .rev()
                .find_map(|place| same(place - 1));
            let place = place.map_or(0, |index| index + 1);
            Turn {
                place: u16::try_from(place).unwrap_or(0),
                ..turn
            }
        }
        Kind::Wrr => {
            let weight = match turn.weight {
                current if current > weights.max || current == 0 => weights.max,
                current if weights.step > 1 => current / weights.step * weights.step + 1,
                current => current,
            };
            Turn {
                place: 0,
                weight,
                ..turn
            }
        }
    }
}

/// The turn of a service whose servers, oldest first, had these weights when each was added.
#[must_use]
pub fn first_turn(kind: Kind, weights: impl Iterator<Item = u32>) -> Turn {
    let (mut turn, mut step, mut max) = (Turn::default(), 0, 0);
    for weight in weights {
        step = gcd(step, weight);
        max = weight.max(max);
        let weights = Weights::of_highest(max, step);
        turn = turn_after_change(kind, turn, weights, |index| Some(index + 1));
    }
    turn
}

/// The turn after a list changed, one step for removals, one for changed weights, one for each
/// addition, as commands given one by one make it.
#[cfg(feature = "std")]
#[must_use]
pub fn turn_after_changes(kind: Kind, turn: Turn, old: &[Member], new: &[Member]) -> Turn {
    let index = |list: &[Member], server: u32| list.iter().position(|m| m.server == server);
    let known: std::collections::HashMap<u32, u32> =
        new.iter().map(|m| (m.server, m.weight)).collect();

    let mut list: Vec<Member> = old.to_vec();
    let mut turn = turn;
    let mut step = |list: &mut Vec<Member>, next: Vec<Member>| {
        let weights = Weights::of(next.iter().map(|member| member.weight));
        turn = turn_after_change(kind, turn, weights, |i| {
            list.get(i).and_then(|member| index(&next, member.server))
        });
        *list = next;
    };
    let kept: Vec<Member> = list
        .iter()
        .copied()
        .filter(|member| known.contains_key(&member.server))
        .collect();
    if kept.len() != list.len() {
        step(&mut list, kept);
    }
    let weighed: Vec<Member> = list
        .iter()
        .map(|m| Member {
            server: m.server,
            weight: known[&m.server],
        })
        .collect();
    let added: Vec<Member> = new
        .iter()
        .copied()
        .filter(|m| index(old, m.server).is_none())
        .collect();
    if weighed != list || added.is_empty() && old.len() == new.len() {
        step(&mut list, weighed);
    }
    for member in added.iter().rev() {
        let mut next = vec![*member];
        next.extend(&list);
        step(&mut list, next);
    }
    // The same servers in another order, as after a removal and an addition of one in a batch.
    if list != new {
        step(&mut list, new.to_vec());
    }
    turn
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    fn list(members: &[(u32, u32)]) -> Vec<Member> {
        members
            .iter()
            .map(|&(server, weight)| Member { server, weight })
            .collect()
    }

    fn after(
        kind: Kind,
        (place, weight): (u16, u32),
        old: &[(u32, u32)],
        new: &[(u32, u32)],
    ) -> (u16, u32) {
        let turn = Turn {
            generation: 7,
            place,
            weight,
        };
        let turn = turn_after_changes(kind, turn, &list(old), &list(new));
        assert_eq!(turn.generation, 7);
        (turn.place, turn.weight)
    }

    #[test]
    fn rr_follows_the_server_it_chose_last() {
        let old = [(3, 1), (2, 1), (1, 1)];
        let rr = |place, new: &[_]| after(Kind::Rr, (place, 0), &old, new).0;
        assert_eq!(rr(2, &[(4, 1), (3, 1), (2, 1), (1, 1)]), 3, "an addition");
        assert_eq!(rr(2, &[(3, 1), (2, 0), (1, 9)]), 2, "weights");
        assert_eq!(rr(2, &[(3, 1), (1, 1)]), 1, "the one before it");
        assert_eq!(
            rr(1, &[(2, 1), (1, 1)]),
            0,
            "nothing before it but the head"
        );
        assert_eq!(rr(3, &[]), 0, "nothing is left");
        assert_eq!(rr(2, &[(2, 1), (3, 1), (1, 1)]), 1, "another order");
    }

    #[test]
    fn wrr_begins_again_at_the_head_and_fits_its_weight() {
        let wrr = |at, old: &[_], new: &[_]| after(Kind::Wrr, at, old, new);
        let old = [(2, 2), (1, 6)];
        assert_eq!(
            wrr((2, 5), &old, &[(2, 1), (1, 6)]),
            (0, 5),
            "it still fits"
        );
        assert_eq!(
            wrr((2, 5), &old, &[(2, 2), (1, 4)]),
            (0, 3),
            "it is too high"
        );
        assert_eq!(
            wrr((2, 4), &old, &old),
            (0, 5),
            "an edit that changes nothing"
        );
        assert_eq!(wrr((2, 5), &old, &[(2, 0), (1, 0)]), (0, 0), "no weights");
        assert_eq!(
            wrr((0, 0), &[(1, 0)], &[(1, 3)]),
            (0, 1),
            "the first weight"
        );
        assert_eq!(
            wrr((1, 1), &[(1, 3)], &[(2, 1), (1, 3)]),
            (0, 1),
            "an addition"
        );
    }

    #[test]
    fn a_service_that_grew_and_one_that_changed_its_scheduler_stand_apart() {
        let weights = [3, 1];
        assert_eq!(first_turn(Kind::Wrr, weights.into_iter()).weight, 1);
        let weights = Weights::of(weights.into_iter());
        assert_eq!(turn_of_scheduler(Kind::Wrr, weights).weight, 3);
        assert_eq!(turn_of_scheduler(Kind::Rr, weights), Turn::default());
    }
}
