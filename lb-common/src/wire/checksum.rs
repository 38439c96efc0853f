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

/// What changes in a sum when addresses change: to be given to [`mend`].
#[inline(always)]
#[must_use]
pub const fn change(old: [u32; 4], new: [u32; 4]) -> u32 {
    // Words that a family has in common cancel out.
    let mut sum = 0_u64;
    let mut i = 0;
    while i < 4 {
        sum += !old[i] as u64 + new[i] as u64;
        i += 1;
    }
    // Eight halves at most: they fit.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum as u32
}

/// What changes in a sum when one word does.
#[inline(always)]
#[must_use]
pub const fn change_of_word(old: u16, new: u16) -> u32 {
    !old as u32 + new as u32
}

/// A checksum field after changes of what it covers (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn mend(field: u16, change: u32) -> u16 {
    let sum = !field as u32 + (change & 0xffff) + (change >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
