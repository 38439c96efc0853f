//! Small numbers that are given back.

use std::collections::BTreeSet;

/// Which numbers are in use; the lowest free one is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// Every number from here on is free.
    end: u32,
    /// The free numbers below `end`.
    gaps: BTreeSet<u32>,
}

impl Ids {
    /// The lowest number that is free.
    pub(super) fn lowest(&self) -> u32 {
        self.gaps.first().copied().unwrap_or(self.end)
    }

    /// How many numbers are in use.
    pub(super) fn used(&self) -> u32 {
        self.end - u32::try_from(self.gaps.len()).unwrap_or(self.end)
    }

    /// Marks a number as used.
    pub(super) fn take(&mut self, id: u32) {
        if id < self.end {
            self.gaps.remove(&id);
        } else {
            self.gaps.extend(self.end..id);
            self.end = id + 1;
        }
    }

    /// Marks a number as free.
    pub(super) fn give(&mut self, id: u32) {
        if id < self.end {
            self.gaps.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken_first() {
        let mut ids = Ids::default();
        for id in 0..4 {
            assert_eq!(ids.lowest(), id);
            ids.take(id);
        }
        ids.give(2);
        ids.give(1);
        assert_eq!((ids.lowest(), ids.used()), (1, 2));
        ids.take(1);
        assert_eq!((ids.lowest(), ids.used()), (2, 3));
    }

    #[test]
    fn a_number_taken_ahead_leaves_the_ones_before_it_free() {
        let mut ids = Ids::default();
        ids.take(2);
        assert_eq!((ids.lowest(), ids.used()), (0, 1));
    }
}
