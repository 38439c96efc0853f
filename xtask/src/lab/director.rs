//! `lb-agent` and `lb-ctl` on a director of the lab.

use super::background::Background;
use super::{Lab, host::Host, wait};
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// The release builds of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `lb-agent`.
    pub agent: PathBuf,
    /// `lb-ctl`.
    pub ctl: PathBuf,
}

impl Programs {
    /// Builds them, showing what cargo says.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .current_dir(workspace())
            .args(["build", "--release"])
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "`cargo build --release` fails");
        Self::built()
    }

    /// Takes them as they were built before.
    ///
    /// # Errors
    /// When they were not built.
    pub fn built() -> Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
        let [agent, ctl] = ["lb-agent", "lb-ctl"].map(|name| target.join("release").join(name));
        for path in [&agent, &ctl] {
            ensure!(
                path.is_file(),
                "{} is missing: `cargo build --release` builds it",
                path.display()
            );
        }
        Ok(Self { agent, ctl })
    }
}

/// The root of the source tree that this program was built from.
fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// One director with its socket, pins and state.
#[derive(Debug)]
pub struct Director<'a> {
    host: &'a Host,
    programs: Programs,
    pins: PathBuf,
}

impl<'a> Director<'a> {
    /// The director of this number, counted from 1; nothing runs on it yet.
    #[must_use]
    pub fn new(lab: &'a Lab, number: usize, programs: Programs) -> Self {
        Self {
            host: lab.director(number),
            programs,
            pins: lab.pin_path(number),
        }
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &'a Host {
        self.host
    }

    /// The programs it runs.
    #[must_use]
    pub const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The agent's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.host.dir().join("agent.sock")
    }

    /// The agent's pin path.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The agent's state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.host.dir().join("state")
    }

    /// `lb-agent run` on an interface.
    #[must_use]
    pub fn agent(&self, interface: &str) -> Command {
        let mut command = self.host.command(&self.programs.agent);
        command
            .args(["run", "--interface", interface, "--socket"])
            .arg(self.socket())
            .arg("--pin-path")
            .arg(&self.pins)
            .arg("--state-dir")
            .arg(self.state());
        command
    }

    /// Starts the agent on `eth0` and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in half a minute; with its log.
    pub fn start(&self) -> Result<Background> {
        self.start_with(self.agent("eth0"))
    }

    /// Starts a command made from [`Director::agent`] and waits until it answers.
    ///
    /// # Errors
    /// As [`Director::start`].
    pub fn start_with(&self, command: Command) -> Result<Background> {
        let mut agent = self.host.spawn("lb-agent", command)?;
        wait::until("lb-agent answers", Duration::from_secs(30), || {
            // Asked of the new agent: the socket of a killed one refuses connections.
            let answer = self.ctl_output(["-L", "-n"])?;
            if let Some(status) = agent.ended()? {
                bail!("lb-agent ends with {status}; its log:\n{}", agent.log());
            }
            Ok(if answer.status.success() {
                wait::Seen::Done(())
            } else {
                let said = String::from_utf8_lossy(&answer.stderr).into_owned();
                wait::Seen::NotYet(format!(
                    "lb-ctl says {said:?}; the agent's log:\n{}",
                    agent.log()
                ))
            })
        })?;
        Ok(agent)
    }

    /// Runs `lb-agent detach`.
    ///
    /// # Errors
    /// When it fails.
    pub fn detach(&self) -> Result<()> {
        let pins = self.pins.as_os_str();
        let args = ["detach".as_ref(), "--pin-path".as_ref(), pins];
        self.host.run(&self.programs.agent, args).map(drop)
    }

    /// Runs `lb-ctl` and gives what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed to stderr.
    pub fn ctl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        let mut command = self.ctl_command();
        command.args(args);
        let output = command
            .output()
            .with_context(|| format!("cannot run {command:?}"))?;
        ensure!(
            output.status.success(),
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout).context("lb-ctl prints UTF-8")
    }

    /// Runs `lb-ctl` and gives its output, whether it fails or not.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn ctl_output<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        let mut command = self.ctl_command();
        command
            .args(args)
            .output()
            .with_context(|| format!("cannot run {command:?}"))
    }

    fn ctl_command(&self) -> Command {
        let mut command = Command::new(&self.programs.ctl);
        command.env("LB_SOCKET", self.socket());
        command
    }
}
