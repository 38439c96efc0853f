//! The machine's file system: a cpio archive in memory, unpacked by the kernel at boot.

use super::host_program;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cpio archive of the "newc" kind (kernel: `Documentation/driver-api/early-userspace/
/// buffer-format.rst`).
pub(super) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

impl Archive {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Adds a file of permissions `mode` at `path`, relative to the root, unless there is one.
    pub(super) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        if self.known.insert(path.to_owned()) {
            self.entry(path, REGULAR | mode, content);
        }
    }

    /// Adds a directory and those above it.
    pub(super) fn directory(&mut self, path: &Path) {
        if path.as_os_str().is_empty() || !self.known.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// Closes the archive and returns its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let name = path.as_os_str().as_encoded_bytes();
        let inode = self.known.len();
        let (size, name_size) = (content.len(), name.len() + 1);
        // Magic, inode, mode, uid, gid, links, mtime, size, four of devices, name's size, checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}\
             {0:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The first process inside.
const INIT: &[u8] = include_bytes!("init.sh");

/// Adds what every machine has besides the kernel's modules and busybox.
pub(super) fn add_system(archive: &mut Archive) -> Result<()> {
    archive.file(Path::new("init"), 0o755, INIT);
    for directory in [
        "dev", "proc", "sys", "tmp", "root", "run", "var", "etc", "sbin", "usr",
    ] {
        archive.directory(Path::new(directory));
    }
    // /bin/sh is Debian's dash: busybox's shell takes its own applets for programs on the PATH.
    add_program(archive, &host_program("dash")?, "sh")?;
    for name in ["ip", "ipvsadm"] {
        add_program(archive, &host_program(name)?, name)?;
    }
    Ok(())
}

/// Adds a file of the user's: a program to `/bin`, anything else to `/root`.
pub(super) fn add_copy(archive: &mut Archive, path: &Path) -> Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("its name is not a word")?;
    if fs::metadata(path)?.permissions().mode() & 0o111 != 0 {
        return add_program(archive, path, name);
    }
    archive.file(&Path::new("root").join(name), 0o644, &fs::read(path)?);
    Ok(())
}

fn add_program(archive: &mut Archive, path: &Path, name: &str) -> Result<()> {
    let program = fs::read(path)?;
    archive.file(&Path::new("bin").join(name), 0o755, &program);
    if program.starts_with(b"\x7fELF") {
        for library in libraries(path)? {
            let relative = library
                .strip_prefix("/")
                .expect("ldd prints absolute paths");
            archive.file(relative, 0o755, &fs::read(&library)?);
        }
    }
    Ok(())
}

/// Asks the dynamic loader for the libraries of a program, itself among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        // ldd refuses static programs in these words, which need nothing.
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(
            words.contains("not a dynamic executable"),
            "ldd failed: {}",
            words.trim()
        );
    }
    ensure!(
        !text.contains("not found"),
        "libraries are missing:\n{text}"
    );
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_unpacks_to_what_was_put_in() {
        let mut archive = Archive::new();
        archive.file(Path::new("a/b/c"), 0o644, b"text\n");
        archive.file(Path::new("a/b/d"), 0o755, b"");
        archive.file(Path::new("a/b/c"), 0o644, b"a second one is not taken");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);

        // What the kernel reads: a header, a name and a content, each padded to four bytes.
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        loop {
            assert_eq!(&rest[..6], b"070701");
            let field = |n: usize| {
                let digits = std::str::from_utf8(&rest[6 + 8 * n..14 + 8 * n]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = std::str::from_utf8(&rest[110..110 + name_size - 1])
                .unwrap()
                .to_owned();
            let content = (110 + name_size).next_multiple_of(4);
            let end = (content + size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(rest.len(), end);
                break;
            }
            found.push((name, mode, rest[content..content + size].to_vec()));
            rest = &rest[end..];
        }
        let expected = [
            ("a", 0o040_755, ""),
            ("a/b", 0o040_755, ""),
            ("a/b/c", 0o100_644, "text\n"),
            ("a/b/d", 0o100_755, ""),
        ];
        assert_eq!(found.len(), expected.len());
        for ((name, mode, content), expected) in found.iter().zip(expected) {
            assert_eq!(
                (name.as_str(), *mode, &content[..]),
                (expected.0, expected.1, expected.2.as_bytes())
            );
        }
    }

    #[test]
    fn a_program_comes_with_its_loader() {
        let libraries = libraries(&host_program("dash").unwrap()).unwrap();
        assert!(
            libraries
                .iter()
                .any(|path| path.to_string_lossy().contains("/ld-linux")),
            "{libraries:?}"
        );
        assert!(libraries.iter().all(|path| path.is_file()), "{libraries:?}");
    }
}
