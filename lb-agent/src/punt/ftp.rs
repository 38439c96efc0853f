//! FTP control connections, between the reader and the machine that understands them.

use super::helper::{Case, Ends};
use super::journal::Journal;
use crate::datapath::{Known, Punts};
use crate::helper::ftp::{Counters, Helper, Limits, State};
use lb_common::addr::protocol;
use lb_common::layout::helper_marks;
use lb_common::time::Tick;
use lb_common::wire::tcp_flags;
use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

/// How long a control connection that led to data connections may be silent, in seconds: they may
/// take long, and nothing goes over it meanwhile.
///
/// deviates: ipvs lets the control connection live as long as its data connections do.
const SILENCE: u32 = Limits::DEFAULT.idle.as_secs() as u32;

/// Most connections remembered that were given up.
const GIVEN_UP: usize = 1024;

/// The machine and what it needs.
#[derive(Debug)]
pub(super) struct Ftp {
    machine: Helper,
    journal: Journal,
    /// What was given up and said to be so.
    given_up: HashSet<Ends>,
    /// What was counted when the log was told last.
    told: Counters,
}

impl Ftp {
    /// Goes on with the connections that the agent before this one knew, as far as they are there.
    pub(super) fn new(directory: &Path, punts: &Punts, now: Tick) -> Self {
        let mut machine = Helper::new(Limits {
            mtu: punts.mtu(),
            ..Limits::DEFAULT
        });
        let lives = |ends: &Ends| punts.has_connection(ends, protocol::TCP, now);
        let (journal, states) = Journal::open(directory.join("ftp.ndjson"), lives);
        let present = Instant::now();
        for (ends, state) in states {
            machine.restore(ends, state, present);
        }
        Self {
            machine,
            journal,
            given_up: HashSet::new(),
            told: Counters::default(),
        }
    }

    /// Takes a packet of a known connection, and sends what goes on.
    pub(super) fn help(&mut self, punts: &Punts, case: &Case<'_>, known: &Known) {
        let Case { side, now, .. } = *case;
        let ends = &known.ends;
        let before = self.machine.state(ends);
        // With SYN, the numbers begin anew.
        let unknown = known.marks & helper_marks::CHANGED != 0 && before.is_none();
        if unknown && case.packet.flags & tcp_flags::SYN == 0 {
            return self.give_up(ends);
        }
        let present = Instant::now();
        let outcome = self.machine.packet(present, side, &case.punt.frame, ends);
        let after = self.machine.state(ends);
        let is_same = match (&before, &after) {
            (Some(before), Some(after)) => before.is_like(after),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let mut marks = known.marks & helper_marks::PARENT;
        if after.as_ref().is_some_and(State::is_changed) {
            marks |= helper_marks::CHANGED;
        }
        if !outcome.expect.is_empty() {
            marks |= helper_marks::PARENT;
        }
        punts.mark(known, marks, now);
        if !is_same {
            self.journal.write(ends, after);
        }
        for expected in &outcome.expect {
            if let Err(error) = punts.expect(case.service, expected, known, now) {
                tracing::warn!("a packet of {} waits: {error:#}", ends.client);
                return;
            }
        }
        if let Some(frame) = &outcome.frame {
            case.send(punts, frame);
        }
        if marks & helper_marks::PARENT != 0 {
            punts.hold(known, SILENCE, now);
        }
    }

    /// Forgets what is over, and tells the log what went wrong. To be called every minute.
    pub(super) fn sweep(&mut self, punts: &Punts) {
        self.machine.set_mtu(punts.mtu());
        self.machine.sweep(Instant::now());
        if self.journal.is_due(self.machine.states().count()) {
            self.journal.rewrite(self.machine.states());
        }
        self.given_up.clear();
        let counters = self.machine.counters();
        let news = news(&self.told, &counters);
        if !news.is_empty() {
            tracing::warn!("FTP control connections: {}", news.join(", "));
        }
        tracing::debug!("FTP control connections so far: {counters:?}");
        self.told = counters;
    }

    /// The connection cannot go on: nobody knows any more which of its bytes are which.
    fn give_up(&mut self, ends: &Ends) {
        if self.given_up.len() < GIVEN_UP && self.given_up.insert(*ends) {
            tracing::warn!(
                "the FTP control connection from {} to {} is given up, and its packets are \
                 dropped: an earlier agent changed its replies, and what it knew of them is lost",
                ends.client,
                ends.address
            );
        }
    }
}

/// What a count says, and the count.
type Told = (&'static str, fn(&Counters) -> u64);

/// What the operator should know of what happened between two counts.
fn news(before: &Counters, now: &Counters) -> Vec<String> {
    let told: [Told; 8] = [
        ("lines in several segments, left as they are", |c| c.split),
        ("lines without a usable address", |c| c.unusable),
        ("replies left as they are behind a gap", |c| c.abandoned),
        ("segments dropped behind too many changed replies", |c| {
            c.crowded
        }),
        ("impossible segments dropped", |c| c.malformed),
        ("segments with wrong checksums dropped", |c| c.checksum),
        ("packets passed on, too many connections being known", |c| {
            c.full
        }),
        ("connections forgotten to make room", |c| c.evicted),
    ];
    let new = |of: fn(&Counters) -> u64| of(now).saturating_sub(of(before));
    told.into_iter()
        .filter(|(_, of)| new(*of) > 0)
        .map(|(what, of)| format!("{} {what}", new(of)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let before = Counters {
            split: 2,
            unusable: 1,
            ..Counters::default()
        };
        let now = Counters {
            split: 5,
            active: 7,
            ..before
        };
        assert_eq!(news(&before, &before), Vec::<String>::new());
        assert_eq!(
            news(&before, &now),
            ["3 lines in several segments, left as they are"]
        );
    }
}
