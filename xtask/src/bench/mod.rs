//! `cargo xtask bench`: what a packet costs, beside floors and the kernel's hash maps.
//!
//! Programs run under `BPF_PROG_TEST_RUN`; no network card is involved. The ruler, a feeder
//! program (`lb-ebpf/src/bench/feeder.rs`), gives every repeat a fresh packet. Its own time is
//! measured in the same rounds and subtracted, and rows take turns within a round, so that a
//! noisy machine is equally noisy to all. Ratios carry over between machines, ns do not.
//!
//! A further row is one more [`Subject`]: load an object, set its maps, say what the program is
//! fed and what must come out. A subject keeps its program, so the object need not be kept.
//!
//! | room | holds |
//! |---|---|
//! | `subject` | what a row is |
//! | `baseline` | the rows lb is compared with |
//! | `lb` | the rows of lb, and its comparison with itself over the kernel's hash maps |
//! | `control` | what lb-ctl and lb-agent take for many services and connections |
//! | `target` | the figures that lb is to reach |
//! | `traffic` | the packets |
//! | `ruler` | one run of one program, and the check of its outcome |
//! | `report` | net figures, ratios, noise; the table |
//! | `layout` | what is shared with the eBPF side |

mod baseline;
mod control;
#[path = "../../../lb-ebpf/src/bench/layout.rs"]
mod layout;
mod lb;
mod pod;
mod report;
mod ruler;
mod subject;
mod target;
#[cfg(test)]
mod tests;
mod traffic;

use crate::setup::Group;
use anyhow::{Context as _, bail};
use aya::Ebpf;
use aya::maps::{Map, MapError};
use aya::programs::{Program, Xdp};
use lb::Lb;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, geteuid};
use report::{Rounds, Row};
use ruler::{Flows, Maps, Ruler};
use serde::Serialize;
use std::fmt;
use std::process::ExitCode;
use subject::{KNOWN, Subject};

/// Measures what a packet costs, net of the ruler, and compares it with the kernel's hash maps.
#[derive(clap::Args, Debug)]
pub struct Bench {
    /// Print one JSON object a row instead of the table.
    #[arg(long)]
    json: bool,
    /// Take less than a minute: fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Measure this row, the ruler and the yardsticks only. May be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Instead of packets, measure what lb-ctl takes for 10,000 services and 1,000,000 connections.
    #[arg(long, conflicts_with_all = ["quick", "only", "cpu"])]
    control: bool,
    /// Measure on this CPU, instead of the last one allowed.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
}

