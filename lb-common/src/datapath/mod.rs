//! A packet's way: from bytes to a verdict.
//!
//! [`process`] is the list of stages, and each stage has its file:
//!
//! [`mod@known`] sees nearly all packets to their end. The rest: [`parse`] bytes to a [`Packet`] ->
//! [`find`] its service -> flow lookup -> hit: [`follow`] its state -> miss: [`mod@open`] a flow, by its
//! client's template if it [`persist`]s -> [`forward`] -> count. Servers' packets back to clients take
//! [`reply`] instead, later fragments [`fragment`], ICMP errors [`error`]. What cannot go on may be
//! [`answer`]ed.

mod answer;
mod ending;
mod error;
mod find;
mod follow;
mod forward;
mod fragment;
mod known;
mod open;
mod parse;
mod persist;
mod related;
mod reply;
pub mod stages;
mod way;

pub use ending::Ending;
pub use known::known;
pub use parse::{Packet, kind};
pub use stages::Stages;
pub use way::Way;

use crate::addr::Addr;
use crate::flow::{Counts, Flows, Word};
use crate::layout::{
    BackWay, Directory, DirectorySlot, Hint, Interface, MarkRule, Member, ServerState, Service,
    features, punt, server_flags, settings,
};
use crate::reason::Reason;
use crate::sched::Choice;
use crate::state::Class;
use crate::time::Tick;
use crate::wire::{Frame, MacAddr};
use core::borrow::Borrow as _;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of the interface it came in by.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
    /// To the director's own network stack: the server is the director, or the stack routes the
    /// packet on.
    Pass,
    /// Out of the interface it came in by: the frame is now an answer to its sender, and this is
    /// why.
    Answer(Reason),
}

/// The ends of the tunnel to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The server's address.
    pub destination: Addr,
    /// The director's, of the same family.
    pub source: Addr,
    /// For GUE, the destination port in host order.
    pub port: u16,
}

/// All state: what the kernel keeps in maps and the tests keep in memory.
///
/// Methods that return an option return none for what is not there.
pub trait Tables: Flows {
    /// The current tick.
    fn now(&self) -> Tick;
    /// A random number.
    fn random(&self) -> u32;
    /// The seeds of the flow hash.
    fn flow_seed(&self) -> [u64; 2];
    /// The timeout of a class in ticks.
    fn timeout(&self, class: Class) -> u32;
    /// [`crate::layout::features`].
    fn features(&self) -> u32;
    /// [`crate::layout::settings`].
    fn settings(&self) -> u32;

    /// The directory that counts.
    fn directory(&self) -> Directory;
    /// A displacement of that directory.
    fn displacement(&self, index: u32) -> Option<u32>;
    /// A slot of that directory.
    fn slot(&self, index: u32) -> Option<DirectorySlot>;
    /// How many mark rules there are.
    fn rules(&self) -> u32;
    /// A mark rule, by its place in the list that counts.
    fn rule(&self, index: u32) -> Option<MarkRule>;
    /// Whether a hint may have an address.
    fn hint(&self, hint: Hint, address: Addr) -> bool;

    /// A service's record, which does not change while a slot names it.
    fn service(&self, record: u32) -> Option<&Service>;
    /// The index of the record of the service with this id.
    fn record(&self, service: u32) -> Option<u32>;
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
    /// A slot of the lookup tables: the place in the service's list plus 1, or 0.
    fn table_slot(&self, index: u32) -> Option<u16>;

    /// The flags of a server, [`crate::layout::server_flags`], and its way in raw words.
    fn server(&self, server: u32) -> Option<(u32, [u64; 3])>;
    /// A server's address, and its port in host order, 0 for the packet's own.
    fn server_end(&self, server: u32) -> Option<(Addr, u16)>;
    /// The id of a server's service.
    fn server_service(&self, server: u32) -> Option<u32>;
    /// The ends of the tunnel to a server.
    fn tunnel(&self, server: u32) -> Option<Tunnel>;
    /// A server's weight.
    fn server_weight(&self, server: u32) -> Option<u32>;
    /// A server's upper and lower connection threshold, 0 for none.
    fn thresholds(&self, server: u32) -> Option<(u32, u32)>;
    /// What is counted of a server.
    fn server_state(&self, server: u32) -> Option<ServerState>;
    /// Says whether a server has more connections than its thresholds allow.
    fn set_overloaded(&self, server: u32, overloaded: bool);
    /// Changes a server's counts.
    fn count_flow(&self, server: u32, counts: Counts);
    /// Counts a packet to a server, or back from it.
    fn count_packet(&self, server: u32, bytes: u32, reply: bool);
    /// Counts an event that is no packet's outcome.
    fn count_event(&self, reason: Reason);

