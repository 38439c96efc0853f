//! Whole sessions through a network that loses, repeats and reorders packets.
//!
//! A wrong number anywhere shows: as a byte that is not what was received in its place before, as
//! an acknowledgement of what was never sent, or as a session that does not end.

mod end;

use super::*;
use end::{End, Random};
use etherparse::TcpOptionElement::{Noop, SelectiveAcknowledgement};
use lb_common::hash;
use proptest::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// Steps with losses, and in all.
const LOSSY: usize = 2_000;
const STEPS: usize = 20_000;
/// Packets on their way at which none are sent.
const IN_FLIGHT: usize = 12;
/// No less than the longest line.
const MSS: usize = 90;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    ToHelper(Side),
    ToEnd(Side),
}

struct Packet {
    leg: Leg,
    frame: Vec<u8>,
    range: Range<usize>,
}

/// How a session goes.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    ends: Ends,
    commands: Vec<String>,
    /// Commands sent before the reply to the first of them.
    pipelined: usize,
    whole_lines: bool,
    /// In percent.
    loss: usize,
    reordering: usize,
}

struct Session {
    plan: Plan,
    random: Random,
    helper: Helper,
    now: Instant,
    client: End,
    server: End,
    network: Vec<Packet>,
    /// Replies as the server wrote them, and as they should arrive.
    replies: Vec<(String, String, Option<Expectation>)>,
    expected: HashSet<Expectation>,
    /// Commands sent.
    asked: usize,
}

impl Session {
    fn new(plan: Plan) -> Self {
        let mut random = Random(plan.seed);
        let first = [random.0 as u32, hash::finish(random.0) as u32];
        let limits = Limits {
            mtu: MSS as u16 + if plan.ends.client.is_ipv4() { 40 } else { 60 },
            ..Limits::DEFAULT
        };
        random.below(1);
        Self {
            random,
            helper: Helper::new(limits),
            now: Instant::now(),
            client: End::new(first[0], first[1]),
            server: End::new(first[1], first[0]),
            network: Vec::new(),
            replies: Vec::new(),
            expected: HashSet::new(),
            asked: 0,
            plan,
        }
    }

    fn run(mut self) -> Self {
        self.reply("220 ready".into(), "220 ready".into(), None);
        for step in 0..STEPS {
            self.talk();
            let lossy = step < LOSSY;
            let side = if self.random.percent(50) {
                Side::Client
            } else {
                Side::Server
            };
            if self.network.len() > IN_FLIGHT || self.random.percent(60) {
                self.deliver(lossy);
            } else {
                let empty = self.random.percent(20);
                self.send(side, empty);
            }
            let all_said = self.asked == self.plan.commands.len()
                && self.replies.len() == self.plan.commands.len() + 1;
            if all_said && self.client.is_done() && self.server.is_done() {
                return self;
            }
        }
        panic!("the session does not end: {:?}", self.helper.counters());
    }

    /// Both programs read and answer.
    fn talk(&mut self) {
        let replied = self.client.lines().len();
        while self.asked < self.plan.commands.len() && self.asked < replied + self.plan.pipelined {
            let command = format!("{}\r\n", self.plan.commands[self.asked]);
            self.client.say(command.as_bytes());
            self.asked += 1;
        }
        let commands = self.server.lines();
        for command in commands.iter().skip(self.replies.len() - 1) {
            self.answer(command);
        }
    }

