//! Fragments that came before the first one of their packet, and wait for it.
//!
//! Where a packet goes, its first fragment tells: the program remembers it, and the others follow.
//! One that comes too early waits here until then. If the first one does not come, or is none of
//! lb's, the others are sent on as well, and are the host's then.

use lb_common::flow::Tuple;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much waits at most, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most fragments.
    pub(crate) fragments: usize,
    /// Most bytes of frames.
    pub(crate) bytes: usize,
    /// How long a fragment waits for the first one of its packet.
    pub(crate) patience: Duration,
}

impl Limits {
    /// Four times what the ring buffer holds. Packets overtake each other by milliseconds.
    pub(crate) const DEFAULT: Self = Self {
        fragments: 1024,
        bytes: 2 << 20,
        patience: Duration::from_secs(1),
    };
}

/// A frame to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The interface that it came in by.
    pub(crate) ifindex: u32,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// Those that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Held {
    limits: Limits,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    lost: u64,
}

#[derive(Debug)]
struct Waiting {
    /// What the fragments of its packet are found by.
    packet: Tuple,
    frame: Frame,
    since: Instant,
}

impl Held {
    /// Nothing waits yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            bytes: 0,
            lost: 0,
        }
    }

    /// Keeps a fragment. When there is no room, the oldest ones are lost: those wait in vain most
    /// likely, and a flood of others cannot keep out who comes after it.
    pub(crate) fn keep(&mut self, packet: Tuple, frame: Frame, now: Instant) {
        self.bytes += frame.bytes.len();
        self.waiting.push_back(Waiting {
            packet,
            frame,
            since: now,
        });
        while self.waiting.len() > self.limits.fragments || self.bytes > self.limits.bytes {
            let Some(oldest) = self.waiting.pop_front() else {
                return;
            };
            self.bytes -= oldest.frame.bytes.len();
            self.lost += 1;
        }
    }

    /// Takes out what is to be sent again, in the order it came: the fragments of packets of which
    /// the first one is known by now, and those that waited long enough.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        mut is_known: impl FnMut(&Tuple) -> bool,
    ) -> Vec<Frame> {
        let mut due = Vec::new();
        let patience = self.limits.patience;
        for waiting in std::mem::take(&mut self.waiting) {
            let over = now.saturating_duration_since(waiting.since) >= patience;
            if over || is_known(&waiting.packet) {
                self.bytes -= waiting.frame.bytes.len();
                due.push(waiting.frame);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        due
    }

    /// When to ask for [`Held::due`] again; none when nothing waits. Soon as long as one came only
    /// just now, for mostly its first one follows at once.
    pub(crate) fn ask_again(&self, now: Instant) -> Option<Duration> {
        const SOON: Duration = Duration::from_millis(1);
        const LATER: Duration = Duration::from_millis(10);

        let youngest = self.waiting.back()?;
        let fresh = now.saturating_duration_since(youngest.since) < LATER;
        Some(if fresh { SOON } else { LATER })
    }

    /// How many were lost for want of room.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::addr::{Addr, protocol};
    use lb_common::flow::Role;

    const LIMITS: Limits = Limits {
        fragments: 3,
        bytes: 100,
        patience: Duration::from_secs(1),
    };

    fn packet(identification: u32) -> Tuple {
        Tuple {
            client: Addr::from_v4_word(1),
            address: Addr::from_v4_word(2),
            ports: identification,
            protocol: protocol::UDP,
            role: Role::Fragment,
        }
    }

    fn frame(number: u8, len: usize) -> Frame {
        Frame {
            ifindex: 1,
            bytes: vec![number; len],
        }
    }

    fn numbers(frames: &[Frame]) -> Vec<u8> {
        frames.iter().map(|frame| frame.bytes[0]).collect()
    }

    #[test]
    fn fragments_go_in_order_once_their_first_is_known() {
        let (mut held, now) = (Held::new(LIMITS), Instant::now());
        assert_eq!(held.ask_again(now), None);
        held.keep(packet(7), frame(1, 10), now);
        held.keep(packet(8), frame(2, 10), now);
        held.keep(packet(7), frame(3, 10), now);
        assert_eq!(numbers(&held.due(now, |_| false)), Vec::<u8>::new());
        assert_eq!(numbers(&held.due(now, |of| of.ports == 7)), [1, 3]);
        assert_eq!(
            numbers(&held.due(now, |of| of.ports == 7)),
            Vec::<u8>::new()
        );
        assert_eq!(numbers(&held.due(now, |_| true)), [2]);
        assert_eq!(held.ask_again(now), None);
        assert_eq!((held.bytes, held.lost()), (0, 0));
    }

    #[test]
    fn patience_ends() {
        let (mut held, start) = (Held::new(LIMITS), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        held.keep(packet(7), frame(1, 10), start);
        held.keep(packet(8), frame(2, 10), after(500));
        assert_eq!(numbers(&held.due(after(999), |_| false)), Vec::<u8>::new());
        assert_eq!(numbers(&held.due(after(1000), |_| false)), [1]);
        assert_eq!(numbers(&held.due(after(1500), |_| false)), [2]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let (mut held, now) = (Held::new(LIMITS), Instant::now());
        for number in 1..=5 {
            held.keep(packet(number.into()), frame(number, 10), now);
        }
        held.keep(packet(6), frame(6, 85), now);
        assert_eq!(held.lost(), 4);
        held.keep(packet(7), frame(7, 101), now);
        assert_eq!(numbers(&held.due(now, |_| true)), Vec::<u8>::new());
        assert_eq!((held.bytes, held.lost()), (0, 7));
    }

    #[test]
    fn who_waits_long_is_asked_for_less_often() {
        let (mut held, start) = (Held::new(LIMITS), Instant::now());
        held.keep(packet(7), frame(1, 10), start);
        let at = |ms| held.ask_again(start + Duration::from_millis(ms));
        assert_eq!(at(9), Some(Duration::from_millis(1)));
        assert_eq!(at(10), Some(Duration::from_millis(10)));
    }
}
