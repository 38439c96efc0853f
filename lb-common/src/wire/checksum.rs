//! The Internet checksum (RFC 1071), changed in place (RFC 1624).
//!
//! One's-complement sums do not care for byte order: a sum of words as they lie is the sum of
//! numbers, as it lies. So everything here works on words as they lie in the packet.

/// Adds a word to a checksum field. Adding to the field is taking from the data it covers.
#[inline(always)]
#[must_use]
pub const fn add(field: u16, word: u16) -> u16 {
    let sum = field as u32 + word as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    // A field of all ones and one of zero mean the same sum; a header's true sum is never zero,
    // so its field is never all ones (RFC 1624, section 3).
    if sum == 0xffff { 0 } else { sum as u16 }
}
