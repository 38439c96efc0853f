//! Schedulers: which server gets a new connection.
//!
//! Most schedulers are a [`Step`]: what they do with one of a service's servers, newest first as
//! ipvs keeps them. `walk` drives it. sh, dh and mh look into a table that the agent made
//! ([`build`]); lblc and lblcr [`recall()`] what they chose for a destination before.
//!
//! What rr and wrr remember between connections is one word, their [`Turn`].

#[cfg(feature = "std")]
pub mod build;
mod edit;
mod hashed;
mod hashing;
mod least;
mod recall;
mod rr;
mod stateless;
pub mod threshold;
mod twos;
mod wrr;

#[cfg(feature = "std")]
pub use edit::turn_after_changes;
pub use edit::{first_turn, turn_after_change, turn_of_scheduler};
pub use recall::{Part, prune, recall, remembered};
pub use threshold::{is_overloaded, note_connection};

use crate::datapath::{Packet, Stages};
use crate::flow;
use crate::layout::{Member, Service, service_flags};
use crate::repeat::Body;

/// A scheduler, by the number that [`Service::scheduler`] holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Round robin.
    Rr = 1,
    /// Weighted round robin.
    Wrr = 2,
    /// Least connections.
    Lc = 3,
    /// Weighted least connections.
    Wlc = 4,
    /// Locality-based least connections.
    Lblc = 5,
    /// Locality-based least connections with replication.
    Lblcr = 6,
    /// Destination hashing.
    Dh = 7,
    /// Source hashing.
    Sh = 8,
    /// Shortest expected delay.
    Sed = 9,
    /// Never queue.
    Nq = 10,
    /// Weighted fail-over.
    Fo = 11,
    /// Weighted overflow.
    Ovf = 12,
    /// Maglev hashing.
    Mh = 13,
    /// Power of two choices.
    Twos = 14,
}

impl Kind {
    /// Every scheduler.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
    ];

    /// The scheduler with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// The scheduler's ipvs name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }

    /// The scheduler with an ipvs name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the scheduler remembers what it chose for a destination.
    #[must_use]
    pub const fn remembers(self) -> bool {
        matches!(self, Self::Lblc | Self::Lblcr)
    }
}

/// The choice of a server for a new flow, on its way: a server or none, and what is to be done.
///
/// From the low end: the server's id (20 bits), and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice(u32);

impl Choice {
    /// No server.
    pub const NONE: Self = Self(Self::VALID);

    const SERVER: u32 = 0xf_ffff;
    const SOME: u32 = 1 << 20;
    /// A choice, and not the number of a reason.
    pub const VALID: u32 = 1 << 31;
    /// The scheduler is to be asked.
    pub const TO_SCHEDULE: u32 = 1 << 21;
    /// The scheduler that is to be asked gives servers in turn.
    pub const IN_TURN: u32 = 1 << 28;
    /// The scheduler's memory is to be asked.
    pub const TO_RECALL: u32 = 1 << 22;
    /// The set of servers that is remembered is to lose one.
    pub const TO_PRUNE: u32 = 1 << 23;
    /// The scheduler is to remember the server.
    pub const TO_REMEMBER: u32 = 1 << 24;
    /// The flow is one of a template's.
    pub const CONTROLLED: u32 = 1 << 25;
    /// Some server has less than half as many active connections as its weight says.
    const LIGHT: u32 = 1 << 26;
    /// It is what would be chosen without memory.
    pub const FRESH: u32 = 1 << 27;

    /// The choice of this server.
    #[inline(always)]
    #[must_use]
    pub const fn of(server: Option<u32>) -> Self {
        match server {
            Some(server) => Self(server & Self::SERVER | Self::SOME | Self::VALID),
            None => Self::NONE,
        }
    }

    /// No choice yet: this scheduler, by its number, is to be asked.
    #[inline(always)]
    #[must_use]
    pub const fn to_schedule(scheduler: u32) -> Self {
        let in_turn = scheduler == Kind::Rr as u32 || scheduler == Kind::Wrr as u32;
        let remembers = scheduler == Kind::Lblc as u32 || scheduler == Kind::Lblcr as u32;
        let choice = Self::NONE.with(Self::TO_SCHEDULE);
        if in_turn {
            choice.with(Self::IN_TURN)
        } else if remembers {
            choice.with(Self::TO_RECALL)
        } else {
            choice
        }
    }

    /// The choice's bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The choice with these bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The server.
    #[inline(always)]
    #[must_use]
    pub const fn server(self) -> Option<u32> {
        if self.has(Self::SOME) {
            Some(self.0 & Self::SERVER)
        } else {
            None
        }
    }

