//! The stages off the way of known flows' packets.

use super::{Ending, Packet, Tables, kind};
use crate::flow::{Key, Tuple, Word};
use crate::reason::Reason;
use crate::wire::Frame;
use crate::wire::checksum::Span;
pub use crate::wire::checksum::fill as fill_checksum;
use core::borrow::Borrow;

pub use super::answer::answer;
pub use super::error::{find as find_quoted, quote, translate as translate_quote};
pub use super::find::{further, of_flow};
pub use super::follow::hold_known;
pub use super::forward::{Inner, encapsulate, server_port};
pub use super::fragment::{
    find as find_fragment, remember as remember_fragment,
    remember_reply as remember_reply_fragment, tuple as fragment_tuple,
};
pub use super::open::{choose, enter, entry_of, expected, help, settle, without_entry};
pub use super::parse::{parse, parse_with, walk};
pub use super::persist::{hold as hold_template, new_template};
pub use super::related::{to_client as related_to_client, to_server as related_to_server};
pub use super::reply::{call_out, find_way, keep as keep_reply, reply};
use crate::sched::{Choice, Part};
pub use crate::sched::{
    is_overloaded, prune, recall, remembered, schedule, schedule_stateless, take_turn,
};

/// The stages as methods of the tables, so that the kernel's side can make each a function that
/// the verifier checks once and by itself. On the host they are the functions of this module.
#[expect(missing_docs, reason = "each is documented where it is")]
pub trait Stages: Tables + Sized {
    /// What parsing gives: a packet, or where it lies.
    type Parsed: Borrow<Packet>;

    /// Parses a packet, or gives the number of the reason why it is none of lb's.
    fn parse<F: Frame>(&self, frame: &mut F) -> Result<Self::Parsed, u32>;

    fn further(&self, packet: &Packet, exact: Option<u32>) -> Option<u32> {
        further(self, packet, exact)
    }

    /// The record of the service that a packet's connection is of, known or expected.
    fn of_flow(&self, packet: &Packet) -> Option<u32> {
        of_flow(self, packet)
    }

    fn expected(&self, packet: &Packet, has_come: bool) -> Word {
        expected(self, packet, has_come)
    }

    fn help(&self, packet: &Packet, record: u32) -> Result<(), Reason> {
        help(self, packet, record)
    }

    fn choose(&self, packet: &Packet, record: u32) -> Result<Choice, Reason> {
        choose(self, packet, record)
    }

    fn settle(&self, packet: &Packet, record: u32, choice: Choice) -> Result<Word, Reason> {
        settle(self, packet, record, choice)
    }

    /// Makes the entry of a new connection, which `is_new` to the table or has an entry; false when
    /// there is no room.
    fn enter_connection(&self, packet: &Packet, word: Word, is_new: bool) -> bool {
        let own = if is_new {
            None
        } else {
            self.entry_of(&packet.tuple)
        };
        self.enter_over(packet, &packet.tuple, word, 0, own)
    }

    /// The same of anything that may have an entry.
    fn enter(&self, packet: &Packet, tuple: &Tuple, word: Word, back: u32) -> bool {
        self.enter_over(packet, tuple, word, back, self.entry_of(tuple))
    }

    fn entry_of(&self, tuple: &Tuple) -> Option<Self::Entry> {
        entry_of(self, tuple)
    }

    fn enter_over(
        &self,
        packet: &Packet,
        tuple: &Tuple,
        word: Word,
        back: u32,
        own: Option<Self::Entry>,
    ) -> bool {
        enter(self, packet, tuple, word, back, own)
    }

    fn without_entry(&self, packet: &Packet, record: u32, chosen: Word) -> Result<Word, Reason> {
        without_entry(self, packet, record, chosen)
    }

    fn begin_template(&self, packet: &Packet, record: u32, chosen: Word) {
        if let Some((tuple, word)) = new_template(self, packet, record, chosen) {
            self.enter(packet, &tuple, word, 0);
        }
    }

    fn schedule(&self, packet: &Packet, record: u32) -> Choice {
        schedule(self, packet, record)
    }

    fn take_turn(&self, record: u32) -> Choice {
        take_turn(self, record)
    }

    fn is_overloaded(&self, server: u32) -> bool {
        is_overloaded(self, server)
    }

    fn recall(&self, packet: &Packet, record: u32, fresh: Choice) -> Choice {
        recall(self, packet, record, fresh)
    }

    fn prune(&self, packet: &Packet, record: u32, choice: Choice) -> Choice {
        prune(self, packet, record, choice)
    }

