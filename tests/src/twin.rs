//! One datapath, twice: `process` over ordinary memory, and the object in the kernel.

use crate::kernel::{Kernel, SHORTEST, STANDSTILL};
use lb_common::datapath::{Tables as _, Verdict, process};
use lb_common::flow::Word;
use lb_common::layout::WAYS;
use lb_common::memory::Memory;
use lb_common::reason::{Action, Reason};
use lb_common::time::Tick;
use lb_common::wire::Buffer;

/// XDP actions (include/uapi/linux/bpf.h: `enum xdp_action`).
mod action {
    pub(super) const DROP: u32 = 1;
    pub(super) const PASS: u32 = 2;
    pub(super) const TX: u32 = 3;
    pub(super) const REDIRECT: u32 = 4;
}

/// Both datapaths, with equal tables.
#[derive(Debug)]
pub struct Twin {
    memory: Memory,
    kernel: Kernel,
}

/// What became of a frame, in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What `process` said.
    pub result: Result<Verdict, Reason>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Twin {
    /// Both datapaths with these tables. The time is the kernel's, which stands still.
    ///
    /// # Panics
    ///
    /// When the object cannot be built or loaded; loading takes root.
    #[must_use]
    pub fn new(mut memory: Memory) -> Self {
        let load = || {
            let mut kernel = Kernel::load(&memory, STANDSTILL)?;
            let now = kernel.now()?;
            anyhow::Ok((kernel, now))
        };
        let (kernel, now) = load().unwrap_or_else(|error| panic!("{error:#}"));
        memory.now = now;
        Self { memory, kernel }
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Memory {
        &self.memory
    }

    /// Changes the tables of both.
    pub fn change(&mut self, change: impl FnOnce(&mut Memory)) {
        change(&mut self.memory);
        self.kernel.write(&self.memory);
    }

    /// Lets time pass: since the clocks stand still, every deadline moves nearer.
    pub fn pass(&mut self, ticks: u32) {
        let earlier = |tick: Tick| tick.after(ticks.wrapping_neg());
        self.change(|memory| {
            for cell in &memory.flows {
                let mut bucket = cell.get();
                for way in 0..WAYS {
                    let word = Word::from_bits(bucket.entries[way][1]);
                    if word != Word::VOID {
                        let moved = word.moved(word.class(), earlier(word.deadline()));
                        bucket.entries[way][1] = moved.bits();
                    }
                }
                cell.set(bucket);
            }
            for id in 0..memory.sizes.services {
                if let Some(until) = memory.untracked(id) {
                    memory.set_untracked(id, earlier(until));
                }
            }
        });
    }

    /// Runs a frame through both.
    ///
    /// # Panics
    ///
    /// When they differ in what becomes of the frame, in its bytes, or in any byte of any table
    /// afterwards.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        let mut buffer = Buffer::new(frame);
        let result = process(&mut buffer, &self.memory).result();
        let after = buffer.frame().to_vec();
        // In the kernel the program's entry counts it.
        match result {
            Err(reason) => self.memory.count_event(reason),
            Ok(Verdict::Answer(reason)) => {
                self.memory.count_event(reason);
                self.memory.count_event(Reason::Answered);
            }
            Ok(Verdict::Transmit | Verdict::Redirect(_) | Verdict::Pass) => {}
        }
        if frame.len() < SHORTEST {
            // No interface hands such a frame to a program, and the kernel refuses to.
            self.kernel.write(&self.memory);
        } else {
            let run = if self.memory.resent {
                self.kernel.run_again(frame, self.memory.control.token)
            } else {
                self.kernel.run(frame)
            };
            let (action, output) = run.unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(
                action,
                action_of(result),
                "the kernel's action for {result:?}"
            );
            assert_eq!(output, after, "the kernel's frame for {result:?}");
            let differences = self.kernel.differences(&self.memory);
            assert!(
                differences.is_empty(),
                "host and kernel differ after {result:?}: {differences:#?}"
            );
        }
        Outcome {
            result,
            frame: after,
        }
    }
}

fn action_of(result: Result<Verdict, Reason>) -> u32 {
    match result.map_err(Reason::action) {
        Ok(Verdict::Transmit | Verdict::Answer(_)) => action::TX,
        Ok(Verdict::Pass) => action::PASS,
        Ok(Verdict::Redirect(_)) => action::REDIRECT,
        Err(Action::Pass) => action::PASS,
        Err(Action::Drop) => action::DROP,
    }
}
