//! A host of the lab: its namespace, its directory and what runs in it.

use super::background::Background;
use super::{Lab, register};
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// One host.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: String,
    dir: PathBuf,
}

impl Host {
    pub(super) fn new(lab: &Lab, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: register::namespace(&lab.name, name),
            dir: lab.dir.join(name),
        }
    }

    /// The host's name in its lab, e.g. `server1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's namespace, as `ip netns` names it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A directory for the host's files; it goes with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run in this host, with a mount namespace and `/sys` of its own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    /// Runs a program to its end and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails; the error holds what it printed to stderr.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        let mut command = self.command(program);
        output(command.args(args)).with_context(|| format!("host {}", self.name))
    }

    /// Starts a command made by [`Host::command`]. What it prints goes to the file `LABEL.log` of
    /// the host's directory, after what an earlier one of this label printed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(&self, label: &str, command: Command) -> Result<Background> {
        Background::start(&self.dir, label, command)
            .with_context(|| format!("host {}: cannot start {label}", self.name))
    }

    /// Calls a function on a thread that is in this host's network namespace; the sockets it
    /// opens, and the threads it starts, belong to this host.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When the function does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new(register::NETNS).join(&self.namespace);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let enter = || {
            setns(&file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter {}", path.display()))?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Sets a sysctl of this host's network; the key is a path below `/proc/sys`.
    ///
    /// # Errors
    /// When there is no such key, or it refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.inside(|| std::fs::write(&path, value))?
            .with_context(|| format!("host {}: cannot set {key} to {value}", self.name))
    }

    /// The Ethernet address of `eth0`, as `ip` prints it.
    ///
    /// # Errors
    /// When `ip` does not tell it.
    pub fn mac(&self) -> Result<String> {
        let links = self.run("ip", ["-json", "link", "show", "dev", "eth0"])?;
        let links: serde_json::Value = serde_json::from_str(&links)?;
        match links[0]["address"].as_str() {
            Some(mac) => Ok(mac.to_owned()),
            None => bail!(
                "host {}: `ip link` tells no address of eth0: {links}",
                self.name
            ),
        }
    }
}

/// Runs `ip` in the machine's own namespace.
pub(super) fn ip<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Result<String> {
    output(Command::new("ip").args(args))
}

/// Runs a command to its end and gives what it printed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        let program = command.get_program().to_string_lossy();
        format!("cannot run {program}: `cargo xtask setup` installs it")
    })?;
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
