//! Keyed hashes of addresses and ports.
//!
//! All of them are multiply-and-fold mixes under secret seeds: a few nanoseconds for a whole
//! 5-tuple where SipHash takes twelve. They spread load and tell flows apart against an
//! outsider who does not know the seeds; they are no signature.

/// Odd constants without structure: the fractional parts of roots, as in SplitMix64.
const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xff51_afd7_ed55_8ccd;
const K2: u64 = 0xc4ce_b9fe_1a85_ec53;

/// Folds one word into a running hash.
#[inline(always)]
#[must_use]
pub const fn fold(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(K1);
    mixed ^ (mixed >> 32)
}

/// Ends a hash: every input bit reaches every output bit.
#[inline(always)]
#[must_use]
pub const fn finish(state: u64) -> u64 {
    let mixed = state.wrapping_mul(K2);
    let mixed = mixed ^ (mixed >> 29);
    let mixed = mixed.wrapping_mul(K0);
    mixed ^ (mixed >> 32)
}

/// A number below `bound`, evenly spread over the upper half of `hash`'s values.
#[inline(always)]
#[must_use]
pub const fn below(hash: u32, bound: u32) -> u32 {
    ((hash as u64 * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_spread_evenly() {
        let bound = 1000;
        let mut count = vec![0u32; bound as usize];
        for word in 0..100_000u64 {
            count[below(finish(fold(7, word)) as u32, bound) as usize] += 1;
        }
        let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
        assert!(*least > 50 && *most < 150, "{least}..{most}");
    }
}
