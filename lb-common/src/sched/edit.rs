//! Where a scheduler stands after an edit of its service.

use super::{Kind, Turn, Weights, gcd};
#[cfg(feature = "std")]
use crate::layout::Member;

/// The turn of a service that got this scheduler in place of another one: at the head, wrr with
/// the highest current weight (`ip_vs_rr_init_svc`, `ip_vs_wrr_init_svc`).
#[must_use]
pub fn turn_of_scheduler(kind: Kind, weights: Weights) -> Turn {
    Turn {
        weight: if kind == Kind::Wrr { weights.max } else { 0 },
        ..Turn::default()
    }
}

/// The turn of a service after its list or weights changed from `old` to `new`; `same` tells at
/// which index of the new list the server of an old index is, if it is.
///
/// rr goes on behind the server it chose last, or behind the one before it when that one was
/// removed (`ip_vs_rr_del_dest`); wrr begins again at the head, with the current weight fitted
/// to the new weights (`ip_vs_wrr_dest_changed`). Others have no turn.
#[must_use]
pub fn turn_after_change(
    kind: Kind,
    turn: Turn,
    weights: Weights,
    same: impl Fn(usize) -> Option<usize>,
) -> Turn {
    if kind == Kind::Rr {
        let place = (1..=usize::from(turn.place))
            .rev()
            .find_map(|place| same(place - 1));
        let place = place.map_or(0, |index| index + 1);
        return Turn {
            place: u16::try_from(place).unwrap_or(0),
            ..turn
        };
    }
    if kind == Kind::Wrr {
        let weight = match turn.weight {
            current if current > weights.max || current == 0 => weights.max,
            current if weights.step > 1 => current / weights.step * weights.step + 1,
            current => current,
        };
        return Turn {
            place: 0,
            weight,
            ..turn
        };
    }
    turn
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
/// addition, as commands given one by one make it. Servers are added in front, so one that is now
/// before a server that it was behind was removed and added again.
#[cfg(feature = "std")]
#[must_use]
pub fn turn_after_changes(kind: Kind, turn: Turn, old: &[Member], new: &[Member]) -> Turn {
    let step = |turn, from: &[Member], to: &[Member]| {
        let weights = Weights::of(to.iter().map(|member| member.weight));
        turn_after_change(kind, turn, weights, |i| {
            let server = from.get(i)?.server;
            to.iter().position(|member| member.server == server)
        })
    };
    let added = added(old, new);
    let kept = &new[added..];
    let mut next = kept.iter().peekable();
    let left: Vec<Member> = old
        .iter()
        .copied()
        .filter(|old| next.next_if(|kept| kept.server == old.server).is_some())
        .collect();

    let mut turn = turn;
    let removed = left.len() < old.len();
    if removed {
        turn = step(turn, old, &left);
    }
    // An edit that changes no weight is a step, too.
    if left != kept || !removed && added == 0 {
        turn = step(turn, &left, kept);
    }
    for at in (0..added).rev() {
        turn = step(turn, &new[at + 1..], &new[at..]);
    }
    turn
}

/// How many servers at the front of `new` were added: the others are in `old` in the same order.
#[cfg(feature = "std")]
fn added(old: &[Member], new: &[Member]) -> usize {
    let mut before = old;
    new.iter()
        .rposition(|member| {
            let place = before.iter().rposition(|old| old.server == member.server);
            before = &before[..place.unwrap_or(0)];
            place.is_none()
        })
        .map_or(0, |last| last + 1)
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
        let again = [(2, 1), (3, 1), (1, 1)];
        assert_eq!(
            rr(2, &again),
            2,
            "removed and added again: after 3, which was before it"
        );
        assert_eq!(rr(3, &again), 3, "another one was");
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
