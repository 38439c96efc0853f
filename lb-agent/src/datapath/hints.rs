//! The hints: which addresses are not worth a look-up.

use super::maps::Maps;
use lb_common::addr::Addr;
use lb_common::layout::{HINT_BITS, HINT_WORDS, Hint, hint_bit};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// How many addresses stand behind each bit that is set.
///
/// An address is added before what it stands for, and removed after.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    counts: HashMap<(u32, u32), u32>,
    /// Every address may be a virtual one.
    any_virtual: bool,
}

impl Hints {
    /// Adds an address once.
    pub(crate) fn add(&mut self, maps: &Maps, hint: Hint, address: Addr) {
        let (word, bit) = hint_bit(hint, address);
        let count = self.counts.entry((word, bit)).or_default();
        *count += 1;
        if *count == 1 {
            maps.hints
                .word64(word, 0)
                .fetch_or(1 << bit, Ordering::Release);
        }
    }

    /// Takes one addition back.
    pub(crate) fn remove(&mut self, maps: &Maps, hint: Hint, address: Addr) {
        let (word, bit) = hint_bit(hint, address);
        let Some(count) = self.counts.get_mut(&(word, bit)) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&(word, bit));
            let mask = !self.word(word);
            maps.hints
                .word64(word, 0)
                .fetch_and(!mask, Ordering::Release);
        }
    }

    /// Says whether every address may be a virtual one, as it is with mark services.
    pub(crate) fn set_any_virtual(&mut self, maps: &Maps, any: bool) {
        if self.any_virtual != any {
            self.any_virtual = any;
            for word in Self::words(Hint::Virtual) {
                maps.hints
                    .word64(word, 0)
                    .store(self.word(word), Ordering::Release);
            }
        }
    }

    /// Clears what another agent left.
    pub(crate) fn clear_others(&self, maps: &Maps) {
        for word in 0..HINT_WORDS {
            maps.hints
                .word64(word, 0)
                .store(self.word(word), Ordering::Release);
        }
    }

    fn words(hint: Hint) -> std::ops::Range<u32> {
        const EACH: u32 = HINT_BITS / 64;
        let first = hint as u32 * EACH;
        first..first + EACH
    }

    fn word(&self, word: u32) -> u64 {
        if self.any_virtual && Self::words(Hint::Virtual).contains(&word) {
            return u64::MAX;
        }
        (0..64)
            .filter(|bit| self.counts.contains_key(&(word, *bit)))
            .fold(0, |bits, bit| bits | 1 << bit)
    }
}
