//! The desired state on disk: a snapshot and a journal of what came after it.
//!
//! `state.json` is the snapshot, replaced atomically; `journal.ndjson` has one record a line and
//! names the snapshot it follows. A record is written before its edit is answered, so that it
//! survives the agent's death, and synced within a second, for a power cut (which empties the
//! kernel's maps as well).
//!
//! **When the disk is full or read-only**, edits are carried out and a warning says that they are
//! not recorded: an operator must be able to take a server out whatever the disk does, and the
//! maps outlive the agent. Nothing is appended behind a gap; a new snapshot is tried until
//! one succeeds.
//!
//! A torn last line, as a crash leaves it, is dropped with a warning: its edit was not answered.
//! Anything else that cannot be read is an error; such a file is never overwritten.

mod load;
mod lock;
mod record;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use lock::Lock;
pub(crate) use record::{Record, State};

use crate::director::Accounts;
use crate::model::Model;
use anyhow::Context;
use record::{JournalHeader, Snapshot};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of both files' format.
const VERSION: u32 = 1;

/// A journal shorter than this, in bytes, is not worth a new snapshot.
const JOURNAL_SMALL: u64 = 4 << 20;

/// The files of one state directory.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// Tells this state's maps from another's, not 0.
    identity: u64,
    /// The number of the newest snapshot.
    sequence: u64,
    /// The size of the newest snapshot, in bytes.
    snapshot_length: u64,
    /// The journal; none while records cannot be written.
    journal: Option<Journal>,
    /// The last trouble that was warned of.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    length: u64,
    synced: bool,
}

/// A place in the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(Option<u64>);

impl Store {
    /// Reads the state of a directory, which is made when it is missing.
    ///
    /// Nothing is written before the first [`Self::compact`].
    ///
    /// # Errors
    /// When a file is there and cannot be read or understood; names file, line and cure.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<(Self, State)> {
        if let Err(error) = fs::create_dir_all(directory) {
            tracing::warn!("cannot make {}: {error}", directory.display());
        }
        let loaded = load::load(&snapshot_path(directory), &journal_path(directory))?;
        let store = Self {
            directory: directory.to_owned(),
            identity: loaded.state.identity,
            sequence: loaded.sequence,
            snapshot_length: 0,
            journal: None,
            trouble: None,
        };
        Ok((store, loaded.state))
    }

    /// Adds records to the journal; when that fails, warns and goes without until the next
    /// successful [`Self::compact`].
    pub(crate) fn append(&mut self, records: impl IntoIterator<Item = Record>) {
        let mut lines = Vec::new();
        for record in records {
            // Neither maps with odd keys nor failing serializers are in a record.
            serde_json::to_writer(&mut lines, &record).expect("a record is JSON");
            lines.push(b'\n');
        }
        let Some(journal) = &mut self.journal else {
            let why = self.trouble.as_deref().unwrap_or("it has no journal");
            tracing::warn!("a change is not recorded and would be lost with the agent: {why}");
            return;
        };
        match journal.file.write_all(&lines) {
            Ok(()) => {
                journal.length += lines.len() as u64;
                journal.synced = false;
            }
            Err(error) => {
                // What was written in part ends in a torn line, which loading drops; cut it off
                // all the same where that works.
                let cut = journal.file.set_len(journal.length);
                self.journal = None;
                let path = journal_path(&self.directory);
                self.warn(&format!("cannot write {}: {error}", path.display()));
                if let Err(error) = cut {
                    tracing::warn!("cannot shorten {}: {error}", path.display());
                }
            }
        }
    }

    /// The journal's end.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.journal.as_ref().map(|journal| journal.length))
    }

    /// Removes the records behind a mark.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        let (Some(journal), Mark(Some(length))) = (&mut self.journal, mark) else {
            return;
        };
        match journal.file.set_len(length) {
            Ok(()) => journal.length = length,
            Err(error) => {
                self.journal = None;
                let path = journal_path(&self.directory);
                self.warn(&format!("cannot shorten {}: {error}", path.display()));
            }
        }
    }

    /// Whether it is time for [`Self::compact`].
    pub(crate) fn is_due(&self) -> bool {
        let most = JOURNAL_SMALL.max(2 * self.snapshot_length);
        self.journal.as_ref().is_none_or(|j| j.length > most)
    }

    /// Writes a snapshot and begins a new journal; when that fails, warns.
    pub(crate) fn compact(&mut self, model: &Model, accounts: &Accounts) {
        match self.try_compact(model, accounts) {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("changes are recorded again in {}", self.directory.display());
                }
            }
            Err(error) => self.warn(&format!("{error:#}")),
        }
    }

    /// A handle to sync the journal by, when it has unsynced records; they count as synced.
    pub(crate) fn unsynced(&mut self) -> Option<File> {
        let journal = self.journal.as_mut().filter(|journal| !journal.synced)?;
        journal.synced = true;
        journal.file.try_clone().ok()
    }

    fn try_compact(&mut self, model: &Model, accounts: &Accounts) -> anyhow::Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let sequence = self.sequence + 1;
        let snapshot = Snapshot::new(sequence, self.identity, model, accounts);
        let bytes = serde_json::to_vec(&snapshot).context("cannot encode the state")?;
        replace(&snapshot_path(&self.directory), &bytes)?;
        // From here on the old journal belongs to no snapshot.
        self.journal = None;
        self.sequence = sequence;
        self.snapshot_length = bytes.len() as u64;
        let header = JournalHeader {
            version: VERSION,
            after: sequence,
        };
        let mut line = serde_json::to_vec(&header).context("cannot encode the journal's head")?;
        line.push(b'\n');
        self.journal = Some(Journal {
            file: replace(&journal_path(&self.directory), &line)?,
            length: line.len() as u64,
            synced: true,
        });
        Ok(())
    }

    fn warn(&mut self, trouble: &str) {
        if self.trouble.as_deref() != Some(trouble) {
            tracing::warn!(
                "{trouble}; edits are carried out but not recorded: free space or make {} \
                 writable, it is tried again",
                self.directory.display()
            );
            self.trouble = Some(trouble.to_owned());
        }
    }
}

fn snapshot_path(directory: &Path) -> PathBuf {
    directory.join("state.json")
}

fn journal_path(directory: &Path) -> PathBuf {
    directory.join("journal.ndjson")
}

/// Puts a file with these bytes in place at once, durably; returns it, open for appending.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<File> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<File> {
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = File::options().append(true).create_new(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(file)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
