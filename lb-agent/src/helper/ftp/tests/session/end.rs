//! A simple TCP with selective acknowledgement: it keeps what it sent until that is acknowledged,
//! sends any part of it again cut anyhow, but never what the other side said it has.

use super::MSS;
use crate::helper::frames::Said;
use lb_common::hash;
use std::ops::Range;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        hash::below(hash::finish(self.0) as u32, bound as u32) as usize
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One end's TCP.
pub(super) struct End {
    /// The number of the first byte sent.
    pub(super) first: u32,
    pub(super) sent_text: Vec<u8>,
    /// How much of it was sent at least once, and how much was acknowledged.
    pub(super) sent: usize,
    acknowledged: usize,
    /// What the other end has besides, byte by byte.
    has: Vec<bool>,
    /// Which bytes were in whole lines before the helper, and went on.
    seen: Vec<bool>,
    /// The number of the first byte received.
    pub(super) other_first: u32,
    received: Vec<Option<u8>>,
    /// How much was received in order.
    pub(super) read: usize,
}

impl End {
    pub(super) fn new(first: u32, other_first: u32) -> Self {
        Self {
            first,
            sent_text: Vec::new(),
            sent: 0,
            acknowledged: 0,
            has: Vec::new(),
            seen: Vec::new(),
            other_first,
            received: Vec::new(),
            read: 0,
        }
    }

    pub(super) fn say(&mut self, text: &[u8]) {
        self.sent_text.extend_from_slice(text);
        self.has.resize(self.sent_text.len(), false);
        self.seen.resize(self.sent_text.len(), false);
    }

    /// What was received in order, in lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let text: Vec<u8> = self.received[..self.read]
            .iter()
            .flatten()
            .copied()
            .collect();
        let text = String::from_utf8(text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        whole.lines().map(str::to_owned).collect()
    }

    pub(super) fn is_done(&self) -> bool {
        self.acknowledged == self.sent_text.len()
    }

    pub(super) fn receive(&mut self, said: &Said) {
        // News older than what is known may say anything, even that nothing was received.
        let offset = |number: u32| (number.wrapping_sub(self.first) as i32).max(0) as usize;
        assert!(
            offset(said.ack) <= self.sent,
            "an acknowledgement of the future"
        );
        self.acknowledged = self.acknowledged.max(offset(said.ack));
        for (left, right) in &said.sack {
            let (left, right) = (offset(*left), offset(*right));
            assert!(right <= self.sent, "a block of the future");
            if left < right {
                self.has[left..right].fill(true);
            }
        }
        let at = said.seq.wrapping_sub(self.other_first) as i32;
        for (at, byte) in (at..).zip(&said.data) {
            if at < self.read as i32 {
                continue;
            }
            let at = at as usize;
            self.received.resize(self.received.len().max(at + 1), None);
            let before = self.received[at].replace(*byte);
            assert!(
                before.is_none_or(|before| before == *byte),
                "two texts at {at}"
            );
        }
        while let Some(Some(_)) = self.received.get(self.read) {
            self.read += 1;
        }
    }

    /// Runs of bytes that were received before their turn.
    pub(super) fn blocks(&self) -> Vec<(u32, u32)> {
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        for at in self.read..self.received.len() {
            let number = self.other_first.wrapping_add(at as u32);
            match (self.received[at], blocks.last_mut()) {
                (None, _) => {}
                (Some(_), Some((_, end))) if *end == number => *end = number.wrapping_add(1),
                (Some(_), _) => blocks.push((number, number.wrapping_add(1))),
            }
        }
        blocks
    }

    fn line(&self, at: usize) -> Range<usize> {
        let text = &self.sent_text;
        let start = text[..at].iter().rposition(|byte| *byte == b'\n');
        let len = text[at..].iter().position(|byte| *byte == b'\n').unwrap();
        start.map_or(0, |start| start + 1)..at + len + 1
    }

    /// What to send: new text, or again what the other end lacks. With `whole_lines` no line is
    /// cut before it went past the helper.
    pub(super) fn choose(&self, random: &mut Random, whole_lines: bool) -> Option<Range<usize>> {
        let lacking: Vec<usize> = (self.acknowledged..self.sent)
            .filter(|at| !self.has[*at])
            .collect();
        let mut start = match lacking.first() {
            Some(first) if random.percent(40) => *first,
            Some(_) if random.percent(40) => lacking[random.below(lacking.len())],
            _ => self.sent,
        };
        if start >= self.sent_text.len() {
            start = *lacking.first()?;
        }
        if whole_lines && !self.seen[start] {
            start = self.line(start).start;
        }
        let longest = self.sent_text.len().min(start + MSS);
        let wanted = (start + 1 + random.below(2 * MSS)).min(longest);
        let mut end = (start..wanted).find(|at| self.has[*at]).unwrap_or(wanted);
        let last = self.line(end - 1);
        if whole_lines && !self.seen[end - 1] && last.end != end {
            end = if last.end <= longest {
                last.end
            } else {
                last.start
            };
        }
        Some(start..end)
    }

    pub(super) fn note_seen(&mut self, range: &Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let line = self.line(at);
            if range.start <= line.start && line.end <= range.end {
                self.seen[line.clone()].fill(true);
            }
            at = line.end;
        }
    }
}
