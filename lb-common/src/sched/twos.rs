//! The power of two choices: of two servers drawn by weight, the one with less load for its
//! weight (net/netfilter/ipvs/ip_vs_twos.c).
//!
//! deviates: sums and products have 64 bits and do not overflow as ipvs's do with millions of
//! connections.

use super::Step;
use super::least::{Load, overhead};
use crate::datapath::Tables;
use crate::layout::{Member, Service};

/// The walk goes through the list twice: it adds the weights up, then draws.
pub(super) struct Pick<'a, T> {
    tables: &'a T,
    len: u32,
    index: u32,
    total: u64,
    draws: bool,
    first: Draw,
    second: Draw,
}

/// A draw: a number from 0 to the sum of all weights, both included; the server at which the
/// weights add up to it is drawn.
struct Draw {
    left: u64,
    server: Option<u32>,
    load: Load,
}

impl Draw {
    #[inline(always)]
    fn new(random: u32) -> Self {
        Self {
            left: random.into(),
            server: None,
            load: Load::NONE,
        }
    }

    #[inline(always)]
    fn see(&mut self, server: u32, load: Load) {
        if self.server.is_some() {
            return;
        }
        if self.left <= load.weight.into() {
            self.server = Some(server);
            self.load = load;
        } else {
            self.left -= u64::from(load.weight);
        }
    }
}

impl<'a, T: Tables> Pick<'a, T> {
    #[inline(always)]
    pub(super) fn new(tables: &'a T, service: &Service) -> Self {
        Self {
            tables,
            len: service.len,
            index: 0,
            total: 0,
            draws: false,
            first: Draw::new(tables.random()),
            second: Draw::new(tables.random()),
        }
    }

    /// The most servers that a walk can see.
    #[inline(always)]
    pub(super) fn bound(service: &Service) -> u32 {
        2 * service.len + 1
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        let (first, second) = (&self.first, &self.second);
        if second.server.is_some() && second.load.is_less(first.load) {
            second.server
        } else {
            first.server
        }
    }
}

impl<T: Tables> Step for Pick<'_, T> {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.index >= self.len {
            if self.draws || self.total == 0 {
                return None;
            }
            self.draws = true;
            self.index = 0;
            self.first.left %= self.total + 1;
            self.second.left %= self.total + 1;
        }
        self.index += 1;
        Some(self.index - 1)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        if !usable {
            return false;
        }
        if !self.draws {
            self.total += u64::from(member.weight);
            return false;
        }
        let Some(state) = self.tables.server_state(member.server) else {
            return true;
        };
        let load = Load {
            load: overhead(&state),
            weight: member.weight,
        };
        self.first.see(member.server, load);
        self.second.see(member.server, load);
        self.first.server.is_some() && self.second.server.is_some()
    }
}
