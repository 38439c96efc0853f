//! Explicit congestion notification across tunnels (RFC 6040).

/// The codepoints of the ECN field (RFC 3168, section 5).
pub mod codepoint {
    /// Not capable of ECN.
    pub const NOT_ECT: u8 = 0b00;
    /// Capable, ECT(1).
    pub const ECT_1: u8 = 0b01;
    /// Capable, ECT(0).
    pub const ECT_0: u8 = 0b10;
    /// Congestion was met.
    pub const CE: u8 = 0b11;
}

/// What the inner header's field becomes when the outer header goes; none where the packet must
/// be dropped, for its sender could not be told of the congestion (RFC 6040, figure 4). Only the
/// low two bits of the arguments count.
#[inline(always)]
#[must_use]
pub const fn merge(inner: u8, outer: u8) -> Option<u8> {
    use codepoint::{CE, ECT_0, ECT_1, NOT_ECT};
    match (inner & 0b11, outer & 0b11) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::codepoint::{CE, ECT_0, ECT_1, NOT_ECT};
    use super::*;

    #[test]
    fn every_pair_is_rfc_6040s() {
        // Figure 4: rows are the arriving inner header, columns the arriving outer header.
        let columns = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, results) in rows {
            for (outer, result) in columns.into_iter().zip(results) {
                assert_eq!(merge(inner, outer), result, "{inner:02b} in {outer:02b}");
            }
        }
    }
}
