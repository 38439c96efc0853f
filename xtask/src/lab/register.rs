//! Which labs exist, to whom they belong, and how they are removed.
//!
//! A lab is its namespaces `lblab-NAME.HOST` and its directory `/run/lblab-NAME`, which holds the
//! file `owner`, the mount point `bpf` and a directory for each host. The directory appears as one
//! with its owner in it, before the first namespace, and goes after the last one: a namespace
//! without a directory has no owner.

use super::{host, wait};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where `ip netns` keeps its namespaces.
pub const NETNS: &str = "/run/netns";

const RUN: &str = "/run";
const PREFIX: &str = "lblab-";
/// Directories that are not yet labs; renamed when their owner is written.
const DRAFT: &str = ".lblab-";

/// To whom a lab belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, told from later ones of its number by the time it started.
    Process {
        /// Its number.
        pid: u32,
        /// When it started, in clock ticks since boot.
        started: u64,
    },
    /// Nobody: the lab stays until it is removed.
    Nobody,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` does not tell when it started.
    pub fn this_process() -> Result<Self> {
        let pid = std::process::id();
        let started = start_of(pid).context("/proc does not tell when this process started")?;
        Ok(Self::Process { pid, started })
    }

    /// Whether the lab is still wanted.
    #[must_use]
    pub fn lives(self) -> bool {
        match self {
            Self::Process { pid, started } => start_of(pid) == Some(started),
            Self::Nobody => true,
        }
    }

    fn write(self) -> String {
        match self {
            Self::Process { pid, started } => format!("{pid} {started}\n"),
            Self::Nobody => "nobody\n".to_owned(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if text == "nobody\n" {
            return Some(Self::Nobody);
        }
        let (pid, started) = text.trim_end().split_once(' ')?;
        Some(Self::Process {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }
}

/// When a process started, in clock ticks since boot; none when there is no such process.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold blanks and brackets.
    let fields = stat.rsplit_once(") ")?.1;
    // proc_pid_stat(5): starttime is field 22, and field 3 is the first one after the name.
    fields.split(' ').nth(22 - 3)?.parse().ok()
}

/// A lab's directory.
#[must_use]
pub fn dir(name: &str) -> PathBuf {
    Path::new(RUN).join(format!("{PREFIX}{name}"))
}

/// The mount point of a lab's bpffs, in the lab's directory.
#[must_use]
pub fn bpffs(dir: &Path) -> PathBuf {
    dir.join("bpf")
}

/// The namespace of a host.
#[must_use]
pub fn namespace(name: &str, host: &str) -> String {
    format!("{PREFIX}{name}.{host}")
}

/// The names of all labs and leftovers of labs.
///
/// # Errors
/// When `/run` cannot be read.
pub fn names() -> Result<BTreeSet<String>> {
    let dirs = entries(RUN)?;
    let namespaces = entries(NETNS)?;
    let dirs = dirs.iter().filter_map(|entry| entry.strip_prefix(PREFIX));
    let namespaces = namespaces
        .iter()
        .filter_map(|entry| Some(entry.strip_prefix(PREFIX)?.split_once('.')?.0));
    Ok(dirs.chain(namespaces).map(str::to_owned).collect())
}

/// A lab's owner; none when what is there of the lab is a leftover without one.
#[must_use]
pub fn owner(name: &str) -> Option<Owner> {
    Owner::read(&fs::read_to_string(dir(name).join("owner")).ok()?)
}

/// A lab's namespaces, sorted.
///
/// # Errors
/// When [`NETNS`] cannot be read.
pub fn namespaces(name: &str) -> Result<Vec<String>> {
    let prefix = namespace(name, "");
    let mut found = entries(NETNS)?;
    found.retain(|entry| entry.starts_with(&prefix));
    found.sort_unstable();
    Ok(found)
}

/// Takes a name for a new lab and gives its directory, which holds nothing but the owner.
///
/// # Errors
/// When the name is no name, or a lab of this name is up.
pub(super) fn claim(name: &str, new: Owner) -> Result<PathBuf> {
    ensure!(
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
        "lab name {name:?}: only a-z, 0-9 and - are allowed"
    );
    let draft = Path::new(RUN).join(format!("{DRAFT}{}-{name}", std::process::id()));
    let dir = dir(name);
    let taken = (|| {
        fs::create_dir_all(&draft)?;
        fs::write(draft.join("owner"), new.write())?;
        fs::rename(&draft, &dir)
    })();
    if let Err(error) = taken {
        // What is left of a draft holds nothing of worth.
        let _ = fs::remove_dir_all(&draft);
        if error.kind() == io::ErrorKind::PermissionDenied {
            bail!("cannot write to {RUN}: a lab needs root");
        }
        match owner(name) {
            Some(Owner::Process { pid, .. }) => {
                bail!("lab {name} is up and belongs to process {pid}")
            }
            Some(Owner::Nobody) => {
                bail!("lab {name} is up; `cargo xtask lab down --name {name}` removes it")
            }
            None => return Err(error).with_context(|| format!("cannot create {}", dir.display())),
        }
    }
    Ok(dir)
}

/// Mounts a lab's bpffs, where commands in all hosts see it.
pub(super) fn mount_bpffs(dir: &Path) -> Result<()> {
    let at = bpffs(dir);
    fs::create_dir(&at).with_context(|| format!("cannot create {}", at.display()))?;
    mount(
        Some("bpf"),
        &at,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("cannot mount a bpffs at {}", at.display()))
}

/// Removes whatever dead owners left.
///
/// # Errors
/// When something resists.
pub fn sweep() -> Result<()> {
    for draft in entries(RUN)?
        .iter()
        .filter_map(|entry| entry.strip_prefix(DRAFT))
    {
        let pid = draft.split('-').next().and_then(|pid| pid.parse().ok());
        if pid.is_none_or(|pid| start_of(pid).is_none()) {
            gone(fs::remove_dir_all(
                Path::new(RUN).join(format!("{DRAFT}{draft}")),
            ))?;
        }
    }
    for name in names()? {
        if !owner(&name).is_some_and(Owner::lives) {
            remove(&name)?;
        }
    }
    Ok(())
}

/// Removes a lab with all that runs in it, whoever owns it. What is not there is no error, so two
/// may remove the same lab.
///
/// # Errors
/// When something resists.
pub fn remove(name: &str) -> Result<()> {
    for namespace in namespaces(name)? {
        kill_all_in(&namespace)?;
        let deleted = host::ip(["netns", "delete", &namespace]);
        if Path::new(NETNS).join(&namespace).exists() {
            deleted?;
        }
    }
    let dir = dir(name);
    let bpffs = bpffs(&dir);
    match umount2(&bpffs, MntFlags::MNT_DETACH) {
        // EINVAL: it is no mount point.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => bail!("cannot unmount {}: {error}", bpffs.display()),
    }
    gone(fs::remove_dir_all(&dir)).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Kills every process in a namespace and waits until none is left: a process would keep the
/// namespace and its interfaces alive.
fn kill_all_in(namespace: &str) -> Result<()> {
    wait::until(
        format_args!("{namespace} is empty"),
        Duration::from_secs(10),
        || {
            let Ok(pids) = host::ip(["netns", "pids", namespace]) else {
                // Another one removed the namespace meanwhile, or `ip netns delete` will tell.
                return Ok(wait::Seen::Done(()));
            };
            let pids: Vec<i32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
            // A thread that entered the namespace counts for its process: this one is not to be hit.
            let others = pids
                .iter()
                .filter(|&&pid| Pid::from_raw(pid) != Pid::this());
            for &pid in others.clone() {
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => bail!("cannot kill process {pid} in {namespace}: {error}"),
                }
            }
            Ok(if others.count() == 0 {
                wait::Seen::Done(())
            } else {
                wait::Seen::NotYet(format!("processes {pids:?} remain"))
            })
        },
    )
}

/// The names in a directory; none when it does not exist.
fn entries(dir: &str) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.with_context(|| format!("cannot read {dir}")),
    }
}

/// Takes "not found" for done.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_back_as_written() {
        for owner in [
            Owner::Nobody,
            Owner::Process {
                pid: 7,
                started: 1 << 40,
            },
        ] {
            assert_eq!(Owner::read(&owner.write()), Some(owner));
        }
        assert_eq!(Owner::read(""), None);
        assert_eq!(Owner::read("7\n"), None);
    }

    #[test]
    fn a_process_lives_only_as_the_one_that_started_then() {
        let Owner::Process { pid, started } = Owner::this_process().unwrap() else {
            panic!("a process")
        };
        assert!(Owner::Process { pid, started }.lives());
        assert!(
            !Owner::Process {
                pid,
                started: started + 1
            }
            .lives()
        );
    }

    #[test]
    fn a_name_cannot_leave_the_directory() {
        for name in ["", "..", "a/b", "a.b", "Ä"] {
            assert!(claim(name, Owner::Nobody).is_err(), "{name:?}");
        }
    }
}
