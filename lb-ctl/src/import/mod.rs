//! Configurations of other programs, read and said again.
//!
//! A reader ([`ipvsadm`], [`ldirectord`], [`keepalived`]) turns a file into a [`Description`]:
//! what ipvs would be told, and beside it every line that ipvs has no word for. A printer
//! ([`rules`], or [`crate::output::json`]) says the description again, and tells what it left out.
//! Readers know nothing of printers: what one printer has to leave out, another may carry over.

mod description;
pub mod ipvsadm;
pub mod keepalived;
pub mod ldirectord;
mod ordered;

pub mod rules;

pub use description::{Description, Extra, Place, Problem, Problems, Server, Service, Topic};
pub use ordered::{Keyed, Ordered};
pub use rules::Omission;

/// A file's text without a byte order mark; bytes that are not UTF-8 become U+FFFD.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()
}
