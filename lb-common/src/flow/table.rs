//! Finding, continuing and inserting flows.

use super::{About, BUSY, Bucket, Buckets, CANDIDATES, Counts, Key, Place, Tuple, Word};
use crate::layout::WAYS;
use crate::repeat::Body;
use crate::time::Tick;

/// The live entry of a flow.
#[inline(always)]
pub fn find<B: Buckets>(table: &B, key: &Key, now: Tick) -> Option<(Place, Word)> {
    if let found @ Some(_) = probe(table, key, 0, now) {
        return found;
    }
    // Nearly every flow lies in its first bucket; the rest is kept out of its way.
    let place = table.find_further(key, now)?;
    let bucket = table.bucket(place.bucket)?;
    let way = place.way as usize & (WAYS - 1);
    let word = bucket.word(way);
    (word.is_live(now) && bucket.digest(way) == key.digest).then_some((place, word))
}

/// Where a flow has a live entry that is not in its first bucket.
#[inline(always)]
pub fn find_further<B: Buckets>(table: &B, key: &Key, now: Tick) -> Option<Place> {
    let mut n = 1;
    while n < CANDIDATES {
        if let Some((place, _)) = probe(table, key, n, now) {
            return Some(place);
        }
        n += 1;
    }
    None
}

#[inline(always)]
fn probe<B: Buckets>(table: &B, key: &Key, n: usize, now: Tick) -> Option<(Place, Word)> {
    let index = key.bucket(n, table.buckets());
    let bucket = table.bucket(index)?;
    let mut way = 0;
    while way < WAYS {
        if bucket.digest(way) == key.digest {
            let word = bucket.word(way);
            // Read again: had another flow taken the entry in between, the word would be its.
            if word.is_live(now) && bucket.digest(way) == key.digest {
                return Some((
                    Place {
                        bucket: index,
                        way: (way as u32 ^ u32::from(table.blur())) & (WAYS as u32 - 1),
                    },
                    word,
                ));
            }
        }
        way += 1;
    }
    None
}

/// Gives a live flow its new class and deadline. Returns the change of its server's counts, or
/// none when another CPU changed the flow first, which then was right about it.
#[inline(always)]
pub fn continue_flow<B: Buckets>(table: &B, place: Place, old: Word, new: Word) -> Option<Counts> {
    if !table
        .bucket(place.bucket)?
        .swap_word(place.way as usize & (WAYS - 1), old, new)
    {
        return None;
    }
    let (before, after) = (Counts::of(old), Counts::of(new));
    Some(Counts {
        connections: 0,
        active: after.active - before.active,
        inactive: after.inactive - before.inactive,
        persistent: 0,
    })
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion<E> {
    /// The flow has an entry, and the word it took the place of is gone.
    Inserted {
        /// The flow that lost its entry, expired or not; void when there was none.
        lost: Word,
        /// Whether the entry was the flow's own older one.
        own: bool,
        /// Where the flow is kept.
        entry: E,
    },
    /// No entry may be taken: each candidate holds an established flow, or other CPUs were quicker at
    /// every try.
    Full,
}

/// Gives a flow an entry, which is busy until [`publish`]: its `own` live one, if it has one.
///
/// Otherwise the place is, in this order: a free one, that of the half-open flow next to expire, that
/// of the closing flow next to expire. Established flows never make room.
///
/// Whether the flow has a live entry is for the caller to find out, and another CPU may give it one in
/// between: of two CPUs that see a flow's first packets at once each makes one. The first in the order
/// of candidates is found from then on, the other expires.
#[inline(always)]
pub fn insert<B: Buckets>(
    table: &B,
    key: &Key,
    word: Word,
    own: Option<Place>,
    now: Tick,
) -> Insertion<Place> {
    /// Further tries are for when another CPU took or changed the very same entry.
    const TRIES: u32 = 4;

    let mut attempt = Attempt {
        table,
        key,
        word,
        now,
        own: own.is_some(),
        // A number to the verifier, which would follow each try by itself.
        first: usize::from(table.blur()) & (CANDIDATES - 1),
        place: own.unwrap_or(Place { bucket: 0, way: 0 }),
        outcome: Insertion::Full,
    };
    table.repeat(TRIES, &mut attempt);
    attempt.outcome
}

/// Says what an inserted flow is, and lets others find it.
///
/// To be called after everything else: the details are in no cache, and the next atomic
/// operation waits until they are written. Out of line to spare its caller's stack.
#[inline(never)]
pub fn publish<B: Buckets>(table: &B, place: Place, key: &Key, tuple: &Tuple, about: &About) {
    table.describe(place, tuple, *about);
    if let Some(bucket) = table.bucket(place.bucket) {
        bucket.set_digest(place.way as usize & (WAYS - 1), key.digest);
    }
}

/// The loop of [`insert`].
struct Attempt<'a, B> {
    table: &'a B,
    key: &'a Key,
    word: Word,
    now: Tick,
    /// Whether to try the flow's own entry, which is at `place`.
    own: bool,
    /// The candidate that is looked at first: another one at every try, or they would all end at an
    /// entry that is being written and looks free.
    first: usize,
    place: Place,
    outcome: Insertion<Place>,
}

