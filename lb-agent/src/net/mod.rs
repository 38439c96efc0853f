//! How every real server is reached: its egress interface and the Ethernet addresses to write.
//!
//! The XDP program copies these addresses into packets without asking anybody, so a wrong one
//! sends a customer's packet to a stranger. Hence the rules of this module:
//!
//! - The kernel is the only source: routes and neighbours are asked for and listened to through
//!   netlink; nothing is guessed, nothing is cached beyond what a notification can take back.
//! - When in doubt an address is [`Way::Unresolved`], with the reason.
//! - [`table`] decides and does no I/O; [`driver`] does I/O and decides nothing.
//! - Neighbours are kept alive by the kernel (`NTF_EXT_MANAGED`), under lb's protocol number, and
//!   only entries with that number are ever removed.

mod decide;
mod driver;
mod duplicates;
mod handle;
mod ioctl;
mod message;
mod own;
mod prefix;
mod requests;
mod table;
mod veth;
mod way;
mod xdp;

#[cfg(test)]
mod lab;

pub(crate) use duplicates::Duplicate;
pub(crate) use handle::{Changes, NextHops};
pub(crate) use ioctl::mtu;
pub(crate) use message::local_address;
pub(crate) use own::{interface_address, own_address};
pub(crate) use requests::{interface_mtu, release_neighbours};
pub(crate) use veth::{Peer, peer};
pub(crate) use way::{NextHop, Unresolved, Way};
pub(crate) use xdp::{program_id, program_ids};
