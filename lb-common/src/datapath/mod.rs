//! A packet's way: from bytes to a verdict.
//!
//! [`process`] is the list of stages, and each stage has its file:
//!
//! [`parse`] bytes to a [`Packet`] -> service lookup -> flow lookup -> hit: [`follow`] its state
//! -> miss: [`open`] a flow -> [`route`] rewrite -> count.

mod follow;
mod open;
mod parse;
mod route;
mod way;

pub use parse::Packet;
pub use way::Way;

use crate::flow::{Counts, Flows};
use crate::layout::{Directory, DirectorySlot, Member, Service};
use crate::reason::Reason;
use crate::service::{self, directory};
use crate::state::Class;
use crate::time::Tick;
use crate::wire::{Frame, MacAddr};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of the interface it came in by.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
}

/// All state: what the kernel keeps in maps and the tests keep in memory.
///
/// Methods that return an option return none for what is not there.
pub trait Tables: Flows {
    /// The current tick.
    fn now(&self) -> Tick;
    /// The seeds of the flow hash.
    fn flow_seed(&self) -> [u64; 2];
    /// The timeout of a class in ticks.
    fn timeout(&self, class: Class) -> u32;

    /// The directory that counts.
    fn directory(&self) -> Directory;
    /// A displacement of that directory.
    fn displacement(&self, index: u32) -> Option<u32>;
    /// A slot of that directory.
    fn slot(&self, index: u32) -> Option<DirectorySlot>;

    /// A service's record, which does not change while a slot names it.
    fn service(&self, record: u32) -> Option<&Service>;
    /// A service's turn.
    fn turn(&self, service: u32) -> u64;
    /// Puts a turn in the place of `old`; false when another turn stands there.
    fn swap_turn(&self, service: u32, old: u64, new: u64) -> bool;
    /// Until when flows of a service may be untracked; none when none are.
    fn untracked(&self, service: u32) -> Option<Tick>;
    /// Says that flows of a service may be untracked until `until`.
    fn set_untracked(&self, service: u32, until: Tick);
    /// A place in the services' lists of servers.
    fn member(&self, index: u32) -> Option<Member>;

    /// The flags of a server, [`crate::layout::server_flags`], and its way in raw words.
    fn server(&self, server: u32) -> Option<(u32, [u64; 3])>;
    /// Changes a server's counts.
    fn count_flow(&self, server: u32, counts: Counts);
    /// Counts a packet to a server.
    fn count_packet(&self, server: u32, bytes: u32);
    /// Counts an event that is no packet's outcome.
    fn count_event(&self, reason: Reason);

    /// The index of the interface that the packet came in by.
    fn ingress(&self) -> u32;
    /// The Ethernet address of that interface.
    fn ingress_mac(&self) -> MacAddr;
}

/// Decides on one packet and rewrites it if it goes to a server.
///
/// # Errors
///
/// The reason why it does not go to a server; the frame is as it was.
#[inline(always)]
pub fn process<F: Frame + ?Sized, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Reason> {
    let packet = parse::parse(frame)?;
    let record = find_service(tables, &packet).ok_or(Reason::NoService)?;
    if packet.destination != tables.ingress_mac() {
        return Err(Reason::OtherHost);
    }

    let now = tables.now();
    let key = packet.tuple.key(tables.flow_seed());
    let known = match tables.find_flow(&key, &packet.tuple, now) {
        Some((_, word)) if follow::may_reopen(&packet, word) => None,
        found => found,
    };
    let server = match known {
        Some((_, word)) => word.server(),
        // A copy, because what is lent out of line lies in memory, and would for known flows too.
        None => open::open(tables, &{ packet }, record, key)?,
    };

    let (flags, way) = tables.server(server).ok_or(Reason::Inconsistent)?;
    if flags & crate::layout::server_flags::AVAILABLE == 0 {
        // Its flow is left to expire, however long the client goes on: then there is another
        // server for it (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_in_hook`).
        return Err(Reason::ServerGone);
    }
    if let Some((place, word)) = known {
        follow::follow(tables, &packet, place, word, now);
    }
    let way = Way::decode(way).ok_or(Reason::Unresolved)?;
    route::route(frame, &packet, &way)?;
    tables.count_packet(server, packet.bytes.into());
    Ok(if way.ifindex == tables.ingress() {
        Verdict::Transmit
    } else {
        Verdict::Redirect(way.ifindex)
    })
}

/// The record of the service that a packet is for.
#[inline(always)]
fn find_service<T: Tables>(tables: &T, packet: &Packet) -> Option<u32> {
    let directory = tables.directory();
    let tuple = &packet.tuple;
    let key = service::Key::new(tuple.address, tuple.port(), tuple.protocol);
    let hash = key.hash(directory.seed);
    let displacement = tables.displacement(directory::displacement_index(hash, &directory))?;
    let slot = tables.slot(directory::slot_index(hash, displacement, &directory))?;
    if slot.key == key {
        slot.record.checked_sub(1)
    } else {
        None
    }
}