    /// The index of the interface that the packet came in by.
    fn ingress(&self) -> u32;
    /// The Ethernet address of that interface.
    fn ingress_mac(&self) -> MacAddr;
    /// The index of an interface that carries the program, by [`crate::layout::port_index`], and
    /// its [`Interface::mac_and_mtu`].
    fn egress(&self, port: u32) -> Option<(u32, u64)>;
    /// An interface that carries the program, by [`crate::layout::port_index`].
    fn interface(&self, port: u32) -> Option<Interface>;
    /// Where packets from `source` to `destination`, of the same family, leave: the kernel's own
    /// routing decision. None when the kernel has none ready, or would not forward.
    fn route(&self, source: Addr, destination: Addr, bytes: u16) -> Option<BackWay>;
    /// A way back to clients.
    fn back_way(&self, index: u32) -> BackWay;
    /// Remembers a way back in an empty place; false when the place is taken.
    fn set_back_way(&self, index: u32, way: BackWay) -> bool;

    /// Remembers what of [`Reason::TooBig`] the sender is to be told: how many bytes, from the
    /// network header on, a packet may have.
    fn set_mtu(&self, bytes: u16);
    /// What was remembered last, of the packet in hand.
    fn mtu(&self) -> u16;
    /// Whether another answer may be given now; counts it if so.
    fn may_answer(&self, now: Tick) -> bool;
    /// Hands the packet to the agent; false when it has no room.
    fn punt(&self, why: punt::Why, id: u32) -> bool;
    /// Whether the agent has had the packet already and sends it on.
    fn is_resent(&self) -> bool;
}

/// Decides on one packet and rewrites it if it goes to a server. Without a verdict the frame is as
/// it was.
#[inline(always)]
pub fn process<F: Frame, T: Stages>(frame: &mut F, tables: &T) -> Ending {
    let ending = known(frame, tables);
    if ending.kind() != Ending::FURTHER {
        return ending;
    }
    rest(frame, tables)
}

/// The same for whatever [`known()`] does not see to the end.
#[inline(always)]
pub fn rest<F: Frame, T: Stages>(frame: &mut F, tables: &T) -> Ending {
    let packet = match tables.parse(frame) {
        Ok(packet) => packet,
        Err(reason) => return Ending::refusal(reason),
    };
    let packet: &Packet = packet.borrow();
    let ending = direct(frame, tables, packet);
    if ending.is_answered() {
        let ending = tables.answer(frame, packet, ending.value());
        if ending.kind() == Ending::ANSWER
            && let Some(span) = answer::checksum_of(frame, packet, ending.value())
            && !tables.fill_checksum(frame, span)
        {
            return Ending::refusal(Reason::Inconsistent as u32);
        }
        return ending;
    }
    ending
}

#[inline(always)]
fn direct<F: Frame, T: Stages>(frame: &mut F, tables: &T, packet: &Packet) -> Ending {
    let features = tables.features();
    if packet.kind >= kind::LATER {
        return related(frame, tables, packet);
    }
    let mut record = find::service(tables, &packet.tuple);
    if features & find::FURTHER != 0 {
        record = tables.further(packet, record);
    }
    let Some(record) = record else {
        return other(frame, tables, packet, features);
    };
    Ending::of(request(frame, tables, packet, features, record))
}

/// A client's packet for the service of this record.
#[inline(always)]
fn request<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    features: u32,
    record: u32,
) -> Result<Verdict, Reason> {
    if packet.destination != tables.ingress_mac() {
        return Err(Reason::OtherHost);
    }
    if features & features::HELPERS != 0 {
        tables.help(packet, record)?;
    }

    let now = tables.now();
    let key = packet.tuple.key(tables.flow_seed());
    let found = tables.find_flow(&key, &packet.tuple, now);
    let mut known = match found {
        Some((_, word)) if follow::may_reopen(tables, packet, word) => None,
        found => found,
    };
    let mut word = match known {
        Some((_, word)) => word,
        None => open(tables, packet, record, found.is_none())?,
    };
    let (mut flags, mut way) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    if flags & server_flags::AVAILABLE == 0 {
        // Its flow is left to expire, however long the client goes on: then there is another
        // server for it (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_in_hook`).
        if tables.settings() & settings::EXPIRE_NODEST_CONN == 0 {
            return Err(Reason::ServerGone);
        }
        word = open(tables, packet, record, false)?;
        known = None;
        (flags, way) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    }
    if let Some((place, word)) = known {
        follow::follow(tables, packet, place, word, flags, now);
    }
    if packet.kind == kind::FIRST {
        tables.remember_fragment(packet, word);
    }
    forward::forward::<F, T, { forward::tunnels::STAGE }>(frame, tables, packet, word, flags, way)
}

