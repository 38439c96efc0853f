//! How a packet's way ended, in one word.

use super::Verdict;
use crate::reason::Reason;

/// A verdict, or the reason why there is none, in one word: the kind in the low half, the
/// interface or the reason's number in the upper.
///
/// As an enum it would be in two registers, one of them undefined for some variants, and the
/// kernel's verifier refuses to see such a register touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending(u64);

impl Ending {
    /// [`Verdict::Transmit`].
    pub const TRANSMIT: u32 = 0;
    /// [`Verdict::Redirect`].
    pub const REDIRECT: u32 = 1;
    /// [`Verdict::Pass`].
    pub const PASS: u32 = 2;
    /// [`Verdict::Answer`].
    pub const ANSWER: u32 = 3;
    /// No verdict.
    pub const REFUSAL: u32 = 4;
    /// The packet has further to go, see [`super::known()`]. Never at the end of a way.
    pub const FURTHER: u32 = 5;

    /// The word of a result.
    #[inline(always)]
    #[must_use]
    pub const fn of(result: Result<Verdict, Reason>) -> Self {
        match result {
            Ok(Verdict::Transmit) => Self::new(Self::TRANSMIT, 0),
            Ok(Verdict::Redirect(ifindex)) => Self::new(Self::REDIRECT, ifindex),
            Ok(Verdict::Pass) => Self::new(Self::PASS, 0),
            Ok(Verdict::Answer(reason)) => Self::new(Self::ANSWER, reason as u32),
            Err(reason) => Self::refusal(reason as u32),
        }
    }

    /// No verdict, for the reason with this number.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(reason: u32) -> Self {
        Self::new(Self::REFUSAL, reason)
    }

    /// The packet has further to go.
    #[inline(always)]
    #[must_use]
    pub const fn further() -> Self {
        Self::new(Self::FURTHER, 0)
    }

    #[inline(always)]
    const fn new(kind: u32, value: u32) -> Self {
        Self(kind as u64 | (value as u64) << 32)
    }

    /// The word's bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word with these bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One of the kinds above.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.0 as u32
    }

    /// The interface's index, or the reason's number.
    #[inline(always)]
    #[must_use]
    pub const fn value(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the sender is to be told.
    #[inline(always)]
    pub(super) const fn is_answered(self) -> bool {
        self.kind() == Self::REFUSAL && Reason::ANSWERED >> (self.value() & 63) & 1 != 0
    }

    /// What the word says.
    pub const fn result(self) -> Result<Verdict, Reason> {
        match self.kind() {
            Self::TRANSMIT => Ok(Verdict::Transmit),
            Self::REDIRECT => Ok(Verdict::Redirect(self.value())),
            Self::PASS => Ok(Verdict::Pass),
            Self::ANSWER => Ok(Verdict::Answer(Reason::from_number(self.value()))),
            _ => Err(Reason::from_number(self.value())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_result() {
        let mut results = vec![Ok(Verdict::Transmit), Ok(Verdict::Pass)];
        results.extend([Ok(Verdict::Redirect(0)), Ok(Verdict::Redirect(u32::MAX))]);
        for reason in Reason::ALL {
            results.extend([Ok(Verdict::Answer(*reason)), Err(*reason)]);
        }
        for result in results {
            assert_eq!(Ending::of(result).result(), result);
        }
    }
}
