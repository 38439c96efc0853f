//! Processes that run beside the lab's owner.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A process in the background; dropping it kills it.
#[derive(Debug)]
pub struct Background {
    label: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    pub(super) fn start(dir: &Path, label: &str, mut command: Command) -> Result<Self> {
        let log = dir.join(format!("{label}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A group of its own: Ctrl-C at the terminal is for the owner, which cleans up.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self {
            label: label.to_owned(),
            child,
            log,
        })
    }

    /// The process id; `ip netns exec` becomes the program, so it is the program's own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// When the process cannot be killed or awaited.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When the process cannot be signalled or awaited.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)
    }

    /// Sends SIGINT, as Ctrl-C does, and does not wait.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn interrupt(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.send(Signal::SIGINT)?;
        }
        Ok(())
    }

    /// The exit status, if the process has ended.
    ///
    /// # Errors
    /// When the process cannot be awaited.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.label))
    }

    /// What it printed so far, and others of its label before it.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("(cannot read {}: {error})", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn signal(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.send(signal)?;
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.label))
    }

    fn send(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.label))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}
