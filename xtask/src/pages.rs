//! `cargo xtask pages`: manual pages and completions where a system looks for them.

use crate::lab::director::Programs;
use crate::setup::{self, Group};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

/// Write manual pages and shell completions below a folder: /usr/local, or usr of a package.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The folder above `share`.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What a program prints, and where it belongs.
struct Page {
    program: fn(&Programs) -> &Path,
    words: &'static [&'static str],
    path: &'static str,
}

const PAGES: &[Page] = &[
    Page {
        program: |programs| &programs.agent,
        words: &["man"],
        path: "share/man/man8/lb-agent.8",
    },
    Page {
        program: |programs| &programs.ctl,
        words: &["man"],
        path: "share/man/man8/lb-ctl.8",
    },
    Page {
        program: |programs| &programs.ctl,
        words: &["completions", "bash"],
        path: "share/bash-completion/completions/lb-ctl",
    },
    Page {
        program: |programs| &programs.ctl,
        words: &["completions", "zsh"],
        path: "share/zsh/site-functions/_lb-ctl",
    },
    Page {
        program: |programs| &programs.ctl,
        words: &["completions", "fish"],
        path: "share/fish/vendor_completions.d/lb-ctl.fish",
    },
];

/// bash and fish look for the script of a command under the command's own name.
const LINKS: &[(&str, &str)] = &[
    ("share/bash-completion/completions/ipvsadm", "lb-ctl"),
    (
        "share/fish/vendor_completions.d/ipvsadm.fish",
        "lb-ctl.fish",
    ),
];

/// Runs `cargo xtask pages`.
///
/// # Errors
///
/// When the programs cannot be built or run, and when a file cannot be written.
pub fn run(command: &Command) -> Result<()> {
    setup::ensure(&[Group::Build])?;
    for path in write(&Programs::build()?, &command.to)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Writes all pages below `to`, and returns where they are.
fn write(programs: &Programs, to: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for Page {
        program,
        words,
        path,
    } in PAGES
    {
        let program = program(programs);
        let output = Process::new(program)
            .args(*words)
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} {} failed: {}",
            program.display(),
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let path = prepare(to, path)?;
        fs::write(&path, output.stdout)
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    for (link, target) in LINKS {
        let path = prepare(to, link)?;
        if path.is_symlink() {
            fs::remove_file(&path).with_context(|| format!("cannot replace {}", path.display()))?;
        }
        symlink(target, &path).with_context(|| format!("cannot make {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

fn prepare(to: &Path, path: &str) -> Result<PathBuf> {
    let path = to.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn every_page_is_what_its_program_prints() {
        let folder = std::env::temp_dir().join(format!("xtask-pages-{}", std::process::id()));
        let program = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let programs = Programs {
            agent: program("lb-agent"),
            ctl: program("lb-ctl"),
        };
        // Twice, since packages are built more than once.
        let first = write(&programs, &folder.join("usr")).unwrap();
        let second = write(&programs, &folder.join("usr")).unwrap();
        let read = |path: &str| fs::read_to_string(folder.join("usr").join(path)).unwrap();
        let contents = [
            ("share/man/man8/lb-agent.8", "lb-agent man\n"),
            ("share/man/man8/lb-ctl.8", "lb-ctl man\n"),
            (
                "share/bash-completion/completions/ipvsadm",
                "lb-ctl completions bash\n",
            ),
            (
                "share/zsh/site-functions/_lb-ctl",
                "lb-ctl completions zsh\n",
            ),
            (
                "share/fish/vendor_completions.d/ipvsadm.fish",
                "lb-ctl completions fish\n",
            ),
        ]
        .map(|(path, expected)| (read(path), expected.to_owned()));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((first.len(), &first), (PAGES.len() + LINKS.len(), &second));
        for (content, expected) in contents {
            assert_eq!(content, expected);
        }
    }
}
