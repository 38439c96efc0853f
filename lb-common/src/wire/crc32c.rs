//! SCTP's checksum, CRC32c (RFC 9260, appendix A), changed in place.
//!
//! A CRC is linear: that of a message and that of a changed one differ by the CRC of the change,
//! which is a few bytes and, up to the message's end, zeroes. A byte of zero multiplies the register
//! by x⁸, so any number of them is one multiplication by a power of x, modulo the polynomial.
//! Registers are reflected: the lowest bit is the highest power.

use crate::repeat::{Body, Repeat};

/// The polynomial, x³² left out (RFC 3720, section 12.1), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// 1, reflected.
const ONE: u32 = 1 << 31;

/// The register times x.
const fn times_x(register: u32) -> u32 {
    register >> 1 ^ POLYNOMIAL & (register & 1).wrapping_neg()
}

/// The powers of x to `step` times 0, 1, ... 255.
const fn powers(step: u32) -> [u32; 256] {
    let mut factor = ONE;
    let mut bit = 0;
    while bit < step {
        factor = times_x(factor);
        bit += 1;
    }
    let mut powers = [ONE; 256];
    let mut i = 1;
    while i < 256 {
        let mut product = Product::of(powers[i - 1], factor);
        let mut bit = 0;
        while bit < 32 {
            product = product.next();
            bit += 1;
        }
        powers[i] = product.product;
        i += 1;
    }
    powers
}

/// Powers of x for 0 to 255 bytes.
static BYTES: [u32; 256] = powers(8);

/// Powers of x for 0 to 255 times 256 bytes.
static PAGES: [u32; 256] = powers(8 * 256);

/// What a word's change does to the checksum of a message: to be added to it by exclusive or. `old`
/// and `new` are the word as it lies, `rest` the bytes of the message from the word on.
#[inline(always)]
pub fn change_of_word<R: Repeat>(repeat: &R, old: u16, new: u16, rest: u16) -> u32 {
    let [low, high] = rest.to_le_bytes();
    let change = u32::from(u16::from_le_bytes((old ^ new).to_ne_bytes()));
    let change = product(repeat, change, BYTES[usize::from(low)]);
    product(repeat, change, PAGES[usize::from(high)])
}

/// The product of two registers.
#[inline(always)]
fn product<R: Repeat>(repeat: &R, left: u32, right: u32) -> u32 {
    let mut body = Product::of(left, right);
    repeat.repeat(32, &mut body);
    body.product
}

/// A product in the making, a bit of `left` at a time.
struct Product {
    left: u32,
    right: u32,
    product: u32,
}

impl Product {
    #[inline(always)]
    const fn of(left: u32, right: u32) -> Self {
        Self {
            left,
            right,
            product: 0,
        }
    }

    #[inline(always)]
    const fn next(&self) -> Self {
        let summand = if self.left & ONE != 0 { self.right } else { 0 };
        Self {
            left: self.left << 1,
            right: times_x(self.right),
            product: self.product ^ summand,
        }
    }
}

impl Body for Product {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        *self = self.next();
        false
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::layout::Sizes;
    use crate::memory::Memory;
    use proptest::prelude::*;

    /// A bit at a time.
    fn plain(bytes: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for byte in bytes {
            register ^= u32::from(*byte);
            for _ in 0..8 {
                register = times_x(register);
            }
        }
        !register
    }

    #[test]
    fn the_polynomial_is_rfc_3720s() {
        // Appendix B.4.
        assert_eq!(plain(&[0; 32]), 0x8a91_36aa);
        assert_eq!(plain(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(plain(&counting), 0x46dd_794e);
    }

    proptest! {
        #[test]
        fn a_changed_word_changes_the_checksum_so(
            mut bytes in prop::collection::vec(any::<u8>(), 2..2000),
            at: prop::sample::Index,
            new: u16,
        ) {
            let tables = Memory::new(Sizes { services: 1, servers: 1, flows: 1 });
            let at = at.index(bytes.len() - 1);
            let before = plain(&bytes);
            let old = u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_ne_bytes());
            let rest = u16::try_from(bytes.len() - at).unwrap();
            prop_assert_eq!(before ^ change_of_word(&tables, old, new, rest), plain(&bytes));
        }
    }

    #[test]
    fn the_longest_message_is_no_exception() {
        let tables = Memory::new(Sizes {
            services: 1,
            servers: 1,
            flows: 1,
        });
        let mut bytes = vec![0x5a; 65_535];
        let before = plain(&bytes);
        bytes[..2].copy_from_slice(&[1, 2]);
        let (old, new) = (u16::from_ne_bytes([0x5a; 2]), u16::from_ne_bytes([1, 2]));
        let change = change_of_word(&tables, old, new, 65_535);
        assert_eq!(before ^ change, plain(&bytes));
    }
}