/// Opens a flow: chooses its server, and remembers it. `is_new` says that it has no entry.
///
/// In stages one after the other, because the kernel gives all functions on a way through the
/// program 512 bytes of stack together.
#[inline(always)]
fn open<T: Stages>(tables: &T, packet: &Packet, record: u32, is_new: bool) -> Result<Word, Reason> {
    let mut choice = tables.choose(packet, record)?;
    if choice.has(Choice::TO_SCHEDULE) {
        let mut made = if choice.has(Choice::IN_TURN) {
            tables.take_turn(record)
        } else {
            tables.schedule(packet, record)
        };
        if choice.has(Choice::TO_RECALL) {
            made = tables.recall(packet, record, made.with(Choice::FRESH));
        }
        if made.has(Choice::TO_PRUNE) {
            made = tables.prune(packet, record, made);
        }
        choice = choice.and(made);
    }
    let chosen = tables.settle(packet, record, choice)?;
    if choice.has(Choice::TO_REMEMBER) {
        tables.remember_choice(packet, record, chosen);
    }
    if chosen.has(Word::NEW_TEMPLATE) {
        tables.begin_template(packet, record, chosen);
    }
    let word = chosen.without(Word::NEW_TEMPLATE);
    let (flags, _) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    let masqueraded = flags & server_flags::METHOD == server_flags::MASQUERADE;
    // First of all: without it the server's packets would leave with the server's own address.
    if masqueraded && !tables.keep_reply(packet, word) {
        return Err(Reason::NoRoom);
    }
    if !word.has(Word::ONE_PACKET) && !tables.enter_connection(packet, word, is_new) {
        if masqueraded {
            return Err(Reason::NoRoom);
        }
        return tables.without_entry(packet, record, word);
    }
    Ok(word)
}

/// A packet that is for no service: perhaps one of a masqueraded server's, back to its client.
#[inline(always)]
fn other<F: Frame, T: Stages>(frame: &mut F, tables: &T, packet: &Packet, features: u32) -> Ending {
    let may_reply = features & features::MASQUERADE != 0
        && tables.hint(Hint::Masqueraded, packet.tuple.client)
        && packet.destination == tables.ingress_mac();
    if !may_reply {
        return Ending::of(Err(Reason::NoService));
    }
    if features & features::CALLS != 0 {
        tables.find_way(packet);
    }
    let ending = tables.reply(frame, packet);
    if packet.kind == kind::FIRST && ending.kind() != Ending::REFUSAL {
        tables.remember_reply_fragment(packet);
    }
    ending
}

/// A packet that is related to a flow without having its ports: it goes to the flow's server, or
/// with [`Word::REPLY`] to its client.
#[inline(always)]
fn related<F: Frame, T: Stages>(frame: &mut F, tables: &T, packet: &Packet) -> Ending {
    if packet.destination != tables.ingress_mac() {
        return Ending::of(Err(Reason::OtherHost));
    }
    let found = if packet.kind == kind::LATER {
        tables.find_fragment(frame, packet)
    } else {
        tables.find_quoted(frame, packet)
    };
    let word = match found {
        Ok(word) => word,
        Err(reason) => return Ending::refusal(reason as u32),
    };
    let ending = if word.has(Word::REPLY) {
        tables.related_to_client(frame, packet, word)
    } else {
        tables.related_to_server(frame, packet, word)
    };
    if ending.kind() == Ending::FURTHER {
        return Ending::of(related::into_tunnel(frame, tables, packet, word));
    }
    if packet.kind == kind::ERROR && ending.kind() != Ending::REFUSAL {
        return tables.translate_quote(frame, packet, word, ending);
    }
    ending
}
