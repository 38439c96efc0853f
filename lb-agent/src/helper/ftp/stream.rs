//! What becomes of the server's byte stream when pieces of its text are replaced by others.
//!
//! The kernel keeps where the last change of length was, and by how much numbers are shifted
//! before and behind it (`nf_conntrack_seqadj`). Here the changes themselves are kept until the
//! client has acknowledged them, and everything follows from one function of the position: a byte
//! is translated alike however the server cuts the stream into segments, how often it sends them
//! and in which order they come.
//!
//! ```text
//! server's   ...|............|--- old text ---|......|-- old --|....
//!               |            |start           |end   |         |
//! client's   ...|............|- new text -|......|-- new text --|...
//!            shift           '            '  shift + new - old
//! ```
//!
//! For that no position may change its place once a byte at or behind it was handed on: a text is
//! replaced only at or behind [`Stream::next`].

use super::Expectation;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::Range;

/// Most changes that the client has not acknowledged.
pub(super) const EDITS: usize = 8;

/// The server's stream of one connection. Positions are sequence numbers and wrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    /// Behind the last byte that was handed on.
    next: u32,
    /// Where the line began that was not at its end at `next`.
    line: u32,
    /// What is added to positions before the first edit.
    shift: u32,
    /// By position, without overlaps.
    edits: VecDeque<Edit>,
}

/// A replaced text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Edit {
    /// Where the old text begins.
    pub(super) start: u32,
    /// Length of the old text in bytes, at least 1.
    pub(super) len: u32,
    /// The new text, not empty.
    pub(super) text: Box<[u8]>,
    /// What the text announces.
    pub(super) expectation: Expectation,
}

impl Edit {
    /// How far into the new text the `offset`th byte of the old one falls: nowhere behind it, and
    /// at its end only with the end of the old.
    fn place(&self, offset: u32) -> u32 {
        if offset >= self.len {
            self.new_len()
        } else {
            offset.min(self.new_len())
        }
    }

    fn new_len(&self) -> u32 {
        self.text.len() as u32
    }

    /// The shift behind this edit where `shift` is the one before it.
    fn after(&self, shift: u32) -> u32 {
        shift.wrapping_add(self.new_len()).wrapping_sub(self.len)
    }
}

/// `a - b` of two positions within half of the number space of each other.
fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

impl Stream {
    /// A stream of which nothing before `next` will be asked to change; a line begins there.
    pub(super) fn new(next: u32) -> Self {
        Self {
            next,
            line: next,
            shift: 0,
            edits: VecDeque::new(),
        }
    }

