//! ICMP errors about flows.

use super::{Packet, Tables, Verdict};
use crate::reason::Reason;
use crate::wire::Frame;

/// An ICMP error.
#[inline(always)]
pub fn error<F: Frame, T: Tables>(
    _frame: &mut F,
    _tables: &T,
    _packet: &Packet,
) -> Result<Verdict, Reason> {
    Err(Reason::NoQuotedFlow)
}
