//! `lb-agent real-server` on a real server of the lab.

use super::director::Programs;
use super::plan::{VIP, VIP6};
use super::{Lab, host::Host, register};
use anyhow::Result;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One real server with its pins and state.
#[derive(Debug)]
pub struct RealServer<'a> {
    host: &'a Host,
    programs: Programs,
    pins: PathBuf,
}

impl<'a> RealServer<'a> {
    /// The real server of this number, counted from 1, as it would be without a load balancer:
    /// what the lab prepared is taken back.
    ///
    /// # Errors
    /// When that fails.
    pub fn bare(lab: &'a Lab, number: usize, programs: Programs) -> Result<Self> {
        let host = lab.server(number);
        for vip in [format!("{VIP}/32"), format!("{VIP6}/128")] {
            host.run("ip", ["address", "del", &vip, "dev", "lo"])?;
        }
        for interface in ["all", "eth0"] {
            for name in ["arp_ignore", "arp_announce"] {
                host.sysctl(&format!("net/ipv4/conf/{interface}/{name}"), "0")?;
            }
        }
        Ok(Self {
            host,
            programs,
            pins: register::bpffs(&lab.dir).join(host.name()),
        })
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &'a Host {
        self.host
    }

    /// The pin path.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The same with another pin path.
    #[must_use]
    pub fn pinned_elsewhere(&self) -> Self {
        Self {
            host: self.host,
            programs: self.programs.clone(),
            pins: self
                .pins
                .with_file_name(format!("{}-elsewhere", self.host.name())),
        }
    }

    /// Where it is recorded what to undo.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.host.dir().join("real-server")
    }

    /// `lb-agent real-server` with these options.
    #[must_use]
    pub fn agent<A: AsRef<OsStr>>(&self, options: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.host.command(&self.programs.agent);
        command.arg("real-server");
        self.complete(command, options)
    }

    /// `lb-ctl realserver` with a verb and these options.
    #[must_use]
    pub fn ctl<A: AsRef<OsStr>>(
        &self,
        verb: &str,
        options: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.host.command(&self.programs.ctl);
        command
            .env("LB_AGENT", &self.programs.agent)
            .args(["realserver", verb]);
        self.complete(command, options)
    }

    fn complete<A: AsRef<OsStr>>(
        &self,
        mut command: Command,
        options: impl IntoIterator<Item = A>,
    ) -> Command {
        command
            .args(options)
            .arg("--state-dir")
            .arg(self.state())
            .arg("--pin-path")
            .arg(&self.pins);
        command
    }
}
