//! One agent a state directory.

use crate::cli::Conflict;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// Held while the agent runs; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of a state directory, and writes the own process id into it. None, with a
    /// warning, where the directory cannot be written.
    ///
    /// # Errors
    /// [`Conflict`] when another agent holds it; names that one.
    pub(crate) fn take(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join("lock");
        let opened = fs::create_dir_all(directory).and_then(|()| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        });
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(
                    "cannot lock {} against a second agent: {error}",
                    path.display()
                );
                return Ok(None);
            }
        };
        let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((unlocked, Errno::EWOULDBLOCK)) => {
                file = unlocked;
                let mut pid = String::new();
                // The holder may not have written its id yet.
                let pid = match file.read_to_string(&mut pid) {
                    Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    Ok(_) | Err(_) => "a process just started".to_owned(),
                };
                return Err(Conflict(format!(
                    "another agent ({pid}) uses {}: stop it, or give this one its own \
                     --state-dir, --pin-path and --socket",
                    directory.display()
                ))
                .into());
            }
            Err((_, error)) => {
                tracing::warn!(
                    "cannot lock {} against a second agent: {error}",
                    path.display()
                );
                return Ok(None);
            }
        };
        let id = std::process::id().to_string();
        if let Err(error) = held.set_len(0).and_then(|()| held.write_all(id.as_bytes())) {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
        Ok(Some(Self { _file: held }))
    }
}
