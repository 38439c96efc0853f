//! Places in arrays that programs read without locks: taken, published, retired, and free again
//! only after a grace period.

use std::collections::BTreeSet;

/// Blocks of consecutive places, a power of two long and aligned to their length (a buddy
/// allocator, so that blocks come together again).
#[derive(Debug)]
pub(crate) struct Pool {
    /// Free blocks by order: `free[n]` has the first places of blocks 2^n long.
    free: Vec<BTreeSet<u32>>,
    retired: Vec<Block>,
}

/// A block of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    /// Its first place.
    pub(crate) first: u32,
    order: u32,
}

impl Block {
    /// The block that begins at `first` and was taken for `len` places.
    #[must_use]
    pub(crate) fn new(first: u32, len: u32) -> Self {
        Self {
            first,
            order: order(len),
        }
    }

    fn end(self) -> u32 {
        self.first + (1 << self.order)
    }
}

fn order(len: u32) -> u32 {
    len.max(1).next_power_of_two().trailing_zeros()
}

impl Pool {
    /// A pool of `len` places, of which the blocks `taken` are in use already.
    #[must_use]
    pub(crate) fn new(len: u32, taken: impl IntoIterator<Item = Block>) -> Self {
        let mut pool = Self {
            free: vec![BTreeSet::new(); 32],
            retired: Vec::new(),
        };
        let mut taken: Vec<Block> = taken.into_iter().collect();
        taken.sort_unstable();
        let mut next = 0;
        for block in taken {
            pool.add(next, block.first);
            next = block.end();
        }
        pool.add(next, len);
        pool
    }

    /// Adds the places from `next` up to `end` as the largest blocks that fit.
    fn add(&mut self, mut next: u32, end: u32) {
        while next < end {
            let aligned = if next == 0 { 31 } else { next.trailing_zeros() };
            let order = aligned.min((end - next).ilog2());
            self.free[order as usize].insert(next);
            next += 1 << order;
        }
    }

    /// Takes a block of at least `len` places; none when there is none, perhaps until
    /// [`Self::reclaim`].
    pub(crate) fn take(&mut self, len: u32) -> Option<Block> {
        let wanted = order(len);
        let found = (wanted..32).find(|order| !self.free[*order as usize].is_empty())?;
        let first = self.free[found as usize].pop_first()?;
        for order in wanted..found {
            self.free[order as usize].insert(first + (1 << order));
        }
        Some(Block {
            first,
            order: wanted,
        })
    }

    /// Gives back a block that no program ever saw.
    pub(crate) fn give(&mut self, block: Block) {
        let Block {
            mut first,
            mut order,
        } = block;
        while self.free[order as usize].remove(&(first ^ (1 << order))) {
            first &= !(1 << order);
            order += 1;
        }
        self.free[order as usize].insert(first);
    }

    /// Takes a block out of use that running programs may still read.
    pub(crate) fn retire(&mut self, block: Block) {
        self.retired.push(block);
    }

    /// Whether [`Self::reclaim`] would find anything.
    #[must_use]
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Makes the retired blocks free. A grace period must have passed since the last retirement.
    pub(crate) fn reclaim(&mut self) {
        for block in std::mem::take(&mut self.retired) {
            self.give(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn free_places(pool: &Pool) -> u32 {
        pool.free
            .iter()
            .enumerate()
            .map(|(order, set)| (set.len() as u32) << order)
            .sum()
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_come_back(
            len in 1u32..5000,
            steps in prop::collection::vec((1u32..64, any::<prop::sample::Index>(), any::<bool>()), 1..200),
        ) {
            let mut pool = Pool::new(len, []);
            let mut held: Vec<Block> = Vec::new();
            for (want, index, give) in steps {
                if give && !held.is_empty() {
                    pool.give(held.swap_remove(index.index(held.len())));
                } else if let Some(block) = pool.take(want) {
                    prop_assert!(block.end() <= len && block.end() - block.first >= want);
                    prop_assert!(held.iter().all(|h| h.end() <= block.first || block.end() <= h.first));
                    held.push(block);
                }
                let taken: u32 = held.iter().map(|block| block.end() - block.first).sum();
                prop_assert_eq!(free_places(&pool) + taken, len);
            }
            let adopted = Pool::new(len, held.iter().copied());
            prop_assert_eq!(free_places(&adopted), free_places(&pool));
        }
    }

    #[test]
    fn retired_blocks_wait() {
        let mut pool = Pool::new(4, []);
        let block = pool.take(4).unwrap();
        pool.retire(block);
        assert!(pool.take(1).is_none() && pool.has_retired());
        pool.reclaim();
        assert_eq!(pool.take(4), Some(block));
    }
}
