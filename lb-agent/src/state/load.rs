//! Reading the files.

use super::VERSION;
use super::record::{JournalHeader, Record, Snapshot, State};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::Path;

/// What the files say.
pub(super) struct Loaded {
    pub(super) state: State,
    /// The number of the snapshot; 0 without one.
    pub(super) sequence: u64,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads snapshot and journal; missing files are an empty state.
pub(super) fn load(snapshot: &Path, journal: &Path) -> anyhow::Result<Loaded> {
    let (mut state, sequence) = match read(snapshot)? {
        Some(bytes) => {
            check_version(&bytes, snapshot, 1)?;
            let read: Snapshot = serde_json::from_slice(&bytes)
                .map_err(|error| at(snapshot, error.line(), &error.to_string()))?;
            let sequence = read.sequence;
            let state = read.state().map_err(|why| at(snapshot, 1, &why))?;
            (state, sequence)
        }
        None => (State::empty(), 0),
    };
    if let Some(bytes) = read(journal)? {
        replay(&mut state, sequence, &bytes, journal)?;
    }
    Ok(Loaded { state, sequence })
}

fn replay(state: &mut State, sequence: u64, bytes: &[u8], path: &Path) -> anyhow::Result<()> {
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .zip(1..)
        .filter_map(|(line, number)| match line.split_last() {
            Some((b'\n', line)) => Some((line, number)),
            Some(_) | None => {
                tracing::warn!(
                    "{}:{number}: dropped the last line, which was not written to its end",
                    path.display()
                );
                None
            }
        });
    let Some((head, number)) = lines.next() else {
        return Ok(());
    };
    check_version(head, path, number)?;
    let JournalHeader { version: _, after } =
        serde_json::from_slice(head).map_err(|error| at(path, number, &error.to_string()))?;
    if after < sequence {
        // The agent died between writing the snapshot and beginning a journal.
        return Ok(());
    }
    if after > sequence {
        let why = format!("follows snapshot {after}, and state.json is number {sequence}");
        return Err(at(path, number, &why));
    }
    for (line, number) in lines {
        let record: Record =
            serde_json::from_slice(line).map_err(|error| at(path, number, &error.to_string()))?;
        state.replay(record).map_err(|why| at(path, number, &why))?;
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn check_version(bytes: &[u8], path: &Path, line: usize) -> anyhow::Result<()> {
    let Version { version } =
        serde_json::from_slice(bytes).map_err(|error| at(path, line, &error.to_string()))?;
    if version != VERSION {
        bail!(
            "{} has format {version}, this agent reads {VERSION}: start the agent that wrote it, \
             or move the file away to start without services",
            path.display()
        );
    }
    Ok(())
}

fn at(path: &Path, line: usize, why: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{}:{line}: {why}: restore the file from a backup, or move it away and add the services \
         again; it was not changed",
        path.display()
    )
}
