//! The lab's addresses and the names of its hosts.
//!
//! | host | IPv4 (/24) | IPv6 (/64) |
//! |---|---|---|
//! | client | 10.0.0.1 | fd00::1 |
//! | director1, director2 | 10.0.0.2, 10.0.0.3 | fd00::2, fd00::3 |
//! | server1, server2, ... | 10.0.0.11, 10.0.0.12, ... | fd00::11, fd00::12, ... |
//! | VIP: director1's eth0, every server's lo | 10.0.0.100/32 | fd00::100/128 |
//!
//! The IPv6 address of a host reads like the last number of its IPv4 address.

use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The virtual IPv4 address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// The virtual IPv6 address.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);

/// The client's IPv4 address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The first director's IPv4 address.
pub const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// The most real servers that the address plan has room for.
pub const MOST_SERVERS: usize = 80;

/// How many hosts a lab has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Directors, 1 or 2; the first holds the VIP.
    pub directors: usize,
    /// Real servers, up to [`MOST_SERVERS`].
    pub servers: usize,
}

impl Plan {
    /// One director and so many servers.
    #[must_use]
    pub const fn servers(servers: usize) -> Self {
        Self {
            directors: 1,
            servers,
        }
    }

    /// # Errors
    /// When the address plan has no room for the hosts.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (1..=2).contains(&self.directors),
            "{} directors: a lab has 1 or 2",
            self.directors
        );
        ensure!(
            self.servers <= MOST_SERVERS,
            "{} servers: a lab has at most {MOST_SERVERS}",
            self.servers
        );
        Ok(())
    }
}

/// The name of a director, counted from 1.
#[must_use]
pub fn director(number: usize) -> String {
    format!("director{number}")
}

/// The name of a real server, counted from 1.
#[must_use]
pub fn server(number: usize) -> String {
    format!("server{number}")
}

/// The IPv4 address of a real server, counted from 1.
///
/// # Panics
/// Beyond [`MOST_SERVERS`].
#[must_use]
pub fn server_address(number: usize) -> Ipv4Addr {
    address(server_last(number))
}

/// The IPv4 address whose last number this is.
pub(super) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// The IPv6 address that reads like it.
pub(super) fn address6(last: u8) -> String {
    format!("fd00::{last}")
}

/// The last number of a director's address.
///
/// # Panics
/// Beyond two directors.
pub(super) fn director_last(number: usize) -> u8 {
    assert!((1..=2).contains(&number), "no director {number}");
    [2, 3][number - 1]
}

/// The last number of a real server's address.
///
/// # Panics
/// Beyond [`MOST_SERVERS`].
pub(super) fn server_last(number: usize) -> u8 {
    u8::try_from(10 + number)
        .ok()
        .filter(|_| (1..=MOST_SERVERS).contains(&number))
        .unwrap_or_else(|| panic!("no server {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_hosts_share_an_address_and_none_has_the_vip() {
        let mut taken = vec![CLIENT, VIP];
        assert_eq!(address(director_last(1)), DIRECTOR);
        taken.extend((1..=2).map(|n| address(director_last(n))));
        taken.extend((1..=MOST_SERVERS).map(server_address));
        let all = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), all);
    }

    #[test]
    fn plans_beyond_the_room_are_refused() {
        assert!(
            Plan {
                directors: 3,
                servers: 1
            }
            .check()
            .is_err()
        );
        assert!(
            Plan {
                directors: 0,
                servers: 1
            }
            .check()
            .is_err()
        );
        assert!(Plan::servers(MOST_SERVERS + 1).check().is_err());
        assert!(Plan::servers(MOST_SERVERS).check().is_ok());
    }
}
