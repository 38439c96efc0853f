//! Tunnels: IP in IP, GRE, GUE (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_tunnel_xmit`).

use super::super::{Packet, Tables, Way};
use crate::reason::Reason;
use crate::wire::Frame;

/// Wraps a packet for its server.
#[inline(always)]
pub(super) fn tunnel<F: Frame, T: Tables>(
    _frame: &mut F,
    _tables: &T,
    _packet: &Packet,
    _way: &Way,
    _server: u32,
    _flags: u32,
) -> Result<(), Reason> {
    Err(Reason::Inconsistent)
}
