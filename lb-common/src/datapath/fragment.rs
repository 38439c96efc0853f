//! Fragments: the later ones follow the first.

use super::{Packet, Tables, Verdict};
use crate::flow::Word;
use crate::reason::Reason;
use crate::wire::Frame;

/// Remembers where the first fragment of a client's packet went: with the connection of `word`.
#[inline(always)]
pub fn remember<T: Tables>(_tables: &T, _packet: &Packet, _word: Word) {}

/// Remembers that the first fragment of a masqueraded server's packet went back to its client.
#[inline(always)]
pub fn remember_reply<T: Tables>(_tables: &T, _packet: &Packet) {}

/// A later fragment.
#[inline(always)]
pub fn follow<F: Frame, T: Tables>(
    _frame: &mut F,
    _tables: &T,
    _packet: &Packet,
) -> Result<Verdict, Reason> {
    Err(Reason::Fragment)
}
