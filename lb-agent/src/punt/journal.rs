//! What is known of FTP control connections, where it outlives the agent.
//!
//! A file of one record a line, written before the frame goes on that depends on it. It is not
//! synced: a power cut empties the kernel's tables as well, and with them all connections.

use super::helper::Ends;
use crate::helper::ftp::State;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A line: what is known of a connection from now on; nothing more when there is no state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    ends: Ends,
    state: Option<State>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// None after it could not be written.
    file: Option<File>,
    /// Records in it.
    records: usize,
}

impl Journal {
    /// A file with fewer records is not worth writing anew.
    const SMALL: usize = 4096;

    /// Reads the file, and begins it anew with what `keeps`. Where it cannot be read, nothing is
    /// known, and the log tells.
    pub(super) fn open(
        path: PathBuf,
        keeps: impl Fn(&Ends) -> bool,
    ) -> (Self, HashMap<Ends, State>) {
        let mut states = read(&path).unwrap_or_else(|error| {
            tracing::error!(
                "cannot read {}: {error}; FTP control connections with changed replies are given up",
                path.display()
            );
            HashMap::new()
        });
        states.retain(|ends, _| keeps(ends));
        let mut journal = Self {
            path,
            file: None,
            records: 0,
        };
        journal.rewrite(states.iter().map(|(ends, state)| (ends, state.clone())));
        (journal, states)
    }

    /// Writes what is known of a connection from now on.
    pub(super) fn write(&mut self, ends: &Ends, state: Option<State>) {
        let Some(file) = &mut self.file else { return };
        match append(file, ends, state) {
            Ok(()) => self.records += 1,
            Err(error) => self.fail(&error),
        }
    }

    /// Whether to [`Self::rewrite`] it when this many states are known; so, too, when it could not
    /// be written.
    pub(super) fn is_due(&self, states: usize) -> bool {
        self.file.is_none() || self.records > Self::SMALL.max(2 * states)
    }

    /// Writes it anew with nothing but these.
    pub(super) fn rewrite<'a>(&mut self, states: impl Iterator<Item = (&'a Ends, State)>) {
        let fresh = self.path.with_extension("new");
        let written = || -> io::Result<(File, usize)> {
            let mut text = Vec::new();
            let mut records = 0;
            for (ends, state) in states {
                append(&mut text, ends, Some(state))?;
                records += 1;
            }
            fs::write(&fresh, text)?;
            fs::rename(&fresh, &self.path)?;
            let file = OpenOptions::new().append(true).open(&self.path)?;
            Ok((file, records))
        };
        match written() {
            Ok((file, records)) => {
                self.file = Some(file);
                self.records = records;
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::error!(
            "cannot write {}: {error}; FTP control connections whose replies are changed from now \
             on end with the agent",
            self.path.display()
        );
        self.file = None;
    }
}

fn append(to: &mut impl io::Write, ends: &Ends, state: Option<State>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Record { ends: *ends, state })?;
    line.push(b'\n');
    to.write_all(&line)
}

/// What the file's last words are about each connection. A torn last line, as a crash leaves it, is
/// of a frame that did not go on.
fn read(path: &Path) -> io::Result<HashMap<Ends, State>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let mut states = HashMap::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let Record { ends, state } = serde_json::from_slice(line)?;
        match state {
            Some(state) => states.insert(ends, state),
            None => states.remove(&ends),
        };
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::TestDirectory;

    fn ends(port: u16) -> Ends {
        Ends {
            client: ([192, 0, 2, 1], port).into(),
            address: ([198, 51, 100, 1], 21).into(),
            server: ([10, 0, 0, 1], 21).into(),
        }
    }

    fn state(shift: u32) -> State {
        let text =
            format!(r#"{{"stream":{{"next":7,"line":7,"shift":{shift},"edits":[]}},"due":[0,0]}}"#);
        serde_json::from_str(&text).expect("a state")
    }

    #[test]
    fn the_last_word_about_a_connection_counts() {
        let directory = TestDirectory::new();
        let path = directory.join("ftp.ndjson");
        let (mut journal, states) = Journal::open(path.clone(), |_| true);
        assert!(states.is_empty());
        for (port, written) in [
            (1, Some(state(1))),
            (2, Some(state(2))),
            (3, Some(state(3))),
            (1, Some(state(4))),
            (2, None),
        ] {
            journal.write(&ends(port), written);
        }
        let (_, states) = Journal::open(path.clone(), |_| true);
        assert_eq!(
            states,
            HashMap::from([(ends(1), state(4)), (ends(3), state(3))])
        );
        let (_, states) = Journal::open(path.clone(), |of| *of == ends(3));
        assert_eq!(states, HashMap::from([(ends(3), state(3))]));
        // What was not kept is gone from the file.
        assert_eq!(read(&path).expect("it can be read"), states);
    }

    #[test]
    fn a_torn_line_is_dropped_and_a_wrong_one_gives_all_up() {
        let directory = TestDirectory::new();
        let path = directory.join("ftp.ndjson");
        let (mut journal, _) = Journal::open(path.clone(), |_| true);
        journal.write(&ends(1), Some(state(1)));
        let mut text = fs::read(&path).expect("it is there");
        let whole = text.clone();
        text.extend(&whole[..whole.len() / 2]);
        fs::write(&path, &text).expect("it can be written");
        let (_, states) = Journal::open(path.clone(), |_| true);
        assert_eq!(states.len(), 1);
        fs::write(&path, [b"no record\n", &whole[..]].concat()).expect("it can be written");
        let (_, states) = Journal::open(path, |_| true);
        assert_eq!(states.len(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let directory = TestDirectory::new();
        let path = directory.join("missing").join("ftp.ndjson");
        let (mut journal, _) = Journal::open(path.clone(), |_| true);
        assert!(journal.is_due(0));
        journal.write(&ends(1), Some(state(1)));
        fs::create_dir(path.parent().expect("a directory")).expect("it can be made");
        journal.rewrite([(&ends(2), state(2))].into_iter());
        assert!(!journal.is_due(1));
        assert_eq!(read(&path).expect("it is there").len(), 1);
    }
}
