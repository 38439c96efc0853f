//! Sequences of edits, new flows and ends of flows, each made from a seed.

use lb_common::sched::Kind;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The most servers of a service.
pub(crate) const SERVERS: usize = 6;

/// How many events a round has: edits, new flows, closed ones and ended ones.
const EVENTS: usize = 10;

/// Rounds from one in which flows end to the next.
const ENDS: usize = 5;

/// What happens to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    /// `-a`: a server, counted from 1.
    Add(usize, Options),
    /// `-e`: to options that may be those it has.
    Change(usize, Options),
    /// `-d`.
    Remove(usize),
    /// `-E`: to a scheduler that may be the one it has, with `-b`'s first flags.
    Schedule(Kind, u8),
}

/// A server's weight and thresholds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) weight: u32,
    pub(crate) upper: u32,
    pub(crate) lower: u32,
}

/// What a client does; flows are counted from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Opens the next flow.
    Open,
    /// Closes a flow that was opened in an earlier round: it is inactive from there on.
    Close(usize),
}

/// Flows that end, then edits, then what clients do.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) ends: Vec<usize>,
    pub(crate) edits: Vec<Edit>,
    pub(crate) events: Vec<Event>,
}

/// A service, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) scheduler: Kind,
    /// `-b`'s first flags.
    pub(crate) flags: u8,
    /// Whether its flows are TCP connections, which are active until they are closed.
    pub(crate) tcp: bool,
    /// Who opens each flow.
    pub(crate) clients: Vec<SocketAddrV4>,
    pub(crate) rounds: Vec<Round>,
}

/// Whether connections' activity decides with this scheduler.
const fn is_by_activity(kind: Kind) -> bool {
    match kind {
        Kind::Lc
        | Kind::Wlc
        | Kind::Lblc
        | Kind::Lblcr
        | Kind::Sed
        | Kind::Nq
        | Kind::Ovf
        | Kind::Twos => true,
        Kind::Rr | Kind::Wrr | Kind::Dh | Kind::Sh | Kind::Fo | Kind::Mh => false,
    }
}

/// Schedulers whose choices no chance decides.
pub(crate) fn schedulers() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Twos)
}

/// Writes so many rounds of a service that begins with this scheduler and no server.
pub(crate) fn script(scheduler: Kind, seed: u64, rounds: usize) -> Script {
    let mut random = Random(seed << 8 | scheduler as u64);
    let tcp = is_by_activity(scheduler);
    let flags = random.below(4) as u8;
    let mut writer = Writer {
        random,
        home: (scheduler, flags),
        here: (scheduler, flags),
        servers: [None; SERVERS],
        clients: Vec::new(),
        open: Vec::new(),
        closed: Vec::new(),
        tcp,
    };
    let rounds = (0..rounds).map(|round| writer.round(round)).collect();
    Script {
        scheduler,
        flags,
        tcp,
        clients: writer.clients,
        rounds,
    }
}

struct Writer {
    random: Random,
    /// The scheduler that the service began with, and its flags.
    home: (Kind, u8),
    here: (Kind, u8),
    servers: [Option<Options>; SERVERS],
    clients: Vec<SocketAddrV4>,
    /// Flows of earlier rounds that were not closed.
    open: Vec<usize>,
    /// Flows of earlier rounds that did not end.
    closed: Vec<usize>,
    tcp: bool,
}

