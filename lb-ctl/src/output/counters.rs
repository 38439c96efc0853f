//! `-L --stats` and `-L --rate`.

use lb_common::api::{Counters, Rates};
use std::io::{self, Write};

pub(super) const STATS_TITLE: &str = "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
     -> RemoteAddress:Port\n";

pub(super) const RATE_TITLE: &str = "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  \
     -> RemoteAddress:Port\n";

/// The five counters and the line's end.
pub(super) fn stats(counters: &Counters, exact: bool, out: &mut dyn Write) -> io::Result<()> {
    let Counters {
        connections,
        in_packets,
        out_packets,
        in_bytes,
        out_bytes,
    } = *counters;
    for number in [connections, in_packets, out_packets, in_bytes, out_bytes] {
        large(number, exact, out)?;
    }
    writeln!(out)
}

/// The five rates and the line's end.
pub(super) fn rates(rates: &Rates, exact: bool, out: &mut dyn Write) -> io::Result<()> {
    let Rates {
        connections,
        in_packets,
        out_packets,
        in_bytes,
        out_bytes,
    } = *rates;
    for number in [connections, in_packets, out_packets] {
        write!(out, " {number:>8}")?;
    }
    for number in [in_bytes, out_bytes] {
        large(number, exact, out)?;
    }
    writeln!(out)
}

/// The units of large numbers, from where on they are used, and what they stand for.
const UNITS: &[(u64, u64, char)] = &[
    (100_000_000_000_000, 1_000_000_000_000, 'T'),
    (100_000_000_000, 1_000_000_000, 'G'),
    (1_000_000_000, 1_000_000, 'M'),
    (100_000_000, 1_000, 'K'),
];

/// A number in nine columns: scaled down, or with all its digits behind at least one blank.
fn large(number: u64, exact: bool, out: &mut dyn Write) -> io::Result<()> {
    if exact {
        return write!(out, "{:>9}", format!(" {number}"));
    }
    match UNITS.iter().find(|(from, ..)| number >= *from) {
        Some((_, unit, letter)) => write!(out, "{:>8}{letter}", number / unit),
        None => write!(out, "{number:>9}"),
    }
}

#[cfg(test)]
mod tests {
    use super::large;

    fn text(number: u64, exact: bool) -> String {
        let mut out = Vec::new();
        large(number, exact, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn large_numbers_are_scaled() {
        for (number, expected) in [
            (0, "        0"),
            (99_999_999, " 99999999"),
            (100_000_000, "  100000K"),
            (123_456_789, "  123456K"),
            (999_999_999, "  999999K"),
            (1_000_000_000, "    1000M"),
            (99_999_999_999, "   99999M"),
            (100_000_000_000, "     100G"),
            (99_999_999_999_999, "   99999G"),
            (100_000_000_000_000, "     100T"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(text(number, false), expected, "{number}");
        }
    }

    #[test]
    fn exact_numbers_keep_their_digits() {
        for (number, expected) in [
            (5, "        5"),
            (99_999_999, " 99999999"),
            (123_456_789, " 123456789"),
            (98_765_432_101, " 98765432101"),
        ] {
            assert_eq!(text(number, true), expected, "{number}");
        }
    }
}