impl<B: Buckets> Body for Attempt<'_, B> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let own = self.own;
        if !own {
            match victim(self.table, self.key, self.first, self.now) {
                Some(place) => self.place = place,
                None => return true,
            }
            self.first = (self.first + 1) & (CANDIDATES - 1);
        }
        self.own = false;
        let Some(bucket) = self.table.bucket(self.place.bucket) else {
            return true;
        };
        let way = self.place.way as usize & (WAYS - 1);
        let seen = bucket.digest(way);
        let changed = own && seen != self.key.digest;
        if changed || seen == BUSY || !bucket.swap_digest(way, seen, BUSY) {
            return false;
        }
        let lost = bucket.word(way);
        // Read again under the claim: since the search the flow may have been established, or
        // the entry given to another.
        let free = own || cost(lost, self.now) < NEVER;
        if !free || !bucket.swap_word(way, lost, self.word) {
            bucket.set_digest(way, seen);
            return false;
        }
        self.outcome = Insertion::Inserted {
            lost,
            own,
            entry: self.place,
        };
        true
    }
}

/// The best place for a new flow, of equals one in the `first` candidate or behind it: none when all
/// are taken by established ones.
///
/// Without branches but at a bucket's end, for the verifier would follow each of them.
#[inline(always)]
fn victim<B: Buckets>(table: &B, key: &Key, first: usize, now: Tick) -> Option<Place> {
    const WAY: u32 = WAYS.trailing_zeros();
    const COST: u32 = WAY + CANDIDATES.trailing_zeros();

    // From the low end: way, candidate, cost.
    let mut best = u64::MAX >> 1;
    let blur = u64::from(table.blur());
    let mut n = 0;
    while n < CANDIDATES {
        let candidate = (first + n) & (CANDIDATES - 1);
        let bucket = table.bucket(key.bucket(candidate, table.buckets()))?;
        let mut way = 0;
        while way < WAYS {
            let cost = cost(bucket.word(way), now);
            best = least(best, cost << COST | (candidate << WAY | way) as u64, blur);
            way += 1;
        }
        if best >> COST == FREE {
            break;
        }
        n += 1;
    }
    let best = best ^ blur;
    if best >> COST >= NEVER {
        return None;
    }
    Some(Place {
        bucket: key.bucket((best >> WAY) as usize & (CANDIDATES - 1), table.buckets()),
        way: best as u32 & (WAYS as u32 - 1),
    })
}

const _: () = assert!(CANDIDATES.is_power_of_two());

const FREE: u64 = 0;
const NEVER: u64 = 1 << 31;

/// What it costs to take an entry, 32 bits: rank first, then the time it has left.
#[inline(always)]
fn cost(word: Word, now: Tick) -> u64 {
    let class = word.class();
    let rank = 2 - u64::from(class.is_half_open());
    let never = u64::from(class.is_established()) * NEVER;
    let taken = 0_u64.wrapping_sub(word.live(now));
    (never | rank << Tick::BITS | u64::from(word.deadline().ahead(now))) & taken
}

