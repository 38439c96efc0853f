//! What is measured: a program, its packets and what must come out.

use super::layout::CAPACITY;
use super::lb::{Counted, Ways};
use super::ruler::{Expect, Flows, Ruler, Run, TX};
use super::traffic::{Traffic, Visit};
use anyhow::Context as _;
use aya::programs::{ProgramFd, Xdp};

/// A row of the table: a loaded program that is fed one kind of packets.
///
/// All rows stay loaded and take turns. Two rows that keep flows in one table would measure each
/// other's fill and evictions: each needs an object of its own.
pub(super) struct Subject {
    /// The row's name.
    pub(super) name: &'static str,
    /// The program.
    pub(super) program: ProgramFd,
    /// Instructions that the verifier looked at, where the kernel tells.
    pub(super) verified: Option<u32>,
    /// What it is fed.
    pub(super) traffic: Traffic,
    /// The numbers of flows to measure with.
    pub(super) flows: Vec<Flows>,
    /// What makes flows known before they are measured, in this order.
    pub(super) fill: Vec<Pass>,
    /// What must come out when measured.
    pub(super) expect: Expect,
    /// Where the program counts the flows it knows.
    pub(super) counted: Option<Counted>,
    /// Where replies' ways back to clients are, to be given them once the flows are known.
    pub(super) ways: Option<Ways>,
}

/// A pass over all flows before the first measurement of them.
pub(super) struct Pass {
    /// The program that is fed.
    pub(super) program: ProgramFd,
    /// What it is fed.
    pub(super) traffic: Traffic,
    /// What must come out.
    pub(super) expect: Expect,
}

impl Subject {
    /// A program that is fed TCP of established flows, in all numbers of [`KNOWN`], and sends
    /// it on.
    ///
    /// # Errors
    ///
    /// When the program is not loaded.
    pub(super) fn new(name: &'static str, program: &Xdp) -> anyhow::Result<Self> {
        let context = || format!("row {name}: the program is not loaded");
        Ok(Self {
            name,
            program: program.fd().with_context(context)?.try_clone()?,
            verified: program.info()?.verified_instruction_count(),
            traffic: Traffic::TCP,
            flows: KNOWN.to_vec(),
            fill: Vec::new(),
            expect: Expect {
                action: TX,
                growth: 0,
                readdressed: true,
            },
            counted: None,
            ways: None,
        })
    }

    /// Makes the flows known to the program.
    ///
    /// # Errors
    ///
    /// When a packet of a pass does not come out as it must, or flows are not known afterwards.
    pub(super) fn fill(&self, ruler: &mut Ruler<'_>, flows: Flows) -> anyhow::Result<()> {
        for pass in &self.fill {
            let run = Run {
                program: &pass.program,
                traffic: &pass.traffic,
                flows,
                visit: Visit::InTurn,
                expect: pass.expect,
                packets: match flows {
                    Flows::Known(flows) => flows,
                    Flows::New => CAPACITY,
                },
            };
            ruler
                .run(&run)
                .with_context(|| format!("row {}, filling", self.name))?;
        }
        if let Some(ways) = &self.ways {
            ways.give()?;
        }
        match (&self.counted, flows) {
            (Some(counted), Flows::Known(flows)) => counted
                .check(flows)
                .with_context(|| format!("row {}", self.name)),
            _ => Ok(()),
        }
    }

    /// Measures once, with warm caches: ns a packet, the ruler's own time included.
    ///
    /// # Errors
    ///
    /// When a packet does not come out as it must.
    pub(super) fn measure(
        &self,
        ruler: &mut Ruler<'_>,
        flows: Flows,
        packets: u32,
    ) -> anyhow::Result<f64> {
        let run = Run {
            program: &self.program,
            traffic: &self.traffic,
            flows,
            visit: Visit::AtRandom,
            expect: self.expect,
            packets,
        };
        let warm = Run {
            visit: Visit::InTurn,
            packets: match flows {
                Flows::Known(flows) => flows.max(WARM),
                Flows::New => WARM,
            },
            ..run
        };
        ruler
            .run(&warm)
            .and_then(|_| ruler.run(&run))
            .map(|outcome| outcome.ns)
            .with_context(|| format!("row {}, flows {flows:?}", self.name))
    }
}

/// The numbers of established flows.
pub(super) const KNOWN: [Flows; 4] = [
    Flows::Known(1),
    Flows::Known(1 << 10),
    Flows::Known(1 << 17),
    Flows::Known(1 << 20),
];

/// Packets that warm branch predictors and caches where the flows alone would be fewer.
const WARM: u32 = 10_000;
