//! The stages off the way of known flows' packets, each a global function: the verifier checks
//! those once, by themselves, and takes their results for any number. Inlined, every stage would
//! be checked again for every way that leads to it: a million steps and more.
//!
//! They are weak, so that the compiler cannot look into them from outside: it would leave out
//! arguments that it finds unused and checks that it finds needless, which the verifier wants.
//!
//! They take numbers only: the packet lies in [`maps::Scratch`], where [`stage_parse`] puts it.
#![expect(
    unsafe_code,
    reason = "global functions have names of their own, and map memory is raw pointers"
)]

use crate::frame::Xdp;
use crate::maps;
use crate::tables::Maps;
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::datapath::{Ending, Packet, Stages, Tables as _, stages};
use lb_common::flow::{Flows as _, Key, Tuple, Word};
use lb_common::reason::Reason;
use lb_common::sched::{Choice, Part};
use lb_common::wire::Frame;
use lb_common::wire::checksum::Span;

/// A number that may be none, as one more; 0 for none.
#[inline(always)]
fn some(number: Option<u32>) -> u64 {
    number.map_or(0, |number| u64::from(number) + 1)
}

#[inline(always)]
fn number(some: u64) -> Option<u32> {
    some.checked_sub(1).map(|number| number as u32)
}

/// The word of a flow, or the number of a reason: no live word is as small.
#[inline(always)]
fn word_or_reason(result: Result<Word, Reason>) -> u64 {
    match result {
        Ok(word) => word.bits(),
        Err(reason) => reason as u64,
    }
}

#[inline(always)]
fn as_word(code: u64) -> Result<Word, Reason> {
    if code < u64::from(Reason::COUNT) {
        return Err(Reason::from_number(code as u32));
    }
    Ok(Word::from_bits(code))
}

/// Defines global functions that run a stage over the tables and the packet in the scratch place.
macro_rules! global {
    ($($name:ident($($argument:ident: $type:ty),*), $missing:expr => |$tables:ident, $frame:ident, $packet:ident| $body:expr;)*) => {$(
        #[unsafe(no_mangle)]
        #[linkage = "weak"]
        extern "C" fn $name(ctx: *mut xdp_md, $($argument: $type),*) -> u64 {
            let context = XdpContext::new(ctx);
            let Some($tables) = Maps::open(&context) else {
                return $missing;
            };
            #[allow(unused, reason = "not every stage looks at the packet in hand")]
            let $packet = $tables.packet();
            #[allow(unused, reason = "not every stage changes the frame")]
            let mut $frame = Xdp(&context);
            $body
        }
    )*};
}

const INCONSISTENT: u64 = Reason::Inconsistent as u64;
const GONE: u64 = Ending::refusal(Reason::Inconsistent as u32).bits();

