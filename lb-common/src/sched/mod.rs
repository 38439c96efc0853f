//! Schedulers: which server gets a new connection.
//!
//! A scheduler is a [`Step`]: what it does with one of a service's servers, newest first as ipvs
//! keeps them. `walk` drives it.
//!
//! What a scheduler remembers between connections is one word, its [`Turn`].

mod edit;
mod rr;
mod stateless;
mod wrr;

#[cfg(feature = "std")]
pub use edit::turn_after_changes;
pub use edit::{first_turn, turn_after_change, turn_of_scheduler};

use crate::datapath::{Packet, Tables};
use crate::flow;
use crate::layout::{Member, Service};
use crate::repeat::Body;

/// A scheduler, by the number that [`Service::scheduler`] holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Round robin.
    Rr = 1,
    /// Weighted round robin.
    Wrr = 2,
}

impl Kind {
    /// Every scheduler.
    pub const ALL: [Self; 2] = [Self::Rr, Self::Wrr];

    /// The scheduler with this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Rr),
            2 => Some(Self::Wrr),
            _ => None,
        }
    }

    /// The scheduler's ipvs name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
        }
    }

    /// The scheduler with an ipvs name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a scheduler does on its way through the servers.
trait Step {
    /// The place in the list to look at next; none to end the walk.
    fn next(&mut self) -> Option<u32>;

    /// Sees the server at that place; true to end the walk.
    fn see(&mut self, member: Member) -> bool;
}

/// Walks a service's servers as `step` asks, at most `turns` of them.
#[inline(always)]
fn walk<T: Tables, S: Step>(tables: &T, service: &Service, turns: u32, step: &mut S) {
    tables.repeat(
        turns,
        &mut Walk {
            tables,
            first: service.first,
            step,
        },
    );
}

/// The loop of [`walk`].
struct Walk<'a, T, S> {
    tables: &'a T,
    first: u32,
    step: &'a mut S,
}

impl<T: Tables, S: Step> Body for Walk<'_, T, S> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Some(index) = self.step.next() else {
            return true;
        };
        match self.tables.member(self.first.wrapping_add(index)) {
            Some(member) => self.step.see(member),
            None => true,
        }
    }
}

/// What a scheduler remembers: where it stands in the list, and for wrr the current weight.
///
/// Place 0 is the head, before the first server; place n is the nth server. A turn belongs to a
/// generation of the list; one of another generation is out of date and the service's own
/// starting turn counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Low 16 bits of the list's generation.
    pub generation: u16,
    /// The place of the server chosen last.
    pub place: u16,
    /// The current weight of wrr.
    pub weight: u32,
}

impl Turn {
    /// The turn in a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            generation: (bits >> 48) as u16,
            place: (bits >> 32) as u16,
            weight: bits as u32,
        }
    }

    /// The turn as a word.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.generation as u64) << 48 | (self.place as u64) << 32 | self.weight as u64
    }
}

/// What wrr needs to know of all weights (net/netfilter/ipvs/ip_vs_wrr.c: `ip_vs_wrr_mark`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The highest weight less the step, plus one; 0 when every weight is 0 (`mw`).
    pub max: u32,
    /// The greatest common divisor of the weights, at least 1 (`di`).
    pub step: u32,
}

impl Weights {
    /// The numbers for these weights.
    #[must_use]
    pub fn of(weights: impl Iterator<Item = u32> + Clone) -> Self {
        Self::of_highest(weights.clone().max().unwrap_or(0), weights.fold(0, gcd))
    }

    /// The numbers for weights of which the highest and the greatest common divisor are known.
    const fn of_highest(max: u32, divisor: u32) -> Self {
        let step = if divisor == 0 { 1 } else { divisor };
        Self {
            max: if max == 0 { 0 } else { max - (step - 1) },
            step,
        }
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The server for a new connection; none when no server may take one.
#[inline(always)]
pub fn schedule<T: Tables>(tables: &T, _packet: &Packet, record: u32) -> Option<u32> {
    /// How often to begin again when another CPU took the turn at the same time. After that the
    /// choice counts and the turn does not move: two connections get the same server.
    const TRIES: u32 = 4;

    let service = tables.service(record)?;
    let mut choice = Choice {
        tables,
        service,
        server: None,
    };
    tables.repeat(TRIES, &mut choice);
    choice.server
}

/// The loop of [`schedule`].
struct Choice<'a, T> {
    tables: &'a T,
    service: &'a Service,
    server: Option<u32>,
}

impl<T: Tables> Body for Choice<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Self {
            tables,
            service,
            server,
        } = self;
        let generation = service.generation as u16;
        let seen = tables.turn(service.id);
        let turn = match Turn::from_bits(seen) {
            turn if turn.generation == generation => turn,
            _ => Turn {
                generation,
                ..Turn::from_bits(service.turn)
            },
        };
        let Some(kind) = Kind::from_number(service.scheduler) else {
            return true;
        };
        let next = match kind {
            Kind::Rr => {
                let mut step = rr::Pick::new(service, turn);
                walk(*tables, service, service.len, &mut step);
                *server = step.server();
                step.turn()
            }
            Kind::Wrr => {
                let mut step = wrr::Pick::new(service, turn);
                walk(*tables, service, wrr::Pick::bound(service), &mut step);
                *server = step.server();
                step.turn()
            }
        };
        tables.swap_turn(service.id, seen, next.bits())
    }
}

/// Notes that a server with connection thresholds got another connection.
#[inline(always)]
pub fn note_connection<T: Tables>(_tables: &T, _server: u32) {}

/// The server of a flow for which the table has no room: always the same one, as long as it is
/// in the list with a weight; none when no server has one.
#[inline(always)]
pub fn schedule_stateless<T: Tables>(tables: &T, record: u32, key: &flow::Key) -> Option<u32> {
    let service = tables.service(record)?;
    let mut step = stateless::Pick::new(service.len, *key);
    walk(tables, service, service.len, &mut step);
    step.server()
}
