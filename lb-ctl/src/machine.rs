//! What a configuration takes from the machine it lies on: other files, and the machine's name.

use std::io;
use std::path::{Path, PathBuf};

/// Files and the name of a machine.
pub trait Machine {
    /// A file's content.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files that a pattern with `*`, `?` and `[...]` means, sorted; none if it means none.
    ///
    /// # Errors
    /// It is no pattern.
    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;

    /// The machine's name up to its first dot.
    fn name(&self) -> String;
}

/// The machine the program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

/// More than any configuration; a device or a mistaken name ends here.
const LONGEST_FILE: u64 = 64 << 20;

impl Machine for ThisMachine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        let read = io::Read::read_to_end(&mut io::Read::take(file, LONGEST_FILE + 1), &mut bytes)?;
        if read as u64 > LONGEST_FILE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {LONGEST_FILE} bytes"),
            ));
        }
        Ok(bytes)
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let pattern = pattern.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let paths = glob::glob(pattern)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        // What cannot be looked into is not there for keepalived either.
        Ok(paths.flatten().filter(|path| path.is_file()).collect())
    }

    fn name(&self) -> String {
        // uname(2) tells the same.
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        name.split_once('.')
            .map_or(name, |(first, _)| first)
            .to_owned()
    }
}
