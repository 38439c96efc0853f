//! The stages off the way of known flows' packets.

use super::{Ending, Packet, Tables};
use crate::flow::{About, Key, Tuple, Word};
use crate::reason::Reason;
use crate::wire::Frame;
use core::borrow::Borrow;

pub use super::answer::answer;
pub use super::error::{Places, find as find_quoted, quote, translate as translate_quote};
pub use super::find::further;
pub use super::forward::{Inner, encapsulate};
pub use super::fragment::{
    find as find_fragment, remember as remember_fragment,
    remember_reply as remember_reply_fragment, tuple as fragment_tuple,
};
pub use super::open::{choose, enter, enter_connection, help, settle, without_entry};
pub use super::parse::parse;
pub use super::persist::{hold as hold_template, new_template};
pub use super::related::forward as forward_related;
pub use super::reply::{keep as keep_reply, reply};
use crate::sched::{Choice, Part};
pub use crate::sched::{is_overloaded, prune, recall, remembered, schedule, schedule_stateless};

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

    fn help(&self, packet: &Packet, record: u32) -> Result<(), Reason> {
        help(self, packet, record)
    }

    fn choose(&self, packet: &Packet, record: u32) -> Result<Choice, Reason> {
        choose(self, packet, record)
    }

    fn settle(&self, packet: &Packet, record: u32, choice: Choice) -> Result<Word, Reason> {
        settle(self, packet, record, choice)
    }

    /// Makes the entry of a new connection; false when there is no room.
    fn enter_connection(&self, packet: &Packet, word: Word) -> bool {
        enter_connection(self, packet, word)
    }

    fn enter(&self, packet: &Packet, tuple: &Tuple, word: Word, about: About) -> bool {
        enter(self, packet, tuple, word, about, false)
    }

    fn without_entry(&self, packet: &Packet, record: u32, chosen: Word) -> Result<Word, Reason> {
        without_entry(self, packet, record, chosen)
    }

    fn begin_template(&self, packet: &Packet, record: u32, chosen: Word) {
        if let Some((tuple, word)) = new_template(self, packet, record, chosen) {
            let service = self.server_service(chosen.server()).unwrap_or(u32::MAX);
            self.enter(packet, &tuple, word, About { service, back: 0 });
        }
    }

    fn schedule(&self, packet: &Packet, record: u32) -> Choice {
        schedule(self, packet, record)
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
        let service = self.server_service(chosen.server()).unwrap_or(u32::MAX);
        let enter = |part, back| {
            let Some((tuple, word)) = remembered(self, packet, record, chosen, part) else {
                return true;
            };
            self.enter(packet, &tuple, word, About { service, back })
        };
        if enter(Part::Member, 0) {
            enter(Part::Destination, self.now().bits());
        }
    }

    fn schedule_stateless(&self, record: u32, key: &Key) -> Option<u32> {
        schedule_stateless(self, record, key)
    }

    fn keep_reply(&self, packet: &Packet, word: Word) {
        if let Some((tuple, back)) = keep_reply(self, packet, word) {
            let service = self.server_service(word.server()).unwrap_or(u32::MAX);
            let word = word.with(Word::REPLY);
            self.enter(packet, &tuple, word, About { service, back });
        }
    }

    /// [`hold_template`] for the connection that a client's packet is of.
    fn hold_template_of(&self, packet: &Packet, service: u32, word: Word) {
        hold_template(self, &packet.tuple, service, word);
    }

    fn hold_template(&self, connection: &Tuple, service: u32, word: Word) {
        hold_template(self, connection, service, word);
    }

    fn remember_fragment(&self, packet: &Packet, word: Word) {
        let (tuple, word) = remember_fragment(self, packet, word);
        let service = self.server_service(word.server()).unwrap_or(u32::MAX);
        self.enter(packet, &tuple, word, About { service, back: 0 });
    }

    fn remember_reply_fragment(&self, packet: &Packet) {
        if let Some((tuple, word)) = remember_reply_fragment(self, packet) {
            let service = self.server_service(word.server()).unwrap_or(u32::MAX);
            self.enter(packet, &tuple, word, About { service, back: 0 });
        }
    }

    /// Puts a packet into the tunnel to a server, all but the Ethernet addresses; gives 0, or the
    /// number of the reason why not, plus 1.
    fn encapsulate<F: Frame>(
        &self,
        frame: &mut F,
        inner: Inner,
        server: u32,
        flags: u32,
        mtu: u16,
    ) -> u32 {
        match encapsulate(frame, self, inner, server, flags, mtu) {
            Ok(()) => 0,
            Err(reason) => 1 + reason as u32,
        }
    }

    fn reply<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Ending {
        Ending::of(reply(frame, self, packet))
    }

    /// A later fragment.
    fn fragment<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Ending {
        match find_fragment(frame, self, packet) {
            Ok((flow, word)) => Ending::of(forward_related(frame, self, packet, &flow, word)),
            Err(reason) => Ending::refusal(reason as u32),
        }
    }

    /// An ICMP error.
    fn error<F: Frame>(&self, frame: &mut F, packet: &Packet) -> Ending {
        let Some((quoted, places)) = quote(frame, packet) else {
            return Ending::refusal(Reason::NoQuotedFlow as u32);
        };
        let word = match find_quoted(frame, self, packet, &quoted) {
            Ok(word) => word,
            Err(reason) => return Ending::refusal(reason as u32),
        };
        let ending = Ending::of(forward_related(frame, self, packet, &quoted, word));
        if ending.kind() == Ending::REFUSAL {
            return ending;
        }
        match translate_quote(frame, self, packet, &quoted, places, word) {
            Ok(()) => ending,
            Err(reason) => Ending::refusal(reason as u32),
        }
    }

    /// Makes an answer of a packet that cannot go on for the reason with this number.
    fn answer<F: Frame>(&self, frame: &mut F, packet: &Packet, reason: u32) -> Ending {
        Ending::of(answer(frame, self, packet, Reason::from_number(reason)))
    }
}
