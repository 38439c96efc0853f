//! The order of services and servers in listings.
//!
//! Marks and addresses are compared as ipvsadm compares them: the difference of two 32-bit
//! words as a signed number, which goes in circles (192.0.0.1 stands before 10.0.0.1, 10.0.0.1
//! before 129.0.0.1, and that before 192.0.0.1). What comes of it depends on the first order
//! and on the sorting: it is the merge sort of the C library's `qsort`.

use lb_common::api::{Family, ServerStatus, ServiceAddress, ServiceStatus};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};

/// Sorts services: by mark, family, protocol, address, port.
pub(super) fn services(services: Vec<ServiceStatus>) -> Vec<ServiceStatus> {
    merge_sort(services, &|a, b| compare_services(&a.service, &b.service))
}

/// Sorts servers: by address, port.
pub(super) fn servers(servers: Vec<ServerStatus>) -> Vec<ServerStatus> {
    merge_sort(servers, &|a, b| {
        let (a, b) = (a.server, b.server);
        compare_addresses(a.address, b.address).then(a.port.cmp(&b.port))
    })
}

fn compare_services(a: &ServiceAddress, b: &ServiceAddress) -> Ordering {
    let (a, b) = (Key::of(a), Key::of(b));
    circular(a.mark, b.mark)
        .then(a.ipv6.cmp(&b.ipv6))
        .then(a.protocol.cmp(&b.protocol))
        .then_with(|| compare_addresses(a.address, b.address))
        .then(a.port.cmp(&b.port))
}

/// What services are sorted by.
struct Key {
    mark: u32,
    ipv6: bool,
    protocol: u8,
    address: IpAddr,
    port: u16,
}

impl Key {
    fn of(service: &ServiceAddress) -> Self {
        let ipv6 = service.family() == Family::Ipv6;
        match *service {
            ServiceAddress::Address {
                protocol,
                address,
                port,
            } => Self {
                mark: 0,
                ipv6,
                protocol: protocol.number(),
                address,
                port,
            },
            ServiceAddress::Mark { mark, .. } => Self {
                mark,
                ipv6,
                protocol: 0,
                address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port: 0,
            },
        }
    }
}

fn compare_addresses(a: IpAddr, b: IpAddr) -> Ordering {
    words(a)
        .iter()
        .zip(&words(b))
        .map(|(a, b)| circular(*a, *b))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The sign of the difference as C's `int` has it.
fn circular(a: u32, b: u32) -> Ordering {
    (a.wrapping_sub(b) as i32).cmp(&0)
}

/// An address as four words; IPv4 is one word and three zeros.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}

/// The halves are sorted, then merged; the left one goes first unless it is greater.
fn merge_sort<T>(mut items: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let mut left = merge_sort(items, compare).into_iter().peekable();
    let mut right = merge_sort(right, compare).into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(a, b).is_gt() {
            right.next()
        } else {
            left.next()
        };
        merged.extend(next);
    }
    merged.extend(left);
    merged.extend(right);
    merged
}
