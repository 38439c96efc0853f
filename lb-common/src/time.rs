//! Coarse time, as the flow table keeps it.

/// A moment on a clock of about one second a tick, 24 bits wide.
///
/// The clock is the kernel's jiffies shifted right by [`Clock::shift`], so that reading it costs
/// a packet nothing. It wraps after 194 days; comparisons hold as long as two moments lie
/// within half of that, 97 days, of each other. The longest timeout there is, 31 days, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(u32);

impl Tick {
    /// How many bits a tick has.
    pub const BITS: u32 = 24;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// The tick with these low bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// The tick's 24 bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// This moment and `ticks` more.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks) & Self::MASK)
    }

    /// How many ticks from `now` until this moment, which is not past.
    #[inline(always)]
    #[must_use]
    pub const fn ahead(self, now: Self) -> u32 {
        self.0.wrapping_sub(now.0) & Self::MASK
    }

    /// How many ticks from `now` until this moment; 0 when it is past.
    #[inline(always)]
    #[must_use]
    pub const fn remaining(self, now: Self) -> u32 {
        let distance = self.ahead(now);
        if distance > Self::MASK / 2 {
            0
        } else {
            distance
        }
    }

    /// 1 when this moment is past at `now`, else 0: [`Tick::is_past`] without branches.
    #[inline(always)]
    #[must_use]
    pub const fn past(self, now: Self) -> u32 {
        (self.ahead(now) + Self::MASK / 2) >> Self::BITS
    }

    /// Whether this moment is past at `now`. The tick itself still counts as before.
    #[inline(always)]
    #[must_use]
    pub const fn is_past(self, now: Self) -> bool {
        self.past(now) != 0
    }
}

/// How ticks relate to seconds on a running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The kernel's jiffies a second (CONFIG_HZ).
    pub hz: u32,
    /// How many low bits of the jiffies a tick drops.
    pub shift: u32,
}

impl Clock {
    /// The clock for a kernel with `hz` jiffies a second: the shift that makes a tick the least
    /// time of at least a second.
    #[must_use]
    pub const fn new(hz: u32) -> Self {
        Self {
            hz,
            shift: hz.next_power_of_two().trailing_zeros(),
        }
    }

    /// The tick that `jiffies` falls in.
    #[must_use]
    pub const fn tick(self, jiffies: u64) -> Tick {
        Tick::new((jiffies >> self.shift) as u32)
    }

    /// The number of ticks that last at least `seconds` from any moment on.
    ///
    /// A deadline is compared against the start of its tick, so the part of the tick that has
    /// passed already is made up for by [`Tick::is_past`], which lets the last tick end.
    #[must_use]
    pub const fn ticks(self, seconds: u32) -> u32 {
        ((seconds as u64 * self.hz as u64).div_ceil(1 << self.shift)) as u32
    }

    /// The seconds that `ticks` last, rounded up.
    #[must_use]
    pub const fn seconds(self, ticks: u32) -> u32 {
        ((ticks as u64) << self.shift).div_ceil(self.hz as u64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tick_is_a_second_or_a_little_more() {
        for hz in [100, 250, 300, 1000] {
            let clock = Clock::new(hz);
            let length = f64::from(1u32 << clock.shift) / f64::from(hz);
            assert!((1.0..2.0).contains(&length), "{hz}: {length}");
        }
    }

    proptest! {
        #[test]
        fn a_timeout_is_never_cut_short(
            hz in prop::sample::select(vec![100u32, 250, 300, 1000]),
            start in any::<u64>(),
            seconds in 1u32..2_678_400,
        ) {
            let clock = Clock::new(hz);
            let start = start >> 1;
            let deadline = clock.tick(start).after(clock.ticks(seconds));
            let jiffies = u64::from(seconds) * u64::from(hz);
            prop_assert!(!deadline.is_past(clock.tick(start + jiffies)));
            let late = start + jiffies + (3 << clock.shift);
            prop_assert!(deadline.is_past(clock.tick(late)));
        }

        #[test]
        fn remaining_and_past_agree(now in 0u32..1 << 24, ticks in 0u32..1 << 22) {
            let now = Tick::new(now);
            prop_assert_eq!(now.after(ticks).remaining(now), ticks);
            prop_assert!(!now.after(ticks).is_past(now));
            prop_assert!(now.is_past(now.after(ticks + 1)));
        }
    }
}
