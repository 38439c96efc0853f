//! `virtual_server_group`.

use super::block::Statement;
use super::number;
use crate::import::Extra;
use lb_common::api::Family;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The groups of a configuration, by name.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<String, Group>);

/// The members of a group: addresses first, as keepalived adds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Addresses, each with its port, 0 for all ports.
    pub(super) addresses: Vec<(IpAddr, u16)>,
    /// Marks, and their family where it is told.
    pub(super) marks: Vec<(u32, Option<Family>)>,
}

/// How many addresses a group may have.
const MOST: usize = 65536;

impl Groups {
    /// Finds a group.
    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.0.get(name)
    }

    /// Adds a group, and returns its members that make no sense.
    pub(super) fn add(&mut self, statement: &Statement) -> Vec<Extra> {
        let Some(name) = statement.word(1) else {
            return vec![statement.ignored("the group has no name")];
        };
        if self.0.contains_key(name) {
            return vec![statement.ignored("keepalived takes the first group of a name")];
        }
        let mut group = Group::default();
        let mut extras = Vec::new();
        for member in statement.block() {
            if let Err(why) = group.add(member) {
                extras.push(member.ignored(why));
            }
        }
        if group == Group::default() {
            extras.push(statement.ignored("a group without members is none"));
        } else {
            self.0.insert(name.to_owned(), group);
        }
        extras
    }
}

impl Group {
    /// The families of its addresses and marks that have one.
    pub(super) fn families(&self) -> Vec<Family> {
        let addresses = self
            .addresses
            .iter()
            .map(|(address, _)| Family::of(*address));
        let marks = self.marks.iter().filter_map(|(_, family)| *family);
        let mut families: Vec<Family> = addresses.chain(marks).collect();
        families.sort_unstable();
        families.dedup();
        families
    }

    fn add(&mut self, member: &Statement) -> Result<(), String> {
        if member.keyword() == "fwmark" {
            let mark = number::leading(member.word(1), 1, u32::MAX)?.value;
            let family = match member.word(2) {
                None => None,
                Some("inet") => Some(Family::Ipv4),
                Some("inet6") => Some(Family::Ipv6),
                Some(other) => return Err(format!("`{other}' is neither inet nor inet6")),
            };
            self.marks.push((mark, family));
            return Ok(());
        }
        let port = port(member.word(1))?;
        let (first, last) = range(member.keyword())?;
        let count = count(first, last).ok_or_else(|| {
            format!(
                "`{}' does not lead from a lower address to a higher one",
                member.keyword()
            )
        })?;
        if count > (MOST - self.addresses.len()) as u128 {
            return Err(format!(
                "a group of more than {MOST} addresses is not said one by one; \
                 use a mark for it"
            ));
        }
        let addresses = (0..count).map(|offset| (nth(first, offset), port));
        self.addresses.extend(addresses);
        Ok(())
    }
}

/// A port; none and 0 mean all ports.
pub(super) fn port(word: Option<&str>) -> Result<u16, String> {
    match word {
        Some(word) if word.bytes().any(|digit| digit != b'0') => {
            let port = number::leading(Some(word), 1, 65535)?.value;
            u16::try_from(port).map_err(|_| format!("`{word}' is no port"))
        }
        Some(_) | None => Ok(0),
    }
}

/// `ADDRESS`, `ADDRESS-LAST`, where LAST may be an address or its last part, or `ADDRESS/BITS`.
fn range(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| format!("`{text}' is no address"))
    };
    if let Some((first, bits)) = text.split_once('/') {
        let first = address(first)?;
        return network(first, bits).map(|last| (first, last));
    }
    let Some((first, last)) = text.split_once('-') else {
        let address = address(text)?;
        return Ok((address, address));
    };
    let first = address(first)?;
    if last.contains(['.', ':']) {
        let last = address(last)?;
        return if first.is_ipv4() == last.is_ipv4() {
            Ok((first, last))
        } else {
            Err(format!("`{text}' mixes families"))
        };
    }
    let wrong = |_| format!("`{last}' does not end a range");
    let last = match first {
        IpAddr::V4(first) => {
            let [a, b, c, _] = first.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, last.parse().map_err(wrong)?))
        }
        IpAddr::V6(first) => {
            let part = u16::from_str_radix(last, 16).map_err(wrong)?;
            IpAddr::V6(Ipv6Addr::from_bits(
                first.to_bits() & !0xffff | u128::from(part),
            ))
        }
    };
    // Of a short range keepalived wants two addresses at least.
    if first == last {
        return Err(format!("`{text}' ends where it begins"));
    }
    Ok((first, last))
}

/// The last address of a network whose first is `first`.
fn network(first: IpAddr, bits: &str) -> Result<IpAddr, String> {
    let width: u32 = if first.is_ipv4() { 32 } else { 128 };
    let bits = number::read(Some(bits), 1, width)?.value;
    let hosts = (1_u128 << (width - bits)) - 1;
    let last = match first {
        IpAddr::V4(first) => {
            let hosts = hosts as u32;
            (first.to_bits() & hosts == 0)
                .then(|| IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | hosts)))
        }
        IpAddr::V6(first) => (first.to_bits() & hosts == 0)
            .then(|| IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | hosts))),
    };
    last.ok_or_else(|| format!("{first} is not the first address of a network of {bits} bits"))
}

/// How many addresses there are from the first to the last; none if the last comes first.
fn count(first: IpAddr, last: IpAddr) -> Option<u128> {
    bits(last).checked_sub(bits(first))?.checked_add(1)
}

fn nth(first: IpAddr, offset: u128) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(
            first.to_bits().wrapping_add(offset as u32),
        )),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().wrapping_add(offset))),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_three_forms() {
        for (text, first, last) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1-9", "10.0.0.1", "10.0.0.9"),
            ("10.0.0.250-10.0.1.3", "10.0.0.250", "10.0.1.3"),
            ("10.0.0.8/29", "10.0.0.8", "10.0.0.15"),
            ("10.0.0.8/32", "10.0.0.8", "10.0.0.8"),
            ("2001:db8::1-ff", "2001:db8::1", "2001:db8::ff"),
            (
                "2001:db8::fe-2001:db8::101",
                "2001:db8::fe",
                "2001:db8::101",
            ),
            ("2001:db8::10/124", "2001:db8::10", "2001:db8::1f"),
            ("::/1", "::", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let expected = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(range(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "name",
            "10.0.0.1-256",
            "10.0.0.1-",
            "10.0.0.1-1",
            "10.0.0.9/29",
            "10.0.0.8/0",
            "10.0.0.8/33",
            "2001:db8::1-10.0.0.1",
            "2001:db8::1-10000",
            "10.0.0.1-2-3",
        ] {
            assert!(range(text).is_err(), "{text}");
        }
        assert_eq!(
            count("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()),
            None
        );
    }
}
