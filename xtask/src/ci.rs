//! `cargo xtask ci`: what `.ci/run` runs, from wherever it is called.

use crate::build::workspace;
use anyhow::{Context as _, Result, ensure};
use std::process::Command as Process;

/// Run what continuous integration runs.
#[derive(Debug, clap::Args)]
pub struct Command {}

/// Runs `cargo xtask ci`.
///
/// # Errors
///
/// Fails when `.ci/run` cannot be started and when it fails.
pub fn run(_: &Command) -> Result<()> {
    let script = workspace().join(".ci/run");
    let status = Process::new(&script)
        .status()
        .with_context(|| format!("cannot start {}", script.display()))?;
    ensure!(status.success(), "{} failed ({status})", script.display());
    Ok(())
}
