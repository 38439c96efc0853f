//! `cargo xtask vm`.

use super::{Output, Series, Vm, verify};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Run a script in a virtual machine with one of Debian's kernels.
///
/// Standard output, standard error and exit status are the script's. Inside there are busybox, ip
/// and ipvsadm; modules are loaded when they are first used.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The line of kernels.
    #[arg(long, default_value = "6.1")]
    kernel: Series,
    /// Take this file along: a program to /bin, anything else to /root.
    #[arg(long, value_name = "FILE")]
    copy: Vec<PathBuf>,
    /// Bound the time of booting and of the script, in seconds.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Instead of a script, load every program of target/release/lb-agent.
    #[arg(long, conflicts_with_all = ["copy", "script"])]
    verify: bool,
    /// The script, for /bin/sh; several words are joined with spaces.
    #[arg(required_unless_present = "verify", last = true)]
    script: Vec<String>,
}

/// Runs `cargo xtask vm`.
///
/// # Errors
///
/// As [`Vm::new`] and [`Vm::run`].
pub fn run(command: &Command) -> Result<ExitCode> {
    let Output {
        status,
        stdout,
        stderr,
    } = if command.verify {
        verify(command.kernel)?
    } else {
        let vm = Vm::new(command.kernel)?.with_limit(Duration::from_secs(command.limit));
        let vm = command.copy.iter().fold(vm, |vm, path| vm.with_file(path));
        vm.run(&command.script.join(" "))?
    };
    print!("{stdout}");
    eprint!("{stderr}");
    Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from))
}
