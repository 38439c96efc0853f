//! lb against the kernel's own `ip_vs`: both get the same commands and the same packets, and have
//! to answer with the same servers and the same tables. And lb's programs in the kernels that
//! have to take them.
//!
//! Needs root, QEMU, the release builds of the programs, and Debian's packages at the first run.

mod connections;
mod real_server;
mod restore;
mod schedulers;
mod script;
mod shell;
mod subject;
mod transcript;
mod tunnels;
mod verifier;
