//! What was changed on the machine, on disk, so that it can be undone.
//!
//! Written before anything is changed: what is in the record may not have been done, but nothing
//! was done that is not in the record. While one setup takes the place of another, the record is of
//! both.

use super::options::Wanted;
use crate::cli::Conflict;
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The version of the file's format.
const VERSION: u32 = 1;

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// The boot that it is of: another begins without anything of it.
    boot: String,
    /// The inode of the network namespace that it is of.
    namespace: u64,
    /// What was asked for last.
    pub(crate) wanted: Wanted,
    /// Settings that were changed.
    pub(crate) sysctls: Vec<Changed>,
    /// Addresses that were added to lo.
    pub(crate) added: Vec<IpAddr>,
    /// Where the program is, when there is one.
    pub(crate) program: Option<Program>,
    /// Where programs of earlier setups are that go, as long as they may be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) leaving: Vec<Program>,
}

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changed {
    /// Its path below /proc/sys.
    pub(crate) key: String,
    /// Its value before.
    pub(crate) before: String,
    /// Its value now.
    pub(crate) set: String,
}

/// Where the program is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Where it is pinned.
    pub(crate) pin_path: PathBuf,
    /// Whether a bpffs was mounted there for it.
    pub(crate) mounted: bool,
    /// The interface's Ethernet address that it was told.
    pub(crate) mac: [u8; 6],
}

/// The boot and namespace that this process runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    boot: String,
    namespace: u64,
}

impl Here {
    /// # Errors
    /// When /proc does not tell.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let boot = "/proc/sys/kernel/random/boot_id";
        let namespace = "/proc/self/ns/net";
        Ok(Self {
            boot: fs::read_to_string(boot).context(boot)?.trim().to_owned(),
            namespace: fs::metadata(namespace).context(namespace)?.ino(),
        })
    }
}

impl Record {
    /// A record of no change yet.
    pub(crate) fn new(here: &Here, wanted: Wanted) -> Self {
        Self {
            version: VERSION,
            boot: here.boot.clone(),
            namespace: here.namespace,
            wanted,
            sysctls: Vec::new(),
            added: Vec::new(),
            program: None,
            leaving: Vec::new(),
        }
    }

    /// The setting's change.
    pub(crate) fn sysctl(&self, key: &str) -> Option<&Changed> {
        self.sysctls.iter().find(|changed| changed.key == key)
    }

    /// All programs that may be there.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Program> {
        self.program.iter().chain(&self.leaving)
    }

    /// The record of this and of an earlier setup, whose place it takes.
    pub(crate) fn with(&self, before: &Self) -> Self {
        let mut both = self.clone();
        for changed in &before.sysctls {
            if self.sysctl(&changed.key).is_none() {
                both.sysctls.push(changed.clone());
            }
        }
        for address in &before.added {
            if !self.added.contains(address) {
                both.added.push(*address);
            }
        }
        for program in before.programs() {
            if both.programs().all(|p| p.pin_path != program.pin_path) {
                both.leaving.push(program.clone());
            }
        }
        both
    }

    /// Reads the record of a directory; none when there is none, or when it is of an earlier boot.
    ///
    /// # Errors
    /// When it cannot be read or understood; [`Conflict`] when it is another namespace's.
    pub(crate) fn load(directory: &Path, here: &Here) -> anyhow::Result<Option<Self>> {
        let path = path(directory);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let cure = || {
            format!(
                "{} is not a record of this version: undo with the lb-agent that wrote it, or \
                 remove the file and undo by hand",
                path.display()
            )
        };
        let record: Self = serde_json::from_str(&text).with_context(cure)?;
        ensure!(record.version == VERSION, cure());
        if record.boot != here.boot {
            return Ok(None);
        }
        if record.namespace != here.namespace {
            return Err(Conflict(format!(
                "{} is of another network namespace: give this one another --state-dir and \
                 --pin-path, or remove the file if that namespace is gone",
                path.display()
            ))
            .into());
        }
        Ok(Some(record))
    }

    /// Puts the record in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn store(&self, directory: &Path) -> anyhow::Result<()> {
        let path = path(directory);
        let new = path.with_extension("new");
        let write = || -> anyhow::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            Ok(fs::rename(&new, &path)?)
        };
        write().with_context(|| {
            format!(
                "cannot write {}, and what cannot be recorded cannot be undone: nothing was \
                 changed; `--state-dir` names another place",
                path.display()
            )
        })
    }

    /// Removes the record, and the directory with the lock, unless another's files are in it.
    ///
    /// # Errors
    /// When the record cannot be removed.
    pub(crate) fn remove(directory: &Path) -> anyhow::Result<()> {
        let path = path(directory);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
        Self::tidy(directory);
        Ok(())
    }

    /// Removes the directory with the lock, unless a record or another's files are in it.
    pub(crate) fn tidy(directory: &Path) {
        if path(directory).exists() {
            return;
        }
        let left = fs::remove_file(directory.join("lock")).and_then(|()| fs::remove_dir(directory));
        if let Err(error) = left {
            tracing::debug!("{} stays: {error}", directory.display());
        }
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("real-server.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::TestDirectory;

    fn record(here: &Here) -> Record {
        let wanted = Wanted {
            vips: vec!["10.0.0.100".parse().expect("an address")],
            interface: "eth0".to_owned(),
            decapsulation: None,
        };
        let mut record = Record::new(here, wanted);
        record.sysctls.push(Changed {
            key: "net/ipv4/conf/all/arp_ignore".to_owned(),
            before: "0".to_owned(),
            set: "1".to_owned(),
        });
        record.added = record.wanted.vips.clone();
        record
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_removed_without_a_trace() {
        let directory = TestDirectory::new();
        let (state, here) = (directory.join("state"), Here::find().expect("a /proc"));
        fs::create_dir(&state).expect("a directory");
        assert_eq!(Record::load(&state, &here).expect("none"), None);
        let record = record(&here);
        record.store(&state).expect("written");
        assert_eq!(Record::load(&state, &here).expect("read"), Some(record));
        fs::write(state.join("lock"), "").expect("a lock");
        Record::remove(&state).expect("removed");
        assert!(!state.exists());
        Record::remove(&state).expect("nothing to remove");
    }

    #[test]
    fn another_boots_record_is_none_and_another_namespaces_a_conflict() {
        let directory = TestDirectory::new();
        let here = Here::find().expect("a /proc");
        let boot = Here {
            boot: "another".to_owned(),
            ..here.clone()
        };
        record(&boot).store(&directory.join("")).expect("written");
        assert_eq!(Record::load(&directory.join(""), &here).expect("old"), None);
        let namespace = Here {
            namespace: here.namespace + 1,
            ..here.clone()
        };
        record(&namespace)
            .store(&directory.join(""))
            .expect("written");
        let error = Record::load(&directory.join(""), &here).expect_err("another's");
        assert!(error.is::<Conflict>(), "{error}");
    }

    #[test]
    fn what_is_no_record_is_not_overwritten_silently() {
        let directory = TestDirectory::new();
        let here = Here::find().expect("a /proc");
        for text in ["", "{}", "{\"version\": 2}"] {
            fs::write(directory.join("real-server.json"), text).expect("written");
            let error = Record::load(&directory.join(""), &here).expect_err("no record");
            assert!(error.to_string().contains("remove the file"), "{error}");
        }
    }
}
