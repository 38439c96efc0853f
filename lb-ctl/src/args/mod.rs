//! From words to a request, without touching anything but name lookups.
//!
//! [`popt`] splits the words, [`flags`] is the table of all options, [`parse`] fills [`low`] in
//! the order of the words (as several rules of ipvsadm depend on it), [`legality`] holds which
//! option goes with which command, and [`request`] makes the checked whole.

pub mod address;
pub mod flags;
pub mod help;
pub mod legality;
pub mod low;
pub mod number;
pub mod parse;
pub mod popt;
pub mod request;
pub(crate) mod sched_flags;

use crate::exit::Exit;

/// The schedulers of ipvs, besides `none`.
pub const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];

/// Why a command line is refused before the agent hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The first option is not a command: only a hint at the help is printed.
    TryHelp,
    /// An option that popt could not read; the remaining lines of `-R` still run.
    Option(String),
    /// A failed check; it ends `-R` at this line.
    Check(String),
}

impl Refused {
    /// The exit code it ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::TryHelp | Self::Option(_) => Exit::Refused,
            Self::Check(_) => Exit::Usage,
        }
    }

    /// The text, without its line end; `program` is how the program was called.
    #[must_use]
    pub fn text(&self, program: &str) -> String {
        match self {
            Self::TryHelp => {
                format!("Try `{program} -h' or '{program} --help' for more information.")
            }
            Self::Option(text) | Self::Check(text) => text.clone(),
        }
    }
}

/// A failed check, for use with `?`.
pub(crate) fn check(text: impl Into<String>) -> Refused {
    Refused::Check(text.into())
}
