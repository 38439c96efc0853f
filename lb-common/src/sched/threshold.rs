//! Connection thresholds: a server with as many connections as its upper threshold gets no new
//! ones until it has less than its lower one (net/netfilter/ipvs/ip_vs_ctl.c:
//! `ip_vs_dest_update_overload`).
//!
//! ipvs sets and clears a flag as connections begin and end. Connections can end here while
//! nobody looks; but the flag can only be cleared by that, so it is brought up to date before
//! a connection begins and before it is asked for, and nobody can tell the difference.

use crate::datapath::Tables;
use crate::layout::ServerState;

/// The lower threshold that counts: three quarters of the upper one, rounded up, unless it is set.
#[must_use]
pub const fn lower(upper: u32, lower: u32) -> u32 {
    if lower == 0 {
        upper - (upper >> 2)
    } else {
        lower
    }
}

/// Whether a server with so many connections is overloaded, when it was or was not `before`.
#[inline(always)]
#[must_use]
pub const fn after(before: bool, connections: u32, (upper, lower): (u32, u32)) -> bool {
    upper != 0 && (connections >= upper || before && connections >= lower)
}

/// All connections of a server.
#[inline(always)]
const fn connections(state: &ServerState) -> u32 {
    state.active.wrapping_add(state.inactive)
}

/// Whether a server is overloaded now.
#[inline(always)]
pub fn is_overloaded<T: Tables>(tables: &T, server: u32) -> bool {
    let Some(state) = tables.server_state(server) else {
        return false;
    };
    let Some(thresholds) = tables.thresholds(server) else {
        return false;
    };
    let before = state.overloaded != 0;
    let overloaded = after(before, connections(&state), thresholds);
    if overloaded != before {
        tables.set_overloaded(server, overloaded);
    }
    overloaded
}

/// Notes that a server is about to have another connection, which is over at once if it is of
/// `one_packet`.
#[inline(always)]
pub fn note_connection<T: Tables>(tables: &T, server: u32, one_packet: bool) {
    let Some(state) = tables.server_state(server) else {
        return;
    };
    let Some(thresholds) = tables.thresholds(server) else {
        return;
    };
    let (before, count) = (state.overloaded != 0, connections(&state));
    let mut overloaded = after(before, count, thresholds);
    overloaded = after(overloaded, count.wrapping_add(1), thresholds);
    if one_packet {
        overloaded = after(overloaded, count, thresholds);
    }
    if overloaded != before {
        tables.set_overloaded(server, overloaded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the server is overloaded after each of these numbers of connections.
    fn course(thresholds: (u32, u32), connections: &[u32]) -> Vec<bool> {
        let mut overloaded = false;
        connections
            .iter()
            .map(|count| {
                overloaded = after(overloaded, *count, thresholds);
                overloaded
            })
            .collect()
    }

    #[test]
    fn a_server_stays_overloaded_until_it_is_below_its_lower_threshold() {
        let (no, yes) = (false, true);
        assert_eq!(
            course((5, 3), &[3, 4, 5, 6, 5, 4, 3, 2, 3, 4, 5]),
            [no, no, yes, yes, yes, yes, yes, no, no, no, yes]
        );
        assert_eq!(course((1, 1), &[0, 1, 0, 1]), [no, yes, no, yes]);
        assert_eq!(course((0, 0), &[0, 1, u32::MAX]), [no, no, no]);
    }

    #[test]
    fn the_lower_threshold_is_three_quarters_unless_it_is_set() {
        for (upper, three_quarters) in [(0, 0), (1, 1), (3, 3), (4, 3), (5, 4), (8, 6), (9, 7)] {
            assert_eq!(lower(upper, 0), three_quarters, "of {upper}");
        }
        assert_eq!(lower(8, 2), 2);
    }
}
