//! The schedulers that compare servers: each has a load and a weight, and the least load for its
//! weight wins, on a tie the first in the list.
//!
//! | scheduler | load | weight | besides |
//! |---|---|---|---|
//! | lc | overhead | 1 | |
//! | wlc; lblc and lblcr for a destination they do not know | overhead | its weight | |
//! | sed | active connections, and 1 | its weight | |
//! | nq | as sed | as sed | the first server without active connections wins at once |
//! | fo | 1 | its weight | |
//! | ovf | 1 | its weight | has no more active connections than its weight |
//!
//! Overhead is 256 for an active connection and 1 for any (`ip_vs_dest_conn_overhead`; before the
//! stable kernels of 2026 it was 1 for an inactive one only).
//!
//! ipvs: net/netfilter/ipvs/ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sed.c, ip_vs_nq.c, ip_vs_fo.c,
//! ip_vs_ovf.c

use super::{Kind, Step};
use crate::datapath::Tables;
use crate::layout::{Member, ServerState, Service};

/// What a server's connections cost it.
#[inline(always)]
pub(super) const fn overhead(state: &ServerState) -> u32 {
    let all = state.active.wrapping_add(state.inactive);
    (state.active << 8).wrapping_add(all)
}

/// A server's load and the weight it is measured by.
///
/// Aligned, and what loops begin with 0 has 64 bits: the compiler stores two words that are set at
/// once together, and the verifier wants that aligned on the stack.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) load: u32,
    pub(super) weight: u32,
}

impl Load {
    /// More than any server's that has a weight.
    pub(super) const MOST: Self = Self { load: 1, weight: 0 };

    /// Whether this load is less than another, each for its weight.
    #[inline(always)]
    pub(super) const fn is_less(self, other: Self) -> bool {
        other.load as u64 * self.weight as u64 > self.load as u64 * other.weight as u64
    }
}

/// What tells the schedulers apart is in factors that are 0 or 1, so that they take one way through
/// the program.
#[repr(C)]
pub(super) struct Pick<'a, T> {
    tables: &'a T,
    best: Load,
    /// The best server's id plus 1; 0 for none.
    found: u64,
    /// Not 0 when a server was seen that is hardly used.
    light: u64,
    index: u64,
    /// The load is the overhead.
    by_overhead: u32,
    /// The load is the number of active connections, and 1.
    by_active: u32,
    /// The weight counts.
    by_weight: u32,
    /// Servers with more active connections than their weight are passed over.
    bounded: u32,
    /// The first server without active connections wins at once.
    idle_first: u32,
}

impl<'a, T: Tables> Pick<'a, T> {
    #[inline(always)]
    pub(super) fn new(tables: &'a T, service: &Service) -> Self {
        const LC: u32 = Kind::Lc as u32;
        const SED: u32 = Kind::Sed as u32;
        const NQ: u32 = Kind::Nq as u32;
        const FO: u32 = Kind::Fo as u32;
        const OVF: u32 = Kind::Ovf as u32;

        let kind = service.scheduler;
        let factor = |is: bool| u32::from(is) ^ u32::from(tables.blur());
        let by_active = factor(kind == SED || kind == NQ);
        let constant = factor(kind == FO || kind == OVF);
        Self {
            tables,
            index: 0,
            best: Load::MOST,
            found: 0,
            light: 0,
            by_overhead: 1 ^ by_active ^ constant,
            by_active,
            by_weight: factor(kind != LC),
            bounded: factor(kind == OVF),
            idle_first: factor(kind == NQ),
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        self.found.checked_sub(1).map(|server| server as u32)
    }

    /// Whether a server that the walk saw, usable or not, has less than half as many active
    /// connections as its weight says.
    #[inline(always)]
    pub(super) fn is_any_light(&self) -> bool {
        self.light != 0
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
        let Some(state) = self.tables.server_state(member.server) else {
            return true;
        };
        let double = 2 * u64::from(state.active);
        self.light |= double.wrapping_sub(member.weight.into()) >> 63;
        if !usable || self.bounded.wrapping_mul(state.active) > member.weight {
            return false;
        }
        let this = Load {
            load: overhead(&state)
                .wrapping_mul(self.by_overhead)
                .wrapping_add(state.active.wrapping_mul(self.by_active))
                .wrapping_add(1 ^ self.by_overhead),
            weight: member.weight * self.by_weight + (1 ^ self.by_weight),
        };
        let wins = self.idle_first != 0 && state.active == 0;
        if wins || this.is_less(self.best) {
            self.best = this;
            self.found = u64::from(member.server) + 1;
        }
        wins
    }
}
