//! The pin directory: `<pin-path>/v<LAYOUT>/` on a bpffs, and the lock on it.

use super::{accept, link};
use crate::cli::{Conflict, Usage};
use anyhow::Context as _;
use lb_common::api::AttachMode;
use lb_common::layout::LAYOUT;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The pin directory of this layout, held by one agent at a time.
#[derive(Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
    /// Let go when the agent ends, however it ends.
    _lock: Flock<File>,
}

impl PinDir {
    /// Makes the directory if need be, mounts a bpffs there if none is, and locks it.
    ///
    /// # Errors
    ///
    /// When there can be no bpffs, or when another agent holds the directory.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        Self::open_layout(root, LAYOUT)
    }

    /// The same for pins of another program than the director's, whose maps have a layout of
    /// their own.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub(crate) fn open_layout(root: &Path, layout: u32) -> anyhow::Result<Self> {
        check(root)?;
        prepare(root).map_err(|error| {
            let cure = match super::attach::errno(&error) {
                Some(Errno::EPERM | Errno::EACCES) => {
                    "not permitted; run lb-agent as root, or with CAP_BPF, CAP_NET_ADMIN and a \
                     bpffs of its own there"
                }
                _ => "preparing a bpffs there; `--pin-path` names another place",
            };
            error.context(format!("pin path {}: {cure}", root.display()))
        })?;
        let path = Self::path_in(root, layout);
        make(&path).with_context(|| format!("pin path {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Opens the directory if there is one, without making any.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub(crate) fn open_existing(root: &Path) -> anyhow::Result<Option<Self>> {
        check(root)?;
        let path = Self::path_in(root, LAYOUT);
        let looked = path.try_exists();
        let exists = looked
            .with_context(|| format!("looking at {}: run lb-agent as root", path.display()))?;
        exists.then(|| Self::open(root)).transpose()
    }

    /// Where a layout's pins are under a pin path.
    #[must_use]
    pub(crate) fn path_in(root: &Path, layout: u32) -> PathBuf {
        root.join(format!("v{layout}"))
    }

    /// Where under a pin path pins of the director's program are that have another layout, each with
    /// the interfaces of which links are pinned there; none where there is no such pin path.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub(crate) fn others(root: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<PinnedPort>)>> {
        let mut others = Vec::new();
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(others),
            entries => entries.with_context(|| root.display().to_string())?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let layout = name.to_str().and_then(|name| name.strip_prefix('v'));
            let layout = layout.and_then(|layout| layout.parse::<u32>().ok());
            if layout.is_some_and(|layout| layout != LAYOUT) && entry.file_type()?.is_dir() {
                let path = entry.path();
                let ports = PinnedPort::all_in(&path)?;
                others.push((path, ports));
            }
        }
        others.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(others)
    }

    /// Where a map is pinned.
    #[must_use]
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the link of an interface is pinned: `link-IFINDEX-MODE`. Not by name: names may have
    /// dots, which a bpffs refuses, and may change.
    #[must_use]
    pub(crate) fn link(&self, port: PinnedPort) -> PathBuf {
        self.path.join(port.file_name())
    }

    /// The interfaces of which links are pinned.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub(crate) fn links(&self) -> anyhow::Result<Vec<PinnedPort>> {
        PinnedPort::all_in(&self.path)
    }

    /// Removes the pin of an interface's link, which takes the program off the interface, and
    /// undoes what was set there.
    ///
    /// # Errors
    ///
    /// When it cannot be removed or undone.
    pub(crate) fn remove_link(&self, port: PinnedPort) -> anyhow::Result<()> {
        remove(&self.link(port))?;
        self.stop_accepting(port.ifindex)
    }

    /// Notes that an interface is made to take packets from own addresses. A directory on the
    /// bpffs is gone when the setting is: with the machine's next start.
    ///
    /// # Errors
    ///
    /// When it cannot be noted.
    pub(crate) fn note_accepting(&self, ifindex: u32) -> anyhow::Result<()> {
        let note = self.accepting(ifindex);
        make(&note).with_context(|| format!("noting a setting as {}", note.display()))
    }

    /// Undoes what [`accept::start`] set, if it did.
    ///
    /// # Errors
    ///
    /// When it cannot be undone.
    pub(crate) fn stop_accepting(&self, ifindex: u32) -> anyhow::Result<()> {
        match self.accepting(ifindex) {
            note if note.exists() => remove(&note),
            _ => Ok(()),
        }
    }

    fn accepting(&self, ifindex: u32) -> PathBuf {
        self.path.join(format!("{ACCEPTING}{ifindex}"))
    }

    /// Removes every pin. Programs on interfaces whose link was pinned are detached by it, and what
    /// was set on interfaces is undone.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed, or a setting undone.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path).with_context(|| self.path.display().to_string())? {
            remove(&entry?.path())?;
        }
        Ok(())
    }

    /// Removes the directory and every pin in it.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        self.clear()?;
        fs::remove_dir(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

/// Removes a pin or a note; a link's program leaves its interface before this returns, and what is
/// noted is undone.
fn remove(path: &Path) -> anyhow::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    let noted = name.and_then(|name| name.strip_prefix(ACCEPTING));
    if let Some(ifindex) = noted.and_then(|ifindex| ifindex.parse().ok()) {
        accept::undo(ifindex)?;
        return fs::remove_dir(path)
            .with_context(|| format!("removing the note {}", path.display()));
    }
    if name.and_then(PinnedPort::from_file_name).is_some()
        && let Err(error) = link::detach(path)
    {
        // Its interface may be gone; and the pin's removal detaches it as well, only later.
        tracing::debug!("detaching {}: {error}", path.display());
    }
    fs::remove_file(path).with_context(|| format!("removing pin {}", path.display()))
}