global! {
    stage_further(exact: u64), 0 => |tables, frame, packet| {
        some(stages::further(&tables, packet, number(exact)))
    };
    stage_of_flow(), 0 => |tables, frame, packet| {
        some(stages::of_flow(&tables, packet))
    };
    stage_expected(has_come: u32), 0 => |tables, frame, packet| {
        stages::expected(&tables, packet, has_come != 0).bits()
    };
    stage_help(record: u32), 0 => |tables, frame, packet| {
        match stages::help(&tables, packet, record) {
            Ok(()) => 0,
            Err(reason) => 1 + reason as u64,
        }
    };
    stage_choose(record: u32), INCONSISTENT => |tables, frame, packet| {
        match stages::choose(&tables, packet, record) {
            Ok(choice) => choice.bits().into(),
            Err(reason) => reason as u64,
        }
    };
    stage_settle(record: u32, choice: u32), INCONSISTENT => |tables, frame, packet| {
        word_or_reason(stages::settle(&tables, packet, record, Choice::from_bits(choice)))
    };
    stage_entry_of(), 0 => |tables, frame, packet| {
        stages::entry_of(&tables, tables.lent()).map_or(0, Maps::entry_bits)
    };
    stage_enter(word: u64, back: u32, own: u64), 0 => |tables, frame, packet| {
        let (word, own) = (Word::from_bits(word), Maps::entry_from_bits(own));
        u64::from(stages::enter(&tables, packet, tables.lent(), word, back, own))
    };
    stage_without_entry(record: u32, chosen: u64), INCONSISTENT => |tables, frame, packet| {
        word_or_reason(stages::without_entry(&tables, packet, record, Word::from_bits(chosen)))
    };
    stage_new_template(record: u32, chosen: u64), 0 => |tables, frame, packet| {
        match stages::new_template(&tables, packet, record, Word::from_bits(chosen)) {
            Some((tuple, word)) => {
                tables.lend_tuple(&tuple);
                word.bits()
            }
            None => 0,
        }
    };
    stage_remember_fragment(word: u64), 0 => |tables, frame, packet| {
        let (tuple, word) = stages::remember_fragment(&tables, packet, Word::from_bits(word));
        tables.lend_tuple(&tuple);
        word.bits()
    };
    stage_remember_reply_fragment(), 0 => |tables, frame, packet| {
        match stages::remember_reply_fragment(&tables, packet) {
            Some((tuple, word)) => {
                tables.lend_tuple(&tuple);
                word.bits()
            }
            None => 0,
        }
    };
    stage_schedule(record: u32), 0 => |tables, frame, packet| {
        stages::schedule(&tables, packet, record).bits().into()
    };
    stage_take_turn(record: u32), 0 => |tables, frame, packet| {
        stages::take_turn(&tables, record).bits().into()
    };
    stage_is_overloaded(server: u32), 0 => |tables, frame, packet| {
        u64::from(stages::is_overloaded(&tables, server))
    };
    stage_recall(record: u32, fresh: u32), 0 => |tables, frame, packet| {
        stages::recall(&tables, packet, record, Choice::from_bits(fresh)).bits().into()
    };
    stage_prune(record: u32, choice: u32), 0 => |tables, frame, packet| {
        stages::prune(&tables, packet, record, Choice::from_bits(choice)).bits().into()
    };
    stage_remembered(record: u32, chosen: u64, destination: u32), 0 => |tables, frame, packet| {
        let part = if destination == 0 { Part::Member } else { Part::Destination };
        match stages::remembered(&tables, packet, record, Word::from_bits(chosen), part) {
            Some((tuple, word)) => {
                tables.lend_tuple(&tuple);
                word.bits()
            }
            None => 0,
        }
    };
    stage_stateless(record: u32, digest: u64, place: u64), 0 => |tables, frame, packet| {
        some(stages::schedule_stateless(&tables, record, &Key::from_bits([digest, place])))
    };
    stage_keep_reply(word: u64), 0 => |tables, frame, packet| {
        match stages::keep_reply(&tables, packet, Word::from_bits(word)) {
            Some((tuple, back)) => {
                tables.lend_tuple(&tuple);
                1 + u64::from(back)
            }
            None => 0,
        }
    };
    stage_hold_template(service: u32, word: u64), 0 => |tables, frame, packet| {
        stages::hold_template(&tables, tables.lent(), service, Word::from_bits(word));
        0
    };
    stage_reply(), GONE => |tables, frame, packet| {
        let found = |connection: &Tuple| tables.lend_tuple(connection);
        Ending::of(stages::reply(&mut frame, &tables, packet, found)).bits()
    };
    stage_hold_lent(), 0 => |tables, frame, packet| {
        stages::hold_known(&tables, tables.lent());
        0
    };
    stage_find_way(), 0 => |tables, frame, packet| {
        stages::find_way(&tables, packet);
        0
    };
    stage_call_out(), INCONSISTENT => |tables, frame, packet| {
        stages::call_out(&tables, packet) as u64
    };
    stage_find_fragment(), INCONSISTENT => |tables, frame, packet| {
        match stages::find_fragment(&mut frame, &tables, packet) {
            Ok((flow, word)) => {
                tables.lend_tuple(&flow);
                word.bits()
            }
            Err(reason) => reason as u64,
        }
    };
    stage_quote(), 0 => |tables, frame, packet| {
        match stages::quote(&mut frame, packet) {
            Some((quoted, _)) => {
                tables.lend_tuple(&quoted);
                1
            }
            None => 0,
        }
    };
    stage_find_quoted(), INCONSISTENT => |tables, frame, packet| {
        word_or_reason(stages::find_quoted(&mut frame, &tables, packet, tables.lent()))
    };
    stage_related_to_server(word: u64), GONE => |tables, frame, packet| {
        let word = Word::from_bits(word);
        stages::related_to_server(&mut frame, &tables, packet, word).bits()
    };
    stage_related_to_client(word: u64), GONE => |tables, frame, packet| {
        let (flow, word) = (tables.lent(), Word::from_bits(word));
        Ending::of(stages::related_to_client(&mut frame, &tables, packet, flow, word)).bits()
    };
    stage_translate_quote(word: u64), 1 + INCONSISTENT => |tables, frame, packet| {
        match stages::translate_quote(&mut frame, &tables, packet, Word::from_bits(word)) {
            Ok(()) => 0,
            Err(reason) => 1 + reason as u64,
        }
    };
    stage_encapsulate(inner: u64, server: u32, flags: u32, mtu: u32), 1 + INCONSISTENT => |tables, frame, packet| {
        let inner = stages::Inner::from_bits(inner);
        match stages::encapsulate(&mut frame, &tables, inner, server, flags, mtu as u16) {
            Ok(None) => 0,
            Ok(Some(span)) => span.bits(),
            Err(reason) => 1 + reason as u64,
        }
    };
    stage_fill_checksum(span: u64), 0 => |tables, frame, packet| {
        let span = Span::from_bits(span);
        u64::from(stages::fill_checksum(&mut frame, &tables, span).is_some())
    };
    stage_answer(reason: u32), GONE => |tables, frame, packet| {
        Ending::of(stages::answer(&mut frame, &tables, packet, Reason::from_number(reason))).bits()
    };
}

