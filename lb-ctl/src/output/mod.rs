//! Answers as ipvsadm prints them, to the byte: blanks at line ends are part of it.

pub mod address;
pub mod connections;
mod counters;
pub mod daemons;
pub mod listing;
mod order;
mod persistent;
mod plain;
pub mod rule;
pub mod save;
mod service;
mod thresholds;
mod tunnel;
