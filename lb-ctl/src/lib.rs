//! The command line of lb: it asks the agent, and decides nothing about packets.
//!
//! A command line takes the same way whoever wrote it: [`args`] turns words into a request
//! without touching anything, [`command`] puts the request to the agent ([`control`]) and
//! [`output`] prints the answer as ipvsadm would. Under the name `ipvsadm` that is all there is;
//! as `lb-ctl`, words instead of options are the verbs of [`verb`].
//!
//! The judge of every message, column and exit code is Debian's ipvsadm 1:1.31-1 on a real
//! kernel; `tests/transcripts` holds what it said.

pub mod args;
pub mod client;
pub mod command;
pub mod complete;
pub mod control;
pub mod exit;
pub mod import;
pub mod invocation;
pub mod machine;
pub mod man;
pub mod names;
pub mod output;
pub mod verb;
