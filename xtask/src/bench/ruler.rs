//! Runs a program under the feeder and watches that every packet came out as it must.

use super::layout::{Feed, Tally};
use super::traffic::{Traffic, Visit, sound};
use anyhow::{Context as _, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;

/// What must come out of a program for every packet fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    /// The XDP action, of `bpf_xdp_action`.
    pub(super) action: u32,
    /// By how many bytes the packet is longer.
    pub(super) growth: u16,
    /// Whether the destination MAC address begins with another byte than
    /// [`DIRECTOR`](super::traffic::DIRECTOR).
    pub(super) readdressed: bool,
}

/// `XDP_PASS`.
pub(super) const PASS: u32 = 2;
/// `XDP_TX`.
pub(super) const TX: u32 = 3;

/// Which flows a measurement visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flows {
    /// So many, a power of two, all of them known to the program.
    Known(u32),
    /// A flow that was never seen for every packet.
    New,
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(1) => f.write_str("1 flow"),
            Self::Known(flows) => write!(f, "{flows} flows"),
            Self::New => f.write_str("new flows"),
        }
    }
}

impl Serialize for Flows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(flows) => serializer.serialize_u32(*flows),
            Self::New => serializer.serialize_str("new"),
        }
    }
}

/// One run of a program.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    /// The program.
    pub(super) program: &'a ProgramFd,
    /// What it is fed.
    pub(super) traffic: &'a Traffic,
    /// Of which flows.
    pub(super) flows: Flows,
    /// In which order.
    pub(super) visit: Visit,
    /// What must come out.
    pub(super) expect: Expect,
    /// How many packets.
    pub(super) packets: u32,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The time of a packet in ns, the ruler's own included.
    pub(super) ns: f64,
    /// The last packet as it left.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only tests compare whole packets")
    )]
    pub(super) last: Vec<u8>,
}

/// The feeder, loaded.
pub(super) struct Ruler<'a> {
    feeder4: &'a Xdp,
    feeder6: &'a Xdp,
    maps: Maps,
}

/// The feeder's maps.
pub(super) struct Maps {
    target: ProgramArray<MapData>,
    feed: Array<MapData, Feed>,
    tally: PerCpuArray<MapData, Tally>,
}

impl Maps {
    /// Takes the feeder's maps out of the bench object and seeds its random generators.
    ///
    /// # Errors
    ///
    /// When the object lacks one of the maps.
    pub(super) fn take(object: &mut Ebpf) -> anyhow::Result<Self> {
        let mut tally: PerCpuArray<_, Tally> = super::take_map(object, "TALLY")?;
        let seeds = (1..=aya::util::nr_cpus().map_err(|(path, error)| {
            anyhow::Error::new(error).context(format!("cannot read {path}"))
        })?)
            .map(|cpu| Tally {
                random: 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(cpu as u64),
                next: 0,
                fresh: 0,
                readdressed: 0,
                grown: 0,
            })
            .collect::<Vec<_>>();
        tally.set(0, PerCpuValues::try_from(seeds)?, 0)?;
        Ok(Self {
            target: super::take_map(object, "TARGET")?,
            feed: super::take_map(object, "FEED")?,
            tally,
        })
    }
}

impl<'a> Ruler<'a> {
    /// The ruler of a bench object, its programs loaded.
    ///
    /// # Errors
    ///
    /// When the object lacks one of the feeders.
    pub(super) fn new(object: &'a Ebpf, maps: Maps) -> anyhow::Result<Self> {
        Ok(Self {
            feeder4: super::xdp(object, "feeder4")?,
            feeder6: super::xdp(object, "feeder6")?,
            maps,
        })
    }

    /// Runs a program.
    ///
    /// The time taken is the thread's processor time: the kernel reports whole ns only.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or some packet did not come out as it must.
    pub(super) fn run(&mut self, run: &Run<'_>) -> anyhow::Result<Outcome> {
        let feed = run.traffic.feed(run.flows, run.visit);
        let packet = run.traffic.packet();
        let target = &mut self.maps.target;
        target.set(0, run.program, 0).context(
            "the feeder cannot call the program: programs of one program array must agree in \
             expected attach type and in fragment support",
        )?;
        self.maps.feed.set(0, feed, 0)?;
        let feeder = match run.traffic.peer {
            IpAddr::V4(_) => self.feeder4,
            IpAddr::V6(_) => self.feeder6,
        };

        let before = self.tally()?;
        let mut out = [0; 2048];
        let start = processor_ns()?;
        let result = feeder.test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut out),
            repeat: run.packets,
            ..TestRunOptions::new()
        })?;
        let spent = processor_ns()? - start;
        let after = self.tally()?;

        let length = usize::try_from(result.data_size_out)?;
        let last = out
            .get(..length)
            .context("a packet longer than 2048 bytes")?;
        let earlier = u64::from(run.packets) - 1;
        run.expect.check(result.return_value, &packet, last)?;
        run.expect.check_earlier(earlier, &before, &after)?;
        Ok(Outcome {
            ns: spent as f64 / f64::from(run.packets),
            last: last.to_vec(),
        })
    }

    /// The tally of all CPUs: the run may have been on any.
    fn tally(&self) -> anyhow::Result<Sums> {
        let values = self.maps.tally.get(&0, 0)?;
        Ok(Sums {
            readdressed: values.iter().map(|tally| tally.readdressed).sum(),
            grown: values.iter().map(|tally| tally.grown).sum(),
        })
    }
}

struct Sums {
    readdressed: u64,
    grown: u64,
}

impl Expect {
    /// Judges the last packet of a run.
    fn check(&self, action: u32, fed: &[u8], left: &[u8]) -> anyhow::Result<()> {
        ensure!(
            action == self.action,
            "the last packet's action is {action} ({}), not {}",
            name(action),
            name(self.action)
        );
        ensure!(
            left.len() == fed.len() + usize::from(self.growth),
            "a packet of {} bytes left with {}, not {} bytes more",
            fed.len(),
            left.len(),
            self.growth
        );
        ensure!(
            (left[0] != fed[0]) == self.readdressed,
            "the last packet left for {:02x?}; it came for {:02x?}",
            &left[..6],
            &fed[..6]
        );
        if left[12..15] == [0x08, 0x00, 0x45] && !sound(&left[14..34]) {
            bail!("the last packet left with a wrong IPv4 header checksum: {left:02x?}");
        }
        Ok(())
    }

    /// Judges all packets of a run but the last, by what the feeder found of them.
    fn check_earlier(&self, packets: u64, before: &Sums, after: &Sums) -> anyhow::Result<()> {
        let readdressed = after.readdressed - before.readdressed;
        let due = if self.readdressed { packets } else { 0 };
        // As many flows may not be in the table as `Counted::check` allows.
        ensure!(
            readdressed <= due && readdressed * 1000 >= due * 999,
            "{readdressed} of {packets} packets were readdressed, not {due}"
        );
        let grown = after.grown.wrapping_sub(before.grown);
        let due = packets * u64::from(self.growth);
        ensure!(
            grown == due,
            "{packets} packets grew by {grown} bytes, not {due}"
        );
        Ok(())
    }
}

fn name(action: u32) -> &'static str {
    let names = [
        "XDP_ABORTED",
        "XDP_DROP",
        "XDP_PASS",
        "XDP_TX",
        "XDP_REDIRECT",
    ];
    let index = usize::try_from(action).unwrap_or(usize::MAX);
    names.get(index).unwrap_or(&"no XDP action")
}

/// The processor time of this thread, in ns.
fn processor_ns() -> nix::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