/// An interface as a pin's name tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PinnedPort {
    /// Its index.
    pub(crate) ifindex: u32,
    /// How the program is attached.
    pub(crate) mode: AttachMode,
}

impl PinnedPort {
    /// Those whose links are pinned in a directory, whoever holds it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub(crate) fn all_in(path: &Path) -> anyhow::Result<Vec<Self>> {
        let mut ports = Vec::new();
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            let name = entry?.file_name();
            ports.extend(name.to_str().and_then(Self::from_file_name));
        }
        Ok(ports)
    }

    /// The pin's name.
    #[must_use]
    pub(crate) fn file_name(self) -> String {
        format!("{LINK}{}-{}", self.ifindex, mode_name(self.mode))
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let (ifindex, mode) = name.strip_prefix(LINK)?.split_once('-')?;
        let mode = [AttachMode::Native, AttachMode::Generic]
            .into_iter()
            .find(|known| mode_name(*known) == mode)?;
        Some(Self {
            ifindex: ifindex.parse().ok()?,
            mode,
        })
    }
}

const LINK: &str = "link-";

const ACCEPTING: &str = "accepts-local-";

fn mode_name(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Refuses a pin path that cannot be one: names with dots are reserved in a bpffs
/// (kernel/bpf/inode.c: `bpf_lookup`), which answers `EPERM` for them.
///
/// # Errors
///
/// [`Usage`], when it has such a name there.
pub(super) fn check(root: &Path) -> anyhow::Result<()> {
    let is_bpffs =
        |path: &Path| statfs(path).is_ok_and(|statfs| statfs.filesystem_type() == BPF_FS_MAGIC);
    // What is a bpffs already has its name.
    let existing = root.ancestors().find(|path| path.exists());
    let Some(bpffs) = existing.filter(|path| is_bpffs(path)) else {
        return Ok(());
    };
    let Ok(below) = root.strip_prefix(bpffs) else {
        return Ok(());
    };
    let names = below.iter().map(|name| name.to_string_lossy());
    let dotted = names.into_iter().find(|name| name.contains('.'));
    dotted.map_or(Ok(()), |name| {
        Err(Usage(format!(
            "pin path {}: `{name}' has a dot, which no name in the bpffs at {} may have: choose \
             another, such as `{}'",
            root.display(),
            bpffs.display(),
            name.replace('.', "-")
        ))
        .into())
    })
}

fn prepare(root: &Path) -> anyhow::Result<()> {
    make(root)?;
    mount_bpffs(root)
}

fn mount_bpffs(path: &Path) -> anyhow::Result<()> {
    if statfs(path)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .context("mounting a bpffs there")
}

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let directory = File::open(path).with_context(|| path.display().to_string())?;
    let inode = directory.metadata().map(|m| m.ino()).unwrap_or_default();
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, _)| {
        let holder = holder(inode).map_or(String::new(), |pid| format!(" (pid {pid})"));
        Conflict(format!(
            "another lb-agent{holder} runs on the pins in {}: stop it first, or give this one \
             another --pin-path and other interfaces",
            path.display()
        ))
        .into()
    })
}

/// The process that holds a lock on an inode (proc_locks(5): `1: FLOCK ADVISORY WRITE PID
/// MAJOR:MINOR:INODE ...`).
fn holder(inode: u64) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let on = fields.get(5)?.rsplit(':').next()?.parse::<u64>().ok()?;
        (fields.get(1) == Some(&"FLOCK") && on == inode).then(|| fields.get(4)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_other_layouts_are_found() {
        let root = std::env::temp_dir().join(format!("lb-pins-{}", std::process::id()));
        assert_eq!(PinDir::others(&root).expect("nothing is none"), []);
        let port = PinnedPort {
            ifindex: 7,
            mode: AttachMode::Native,
        };
        let older = LAYOUT - 1;
        for name in [
            format!("v{LAYOUT}"),
            format!("v{older}"),
            "other".to_owned(),
        ] {
            make(&root.join(&name)).expect("a directory");
            let link = root.join(name).join(port.file_name());
            fs::write(link, "").expect("a file");
        }
        let others = PinDir::others(&root);
        fs::remove_dir_all(&root).expect("it goes");
        let older = PinDir::path_in(&root, older);
        assert_eq!(others.expect("they are read"), [(older, vec![port])]);
    }
}