/// The lesser of two numbers below 2^63. A `blur`, which is 0, keeps the compiler from making it a
/// branch.
#[inline(always)]
fn least(a: u64, b: u64, blur: u64) -> u64 {
    let difference = a.wrapping_sub(b);
    b.wrapping_add(difference & 0_u64.wrapping_sub(difference >> 63 ^ blur))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Port, protocol};
    use crate::flow::Role;
    use crate::layout::{FlowDetails, HotBucket, Sizes};
    use crate::memory::Memory;
    use crate::repeat::Repeat;
    use crate::state::Class;
    use crate::state::tcp::State;
    use core::cell::Cell;
    use proptest::prelude::*;

    const SIZES: Sizes = Sizes {
        services: 1,
        servers: 1,
        flows: 16,
    };

    fn key(number: u32) -> Key {
        let tuple = Tuple {
            client: Addr::from_v4_word(number),
            address: Addr::from_v4_word(1),
            ports: Tuple::ports(Port::new(1), Port::new(2)),
            protocol: protocol::TCP,
            role: Role::Connection,
        };
        tuple.key([3, 4])
    }

    /// Every class there is, deadlines around now, and entries that hold nothing.
    fn word() -> impl Strategy<Value = u64> {
        let flow = (0_u8..64, 0_u32..64).prop_map(|(class, ahead)| (Class::new(class), ahead));
        prop_oneof![
            1 => Just(Word::VOID.bits()),
            15 => flow.prop_map(|(class, ahead)| {
                Word::new(0, class, Tick::new(NOW.bits().wrapping_add(ahead).wrapping_sub(4))).bits()
            }),
        ]
    }

    /// The clock is about to wrap.
    const NOW: Tick = Tick::new(0xff_fff0);

    /// What the order says in words: free ones, half-open ones, closing ones, each by deadline.
    fn rank(word: Word) -> Option<(u32, u32)> {
        let class = word.class();
        if !word.is_live(NOW) {
            Some((0, 0))
        } else if class.is_established() {
            None
        } else {
            let rank = if class.is_half_open() { 1 } else { 2 };
            Some((rank, word.deadline().remaining(NOW)))
        }
    }

    /// The table, where another CPU gives the first entry that is claimed this word meanwhile.
    struct Race<'a> {
        memory: &'a Memory,
        meanwhile: Cell<Option<Word>>,
    }

    impl Repeat for Race<'_> {
        fn repeat<B: Body>(&self, turns: u32, body: &mut B) {
            self.memory.repeat(turns, body);
        }
    }

    impl Buckets for Race<'_> {
        type Bucket<'b>
            = Raced<'b>
        where
            Self: 'b;

        fn buckets(&self) -> u32 {
            self.memory.buckets()
        }

        fn bucket(&self, index: u32) -> Option<Raced<'_>> {
            let bucket = self.memory.bucket(index)?;
            Some(Raced(bucket, &self.meanwhile))
        }

        fn describe(&self, place: Place, tuple: &Tuple, about: About) {
            self.memory.describe(place, tuple, about);
        }

        fn details(&self, place: Place) -> Option<FlowDetails> {
            self.memory.details(place)
        }

        fn set_back(&self, place: Place, back: u32) {
            self.memory.set_back(place, back);
        }
    }

    struct Raced<'a>(&'a Cell<HotBucket>, &'a Cell<Option<Word>>);

    impl Bucket for Raced<'_> {
        fn digest(&self, way: usize) -> u64 {
            self.0.digest(way)
        }

        fn word(&self, way: usize) -> Word {
            self.0.word(way)
        }

        fn swap_digest(&self, way: usize, old: u64, new: u64) -> bool {
            let done = self.0.swap_digest(way, old, new);
            if done && let Some(word) = self.1.take() {
                assert!(self.0.swap_word(way, self.0.word(way), word));
            }
            done
        }

        fn set_digest(&self, way: usize, new: u64) {
            self.0.set_digest(way, new);
        }

        fn swap_word(&self, way: usize, old: Word, new: Word) -> bool {
            self.0.swap_word(way, old, new)
        }
    }

    /// A table in which each entry has this digest and word.
    fn full_of(digest: u64, word: Word) -> Memory {
        let memory = Memory::new(SIZES);
        for bucket in &memory.flows {
            bucket.set(HotBucket {
                entries: [[digest, word.bits()]; WAYS],
            });
        }
        memory
    }

    fn in_state(state: State) -> Word {
        Word::new(0, state.into(), NOW.after(9))
    }

    #[test]
    fn a_flow_that_is_established_meanwhile_keeps_its_entry() {
        const OTHER: u64 = 0x22;
        let established = in_state(State::Established);
        for state in [State::SynRecv, State::FinWait] {
            let memory = full_of(OTHER, in_state(state));
            let meanwhile = Cell::new(Some(established));
            let (race, key) = (
                Race {
                    memory: &memory,
                    meanwhile,
                },
                key(1),
            );
            let claimed = victim(&race, &key, 0, NOW).expect("a place");
            let new = in_state(State::SynSent);
            let Insertion::Inserted { lost, own, entry } = insert(&race, &key, new, None, NOW)
            else {
                panic!("no room");
            };
            assert_eq!((lost, own), (in_state(state), false));
            assert_ne!(entry, claimed);
            let bucket = memory.bucket(claimed.bucket).expect("a bucket");
            let way = claimed.way as usize;
            assert_eq!((bucket.digest(way), bucket.word(way)), (OTHER, established));
        }
    }

    #[test]
    fn an_entry_that_is_being_written_is_left_alone() {
        let (key, new) = (key(1), in_state(State::SynSent));
        let memory = full_of(BUSY, Word::VOID);
        assert_eq!(insert(&memory, &key, new, None, NOW), Insertion::Full);
        let bucket = key.bucket(1, memory.buckets());
        memory.flows[bucket as usize].set(HotBucket::default());
        let made = insert(&memory, &key, new, None, NOW);
        let entry = Place { bucket, way: 0 };
        let lost = Word::VOID;
        assert_eq!(
            made,
            Insertion::Inserted {
                lost,
                own: false,
                entry
            }
        );
    }

    #[test]
    fn an_own_entry_that_has_become_anothers_is_left_alone() {
        const OTHER: u64 = 0x22;
        let established = in_state(State::Established);
        let (memory, key) = (full_of(OTHER, established), key(1));
        let own = Place {
            bucket: key.bucket(0, memory.buckets()),
            way: 2,
        };
        let new = in_state(State::SynSent);
        assert_eq!(insert(&memory, &key, new, Some(own), NOW), Insertion::Full);
        let bucket = memory.bucket(own.bucket).expect("a bucket");
        assert!(bucket.swap_digest(2, OTHER, key.digest));
        let made = insert(&memory, &key, new, Some(own), NOW);
        let lost = established;
        assert_eq!(
            made,
            Insertion::Inserted {
                lost,
                own: true,
                entry: own
            }
        );
    }

    proptest! {
        #[test]
        fn the_place_of_a_new_flow_is_the_least_loss(
            number in any::<u32>(),
            words in prop::collection::vec(word(), 4 * CANDIDATES * WAYS),
        ) {
            let memory = Memory::new(SIZES);
            let mut words = words.into_iter().cycle();
            for bucket in &memory.flows {
                let mut entries = bucket.get();
                for entry in &mut entries.entries {
                    *entry = [2, words.next().expect("a word")];
                }
                bucket.set(entries);
            }
            let key = key(number);
            let word_at = |place: &Place| memory.bucket(place.bucket).map(|b| b.word(place.way as usize));
            let places = (0..CANDIDATES).flat_map(|n| {
                let bucket = key.bucket(n, memory.buckets());
                (0..WAYS as u32).map(move |way| Place { bucket, way })
            });
            let best = places
                .filter_map(|place| rank(word_at(&place)?).map(|rank| (rank, place)))
                .reduce(|best, next| if next.0 < best.0 { next } else { best });
            prop_assert_eq!(victim(&memory, &key, 0, NOW), best.map(|(_, place)| place));
        }

        #[test]
        fn the_lesser_of_two_is_the_lesser(a in 0_u64..1 << 63, b in 0_u64..1 << 63) {
            prop_assert_eq!(least(a, b, 0), a.min(b));
        }
    }
}