impl Writer {
    fn round(&mut self, number: usize) -> Round {
        let mut round = Round::default();
        if number % ENDS == ENDS - 1 {
            for _ in 0..self.random.below(EVENTS) {
                let from_open = self.random.below(2) == 0;
                let from = if from_open {
                    &mut self.open
                } else {
                    &mut self.closed
                };
                if let Some(flow) = take(from, &mut self.random) {
                    round.ends.push(flow);
                }
            }
        }
        round.edits = self.edits();
        let before = self.clients.len();
        for _ in round.ends.len() + round.edits.len()..EVENTS {
            if self.tcp && self.random.below(3) == 0 {
                if let Some(flow) = take(&mut self.open, &mut self.random) {
                    round.events.push(Event::Close(flow));
                    self.closed.push(flow);
                }
            } else {
                let address = Ipv4Addr::new(192, 0, 2, 1 + self.random.below(40) as u8);
                // No two flows of a service have the same port.
                let port = 10_000 + self.clients.len() as u16;
                self.clients.push(SocketAddrV4::new(address, port));
                round.events.push(Event::Open);
            }
        }
        self.open.extend(before..self.clients.len());
        round
    }

    fn edits(&mut self) -> Vec<Edit> {
        match self.random.below(16) {
            0..=3 => self.add().into_iter().collect(),
            4..=5 => self.remove().into_iter().collect(),
            6..=8 => self.change().into_iter().collect(),
            9 => Vec::new(),
            10 => self.change_nothing().into_iter().collect(),
            11 => self.all_to(0),
            12 => {
                let weight = self.weight();
                self.all_to(weight)
            }
            13 => vec![Edit::Schedule(self.here.0, self.here.1)],
            14 => vec![self.schedule()],
            // Several without a flow between them, also of one server.
            _ => [
                self.remove(),
                self.change(),
                self.add(),
                self.add(),
                self.remove(),
                self.add(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    fn add(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_none)?;
        let options = self.options();
        self.servers[at] = Some(options);
        Some(Edit::Add(at + 1, options))
    }

    fn remove(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        self.servers[at] = None;
        Some(Edit::Remove(at + 1))
    }

    fn change(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        let options = self.options();
        self.servers[at] = Some(options);
        Some(Edit::Change(at + 1, options))
    }

    fn change_nothing(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        Some(Edit::Change(at + 1, self.servers[at]?))
    }

    fn all_to(&mut self, weight: u32) -> Vec<Edit> {
        let all = (1..).zip(&mut self.servers);
        all.filter_map(|(server, known)| {
            let options = known.as_mut()?;
            options.weight = weight;
            Some(Edit::Change(server, *options))
        })
        .collect()
    }

    /// Another scheduler, or back to the first.
    fn schedule(&mut self) -> Edit {
        self.here = if self.here == self.home {
            let others: Vec<Kind> = schedulers()
                .filter(|kind| is_by_activity(*kind) == self.tcp)
                .collect();
            (
                others[self.random.below(others.len())],
                self.random.below(4) as u8,
            )
        } else {
            self.home
        };
        Edit::Schedule(self.here.0, self.here.1)
    }

    fn choose(&mut self, like: impl Fn(&Option<Options>) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..SERVERS).filter(|&at| like(&self.servers[at])).collect();
        (!places.is_empty()).then(|| places[self.random.below(places.len())])
    }

    fn options(&mut self) -> Options {
        const UPPER: [u32; 10] = [0, 0, 0, 0, 0, 1, 2, 5, 8, 20];
        let weight = self.weight();
        let upper = UPPER[self.random.below(UPPER.len())];
        let lower = self.random.below(2 * upper as usize + 1) as u32;
        Options {
            weight,
            upper,
            // Half of them have the one that follows from the upper.
            lower: if lower > upper { 0 } else { lower },
        }
    }

    /// Small ones often share a divisor.
    fn weight(&mut self) -> u32 {
        const WEIGHTS: [u32; 12] = [0, 1, 1, 2, 3, 3, 4, 6, 8, 9, 10, 100];
        WEIGHTS[self.random.below(WEIGHTS.len())]
    }
}

/// Takes one of the flows out, if there is any.
fn take(flows: &mut Vec<usize>, random: &mut Random) -> Option<usize> {
    (!flows.is_empty()).then(|| flows.swap_remove(random.below(flows.len())))
}

/// splitmix64, from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The remainder fits, for the limit does.
        ((z ^ z >> 31) % limit as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
