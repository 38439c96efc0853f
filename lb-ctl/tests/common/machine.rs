//! Machines of a few files.

use lb_ctl::machine::Machine;
use std::io;
use std::path::{Path, PathBuf};

/// A machine without files.
pub struct NoFiles;

impl Machine for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn matching(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn name(&self) -> String {
        "host1".to_owned()
    }
}

/// A machine called `host1` with these files; of patterns it knows `*` at the end.
pub struct Files(pub Vec<(&'static str, &'static str)>);

impl Machine for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .iter()
            .find(|(name, _)| Path::new(name) == path)
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let pattern = pattern.to_string_lossy();
        let start = pattern.trim_end_matches('*');
        let names = self.0.iter().map(|(name, _)| *name);
        Ok(names
            .filter(|name| name.starts_with(start))
            .map(PathBuf::from)
            .collect())
    }

    fn name(&self) -> String {
        "host1".to_owned()
    }
}
