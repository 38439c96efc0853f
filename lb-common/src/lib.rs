//! Everything that decides.
//!
//! `lb-common` is the pure ring of lb: packets in, verdicts out, with no I/O, clock, allocation
//! or map. `lb-ebpf` runs it in the kernel, over packets and BPF maps; `lb-agent` runs the same
//! code over the same maps from user space; the tests run it over ordinary memory.
//!
//! # Two seams
//!
//! * [`wire::Frame`] is the bytes of a packet.
//! * [`datapath::Tables`] is all state: services, servers, flows, counters, time.
//!
//! [`datapath::process`] is the whole datapath: a function of a frame and tables. On real servers
//! [`decap::decapsulate`] takes packets out of the director's tunnels.
//!
//! # Invariants
//!
//! * No `unsafe`, no allocation, no global state in the modules that the kernel runs.
//! * Time, seeds and randomness are arguments.
//! * No loop over data in maps: a loop is a [`repeat::Body`] and whoever runs it owns the loop.
//! * Every word that two parties share has one writer or is changed by compare-and-swap only;
//!   the doc comment of each field in [`layout`] says which.
//! * Addresses and ports stay in network order in memory; numbers made of them are host order.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

pub mod layout;

pub mod addr;
pub mod hash;
pub mod reason;
pub mod repeat;
pub mod time;
pub mod wire;

pub mod flow;
pub mod sched;
pub mod service;
pub mod state;

pub mod datapath;

pub mod decap;

#[cfg(feature = "std")]
pub mod api;
#[cfg(feature = "std")]
pub mod memory;