    fn answer(&mut self, command: &str) {
        let ends = self.plan.ends;
        let port = 1024 + self.random.below(64_512) as u16;
        let listener = |ip| SocketAddr::new(ip, port);
        let expectation = Expectation {
            mode: Mode::Passive,
            client: SocketAddr::new(ends.client.ip(), 0),
            address: listener(ends.address.ip()),
            server: listener(ends.server.ip()),
        };
        let comma = |end: SocketAddr| {
            let [high, low] = end.port().to_be_bytes();
            format!("{},{high},{low}", end.ip().to_string().replace('.', ","))
        };
        match command {
            "PASV" => {
                let say = |end| format!("227 Entering Passive Mode ({}).", comma(end));
                let (old, new) = (say(expectation.server), say(expectation.address));
                self.reply(old, new, Some(expectation));
            }
            "EPSV" => {
                let new = format!("229 Extended Passive Mode (|||{port}|)");
                let old = if self.random.percent(50) {
                    new.clone()
                } else {
                    let family = if ends.server.is_ipv4() { 1 } else { 2 };
                    let ip = ends.server.ip();
                    format!("229 Extended Passive Mode (|{family}|{ip}|{port}|)")
                };
                self.reply(old, new, Some(expectation));
            }
            _ => {
                let text = format!("200 {}", "x".repeat(self.random.below(60)));
                self.reply(text.clone(), text, None);
            }
        }
    }

    fn reply(&mut self, old: String, new: String, expectation: Option<Expectation>) {
        self.server.say(format!("{old}\r\n").as_bytes());
        self.replies.push((old, new, expectation));
    }

    /// Sends a segment, or an acknowledgement alone.
    fn send(&mut self, side: Side, empty: bool) {
        let ends = self.plan.ends;
        let (end, from, to) = match side {
            Side::Client => (&mut self.client, ends.client, ends.address),
            Side::Server => (&mut self.server, ends.server, ends.client),
        };
        let chosen = end.choose(&mut self.random, self.plan.whole_lines);
        let range = match chosen {
            Some(range) if !empty => range,
            _ => end.sent..end.sent,
        };
        let data = end.sent_text[range.clone()].to_vec();
        end.sent = end.sent.max(range.end);
        let seq = end.first.wrapping_add(range.start as u32);
        let ack = end.other_first.wrapping_add(end.read as u32);
        let mut frame = Frame::new(from, to, seq, ack, &data);
        if let [first, rest @ ..] = &end.blocks()[..] {
            let block = |n: usize| rest.get(n).copied();
            let blocks = SelectiveAcknowledgement(*first, [block(0), block(1), block(2)]);
            frame = frame.options(&[Noop, Noop, blocks]);
        }
        self.network.push(Packet {
            leg: Leg::ToHelper(side),
            frame: frame.bytes(),
            range,
        });
    }

    fn deliver(&mut self, lossy: bool) {
        if self.network.is_empty() {
            return;
        }
        let late = lossy && self.random.percent(self.plan.reordering);
        let which = if late {
            self.random.below(self.network.len())
        } else {
            0
        };
        let packet = self.network.remove(which);
        if lossy && self.random.percent(self.plan.loss) {
            return;
        }
        if lossy && self.random.percent(5) {
            self.network.push(Packet {
                frame: packet.frame.clone(),
                range: packet.range.clone(),
                ..packet
            });
        }
        match packet.leg {
            Leg::ToHelper(side) => self.help(side, packet),
            Leg::ToEnd(Side::Client) => self.server.receive(&read(&packet.frame)),
            Leg::ToEnd(Side::Server) => {
                self.client.receive(&read(&packet.frame));
                if self.random.percent(70) {
                    self.send(Side::Client, true);
                }
            }
        }
    }

    fn help(&mut self, side: Side, packet: Packet) {
        let ends = self.plan.ends;
        let outcome = self.helper.packet(self.now, side, &packet.frame, &ends);
        self.expected.extend(outcome.expect);
        let Some(frame) = outcome.frame else {
            return;
        };
        match side {
            Side::Client => self.client.note_seen(&packet.range),
            Side::Server => self.server.note_seen(&packet.range),
        }
        self.network.push(Packet {
            leg: Leg::ToEnd(side),
            frame,
            range: packet.range,
        });
    }