/// Walks the extension headers of an IPv6 packet.
#[unsafe(no_mangle)]
#[linkage = "weak"]
extern "C" fn stage_walk(ctx: *mut xdp_md, network: u64, first: u32) -> u64 {
    let context = XdpContext::new(ctx);
    // No header before it is as long, which the verifier cannot know.
    stages::walk(&mut Xdp(&context), network as usize & 0xff, first as u8)
}

/// Parses the packet into the scratch place: 0, or why it is none of lb's, plus 1.
#[unsafe(no_mangle)]
#[linkage = "weak"]
extern "C" fn stage_parse(ctx: *mut xdp_md) -> u64 {
    let context = XdpContext::new(ctx);
    let Some(scratch) = maps::scratch() else {
        return 1 + Reason::Inconsistent as u64;
    };
    let walk =
        |_: &mut Xdp<'_>, network: usize, first: u8| stage_walk(ctx, network as u64, first.into());
    match stages::parse_with(&mut Xdp(&context), walk) {
        Ok(packet) => {
            // SAFETY: this CPU's own place, of which nobody holds a reference yet.
            unsafe { (&raw mut (*scratch).packet).write(packet) };
            0
        }
        Err(reason) => 1 + reason as u64,
    }
}

/// Makes an entry, of no connection, of this word for the tuple that was handed over; none for 0.
#[inline(always)]
fn enter_lent(tables: &Maps<'_>, word: u64) {
    if word != 0 {
        let own = stage_entry_of(tables.context());
        stage_enter(tables.context(), word, 0, own);
    }
}

impl<'a> Stages for Maps<'a> {
    type Parsed = &'a Packet;

