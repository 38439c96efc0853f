//! Finding, continuing and inserting flows.

use super::{About, BUSY, Bucket, Buckets, CANDIDATES, Counts, Key, Place, Tuple, Word};
use crate::layout::WAYS;
use crate::repeat::Body;
use crate::time::Tick;

/// The live entry of a flow.
#[inline(always)]
pub fn find<B: Buckets>(table: &B, key: &Key, now: Tick) -> Option<(Place, Word)> {
    match probe(table, key, 0, now) {
        // Nearly every flow lies in its first bucket; keep the rest out of its way.
        None => find_further(table, key, now),
        found => found,
    }
}

#[inline(never)]
fn find_further<B: Buckets>(table: &B, key: &Key, now: Tick) -> Option<(Place, Word)> {
    let mut n = 1;
    while n < CANDIDATES {
        if let found @ Some(_) = probe(table, key, n, now) {
            return found;
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
    /// Every candidate holds an established flow.
    Full,
}

/// Gives a flow an entry, which is busy until [`publish`].
///
/// The place is, in this order: the flow's own older entry, a free one, that of the half-open
/// flow next to expire, that of the closing flow next to expire. Established flows never make
/// room.
#[inline(always)]
pub fn insert<B: Buckets>(table: &B, key: &Key, word: Word, now: Tick) -> Insertion<Place> {
    /// Further tries are for when another CPU took or changed the very same entry.
    const TRIES: u32 = 4;

    let mut attempt = Attempt {
        table,
        key,
        word,
        now,
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
    outcome: Insertion<Place>,
}

impl<B: Buckets> Body for Attempt<'_, B> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Some((place, seen)) = victim(self.table, self.key, self.now) else {
            return true;
        };
        let Some(bucket) = self.table.bucket(place.bucket) else {
            return true;
        };
        let way = place.way as usize & (WAYS - 1);
        if !bucket.swap_digest(way, seen, BUSY) {
            return false;
        }
        let own = seen == self.key.digest;
        let lost = bucket.word(way);
        // Read again under the claim: since the search the flow may have been established, or
        // the entry given to another.
        let free = own || cost(seen, lost, self.now) != NEVER;
        if !free || !bucket.swap_word(way, lost, self.word) {
            bucket.set_digest(way, seen);
            return false;
        }
        self.outcome = Insertion::Inserted {
            lost,
            own,
            entry: place,
        };
        true
    }
}

/// The best place for a new flow and the digest seen there.
#[inline(always)]
fn victim<B: Buckets>(table: &B, key: &Key, now: Tick) -> Option<(Place, u64)> {
    let mut search = Search {
        table,
        key,
        now,
        candidate: 0,
        cost: NEVER,
        place: Place { bucket: 0, way: 0 },
        digest: BUSY,
    };
    table.repeat(CANDIDATES as u32, &mut search);
    (search.cost != NEVER).then_some((search.place, search.digest))
}

/// The search for the entry that costs least, a bucket a turn.
struct Search<'a, B> {
    table: &'a B,
    key: &'a Key,
    now: Tick,
    candidate: usize,
    cost: u32,
    place: Place,
    digest: u64,
}

impl<B: Buckets> Body for Search<'_, B> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let index = self.key.bucket(self.candidate, self.table.buckets());
        let Some(bucket) = self.table.bucket(index) else {
            return true;
        };
        let mut way = 0;
        while way < WAYS {
            let digest = bucket.digest(way);
            let cost = if digest == self.key.digest {
                0
            } else {
                cost(digest, bucket.word(way), self.now)
            };
            if cost < self.cost {
                self.cost = cost;
                self.place = Place {
                    bucket: index,
                    way: (way as u32 ^ u32::from(self.table.blur())) & (WAYS as u32 - 1),
                };
                self.digest = digest;
            }
            way += 1;
        }
        self.candidate += 1;
        false
    }
}

const NEVER: u32 = u32::MAX;

/// What it costs to take an entry: rank first, then the time it has left.
#[inline(always)]
fn cost(digest: u64, word: Word, now: Tick) -> u32 {
    if digest == BUSY {
        return NEVER;
    }
    if !word.is_live(now) {
        return 1;
    }
    // Without branches: the verifier would walk all that follows for each.
    let class = word.class();
    let rank = 2 - u32::from(class.is_half_open());
    let never = 0_u32.wrapping_sub(u32::from(class.is_established()));
    never | rank << Tick::BITS | word.deadline().ahead(now)
}
