//! Rendezvous hashing, for flows that the table has no room for: each server has a score for the
//! flow and the highest wins, so that a server's coming or going moves only its own flows.

use super::Step;
use crate::flow::Key;
use crate::layout::Member;

pub(super) struct Pick {
    key: Key,
    len: u32,
    index: u32,
    best: u64,
    found: Option<u32>,
}

impl Pick {
    #[inline(always)]
    pub(super) fn new(len: u32, key: Key) -> Self {
        Self {
            key,
            len,
            index: 0,
            best: 0,
            found: None,
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        self.found
    }
}

impl Step for Pick {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let index = self.index;
        self.index += 1;
        (index < self.len).then_some(index)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, _: bool) -> bool {
        let score = self.key.score(member.server);
        if member.weight != 0 && (self.found.is_none() || score > self.best) {
            self.best = score;
            self.found = Some(member.server);
        }
        false
    }
}
