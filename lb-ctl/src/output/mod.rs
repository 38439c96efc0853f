//! Answers: as ipvsadm prints them, to the byte (blanks at line ends are part of it), and as
//! [`json`].

pub mod address;
pub mod connections;
mod counters;
pub mod daemons;
pub mod json;
pub mod listing;
mod order;
mod persistent;
mod plain;
pub mod rule;
pub mod save;
mod service;
mod thresholds;
pub mod timeouts;
mod tunnel;