    /// Whether two streams say the same of what was replaced, wherever they are.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.shift, &self.edits) == (other.shift, &other.edits)
    }

    /// Whether any numbers differ on both sides.
    pub(super) fn is_changed(&self) -> bool {
        self.shift != 0 || !self.edits.is_empty()
    }

    /// How many edits the client has not acknowledged.
    pub(super) fn edits(&self) -> usize {
        self.edits.len()
    }

    /// Whether bytes from `start` on would leave a hole.
    pub(super) fn leaves_hole(&self, start: u32) -> bool {
        distance(start, self.next) > 0
    }

    /// Whether what ends at `end` has bytes that were not handed on.
    pub(super) fn is_news(&self, end: u32) -> bool {
        distance(end, self.next) > 0
    }

    /// Whether nothing at or behind `position` was handed on.
    pub(super) fn is_open(&self, position: u32) -> bool {
        distance(position, self.next) >= 0
    }

    /// Whether data from `start` on begin with the beginning of a line, as far as is known.
    pub(super) fn is_line_start(&self, start: u32) -> bool {
        start == self.line || self.leaves_hole(start)
    }

    /// Replaces a text that [is open](Self::is_open); the stream must have room for another edit
    /// ([`EDITS`]).
    pub(super) fn replace(&mut self, edit: Edit) {
        debug_assert!(self.is_open(edit.start) && edit.len > 0 && !edit.text.is_empty());
        self.edits.push_back(edit);
    }

    /// Notes that `data` at `start` are handed on.
    pub(super) fn advance(&mut self, start: u32, data: &[u8]) {
        let end = start.wrapping_add(data.len() as u32);
        // Without data a segment says nothing of what it seems to follow.
        if data.is_empty() || distance(end, self.next) <= 0 {
            return;
        }
        if let Some(last) = data.iter().rposition(|byte| *byte == b'\n') {
            self.line = start.wrapping_add(last as u32 + 1);
        } else if self.leaves_hole(start) {
            self.line = start;
        }
        self.next = end;
    }

    /// The client's position for the server's.
    pub(super) fn forward(&self, position: u32) -> u32 {
        let mut shift = self.shift;
        for edit in &self.edits {
            let offset = distance(position, edit.start);
            if offset <= 0 {
                break;
            }
            let offset = offset.cast_unsigned();
            if offset < edit.len {
                let place = edit.place(offset);
                return edit.start.wrapping_add(shift).wrapping_add(place);
            }
            shift = edit.after(shift);
        }
        position.wrapping_add(shift)
    }

    /// The server's last position that is none behind the client's: what an acknowledgement of
    /// the client's acknowledges.
    pub(super) fn back(&self, position: u32) -> u32 {
        self.backward(position, |edit, place| {
            (place < edit.new_len()).then(|| place.min(edit.len - 1))
        })
    }

    /// The server's first position that is none before the client's: where a block begins that
    /// the client has.
    pub(super) fn back_up(&self, position: u32) -> u32 {
        self.backward(position, |edit, place| {
            (place <= edit.new_len()).then(|| place.min(edit.len))
        })
    }

    /// The server's position for the client's. `within` gives the offset in an old text for a
    /// place in the new one, at least 1, unless the place counts as behind it.
    fn backward(&self, position: u32, within: impl Fn(&Edit, u32) -> Option<u32>) -> u32 {
        let mut shift = self.shift;
        for edit in &self.edits {
            let place = distance(position, edit.start.wrapping_add(shift));
            if place <= 0 {
                break;
            }
            if let Some(offset) = within(edit, place.cast_unsigned()) {
                return edit.start.wrapping_add(offset);
            }
            shift = edit.after(shift);
        }
        position.wrapping_sub(shift)
    }

    /// The client's text for the server's `data` at `start`.
    pub(super) fn translate(&self, start: u32, data: &[u8]) -> Vec<u8> {
        let mut translated = Vec::with_capacity(data.len() + 64);
        let mut done = 0;
        for edit in &self.edits {
            let Some((old, new)) = edit.within(start, data.len()) else {
                continue;
            };
            translated.extend_from_slice(&data[done..old.start]);
            translated.extend_from_slice(&edit.text[new]);
            done = old.end;
        }
        translated.extend_from_slice(&data[done..]);
        translated
    }

    /// What the replaced texts announce that begin within `len` bytes from `start` on.
    pub(super) fn announced(&self, start: u32, len: usize) -> impl Iterator<Item = Expectation> {
        let begins = move |edit: &&Edit| {
            let offset = distance(edit.start, start);
            offset >= 0 && (offset.cast_unsigned() as usize) < len
        };
        self.edits
            .iter()
            .filter(begins)
            .map(|edit| edit.expectation)
    }

    /// Takes an acknowledgement of the client's. Edits that it covers are forgotten: what may
    /// still come of their text, and of what lay before it, is no news to the client, who ignores
    /// it wherever before its acknowledgement it seems to be.
    ///
    /// An acknowledgement of what was never handed on is ignored: anyone may have sent it.
    pub(super) fn acknowledge(&mut self, position: u32) {
        if distance(position, self.forward(self.next)) > 0 {
            return;
        }
        while let Some(edit) = self.edits.front() {
            let start = edit.start.wrapping_add(self.shift);
            let end = start.wrapping_add(edit.new_len());
            if distance(position, end) < 0 {
                return;
            }
            self.shift = edit.after(self.shift);
            self.edits.pop_front();
        }
    }
}

impl Edit {
    /// Which of `len` bytes at `start` are old text, and which part of the new text stands for
    /// them.
    fn within(&self, start: u32, len: usize) -> Option<(Range<usize>, Range<usize>)> {
        // Both offsets are small or the edit is elsewhere: in 64 bits nothing wraps again.
        let begin = i64::from(distance(self.start, start));
        let end = begin + i64::from(self.len);
        let len = len as i64;
        if end <= 0 || begin >= len {
            return None;
        }
        let old = begin.max(0)..end.min(len);
        let place = |at: i64| self.place((at - begin) as u32) as usize;
        let new = place(old.start)..place(old.end);
        Some((old.start as usize..old.end as usize, new))
    }
}

#[cfg(test)]
mod tests;
