//! From a frame to a frame.

use super::connection::{Asked, Connection};
use super::memory::Memory;
use super::stream::Stream;
use super::{Counters, Ends, Helper, Limits, Outcome, Side, State};
use crate::helper::segment::{Segment, Unfit, flags};
use std::time::Instant;

impl Helper {
    /// A helper that knows no connections.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            mtu: limits.mtu,
            memory: Memory::new(limits),
            counters: Counters::default(),
        }
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// How many connections are remembered.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.memory.len()
    }

    /// Sets [`Limits::mtu`].
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
    }

    /// What another helper has to know to go on with a connection; none of one that it can take up
    /// as it is.
    pub(crate) fn state(&self, ends: &Ends) -> Option<State> {
        self.memory.look(ends)?.state()
    }

    /// All that [`Self::state`] would give.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&Ends, State)> {
        self.memory
            .iter()
            .filter_map(|(ends, connection)| Some((ends, connection.state()?)))
    }

    /// Goes on with a connection of another helper.
    pub(crate) fn restore(&mut self, ends: Ends, state: State, now: Instant) {
        self.memory.restore(ends, Connection::restored(state, now));
    }

    /// Forgets connections that are over or were not seen for long. To be called now and then.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.memory.sweep(now);
    }

    /// Takes a packet of a control connection, as an Ethernet frame whose addresses are not
    /// translated yet. `ends` is the connection as the flow table has it.
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        side: Side,
        frame: &[u8],
        ends: &Ends,
    ) -> Outcome {
        let way = match side {
            Side::Client => (ends.client, ends.address),
            Side::Server => (ends.server, ends.client),
        };
        let segment = match Segment::parse(frame) {
            Ok(segment) if (segment.source(), segment.destination()) == way => segment,
            Ok(_) => return self.refuse(Unfit::Foreign, frame),
            Err(unfit) => return self.refuse(unfit, frame),
        };
        if let Some(connection) = self.memory.get(ends) {
            connection.see(now, side, segment.flags());
        }
        match side {
            Side::Client => self.client_segment(now, &segment, frame, ends),
            Side::Server => self.server_segment(now, &segment, frame, ends),
        }
    }

    fn refuse(&mut self, unfit: Unfit, frame: &[u8]) -> Outcome {
        let (count, passes) = match unfit {
            Unfit::Foreign => (&mut self.counters.foreign, true),
            Unfit::Fragment => (&mut self.counters.fragments, true),
            Unfit::Malformed => (&mut self.counters.malformed, false),
            Unfit::Checksum => (&mut self.counters.checksum, false),
        };
        *count += 1;
        if passes {
            pass(frame)
        } else {
            Outcome::default()
        }
    }

    fn client_segment(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        frame: &[u8],
        ends: &Ends,
    ) -> Outcome {
        let asked = Asked::read(segment.data(), ends, &mut self.counters);
        self.counters.active += asked.active.len() as u64;
        let acknowledges = segment.flags() & flags::ACK != 0;
        if asked.is_passive() && acknowledges {
            // The server goes on with what the client waits for.
            let next = segment.ack();
            let counters = &mut self.counters;
            self.memory.remember(ends, next, now, counters);
        }
        let mut frame = frame.to_vec();
        if let Some(connection) = self.memory.get(ends) {
            connection.ask(&asked);
            if acknowledges && connection.stream.is_changed() {
                self.counters.shifted += 1;
                frame = acknowledgement(segment, &connection.stream);
                connection.stream.acknowledge(segment.ack());
            }
        }
        Outcome {
            frame: Some(frame),
            expect: asked.active,
        }
    }

    fn server_segment(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        frame: &[u8],
        ends: &Ends,
    ) -> Outcome {
        let (start, data) = (segment.seq(), segment.data());
        let counters = &mut self.counters;
        if segment.flags() & flags::SYN != 0 {
            // The ports' next connection.
            self.memory.forget(ends);
            return pass(frame);
        }
        if !data.is_empty() {
            self.memory.remember(ends, start, now, counters);
        }
        let Some(connection) = self.memory.get(ends) else {
            return pass(frame);
        };
        let speaks = !data.is_empty() || segment.flags() & flags::FIN != 0;
        if speaks && connection.hold(start, counters) {
            return Outcome::default();
        }
        if !connection.say(start, data, ends, counters) {
            counters.crowded += 1;
            return Outcome::default();
        }
        if !connection.stream.is_changed() {
            return pass(frame);
        }
        let expect: Vec<_> = connection.stream.announced(start, data.len()).collect();
        counters.passive += expect.len() as u64;
        Outcome {
            frame: Some(speech(segment, connection, self.mtu, counters)),
            expect,
        }
    }
}

fn pass(frame: &[u8]) -> Outcome {
    Outcome {
        frame: Some(frame.to_vec()),
        expect: Vec::new(),
    }
}

/// The client's segment as the server understands it.
fn acknowledgement(segment: &Segment<'_>, stream: &Stream) -> Vec<u8> {
    let mut draft = segment.draft();
    draft.set_ack(stream.back(segment.ack()));
    draft.change_sack(|left, right| {
        let (left, right) = (stream.back_up(left), stream.back(right));
        // Part of a new text may be no whole byte of the old one: a block without bytes says so.
        if right.wrapping_sub(left).cast_signed() < 0 {
            (left, left)
        } else {
            (left, right)
        }
    });
    draft.finish()
}

/// The server's segment as the client understands it.
fn speech(
    segment: &Segment<'_>,
    connection: &Connection,
    mtu: u16,
    counters: &mut Counters,
) -> Vec<u8> {
    let (start, data) = (segment.seq(), segment.data());
    let mut text = connection.stream.translate(start, data);
    let mut draft = segment.draft();
    draft.set_seq(connection.stream.forward(start));
    if text == data {
        counters.shifted += 1;
        return draft.finish();
    }
    counters.rewritten += 1;
    let headers = segment.packet_len() - data.len();
    let room = segment.packet_len().max(usize::from(mtu)) - headers;
    if text.len() > room {
        counters.shortened += 1;
        text.truncate(room);
        draft.clear(flags::FIN);
    }
    draft.set_data(&text);
    draft.finish()
}
