//! The Internet checksum (RFC 1071), changed in place (RFC 1624).
//!
//! One's-complement sums do not care for byte order: a sum of words as they lie is the sum of
//! numbers, as it lies. So everything here works on words as they lie in the packet.

use super::Frame;
use crate::addr::Addr;
use crate::repeat::{Body, Repeat};

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

/// The checksum field for a sum of words: of 16, 32 or 48 bits, for all of them weigh the same.
#[inline(always)]
#[must_use]
pub const fn field(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The sum of the words of two addresses, of the halves that differ between a family's addresses.
#[inline(always)]
#[must_use]
pub const fn addresses(source: Addr, destination: Addr) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (source.words(), destination.words());
    let last = d as u64 + h as u64;
    if source.is_v4() {
        return last;
    }
    last + a as u64 + b as u64 + c as u64 + e as u64 + f as u64 + g as u64
}

/// The sum of the pseudo header that transport checksums cover (RFC 9293, section 3.1; RFC 8200,
/// section 8.1): `len` is the length in bytes of the transport header and its data.
#[inline(always)]
#[must_use]
pub const fn pseudo(source: Addr, destination: Addr, protocol: u8, len: u16) -> u64 {
    addresses(source, destination) + (protocol as u16).to_be() as u64 + len.to_be() as u64
}

/// The sum of `len` bytes of a frame from `offset` on, as words as they lie; a byte of zero follows
/// an odd one. None when the frame ends before.
///
/// It reads every byte, and costs as much: a few hundred nanoseconds for a full frame.
#[inline(always)]
fn sum<F: Frame, R: Repeat>(frame: &mut F, repeat: &R, offset: usize, len: usize) -> Option<u64> {
    let mut body = Sum {
        frame,
        at: offset as u32,
        left: len as u32,
        sum: 0,
    };
    repeat.repeat((len / CHUNK + 1) as u32, &mut body);
    (body.left == 0).then_some(body.sum)
}

/// A checksum that is to be made by reading every byte it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(u64);

impl Span {
    const UDP: u64 = 1 << 48;

    /// A checksum in the field at `field` over `len` bytes from `at` on, 1 at least. What it covers
    /// besides, a pseudo header, is in the field already, by [`Span::begin`].
    #[inline(always)]
    #[must_use]
    pub const fn new(at: usize, len: u16, field: usize) -> Self {
        Self(at as u64 & 0xffff | (len as u64) << 16 | (field as u64 & 0x7f) << 32)
    }

    /// The same for UDP, where a sum of zero is written as all ones (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn udp(self) -> Self {
        Self(self.0 | Self::UDP)
    }

    /// What the field holds at first, when besides the bytes these words are covered.
    #[inline(always)]
    #[must_use]
    pub const fn begin(pseudo: u64) -> u16 {
        !field(pseudo)
    }

    /// The span as a number of more than 16 bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The span of the number that [`Span::bits`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Makes a checksum; none when the frame ends before.
#[inline(always)]
pub fn fill<F: Frame, R: Repeat>(frame: &mut F, repeat: &R, span: Span) -> Option<()> {
    let (at, len) = (span.0 as usize & 0xffff, (span.0 >> 16) as usize & 0xffff);
    let sum = field(sum(frame, repeat, at, len)?);
    let sum = if sum == 0 && span.0 & Span::UDP != 0 {
        0xffff
    } else {
        sum
    };
    *frame.window::<2>((span.0 >> 32) as usize & 0x7f)? = sum.to_ne_bytes();
    Some(())
}

/// Bytes that one turn of [`sum`] adds.
const CHUNK: usize = 64;

struct Sum<'a, F> {
    frame: &'a mut F,
    at: u32,
    left: u32,
    sum: u64,
}

impl<F: Frame> Body for Sum<'_, F> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let len = if self.left < CHUNK as u32 {
            self.left
        } else {
            CHUNK as u32
        };
        let mut chunk = [0_u64; CHUNK / 8];
        if self.frame.load(self.at, len, &mut chunk).is_none() {
            return true;
        }
        for word in chunk {
            self.sum += (word & 0xffff_ffff) + (word >> 32);
        }
        self.at += len;
        self.left -= len;
        self.left == 0
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::layout::Sizes;
    use crate::memory::Memory;
    use crate::wire::Buffer;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, in host order.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    const TABLES: Sizes = Sizes {
        services: 1,
        servers: 1,
        flows: 1,
    };

    proptest! {
        #[test]
        fn a_sum_is_rfc_1071s(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 1..300),
            offset in 0usize..64,
        ) {
            let tables = Memory::new(TABLES);
            let offset = offset.min(bytes.len() - 1);
            let len = bytes.len() - offset;
            let right = plain(&bytes[offset..]);
            let sum = sum(&mut Buffer::new(&bytes), &tables, offset, len);
            prop_assert_eq!(sum.map(field), Some(right.to_be()));
        }

        #[test]
        fn a_mended_field_is_a_new_sums(
            mut bytes in any::<[u8; 40]>(),
            new in any::<[u32; 4]>(),
            port: u16,
        ) {
            let word = |bytes: &[u8; 40], at: usize| {
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let old = [0, 4, 8, 12].map(|at| word(&bytes, at));
            let old_port = u16::from_ne_bytes([bytes[20], bytes[21]]);
            let before = plain(&bytes).to_be();
            for (at, new) in [0, 4, 8, 12].into_iter().zip(new) {
                bytes[at..at + 4].copy_from_slice(&new.to_ne_bytes());
            }
            bytes[20..22].copy_from_slice(&port.to_ne_bytes());
            let mended = mend(before, change(old, new) + change_of_word(old_port, port));
            let right = plain(&bytes).to_be();
            // All ones and all zeroes are the same sum.
            prop_assert!(mended == right || mended ^ right == 0xffff && (right == 0 || mended == 0));
        }
    }

    #[test]
    fn a_frame_that_ends_before_has_no_sum() {
        let tables = Memory::new(TABLES);
        let mut frame = Buffer::new(&[0; 100]);
        assert_eq!(sum(&mut frame, &tables, 37, 64), None);
        assert!(sum(&mut frame, &tables, 36, 64).is_some());
    }
}
