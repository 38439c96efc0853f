//! Answers to senders whose packets cannot go on.

use super::{Packet, Tables, Verdict};
use crate::reason::Reason;
use crate::wire::Frame;

/// Makes an answer of the frame.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(
    _frame: &mut F,
    _tables: &T,
    _packet: &Packet,
    reason: Reason,
) -> Result<Verdict, Reason> {
    Err(reason)
}
