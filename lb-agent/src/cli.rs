//! The command line.

use crate::config::XdpMode;
use crate::real_server;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// `lb-agent`'s command line.
#[derive(Debug, Parser)]
#[command(name = "lb-agent", version, about = "The director's daemon")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Balances until it is told to stop; the datapath goes on forwarding after that
    Run(Options),
    /// Takes the datapath off its interfaces and removes its maps
    Detach(Options),
    /// Loads the datapath's programs without attaching them and says what the kernel thinks
    Verify(Options),
    /// Prepares this machine as a real server, for direct routing and tunnels, and undoes it
    RealServer(real_server::Options),
    /// Prints the manual page, for man -l - or a man8 folder
    #[command(hide = true)]
    Man,
}

/// Settings; each wins over the configuration file's.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// The configuration file [default: /etc/lb/agent.yaml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// An interface to attach to; may be repeated
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Vec<String>,
    /// The control socket [default: /run/lb/agent.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Where programs and maps are pinned [default: /sys/fs/bpf/lb]
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_path: Option<PathBuf>,
    /// Where services are kept over restarts [default: /var/lib/lb]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// In the driver, in the kernel's receive path, or the first of both that works [default: native]
    #[arg(long, value_name = "MODE")]
    pub(crate) xdp_mode: Option<XdpMode>,
    /// How many flows to make room for, when the maps are made [default: 1000000]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) flows: Option<u32>,
    /// Ports of services with masqueraded servers that speak FTP, up to 8 [default: 21]
    #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
    pub(crate) ftp_ports: Option<Vec<u16>>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The answer is no.
    Negative = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The machine does not allow it: a file, an interface, a privilege, the kernel.
    Environment = 3,
    /// Someone else is there already.
    Conflict = 4,
}

impl Exit {
    /// The exit that an error leads to.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Conflict>() {
            Self::Conflict
        } else if error.is::<Usage>() {
            Self::Usage
        } else {
            Self::Environment
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Someone else holds what is needed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Conflict(pub(crate) String);

/// The command line or the configuration is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exits_are_found_below_context() {
        let error = |inner: anyhow::Error| Err::<(), _>(inner).context("outer").expect_err("made");
        assert_eq!(
            Exit::of(&error(Conflict(String::new()).into())),
            Exit::Conflict
        );
        assert_eq!(Exit::of(&error(Usage(String::new()).into())), Exit::Usage);
        assert_eq!(Exit::of(&error(anyhow::anyhow!("no"))), Exit::Environment);
    }
}
