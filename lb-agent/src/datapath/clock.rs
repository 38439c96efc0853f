//! The kernel's clock: how fast jiffies count, and what tick it is.

use anyhow::Context as _;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::time::Clock;
use std::time::Duration;

/// Jiffies a second that Linux can be built with (kernel/Kconfig.hz).
const RATES: [u32; 4] = [100, 250, 300, 1000];

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The kernel's jiffies.
    pub(crate) jiffies: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub(crate) ns: u64,
}

impl Moment {
    /// The present, asked of the program `clock`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run the program.
    pub(crate) fn now(clock: &Xdp) -> anyhow::Result<Self> {
        let (input, mut output) = ([0; 64], [0; 64]);
        let result = clock
            .test_run(TestRunOptions {
                data_in: Some(&input),
                data_out: Some(&mut output),
                repeat: 1,
                ..TestRunOptions::new()
            })
            .context("running the program `clock`")?;
        let half = |at: usize| output[at..].first_chunk().copied().map(u64::from_le_bytes);
        let (Some(jiffies), Some(ns)) = (half(0), half(8)) else {
            anyhow::bail!(
                "the program `clock` returned {} bytes",
                result.data_size_out
            );
        };
        Ok(Self { jiffies, ns })
    }
}

/// Measures how many jiffies a second this kernel counts.
///
/// # Errors
///
/// When the kernel refuses to run the program, or counts at a rate that no kernel has.
pub(crate) fn measure(clock: &Xdp) -> anyhow::Result<Clock> {
    // Long enough that one jiffy more or less leaves no doubt: the rates are 20 % apart or more.
    const SPAN: Duration = Duration::from_millis(60);
    let start = Moment::now(clock)?;
    std::thread::sleep(SPAN);
    let end = Moment::now(clock)?;
    let measured = (end.jiffies - start.jiffies) as f64 * 1e9 / (end.ns - start.ns) as f64;
    nearest(measured).with_context(|| {
        format!("this kernel counts {measured:.0} jiffies a second; none of {RATES:?} is near")
    })
}

fn nearest(measured: f64) -> Option<Clock> {
    let off = |hz: u32| (measured / f64::from(hz)).ln().abs();
    let hz = RATES
        .into_iter()
        .min_by(|a, b| off(*a).total_cmp(&off(*b)))?;
    // 250 against 300, less or more a jiffy in 60 ms at 1000 Hz and at 100 Hz.
    (off(hz) < 0.25).then(|| Clock::new(hz))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jiffy_more_or_less_leaves_no_doubt() {
        for (measured, hz) in [
            (85.0, 100),
            (116.0, 100),
            (250.0, 250),
            (267.0, 250),
            (1010.0, 1000),
        ] {
            assert_eq!(nearest(measured).map(|clock| clock.hz), Some(hz));
        }
        assert_eq!(nearest(10.0), None);
    }
}
