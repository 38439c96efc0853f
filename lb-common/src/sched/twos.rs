//! The power of two choices: of two servers drawn by weight, the one with less load for its
//! weight (net/netfilter/ipvs/ip_vs_twos.c).
//!
//! deviates: sums and products have 64 bits and do not overflow as ipvs's do with millions of
//! connections.

use super::Step;
use super::least::{Load, overhead};
use crate::datapath::Tables;
use crate::layout::Member;

/// The first walk, for the sum of the weights.
pub(super) struct Sum {
    index: u64,
    total: u64,
}

impl Sum {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { index: 0, total: 0 }
    }
}

impl Step for Sum {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        self.index += 1;
        Some(self.index as u32 - 1)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        if usable {
            self.total += u64::from(member.weight);
        }
        false
    }
}

/// The second walk, which draws.
pub(super) struct Pick<'a, T> {
    tables: &'a T,
    index: u64,
    first: Draw,
    second: Draw,
}

/// A draw: a number from 0 to the sum of all weights, both included; the server at which the
/// weights add up to it is drawn.
#[repr(C)]
struct Draw {
    left: u64,
    load: Load,
    /// The server's id plus 1; 0 for none.
    server: u64,
}

impl Draw {
    #[inline(always)]
    fn new(random: u32, sum: &Sum) -> Self {
        const MOST: u64 = (1 << 48) - 1;
        Self {
            // No list has so many weights, but the compiler must see that.
            left: u64::from(random) % ((sum.total & MOST) + 1),
            server: 0,
            load: Load::MOST,
        }
    }

    #[inline(always)]
    fn see(&mut self, server: u32, load: Load) {
        if self.server != 0 {
            return;
        }
        if self.left <= load.weight.into() {
            self.server = u64::from(server) + 1;
            self.load = load;
        } else {
            self.left -= u64::from(load.weight);
        }
    }
}

impl<'a, T: Tables> Pick<'a, T> {
    #[inline(always)]
    pub(super) fn new(tables: &'a T, sum: &Sum) -> Self {
        Self {
            tables,
            index: 0,
            first: Draw::new(tables.random(), sum),
            second: Draw::new(tables.random(), sum),
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        let (first, second) = (&self.first, &self.second);
        let mut server = first.server;
        if second.server != 0 && second.load.is_less(first.load) {
            server = second.server;
        }
        server.checked_sub(1).map(|server| server as u32)
    }
}

impl<T: Tables> Step for Pick<'_, T> {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        self.index += 1;
        Some(self.index as u32 - 1)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        if !usable {
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
        self.first.server != 0 && self.second.server != 0
    }
}