    /// The choice with flags added.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, flags: u32) -> Self {
        Self(self.0 | flags)
    }

    /// This choice, in which there is no server yet, with another's.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the choice has one of these flags.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }
}

/// What a scheduler does on its way through the servers.
trait Step {
    /// The place in the list to look at next; none to end the walk.
    fn next(&mut self) -> Option<u32>;

    /// Sees the server at that place; true to end the walk. A server that is not `usable` has
    /// weight 0 or more connections than its thresholds allow.
    fn see(&mut self, member: Member, usable: bool) -> bool;
}

/// Walks a service's servers as `step` asks, at most `turns` of them.
#[inline(always)]
fn walk<T: Stages, S: Step>(tables: &T, service: &Service, turns: u32, step: &mut S) {
    tables.repeat(
        turns,
        &mut Walk {
            tables,
            first: service.first,
            flags: service.flags,
            step,
        },
    );
}

/// The loop of [`walk`].
struct Walk<'a, T, S> {
    tables: &'a T,
    first: u32,
    flags: u32,
    step: &'a mut S,
}

impl<T: Stages, S: Step> Body for Walk<'_, T, S> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Some(index) = self.step.next() else {
            return true;
        };
        match self.tables.member(self.first.wrapping_add(index)) {
            Some(member) => {
                let usable = is_usable(self.tables, member, self.flags);
                self.step.see(member, usable)
            }
            None => true,
        }
    }
}

/// Whether a server may get new connections of a service with these flags.
#[inline(always)]
fn is_usable<T: Stages>(tables: &T, member: Member, flags: u32) -> bool {
    let heeds = flags & service_flags::THRESHOLDS != 0;
    let usable = member.weight != 0 && !(heeds && tables.is_overloaded(member.server));
    // Of all ways to here the verifier walks one on.
    u8::from(usable) ^ tables.blur() != 0
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

/// The server for a new connection, by all schedulers but rr and wrr, which [`take_turn`]. lblc and
/// lblcr [`recall()`] after this.
#[inline(always)]
pub fn schedule<T: Stages>(tables: &T, packet: &Packet, record: u32) -> Choice {
    const DH: u32 = Kind::Dh as u32;
    const SH: u32 = Kind::Sh as u32;
    const MH: u32 = Kind::Mh as u32;
    const TWOS: u32 = Kind::Twos as u32;

    let Some(service) = tables.service(record) else {
        return Choice::NONE;
    };
    let kind = service.scheduler;
    if kind == DH || kind == SH || kind == MH {
        return Choice::of(hashed::pick(tables, service, packet));
    }
    if kind == TWOS {
        let mut sum = twos::Sum::new();
        walk(tables, service, service.len, &mut sum);
        let mut step = twos::Pick::new(tables, &sum);
        walk(tables, service, service.len, &mut step);
        return Choice::of(step.server());
    }
    let mut step = least::Pick::new(tables, service);
    walk(tables, service, service.len, &mut step);
    let mut choice = Choice::of(step.server());
    if step.is_any_light() {
        choice = choice.with(Choice::LIGHT);
    }
    choice
}

/// The server for a new connection, by rr and wrr.
#[inline(always)]
pub fn take_turn<T: Stages>(tables: &T, record: u32) -> Choice {
    /// How often to begin again when another CPU took the turn at the same time. After that the
    /// choice counts and the turn does not move: two connections get the same server.
    const TRIES: u32 = 4;

    let Some(service) = tables.service(record) else {
        return Choice::NONE;
    };
    let mut attempt = Attempt {
        tables,
        service,
        server: None,
    };
    tables.repeat(TRIES, &mut attempt);
    Choice::of(attempt.server)
}

/// The loop of [`take_turn`].
struct Attempt<'a, T> {
    tables: &'a T,
    service: &'a Service,
    server: Option<u32>,
}

impl<T: Stages> Body for Attempt<'_, T> {
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
        let next = if service.scheduler == Kind::Rr as u32 {
            let mut step = rr::Pick::new(service, turn);
            walk(*tables, service, service.len, &mut step);
            *server = step.server();
            step.turn()
        } else {
            let mut step = wrr::Pick::new(service, turn, tables.blur());
            walk(*tables, service, wrr::Pick::bound(service), &mut step);
            *server = step.server();
            step.turn()
        };
        tables.swap_turn(service.id, seen, next.bits())
    }
}

/// The server of a flow for which the table has no room: always the same one, as long as it is
/// in the list with a weight; none when no server has one.
#[inline(always)]
pub fn schedule_stateless<T: Stages>(tables: &T, record: u32, key: &flow::Key) -> Option<u32> {
    let service = tables.service(record)?;
    let mut step = stateless::Pick::new(service.len, *key);
    walk(tables, service, service.len, &mut step);
    step.server()
}
