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

const LC: u32 = Kind::Lc as u32;
const SED: u32 = Kind::Sed as u32;
const NQ: u32 = Kind::Nq as u32;
const FO: u32 = Kind::Fo as u32;
const OVF: u32 = Kind::Ovf as u32;

/// What a server's connections cost it.
#[inline(always)]
pub(super) const fn overhead(state: &ServerState) -> u32 {
    let all = state.active.wrapping_add(state.inactive);
    (state.active << 8).wrapping_add(all)
}

/// A server's load and the weight it is measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) load: u32,
    pub(super) weight: u32,
}

impl Load {
    pub(super) const NONE: Self = Self { load: 0, weight: 0 };

    /// Whether this load is less than another, each for its weight.
    #[inline(always)]
    pub(super) const fn is_less(self, other: Self) -> bool {
        other.load as u64 * self.weight as u64 > self.load as u64 * other.weight as u64
    }
}

pub(super) struct Pick<'a, T> {
    tables: &'a T,
    kind: u32,
    len: u32,
    index: u32,
    best: Load,
    found: Option<u32>,
    light: bool,
}

impl<'a, T: Tables> Pick<'a, T> {
    #[inline(always)]
    pub(super) fn new(tables: &'a T, service: &Service) -> Self {
        Self {
            tables,
            kind: service.scheduler,
            len: service.len,
            index: 0,
            best: Load::NONE,
            found: None,
            light: false,
        }
    }

    #[inline(always)]
    pub(super) fn server(&self) -> Option<u32> {
        self.found
    }

    /// Whether a server that the walk saw, usable or not, has less than half as many active
    /// connections as its weight says.
    #[inline(always)]
    pub(super) fn is_any_light(&self) -> bool {
        self.light
    }
}

impl<T: Tables> Step for Pick<'_, T> {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let index = self.index;
        self.index += 1;
        (index < self.len).then_some(index)
    }

    #[inline(always)]
    fn see(&mut self, member: Member, usable: bool) -> bool {
        let Some(state) = self.tables.server_state(member.server) else {
            return true;
        };
        self.light |= state.active.wrapping_mul(2) < member.weight;
        if !usable {
            return false;
        }
        let mut this = Load {
            load: overhead(&state),
            weight: member.weight,
        };
        if self.kind == LC {
            this.weight = 1;
        }
        if self.kind == SED || self.kind == NQ {
            this.load = state.active.wrapping_add(1);
        }
        if self.kind == FO || self.kind == OVF {
            this.load = 1;
        }
        if self.kind == OVF && state.active > member.weight {
            return false;
        }
        let idle = self.kind == NQ && state.active == 0;
        if idle || self.found.is_none() || this.is_less(self.best) {
            self.best = this;
            self.found = Some(member.server);
        }
        idle
    }
}
