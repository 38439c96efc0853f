//! The programs as built, in a network of namespaces, with other people's clients and servers.
//!
//! Needs root, nginx, vsftpd, curl, wrk, ldirectord and the release builds; each test builds a lab of
//! its own and fails when it cannot. The tests take turns by themselves, see `lb_tests::scene`.

mod attach;
mod daemons;
mod dns;
mod edits;
mod flood;
mod fragments;
mod ftp;
mod icmp;
mod interfaces;
mod ldirectord;
mod marks;
mod masquerade;
mod neighbours;
mod no_server;
mod path;
mod persistence;
mod real_server;
mod refusals;
mod restarts;
mod scheduling;
mod sip;
mod transfer;
