//! Virtual machines with Debian's kernels: to judge lb by the kernel's own `ip_vs`, and to load
//! its programs where they have to load.
//!
//! [`Vm`] describes a machine and [`Vm::boot`] starts it, in software emulation, so neither KVM
//! nor a disk image is needed: a kernel from Debian's package ([`kernel`]) and an [`initramfs`]
//! assembled for each boot. [`Running::run`] runs shell scripts as root inside. [`oracle`] sends
//! packets through the machine's network card.
//!
//! Inside there are busybox, `ip`, `ipvsadm`, and the kernel's modules for `ip_vs`, tunnels and
//! virtual devices, loaded on demand. bpffs and BTF are at their usual places. x86-64 hosts only:
//! the programs inside are the host's.

pub mod initramfs;
pub mod kernel;
pub mod oracle;
mod running;
pub mod verb;

pub use kernel::Series;
pub use running::{Output, Running};

use crate::build::workspace;
use anyhow::{Context as _, Result, ensure};
use initramfs::Archive;
use kernel::Kernel;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine to be started.
pub struct Vm {
    kernel: Kernel,
    copies: Vec<PathBuf>,
    limit: Duration,
}

impl Vm {
    /// Describes a machine with the newest kernel of `series` that is at hand.
    ///
    /// # Errors
    ///
    /// Fails when QEMU or another program is missing and cannot be installed, and when Debian's
    /// kernel package can neither be found unpacked nor be fetched.
    pub fn new(series: Series) -> Result<Self> {
        crate::setup::ensure(&[crate::setup::Group::Vm])?;
        Ok(Self {
            kernel: Kernel::get(series)?,
            copies: Vec::new(),
            limit: Duration::from_secs(300),
        })
    }

    /// Takes a file along. A program comes to `/bin`, with the libraries it needs; any other file
    /// to `/root`, where scripts run.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.copies.push(path.into());
        self
    }

    /// Bounds the time of booting and of each script. 300 s unless told otherwise.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the machine and waits until it takes scripts.
    ///
    /// # Errors
    ///
    /// Fails when a file to be taken along cannot be read and when the kernel does not come up;
    /// the end of its console is part of the message.
    pub fn boot(&self) -> Result<Running> {
        let mut archive = Archive::new();
        self.kernel.add_to(&mut archive)?;
        initramfs::add_system(&mut archive)?;
        for path in &self.copies {
            initramfs::add_copy(&mut archive, path)
                .with_context(|| format!("cannot take {} into the machine", path.display()))?;
        }
        let archive = archive.finish();
        let start = || Running::start(self.kernel.image(), &archive, self.limit);
        // Emulation on a busy machine loses a boot now and then, before anything of ours runs.
        start().or_else(|error| {
            eprintln!("{error:#}; once more");
            start()
        })
    }

    /// Boots, runs `script` with `/bin/sh` as root, and powers off.
    ///
    /// # Errors
    ///
    /// As [`Self::boot`] and [`Running::run`]. A script's own exit status is no error.
    pub fn run(&self, script: &str) -> Result<Output> {
        self.boot()?.run(script)
    }
}

/// Loads every program of the release build of the agent in a machine with a kernel of `series`,
/// and returns what `lb-agent verify` said of the verifier's work.
///
/// # Errors
///
/// Fails when there is no release build, and as [`Vm::new`] and [`Vm::run`].
pub fn verify(series: Series) -> Result<Output> {
    let agent = workspace().join("target/release/lb-agent");
    ensure!(
        agent.is_file(),
        "{} is missing: run `cargo build --release`",
        agent.display()
    );
    Vm::new(series)?.with_file(agent).run("lb-agent verify")
}

/// Where unpacked kernels are kept.
fn cache() -> PathBuf {
    workspace().join("target/vm")
}

/// Finds a program of the host, in the administrator's directories too.
fn host_program(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed: run `cargo xtask setup`"))
}
