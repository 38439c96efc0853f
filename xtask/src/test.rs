//! `cargo xtask test`: everything that is checked.

use crate::build::workspace;
use crate::setup::{self, Group};
use anyhow::{Context as _, Result, ensure};
use std::process::Command as Process;
use std::time::Instant;

/// Check formatting, lints and documentation, build, and run every test.
///
/// Tests build network namespaces and load programs into the kernel: run as root.
#[derive(Debug, clap::Args)]
pub struct Command {}

/// What is run, in this order: complaints that come fast come first, and the tests' own summary
/// is the end of the output.
///
/// Tests are compiled as debug builds, for their overflow checks and assertions, and share the
/// dependencies with `cargo xtask` itself; the programs they start are the release builds.
const STEPS: [(&str, &[&str]); 5] = [
    ("fmt", &["--all", "--check"]),
    (
        "clippy",
        &["--workspace", "--all-targets", "--", "--deny", "warnings"],
    ),
    (
        "doc",
        &["--workspace", "--no-deps", "--document-private-items"],
    ),
    ("build", &["--release"]),
    ("test", &["--workspace", "--no-fail-fast"]),
];

/// Runs `cargo xtask test`.
///
/// # Errors
///
/// Fails when something is missing that cannot be installed, and at the first step that fails.
pub fn run(_: &Command) -> Result<()> {
    setup::ensure(&Group::ALL)?;
    for (verb, arguments) in STEPS {
        let line = format!("cargo {verb} {}", arguments.join(" "));
        println!("test: {line}");
        let started = Instant::now();
        let status = Process::new("cargo")
            .current_dir(workspace())
            .arg(verb)
            .args(arguments)
            // Private items are documented too, so links to them lead somewhere.
            .env(
                "RUSTDOCFLAGS",
                "--deny warnings --allow rustdoc::private_intra_doc_links",
            )
            .status()
            .with_context(|| format!("cannot start `{line}`"))?;
        ensure!(
            status.success(),
            "`{line}` failed ({status}); its words are above"
        );
        // Behind the last step stands the tests' summary and nothing else.
        if verb != "test" {
            println!("test: {verb} passed in {} s", started.elapsed().as_secs());
        }
    }
    Ok(())
}