    /// Makes the entries that remember a choice.
    fn remember_choice(&self, packet: &Packet, record: u32, chosen: Word) {
        let enter = |part, back| {
            let Some((tuple, word)) = remembered(self, packet, record, chosen, part) else {
                return true;
            };
            self.enter(packet, &tuple, word, back)
        };
        if enter(Part::Member, 0) {
            enter(Part::Destination, self.now().bits());
        }
    }

    fn schedule_stateless(&self, record: u32, key: &Key) -> Option<u32> {
        schedule_stateless(self, record, key)
    }

    /// Keeps the server's half of a flow; false when there is no room for it.
    fn keep_reply(&self, packet: &Packet, word: Word) -> bool {
        let Some((tuple, back)) = keep_reply(self, packet, word) else {
            return true;
        };
        self.enter(packet, &tuple, word.with(Word::REPLY), back)
    }

    /// [`hold_template`] for the connection that a client's packet is of.
    fn hold_template_of(&self, packet: &Packet, service: u32, word: Word) {
        self.hold_template(&packet.tuple, service, word);
    }

    fn hold_template(&self, connection: &Tuple, service: u32, word: Word) {
        hold_template(self, connection, service, word);
    }

    fn remember_fragment(&self, packet: &Packet, word: Word) {
        let (tuple, word) = remember_fragment(self, packet, word);
        self.enter(packet, &tuple, word, 0);
    }

    fn remember_reply_fragment(&self, packet: &Packet) {
        if let Some((tuple, word)) = remember_reply_fragment(self, packet) {
            self.enter(packet, &tuple, word, 0);
        }
    }

    /// Puts a packet into the tunnel to a server, all but the Ethernet addresses. Gives 0, or the
    /// number of the reason why not, plus 1, or the checksum that is to be made.
    fn encapsulate<F: Frame>(
        &self,
        frame: &mut F,
        inner: Inner,
        server: u32,
        flags: u32,
        mtu: u16,
    ) -> u64 {
        match encapsulate(frame, self, inner, server, flags, mtu) {
            Ok(None) => 0,
            Ok(Some(span)) => span.bits(),
            Err(reason) => 1 + reason as u64,
        }
    }

    /// Makes a checksum; false when the frame is too short for it.
    fn fill_checksum<F: Frame>(&self, frame: &mut F, span: Span) -> bool {
        fill_checksum(frame, self, span).is_some()
    }

    fn reply<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Ending {
        let mut found = None;
        let ending = Ending::of(reply(frame, self, packet, |it| found = Some(*it)));
        if let (Some(connection), false) = (found, ending.kind() == Ending::REFUSAL) {
            hold_known(self, &connection);
        }
        ending
    }

    fn find_way(&self, packet: &Packet) {
        find_way(self, packet);
    }

    /// The reason why a server's packet of no flow ends its way.
    fn call_out(&self, packet: &Packet) -> Reason {
        call_out(self, packet)
    }

    /// The word of the flow that a later fragment is of.
    fn find_fragment<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Result<Word, Reason> {
        find_fragment(frame, self, packet).map(|(_, word)| word)
    }

    /// The word of the flow that an ICMP error is about.
    fn find_quoted<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Result<Word, Reason> {
        let (quoted, _) = quote(frame, packet).ok_or(Reason::NoQuotedFlow)?;
        find_quoted(frame, self, packet, &quoted)
    }

    fn related_to_server<F: Frame>(&self, frame: &mut F, packet: &Packet, word: Word) -> Ending {
        related_to_server(frame, self, packet, word)
    }

    /// Forwards a later fragment or an ICMP error, of which the word was just found, to a client.
    fn related_to_client<F: Frame>(&self, frame: &mut F, packet: &Packet, word: Word) -> Ending {
        let flow = if packet.kind == kind::LATER {
            find_fragment(frame, self, packet).map(|(flow, _)| flow)
        } else {
            let quoted = quote(frame, packet).ok_or(Reason::NoQuotedFlow);
            quoted.map(|(quoted, _)| quoted)
        };
        Ending::of(flow.and_then(|flow| related_to_client(frame, self, packet, &flow, word)))
    }

    /// Translates what an error quotes that was forwarded: `ending` is how its way ends.
    fn translate_quote<F: Frame>(
        &self,
        frame: &mut F,
        packet: &Packet,
        word: Word,
        ending: Ending,
    ) -> Ending {
        match translate_quote(frame, self, packet, word) {
            Ok(()) => ending,
            Err(reason) => Ending::refusal(reason as u32),
        }
    }

    /// Makes an answer of a packet that cannot go on for the reason with this number.
    fn answer<F: Frame>(&self, frame: &mut F, packet: &Packet, reason: u32) -> Ending {
        Ending::of(answer(frame, self, packet, Reason::from_number(reason)))
    }
}
