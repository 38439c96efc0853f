//! From a frame to a frame.

use super::connection::{Asked, Connection};
use super::memory::Memory;
use super::stream::Stream;
use super::{Counters, Direction, Endpoints, Helper, Limits, Outcome};
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
    pub(crate) fn connections(&self) -> usize {
        self.memory.len()
    }

    /// Forgets connections that are over or were not seen for long. To be called now and then.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.memory.sweep(now);
    }

    /// Takes a packet of a control connection, as an Ethernet frame whose addresses are not
    /// translated yet. `endpoints` is the connection as the flow table has it.
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        direction: Direction,
        frame: &[u8],
        endpoints: &Endpoints,
    ) -> Outcome {
        let ends = match direction {
            Direction::FromClient => (endpoints.client, endpoints.address),
            Direction::FromServer => (endpoints.server, endpoints.client),
        };
        let segment = match Segment::parse(frame) {
            Ok(segment) if (segment.source(), segment.destination()) == ends => segment,
            Ok(_) => return self.refuse(Unfit::Foreign, frame),
            Err(unfit) => return self.refuse(unfit, frame),
        };
        if let Some(connection) = self.memory.get(endpoints) {
            connection.see(now, direction, segment.flags());
        }
        match direction {
            Direction::FromClient => self.client_segment(now, &segment, frame, endpoints),
            Direction::FromServer => self.server_segment(now, &segment, frame, endpoints),
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
        endpoints: &Endpoints,
    ) -> Outcome {
        let asked = Asked::read(segment.data(), endpoints, &mut self.counters);
        self.counters.active += asked.active.len() as u64;
        let acknowledges = segment.flags() & flags::ACK != 0;
        if asked.is_passive() && acknowledges {
            // The server goes on with what the client waits for.
            let next = segment.ack();
            let counters = &mut self.counters;
            self.memory.remember(endpoints, next, now, counters);
        }
        let mut frame = frame.to_vec();
        if let Some(connection) = self.memory.get(endpoints) {
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
        endpoints: &Endpoints,
    ) -> Outcome {
        let (start, data) = (segment.seq(), segment.data());
        let counters = &mut self.counters;
        if segment.flags() & flags::SYN != 0 {
            // The ports' next connection.
            self.memory.forget(endpoints);
            return pass(frame);
        }
        if !data.is_empty() {
            self.memory.remember(endpoints, start, now, counters);
        }
        let Some(connection) = self.memory.get(endpoints) else {
            return pass(frame);
        };
        let speaks = !data.is_empty() || segment.flags() & flags::FIN != 0;
        if speaks && connection.hold(start, counters) {
            return Outcome::default();
        }
        if !connection.say(start, data, endpoints, counters) {
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
