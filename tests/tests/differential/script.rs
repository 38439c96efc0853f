//! Sequences of edits and new flows, each made from a seed.

use lb_common::sched::Kind;

/// The most servers of a service.
pub(crate) const SERVERS: usize = 6;

/// What happens to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    /// `-a`: a server, counted from 1, and its weight.
    Add(usize, u32),
    /// `-e`: to a weight that may be the one it has.
    Weigh(usize, u32),
    /// `-d`.
    Remove(usize),
    /// `-E`: to a scheduler that may be the one it has.
    Schedule(Kind),
}

/// Edits, and so many new flows after them.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) edits: Vec<Edit>,
    pub(crate) flows: usize,
}

/// Writes the rounds of a service that begins with this scheduler and no server.
pub(crate) fn rounds(scheduler: Kind, seed: u64) -> impl Iterator<Item = Round> {
    let mut writer = Writer {
        random: Random(seed),
        home: scheduler,
        away: false,
        weights: [None; SERVERS],
    };
    std::iter::repeat_with(move || Round {
        edits: writer.edits(),
        flows: writer.random.below(7),
    })
}

struct Writer {
    random: Random,
    /// The scheduler that the service began with.
    home: Kind,
    /// It has the other one now.
    away: bool,
    weights: [Option<u32>; SERVERS],
}

impl Writer {
    fn edits(&mut self) -> Vec<Edit> {
        let other = if self.home == Kind::Rr {
            Kind::Wrr
        } else {
            Kind::Rr
        };
        let here = if self.away { other } else { self.home };
        match self.random.below(16) {
            0..=3 => self.add().into_iter().collect(),
            4..=5 => self.remove().into_iter().collect(),
            6..=9 => self.weigh().into_iter().collect(),
            10 => self.weigh_as_before().into_iter().collect(),
            11 => self.all_to(0),
            12 => {
                let weight = self.weight();
                self.all_to(weight)
            }
            13 => vec![Edit::Schedule(here)],
            14 => {
                self.away = !self.away;
                let there = if self.away { other } else { self.home };
                vec![Edit::Schedule(there)]
            }
            // Several without a flow between them.
            _ => [self.remove(), self.weigh(), self.add(), self.add()]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    fn add(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_none)?;
        let weight = self.weight();
        self.weights[at] = Some(weight);
        Some(Edit::Add(at + 1, weight))
    }

    fn remove(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        self.weights[at] = None;
        Some(Edit::Remove(at + 1))
    }

    fn weigh(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        let weight = self.weight();
        self.weights[at] = Some(weight);
        Some(Edit::Weigh(at + 1, weight))
    }

    fn weigh_as_before(&mut self) -> Option<Edit> {
        let at = self.choose(Option::is_some)?;
        Some(Edit::Weigh(at + 1, self.weights[at]?))
    }

    fn all_to(&mut self, weight: u32) -> Vec<Edit> {
        let all = (1..).zip(&mut self.weights);
        all.filter_map(|(server, known)| {
            *known.as_mut()? = weight;
            Some(Edit::Weigh(server, weight))
        })
        .collect()
    }

    fn choose(&mut self, like: impl Fn(&Option<u32>) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..SERVERS).filter(|&at| like(&self.weights[at])).collect();
        (!places.is_empty()).then(|| places[self.random.below(places.len())])
    }

    /// Small ones often share a divisor.
    fn weight(&mut self) -> u32 {
        const WEIGHTS: [u32; 12] = [0, 1, 1, 2, 3, 3, 4, 6, 8, 9, 10, 100];
        WEIGHTS[self.random.below(WEIGHTS.len())]
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The remainder fits, for the limit does.
        ((z ^ z >> 31) % limit as u64) as usize
    }
}
