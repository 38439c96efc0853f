//! The mark rules in their two lists.

use super::maps::Maps;
use super::{describe, grace};
use lb_common::api::MarkRule;
use lb_common::layout::{self, Control, MARK_RULES};
use std::mem::offset_of;
use std::sync::atomic::Ordering;

/// The writer of the mark rules.
#[derive(Debug)]
pub(crate) struct Writer {
    wanted: Vec<MarkRule>,
    /// The list that counts.
    written: Vec<layout::MarkRule>,
}

impl Writer {
    /// Reads the list that counts; until rules are set it stays.
    pub(crate) fn read(maps: &Maps) -> Self {
        let (which, len) = current(maps);
        let written = (0..len).map(|i| maps.rules.load(which * MARK_RULES + i));
        Self {
            wanted: Vec::new(),
            written: written.collect(),
        }
    }

    /// Makes these the rules; returns those before.
    ///
    /// # Errors
    ///
    /// When no grace period can be waited for; then the rules are as before.
    pub(crate) fn set(&mut self, maps: &Maps, rules: &[MarkRule]) -> anyhow::Result<Vec<MarkRule>> {
        let before = std::mem::replace(&mut self.wanted, rules.to_vec());
        if let Err(error) = self.refresh(maps) {
            self.wanted = before;
            return Err(error);
        }
        Ok(before)
    }

    /// Brings the list in line with the rules, as an interface that one of them names came or went.
    ///
    /// # Errors
    ///
    /// As [`Self::set`].
    pub(crate) fn refresh(&mut self, maps: &Maps) -> anyhow::Result<()> {
        let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
        let mut rules = describe::rules(&self.wanted, index);
        rules.truncate(MARK_RULES as usize);
        if rules == self.written {
            return Ok(());
        }
        // A program may still read the list that was switched from.
        grace::wait()?;
        let other = 1 - current(maps).0;
        // To its end: a packet that meets the switch on its way down the list is to find no rule of
        // former times there.
        let padded = rules
            .iter()
            .copied()
            .chain(std::iter::repeat(layout::MarkRule::default()));
        for (index, rule) in (0..MARK_RULES).zip(padded) {
            maps.rules.store(other * MARK_RULES + index, rule);
        }
        maps.control
            .word32(0, offset_of!(Control, rules))
            .store(other | (rules.len() as u32) << 1, Ordering::SeqCst);
        self.written = rules;
        Ok(())
    }
}

/// Which list counts, and how many rules it has.
fn current(maps: &Maps) -> (u32, u32) {
    let word = maps.control.load(0).rules;
    (word & 1, (word >> 1).min(MARK_RULES))
}
