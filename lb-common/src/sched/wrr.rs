//! Weighted round robin: each server in proportion to its weight, the heavier ones earlier in
//! the cycle (net/netfilter/ipvs/ip_vs_wrr.c: `ip_vs_wrr_schedule`).

use super::{Step, Turn};
use crate::layout::{Member, Service};

/// The walk begins behind the server chosen last and takes the first whose weight reaches the
/// current weight. At the end of the list the current weight falls by the step, and below 1 it
/// rises to the highest weight again. The walk ends in vain when a pass at the lowest current
/// weight has seen every server.
pub(super) struct Pick {
    len: u32,
    max: u32,
    step: u32,
    place: u32,
    weight: u32,
    /// Where the walk began.
    start: u32,
    /// Zero, that the verifier takes for any number: what is mixed with it does not split its way.
    zero: u32,
    /// Not 0 when the pass sees every server that has a weight.
    last_pass: u32,
    /// Not 0 when the current weight has risen since the walk began.
    restarted: u32,
    /// The place at which the walk has seen every server; 0 for none.
    stop: u32,
    turn: Turn,
    found: Option<u32>,
}

impl Pick {
    #[inline(always)]
    pub(super) fn new(service: &Service, turn: Turn, zero: u8) -> Self {
        let zero = u32::from(zero);
        Self {
            len: service.len,
            max: service.weight_max,
            step: service.weight_step,
            place: turn.place.into(),
            weight: turn.weight,
            start: turn.place.into(),
            zero,
            last_pass: zero,
            restarted: zero,
            stop: zero,
            turn,
            found: None,
        }
    }

    /// The most servers that a walk can see: once through the list for every current weight, and
    /// once more.
    #[inline(always)]
    pub(super) fn bound(service: &Service) -> u32 {
        /// What `bpf_loop` allows (include/linux/bpf.h: `BPF_MAX_LOOPS`).
        const MOST: u64 = 1 << 23;
        // The step is at least 1, but the verifier must see that.
        let passes = u64::from(service.weight_max / service.weight_step.max(1)) + 3;
        let bound = u64::from(service.len) * passes;
        if bound < MOST {
            bound as u32
        } else {
            MOST as u32
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        self.found
    }

    #[inline(always)]
    pub(super) fn turn(&self) -> Turn {
        Turn {
            place: self.place as u16,
            weight: self.weight,
            ..self.turn
        }
    }
}

impl Step for Pick {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.max == 0 {
            return None;
        }
        if self.place >= self.len {
            if self.weight > self.step {
                self.weight -= self.step;
            } else {
                self.weight = self.max;
                if self.last_pass != 0 || self.start == 0 {
                    self.place = 0;
                    return None;
                }
                self.restarted = 1 ^ self.zero;
            }
            self.last_pass = u32::from(self.weight <= self.step) ^ self.zero;
            if self.last_pass & self.restarted != 0 {
                self.stop = self.start;
            }
            self.place = self.zero;
        }
        self.place += 1;
        Some(self.place - 1)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        if usable && member.weight >= self.weight {
            self.found = Some(member.server);
            return true;
        }
        self.place == self.stop
    }
}
