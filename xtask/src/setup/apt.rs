//! Debian's package tools.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{self, Command};

/// Tells whether this machine has apt-get.
pub(super) fn is_here() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

/// Tells whether packages can be installed: apt-get is here and we are root.
pub(super) fn is_usable() -> bool {
    is_here() && nix::unistd::geteuid().is_root()
}

/// Brings the package lists up to date.
pub(super) fn update() -> Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]))
}

/// Returns the first two numbers of the version of `package` that would be installed.
pub(super) fn candidate(package: &str) -> Option<(u32, u32)> {
    let version = policy(package, "Candidate: ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns a version of `package` from what `apt-cache policy` says of it.
fn policy(package: &str, which: &str) -> Option<String> {
    let output = Command::new("apt-cache")
        .env("LC_ALL", "C")
        .args(["policy", package])
        .output();
    let output = String::from_utf8(output.ok()?.stdout).ok()?;
    let mut versions = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix(which));
    versions.next().map(str::to_owned)
}

/// Returns the command that installs `packages` without asking and without removing others.
pub(super) fn install(packages: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(packages);
    if packages.contains(&QEMU[0])
        && let Some(version) = policy(QEMU[0], "Candidate: ")
        && policy(QEMU[1], "Installed: ").is_some_and(|here| differs(&here, &version))
    {
        apt.args(["--allow-downgrades", &format!("{}={version}", QEMU[1])]);
    }
    apt
}

/// Two packages of one source that only go together in one version. The tools may be here from a
/// newer release whose emulator this machine's package sources do not have; without a word about
/// them apt-get would want to remove them.
const QEMU: [&str; 2] = ["qemu-system-x86", "qemu-utils"];

fn differs(installed: &str, wanted: &str) -> bool {
    installed != "(none)" && installed != wanted
}

/// Runs `command`, having said so.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let line = super::line(command);
    println!("setup: {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    ensure!(
        status.success(),
        "`{line}` failed ({status}); its words are above"
    );
    Ok(())
}

/// While this lives, packages being installed start no services; and when it goes, servers it saw
/// arrive are kept from starting at boot: we want the programs only.
pub(super) struct Idle {
    /// Those of [`SERVERS`] that were here before.
    were_here: Vec<&'static str>,
    wrote_policy: bool,
}

/// Debian asks this program whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells our policy from the administrator's.
const MARK: &str = "# Of lb's `cargo xtask setup`, without effect once that ended.";

impl Idle {
    pub(super) fn new() -> Result<Self> {
        // The administrator's own policy is left alone. Ours ends with this process, even if
        // nobody is left to delete the file; the next one replaces it.
        if fs::read_to_string(POLICY).is_ok_and(|text| text.contains(MARK)) {
            fs::remove_file(POLICY).with_context(|| format!("cannot remove {POLICY}"))?;
        }
        let text = format!(
            "#!/bin/sh\n{MARK}\n\
             [ -d /proc/{} ] && exit 101\nexit 0\n",
            process::id()
        );
        let mut options = fs::OpenOptions::new();
        let wrote_policy = match options
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY)
        {
            Ok(mut file) => {
                file.write_all(text.as_bytes())
                    .with_context(|| format!("cannot write {POLICY}"))?;
                true
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).with_context(|| format!("cannot create {POLICY}")),
        };
        Ok(Self {
            were_here: servers().collect(),
            wrote_policy,
        })
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        if self.wrote_policy
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: {POLICY} is left behind, without effect: {error}");
        }
        for server in servers().filter(|server| !self.were_here.contains(server)) {
            if let Err(error) = run(Command::new("update-rc.d").args([server, "disable"])) {
                eprintln!("setup: {server} will start at boot: {error:#}");
            }
        }
    }
}

/// Servers whose packages start them at boot.
const SERVERS: [&str; 2] = ["nginx", "vsftpd"];

/// Those of [`SERVERS`] that are here.
fn servers() -> impl Iterator<Item = &'static str> {
    let is_here = |name: &&str| Path::new("/usr/sbin").join(name).exists();
    SERVERS.into_iter().filter(is_here)
}