impl Bench {
    /// Measures and prints. Exit code 3 says that the environment does not allow it.
    ///
    /// # Errors
    ///
    /// When an object does not build or load, a row is not known, or packets do not come out
    /// as they must.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if !geteuid().is_root() {
            eprintln!("bench: loading eBPF programs needs root; run it as root or with sudo");
            return Ok(ExitCode::from(3));
        }
        if self.control {
            crate::setup::ensure(&[Group::Build, Group::Lab])?;
            let figures = control::figures()?;
            if !self.json {
                println!("{}", target::HEADING);
            }
            for figure in figures {
                self.print(&figure)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        crate::setup::ensure(&[Group::Build])?;
        let cpu = pin(self.cpu)?;

        let mut object = load("bench")?;
        baseline::configure(&mut object)?;
        let maps = Maps::take(&mut object)?;
        let mut ruler = Ruler::new(&object, maps)?;
        let lb = Lb::open()?;
        let mut subjects = baseline::subjects(&object)?;
        subjects.extend(lb.subjects);
        let subjects = self.choose(subjects)?;

        if !self.json {
            println!(
                "BPF_PROG_TEST_RUN on CPU {cpu}, rounds of {PACKETS} packets; the kernel's hash \
                 maps have {} entries, lb's table {} for a design of {} flows",
                layout::CAPACITY,
                lb::SIZES.buckets() * lb_common::layout::WAYS as u32,
                lb::SIZES.flows
            );
            println!("{}", report::HEADING);
        }
        let mut rows = Vec::new();
        for flows in KNOWN.into_iter().chain([Flows::New]) {
            for row in self.measure(&mut ruler, &subjects, flows)? {
                self.print(&row)?;
                rows.push(row);
            }
        }
        if !self.json {
            println!("\n{}", target::HEADING);
        }
        for figure in target::figures(&rows, lb.memory) {
            self.print(&figure)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print<T: Serialize + fmt::Display>(&self, line: &T) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(line)?);
        } else {
            println!("{line}");
        }
        Ok(())
    }

    /// How often every row is measured. Few flows take little time and show noise most.
    const fn rounds(&self, flows: Flows) -> u32 {
        let rounds = if self.quick { 3 } else { 9 };
        match flows {
            Flows::Known(..=1024) => 5 * rounds,
            Flows::Known(_) | Flows::New => rounds,
        }
    }

    /// All rows, or those asked for and those that their figures are made from.
    fn choose(&self, mut subjects: Vec<Subject>) -> anyhow::Result<Vec<Subject>> {
        let names = subjects.iter().map(|row| row.name).collect::<Vec<_>>();
        if let Some(unknown) = self
            .only
            .iter()
            .find(|name| !names.contains(&name.as_str()))
        {
            bail!("no row is named {unknown}; there are: {}", names.join(", "));
        }
        if !self.only.is_empty() {
            subjects.retain(|row| {
                baseline::ALWAYS.contains(&row.name) || self.only.iter().any(|it| it == row.name)
            });
        }
        Ok(subjects)
    }

    /// All rows of one number of flows.
    fn measure(
        &self,
        ruler: &mut Ruler<'_>,
        subjects: &[Subject],
        flows: Flows,
    ) -> anyhow::Result<Vec<Row>> {
        let subjects = subjects
            .iter()
            .filter(|subject| subject.flows.contains(&flows))
            .collect::<Vec<_>>();
        for subject in &subjects {
            subject.fill(ruler, flows)?;
        }
        let mut rounds = Rounds::new();
        for _ in 0..self.rounds(flows) {
            for subject in &subjects {
                let ns = subject.measure(ruler, flows, PACKETS)?;
                rounds.entry(subject.name).or_default().push(ns);
            }
        }
        report::rows(&subjects, &rounds, flows, PACKETS)
    }
}

/// Packets of one measurement.
const PACKETS: u32 = 1_000_000;

/// Keeps this thread on one CPU: a test run happens on the CPU of its caller.
fn pin(cpu: Option<usize>) -> anyhow::Result<usize> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let last = (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu) == Ok(true));
    let cpu = cpu.or(last).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(cpu)
        .with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(this, &one).with_context(|| format!("cannot measure on CPU {cpu}"))?;
    Ok(cpu)
}

/// Loads an object, a binary of lb-ebpf, and all its XDP programs.
fn load(bin: &str) -> anyhow::Result<Ebpf> {
    let path = crate::build::object(bin)?;
    let context = || format!("cannot load the eBPF object {}", path.display());
    let mut object = Ebpf::load_file(&path).with_context(context)?;
    load_programs(&mut object)?;
    Ok(object)
}

/// Loads all XDP programs of an object.
fn load_programs(object: &mut Ebpf) -> anyhow::Result<()> {
    for (name, program) in object.programs_mut() {
        let program: &mut Xdp = program.try_into()?;
        let context = || format!("program {name}");
        program.load().with_context(context)?;
    }
    Ok(())
}

/// A program of an object by name.
fn xdp<'a>(object: &'a Ebpf, name: &str) -> anyhow::Result<&'a Xdp> {
    match object.program(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => bail!("the object has no XDP program {name}"),
    }
}

/// Takes a map out of an object, by name.
fn take_map<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> anyhow::Result<M> {
    let map = object.take_map(name);
    let map = map.with_context(|| format!("the object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("map {name}"))
}