    #[inline(always)]
    fn parse<F: Frame>(&self, _: &mut F) -> Result<&'a Packet, u32> {
        match stage_parse(self.context()).checked_sub(1) {
            None => Ok(self.packet()),
            Some(reason) => Err(reason as u32),
        }
    }

    #[inline(always)]
    fn further(&self, _: &Packet, exact: Option<u32>) -> Option<u32> {
        number(stage_further(self.context(), some(exact)))
    }

    #[inline(always)]
    fn of_flow(&self, _: &Packet) -> Option<u32> {
        number(stage_of_flow(self.context()))
    }

    #[inline(always)]
    fn expected(&self, _: &Packet, has_come: bool) -> Word {
        Word::from_bits(stage_expected(self.context(), has_come.into()))
    }

    #[inline(always)]
    fn help(&self, _: &Packet, record: u32) -> Result<(), Reason> {
        match stage_help(self.context(), record).checked_sub(1) {
            None => Ok(()),
            Some(reason) => Err(Reason::from_number(reason as u32)),
        }
    }

    #[inline(always)]
    fn choose(&self, _: &Packet, record: u32) -> Result<Choice, Reason> {
        let choice = stage_choose(self.context(), record) as u32;
        if choice & Choice::VALID == 0 {
            return Err(Reason::from_number(choice));
        }
        Ok(Choice::from_bits(choice))
    }

    #[inline(always)]
    fn settle(&self, _: &Packet, record: u32, choice: Choice) -> Result<Word, Reason> {
        as_word(stage_settle(self.context(), record, choice.bits()))
    }

    #[inline(always)]
    fn entry_of(&self, tuple: &Tuple) -> Option<Self::Entry> {
        self.lend_tuple(tuple);
        Self::entry_from_bits(stage_entry_of(self.context()))
    }

    #[inline(always)]
    fn enter_over(
        &self,
        _: &Packet,
        tuple: &Tuple,
        word: Word,
        back: u32,
        own: Option<Self::Entry>,
    ) -> bool {
        self.lend_tuple(tuple);
        let own = own.map_or(0, Self::entry_bits);
        stage_enter(self.context(), word.bits(), back, own) != 0
    }

    #[inline(always)]
    fn without_entry(&self, _: &Packet, record: u32, chosen: Word) -> Result<Word, Reason> {
        as_word(stage_without_entry(self.context(), record, chosen.bits()))
    }

    #[inline(always)]
    fn begin_template(&self, _: &Packet, record: u32, chosen: Word) {
        let word = stage_new_template(self.context(), record, chosen.bits());
        enter_lent(self, word);
    }

    #[inline(always)]
    fn remember_fragment(&self, _: &Packet, word: Word) {
        let word = stage_remember_fragment(self.context(), word.bits());
        enter_lent(self, word);
    }

    #[inline(always)]
    fn remember_reply_fragment(&self, _: &Packet) {
        enter_lent(self, stage_remember_reply_fragment(self.context()));
    }

    #[inline(always)]
    fn schedule(&self, _: &Packet, record: u32) -> Choice {
        Choice::from_bits(stage_schedule(self.context(), record) as u32)
    }

    #[inline(always)]
    fn take_turn(&self, record: u32) -> Choice {
        Choice::from_bits(stage_take_turn(self.context(), record) as u32)
    }

    #[inline(always)]
    fn is_overloaded(&self, server: u32) -> bool {
        stage_is_overloaded(self.context(), server) != 0
    }

    #[inline(always)]
    fn recall(&self, _: &Packet, record: u32, fresh: Choice) -> Choice {
        Choice::from_bits(stage_recall(self.context(), record, fresh.bits()) as u32)
    }

    #[inline(always)]
    fn prune(&self, _: &Packet, record: u32, choice: Choice) -> Choice {
        Choice::from_bits(stage_prune(self.context(), record, choice.bits()) as u32)
    }

    #[inline(always)]
    fn remember_choice(&self, _: &Packet, record: u32, chosen: Word) {
        let word = stage_remembered(self.context(), record, chosen.bits(), 0);
        if word != 0 {
            let own = stage_entry_of(self.context());
            if stage_enter(self.context(), word, 0, own) == 0 {
                return;
            }
        }
        let word = stage_remembered(self.context(), record, chosen.bits(), 1);
        if word != 0 {
            let (own, back) = (stage_entry_of(self.context()), self.now().bits());
            stage_enter(self.context(), word, back, own);
        }
    }

    #[inline(always)]
    fn schedule_stateless(&self, record: u32, key: &Key) -> Option<u32> {
        let [digest, place] = key.bits();
        number(stage_stateless(self.context(), record, digest, place))
    }

    #[inline(always)]
    fn keep_reply(&self, _: &Packet, word: Word) -> bool {
        let Some(back) = number(stage_keep_reply(self.context(), word.bits())) else {
            return true;
        };
        let own = stage_entry_of(self.context());
        stage_enter(self.context(), word.with(Word::REPLY).bits(), back, own) != 0
    }

    #[inline(always)]
    fn hold_template(&self, connection: &Tuple, service: u32, word: Word) {
        self.lend_tuple(connection);
        stage_hold_template(self.context(), service, word.bits());
    }

    #[inline(always)]
    fn encapsulate<F: Frame>(
        &self,
        _: &mut F,
        inner: stages::Inner,
        server: u32,
        flags: u32,
        mtu: u16,
    ) -> u64 {
        stage_encapsulate(self.context(), inner.bits(), server, flags, mtu.into())
    }

    #[inline(always)]
    fn fill_checksum<F: Frame>(&self, _: &mut F, span: Span) -> bool {
        stage_fill_checksum(self.context(), span.bits()) != 0
    }

    #[inline(always)]
    fn reply<F: Frame>(&self, _: &mut F, _: &Packet) -> Ending {
        let ending = Ending::from_bits(stage_reply(self.context()));
        if ending.kind() != Ending::REFUSAL {
            stage_hold_lent(self.context());
        }
        ending
    }

    #[inline(always)]
    fn find_way(&self, _: &Packet) {
        stage_find_way(self.context());
    }

    #[inline(always)]
    fn call_out(&self, _: &Packet) -> Reason {
        Reason::from_number(stage_call_out(self.context()) as u32)
    }

    #[inline(always)]
    fn find_fragment<F: Frame>(&self, _: &mut F, _: &Packet) -> Result<Word, Reason> {
        as_word(stage_find_fragment(self.context()))
    }

    #[inline(always)]
    fn find_quoted<F: Frame>(&self, _: &mut F, _: &Packet) -> Result<Word, Reason> {
        if stage_quote(self.context()) == 0 {
            return Err(Reason::NoQuotedFlow);
        }
        as_word(stage_find_quoted(self.context()))
    }

    #[inline(always)]
    fn related_to_server<F: Frame>(&self, _: &mut F, _: &Packet, word: Word) -> Ending {
        Ending::from_bits(stage_related_to_server(self.context(), word.bits()))
    }

    #[inline(always)]
    fn related_to_client<F: Frame>(&self, _: &mut F, _: &Packet, word: Word) -> Ending {
        Ending::from_bits(stage_related_to_client(self.context(), word.bits()))
    }

    #[inline(always)]
    fn translate_quote<F: Frame>(
        &self,
        _: &mut F,
        _: &Packet,
        word: Word,
        ending: Ending,
    ) -> Ending {
        match stage_translate_quote(self.context(), word.bits()).checked_sub(1) {
            None => ending,
            Some(reason) => Ending::refusal(reason as u32),
        }
    }

    #[inline(always)]
    fn answer<F: Frame>(&self, _: &mut F, _: &Packet, reason: u32) -> Ending {
        Ending::from_bits(stage_answer(self.context(), reason))
    }
}