    /// Whether every line was whole when it was news, and no hole was given up.
    fn is_clean(&self) -> bool {
        let counters = self.helper.counters();
        counters.abandoned == 0 && (self.plan.whole_lines || counters.split == 0)
    }

    /// Checks that both ends have what they should have.
    fn judge(&self) {
        assert_eq!(self.server.lines(), self.plan.commands);
        let lines = self.client.lines();
        assert_eq!(lines.len(), self.replies.len());
        for (line, (old, new, expectation)) in lines.iter().zip(&self.replies) {
            let replaced = line == new;
            assert!(replaced || line == old, "{line:?} for {old:?}");
            assert!(replaced || !self.is_clean(), "{old:?} was not replaced");
            if let (true, Some(expectation)) = (replaced && old != new, expectation) {
                assert!(
                    self.expected.contains(expectation),
                    "{new:?} is not expected"
                );
            }
        }
        if self.is_clean() {
            let announced = self.replies.iter().filter_map(|(_, _, expected)| *expected);
            let active = self
                .plan
                .commands
                .iter()
                .filter(|line| line.starts_with("PORT"));
            let all: HashSet<_> = announced.chain(active.map(|_| self.active())).collect();
            assert_eq!(self.expected, all);
        }
    }

    /// What every `PORT` of the plans lets expect.
    fn active(&self) -> Expectation {
        let below = |end: SocketAddr| SocketAddr::new(end.ip(), end.port() - 1);
        Expectation {
            mode: Mode::Active,
            client: "192.0.2.1:40000".parse().unwrap(),
            address: below(self.plan.ends.address),
            server: below(self.plan.ends.server),
        }
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let v4_command = prop_oneof![
        4 => Just("PASV"),
        2 => Just("EPSV"),
        1 => Just("PORT 192,0,2,1,156,64"),
        3 => Just("RETR a file"),
        1 => Just("NOOP"),
    ];
    let v6_command = prop_oneof![3 => Just("EPSV"), 2 => Just("NOOP")];
    let v4_ends = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(address, server)| Ends {
        address: SocketAddr::new(address.into(), 21),
        server: SocketAddr::new(server.into(), 21),
        ..v4()
    });
    let sessions = prop_oneof![
        3 => (v4_ends, prop::collection::vec(v4_command, 1..14)),
        1 => (Just(v6()), prop::collection::vec(v6_command, 1..14)),
    ];
    (
        any::<u64>(),
        sessions,
        1..4usize,
        0..=3u8,
        0..30usize,
        0..40usize,
    )
        .prop_map(
            |(seed, (ends, commands), pipelined, whole_lines, loss, reordering)| Plan {
                seed,
                ends,
                commands: commands.into_iter().map(str::to_owned).collect(),
                pipelined,
                whole_lines: whole_lines > 0,
                loss,
                reordering,
            },
        )
}

proptest! {
    #[test]
    fn both_ends_agree_whatever_the_network_does(plan in plans()) {
        Session::new(plan).run().judge();
    }
}

#[test]
fn sessions_meet_what_may_befall_them() {
    let mut met = [0; 6];
    let mut clean = 0;
    for seed in 0..200 {
        let plan = Plan {
            seed,
            ends: v4(),
            commands: ["PASV", "EPSV", "PASV", "NOOP", "PASV"]
                .map(str::to_owned)
                .to_vec(),
            pipelined: 3,
            whole_lines: seed % 4 != 0,
            loss: 15,
            reordering: 20,
        };
        let session = Session::new(plan).run();
        session.judge();
        let counters = session.helper.counters();
        let counts = [
            counters.rewritten,
            counters.shifted,
            counters.passive,
            counters.shortened,
            counters.split,
            counters.held,
        ];
        met.iter_mut()
            .zip(counts)
            .for_each(|(met, count)| *met += count);
        clean += usize::from(session.is_clean());
    }
    assert!(!met.contains(&0), "{met:?}");
    assert!(clean >= 140, "{clean} of 200");
}
