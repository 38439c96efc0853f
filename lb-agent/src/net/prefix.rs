//! A block of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// The addresses of `address/length` in order; bits beyond the prefix are ignored, a length
/// beyond the family's means one address.
pub(super) fn range(address: IpAddr, length: u8) -> RangeInclusive<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            let first = v4.to_bits() & !host;
            Ipv4Addr::from_bits(first).into()..=Ipv4Addr::from_bits(first | host).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            let first = v6.to_bits() & !host;
            Ipv6Addr::from_bits(first).into()..=Ipv6Addr::from_bits(first | host).into()
        }
    }
}

/// All addresses of the family of `address`.
pub(super) fn family(address: IpAddr) -> RangeInclusive<IpAddr> {
    range(address, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str, length: u8) -> (String, String) {
        let range = range(address.parse().unwrap(), length);
        (range.start().to_string(), range.end().to_string())
    }

    #[test]
    fn a_prefix_is_its_first_to_its_last_address() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("10.1.2.3", 24), pair("10.1.2.0", "10.1.2.255"));
        assert_eq!(of("10.1.2.3", 32), pair("10.1.2.3", "10.1.2.3"));
        assert_eq!(of("10.1.2.3", 0), pair("0.0.0.0", "255.255.255.255"));
        assert_eq!(of("fd00::1:2", 112), pair("fd00::1:0", "fd00::1:ffff"));
        assert_eq!(of("fd00::1", 128), pair("fd00::1", "fd00::1"));
        assert_eq!(
            of("fd00::1", 0),
            pair("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        );
    }
}
