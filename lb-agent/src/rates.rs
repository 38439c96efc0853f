//! The kernel's rate estimator: integers, every two seconds, each new value weighing a quarter.
//!
//! ipvs: net/netfilter/ipvs/ip_vs_est.c:ip_vs_estimation_chain, ip_vs_read_estimator

use lb_common::api::{Counters, Rates};
use std::time::Duration;

/// How often [`Estimator::tick`] is to be called; the arithmetic is made for it.
pub(crate) const PERIOD: Duration = Duration::from_secs(2);

/// The rates of one service or server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimator {
    last: Counters,
    connections: Average<9>,
    in_packets: Average<9>,
    out_packets: Average<9>,
    in_bytes: Average<4>,
    out_bytes: Average<4>,
}

impl Estimator {
    /// An estimator that has seen `counters` before, long ago.
    pub(crate) fn starting_at(counters: Counters) -> Self {
        Self {
            last: counters,
            ..Self::default()
        }
    }

    /// Takes in the counters at the end of a period. Counters that fell, because they were
    /// zeroed meanwhile, count from zero.
    pub(crate) fn tick(&mut self, now: Counters) {
        let last = std::mem::replace(&mut self.last, now);
        let grown = |now: u64, last: u64| now.checked_sub(last).unwrap_or(now);
        self.connections
            .add(grown(now.connections, last.connections));
        self.in_packets.add(grown(now.in_packets, last.in_packets));
        self.out_packets
            .add(grown(now.out_packets, last.out_packets));
        self.in_bytes.add(grown(now.in_bytes, last.in_bytes));
        self.out_bytes.add(grown(now.out_bytes, last.out_bytes));
    }

    /// The rates a second.
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            connections: self.connections.read(),
            in_packets: self.in_packets.read(),
            out_packets: self.out_packets.read(),
            in_bytes: self.in_bytes.read(),
            out_bytes: self.out_bytes.read(),
        }
    }
}

/// A moving average of a value a second, scaled by 2^(SHIFT + 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Average<const SHIFT: u32>(u64);

impl<const SHIFT: u32> Average<SHIFT> {
    /// Takes in how much the counter grew in two seconds.
    fn add(&mut self, grown: u64) {
        let rate = grown.wrapping_shl(SHIFT);
        // Signed, as the kernel's: the difference rounds towards the lower value.
        let step = rate.wrapping_sub(self.0).cast_signed() >> 2;
        self.0 = self.0.wrapping_add_signed(step);
    }

    fn read(self) -> u64 {
        (self.0.wrapping_add((1 << SHIFT) - 1)) >> (SHIFT + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(connections: u64, in_bytes: u64) -> Counters {
        Counters {
            connections,
            in_bytes,
            ..Counters::default()
        }
    }

    /// 100 connections and 10,000 bytes a second: 200 and 20,000 a period. By hand:
    /// 200 << 9 = 102400; a quarter is 25600, (25600 + 511) >> 10 = 25; then
    /// 25600 + 76800 / 4 = 44800, 44 when read; 20000 << 4 = 320000, a quarter 80000,
    /// (80000 + 15) >> 5 = 2500; then 140000, 4375.
    #[test]
    fn rises_by_a_quarter_of_the_difference() {
        let mut estimator = Estimator::default();
        estimator.tick(counters(200, 20_000));
        let rates = estimator.rates();
        assert_eq!((rates.connections, rates.in_bytes), (25, 2500));
        estimator.tick(counters(400, 40_000));
        let rates = estimator.rates();
        assert_eq!((rates.connections, rates.in_bytes), (44, 4375));
    }

    #[test]
    fn falls_to_zero_when_nothing_comes() {
        let mut estimator = Estimator::default();
        estimator.tick(counters(1000, 1_000_000));
        for _ in 0..100 {
            estimator.tick(counters(1000, 1_000_000));
        }
        assert_eq!(estimator.rates(), Rates::default());
    }

    #[test]
    fn what_was_counted_before_the_start_is_no_rate() {
        let mut estimator = Estimator::starting_at(counters(1_000_000, 0));
        estimator.tick(counters(1_000_000, 0));
        assert_eq!(estimator.rates(), Rates::default());
    }

    #[test]
    fn zeroed_counters_do_not_make_a_huge_rate() {
        let mut estimator = Estimator::starting_at(counters(1_000_000, 0));
        estimator.tick(counters(4, 0));
        assert_eq!(estimator.rates().connections, 0);
    }
}
