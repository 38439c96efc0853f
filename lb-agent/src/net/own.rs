//! The director's own addresses, through getifaddrs(3).

use lb_common::api::Family;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use std::net::IpAddr;

/// An address to send from by an interface: one of the interface's, else any other that other
/// hosts know.
pub(crate) fn own_address(interface: &str, family: Family) -> Option<IpAddr> {
    let of_interface = |own: &&Own| own.interface == interface;
    let all = own_addresses(family);
    best(all.iter().filter(of_interface)).or_else(|| best(all.iter()))
}

/// The address by which others know an interface.
pub(crate) fn interface_address(interface: &str, family: Family) -> Option<IpAddr> {
    let all = own_addresses(family);
    best(all.iter().filter(|own| own.interface == interface))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    interface: String,
    address: IpAddr,
    /// It has no network on the interface, as virtual addresses have none.
    alone: bool,
}

/// The first that has a network, else the first.
fn best<'a>(mut owns: impl Iterator<Item = &'a Own> + Clone) -> Option<IpAddr> {
    let first = owns.clone().next();
    let found = owns.find(|own| !own.alone).or(first);
    found.map(|own| own.address)
}

fn own_addresses(family: Family) -> Vec<Own> {
    let Ok(addresses) = getifaddrs() else {
        return Vec::new();
    };
    addresses
        .filter_map(|own| {
            let address = ip(own.address.as_ref()?)?;
            let alone = own
                .netmask
                .as_ref()
                .and_then(ip)
                .is_some_and(|mask| match mask {
                    IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
                    IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
                });
            let usable = Family::of(address) == family && is_known_to_others(address);
            usable.then_some(Own {
                interface: own.interface_name,
                address,
                alone,
            })
        })
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4().or_else(v6)
}

fn is_known_to_others(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_network_comes_before_one_alone() {
        let own = |last, alone| Own {
            interface: "eth0".to_owned(),
            address: [10, 0, 0, last].into(),
            alone,
        };
        let all = [own(100, true), own(2, false), own(3, false)];
        assert_eq!(best(all.iter()), Some([10, 0, 0, 2].into()));
        assert_eq!(best(all[..1].iter()), Some([10, 0, 0, 100].into()));
        assert_eq!(best(all[..0].iter()), None);
    }

    #[test]
    fn nobody_is_told_of_addresses_that_mean_something_else_to_them() {
        for address in ["127.0.0.1", "169.254.1.1", "::1", "fe80::1"] {
            assert!(!is_known_to_others(address.parse().expect("an address")));
        }
        assert!(is_known_to_others([192, 0, 2, 1].into()));
    }
}
