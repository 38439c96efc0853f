//! Ctrl-C and SIGTERM remove the lab before the process ends.

#![expect(
    unsafe_code,
    reason = "sigaction(2) takes a function whose limits no type can state"
)]

use super::register;
use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::io::{PipeWriter, Read, Write};
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Whether a signal came.
static CAME: AtomicBool = AtomicBool::new(false);

/// Where the handler writes the number of the signal it caught.
static CAUGHT: OnceLock<PipeWriter> = OnceLock::new();

/// From now on SIGINT and SIGTERM remove the lab of this name, and end this process with 128 plus
/// the signal's number, as a shell reports it.
///
/// # Errors
/// When it was called before, or the system refuses a pipe or a handler.
pub fn removes(lab: &str) -> Result<()> {
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe for signals")?;
    CAUGHT
        .set(writer)
        .ok()
        .context("signals are caught for one lab only")?;
    let lab = lab.to_owned();
    thread::spawn(move || {
        let mut number = [0];
        if reader.read_exact(&mut number).is_err() {
            return;
        }
        eprintln!("\ninterrupted: removing lab {lab}");
        // The rest of the process meets a vanishing lab meanwhile; its own drop of the lab does
        // the same as this, and the two do not disturb each other.
        if let Err(error) = register::remove(&lab) {
            eprintln!("{error:#}; `cargo xtask lab down --name {lab}` tries again");
        }
        exit(128 + i32::from(number[0]));
    });
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: `note` does nothing but what is allowed in a signal handler: it touches
        // initialised statics and calls write(2).
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot catch {signal}"))?;
    }
    Ok(())
}

/// Returns at once if no signal came; else waits for the end that [`removes`] brings. To be called
/// before an error is reported that may come of the vanishing lab.
pub fn settle() {
    while CAME.load(Ordering::SeqCst) {
        thread::park();
    }
}

extern "C" fn note(signal: libc::c_int) {
    CAME.store(true, Ordering::SeqCst);
    if let (Some(mut pipe), Ok(number)) = (CAUGHT.get(), u8::try_from(signal)) {
        // The pipe is empty but for signals, so it has room; a second signal says nothing new.
        let _ = pipe.write(&[number]);
    }
}
