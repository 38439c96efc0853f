//! The lookup tables of sh, dh and mh, which the agent makes.
//!
//! A slot holds a server's place in its service's list plus 1, or 0.

use super::hashing::{MH_KEYS, MH_SLOTS, SLOTS, fold, siphash};
use super::{Kind, gcd};
use crate::addr::Addr;

/// A server as the tables need it, in its service's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its weight.
    pub weight: u32,
    /// Its weight before it was quiesced, if it is.
    pub last_weight: u32,
    /// Its address, as hashes take it: of a service for IPv4 with an IPv6 server the first word.
    pub address: Addr,
    /// Its port in host order.
    pub port: u16,
}

/// The table of a service's servers, newest first; none when the scheduler has none.
#[must_use]
pub fn table(kind: Kind, servers: &[Server]) -> Option<Vec<u16>> {
    if kind == Kind::Sh {
        Some(in_turns(servers, |server| server.weight.max(1)))
    } else if kind == Kind::Dh {
        Some(in_turns(servers, |_| 1))
    } else if kind == Kind::Mh {
        Some(maglev(servers))
    } else {
        None
    }
}

/// The most servers that a scheduler has room for.
#[must_use]
pub const fn most_servers(kind: Kind) -> u32 {
    match kind {
        Kind::Mh => MH_SLOTS,
        Kind::Rr
        | Kind::Wrr
        | Kind::Lc
        | Kind::Wlc
        | Kind::Lblc
        | Kind::Lblcr
        | Kind::Dh
        | Kind::Sh
        | Kind::Sed
        | Kind::Nq
        | Kind::Fo
        | Kind::Ovf
        | Kind::Twos => crate::layout::MAX_MEMBERS,
    }
}

/// Each server has so many slots one behind the other, again and again
/// (`ip_vs_sh_reassign`, `ip_vs_dh_reassign`).
fn in_turns(servers: &[Server], slots: impl Fn(&Server) -> u32) -> Vec<u16> {
    let mut table: Vec<u16> = (1..)
        .zip(servers)
        .cycle()
        .flat_map(|(place, server)| std::iter::repeat_n(place, slots(server) as usize))
        .take(SLOTS as usize)
        .collect();
    table.resize(SLOTS as usize, 0);
    table
}

/// The servers take turns; in its turns each takes the next free slots of an order of its own
/// (`ip_vs_mh_permutate`, `ip_vs_mh_populate`).
fn maglev(servers: &[Server]) -> Vec<u16> {
    /// CONFIG_IP_VS_MH_TAB_INDEX, halved: weights above 2^6 are rounded.
    const TAB_BITS: u32 = 6;

    struct Order {
        place: u16,
        next: u32,
        skip: u32,
        turns: u32,
    }

    let mut table = vec![0; MH_SLOTS as usize];
    let divisor = servers.iter().map(|s| s.last_weight).fold(0, gcd);
    if divisor == 0 {
        return table;
    }
    let highest = servers.iter().map(|s| s.last_weight).max().unwrap_or(0) / divisor;
    let shift = (u32::BITS - highest.leading_zeros()).saturating_sub(TAB_BITS);
    let order = |(place, server): (u16, &Server)| {
        let number = fold(server.address).wrapping_add(server.port.into());
        Order {
            place,
            next: siphash(number, MH_KEYS[0]) % MH_SLOTS,
            skip: siphash(number, MH_KEYS[1]) % (MH_SLOTS - 1) + 1,
            turns: ((server.last_weight / divisor) >> shift).max((server.last_weight != 0).into()),
        }
    };
    let mut orders: Vec<Order> = (1..).zip(servers).map(order).collect();
    let mut free = MH_SLOTS;
    loop {
        for order in &mut orders {
            for _ in 0..order.turns {
                while table[order.next as usize] != 0 {
                    order.next = (order.next + order.skip) % MH_SLOTS;
                }
                table[order.next as usize] = order.place;
                free -= 1;
                if free == 0 {
                    return table;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    /// Servers 10.0.0.11, .12 and .13 of these weights, added in this order, on port 80.
    fn servers(weights: [u32; 3]) -> Vec<Server> {
        let server = |(last, weight)| Server {
            weight,
            last_weight: weight,
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)).into(),
            port: 80,
        };
        (11..=13u8).zip(weights).map(server).rev().collect()
    }

    /// CRC-32 of the places as bytes, the first being 0.
    fn checksum(table: &[u16]) -> u32 {
        let crc = table.iter().fold(u32::MAX, |crc, place| {
            let byte = u32::from(*place) - 1;
            (0..8).fold(crc ^ byte, |crc, _| {
                crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        });
        !crc
    }

    /// How many slots the servers have, by place.
    fn counts(table: &[u16]) -> [usize; 3] {
        [1, 2, 3].map(|place| table.iter().filter(|slot| **slot == place).count())
    }

    #[test]
    fn maglev_tables_are_the_kernels() {
        // Made by the kernel's own sources, compiled unmodified.
        for (weights, expected, crc) in [
            ([1, 1, 2], [2047, 1023, 1023], 0xc9cf_f002),
            ([1, 1, 1], [1365, 1364, 1364], 0x9967_67c2),
            ([100, 300, 5000], [3793, 225, 75], 0x674e_2fdd),
            ([1, 1, 1000], [3967, 63, 63], 0xf548_05a8),
        ] {
            let table = table(Kind::Mh, &servers(weights)).unwrap();
            assert_eq!(counts(&table), expected, "{weights:?}");
            assert_eq!(checksum(&table), crc, "{weights:?}");
        }
        let table = table(Kind::Mh, &servers([1, 1, 2])).unwrap();
        let first: Vec<u16> = table[..16].iter().map(|place| 14 - place).collect();
        assert_eq!(
            first,
            [
                12, 13, 13, 13, 12, 13, 11, 11, 13, 12, 12, 13, 13, 12, 13, 12
            ]
        );
    }

    #[test]
    fn maglev_goes_by_the_weights_before_servers_were_quiesced() {
        let all = servers([1, 1, 2]);
        let mut quiesced = all.clone();
        quiesced[0].weight = 0;
        assert_eq!(table(Kind::Mh, &quiesced), table(Kind::Mh, &all));
        quiesced[0].last_weight = 0;
        let without = table(Kind::Mh, &quiesced).unwrap();
        assert_eq!(counts(&without)[0], 0);
        let none: Vec<Server> = quiesced
            .iter()
            .map(|server| Server {
                last_weight: 0,
                ..*server
            })
            .collect();
        assert_eq!(table(Kind::Mh, &none), Some(vec![0; 4093]));
        assert_eq!(table(Kind::Mh, &[]), Some(vec![0; 4093]));
    }

    #[test]
    fn sh_goes_by_weight_and_dh_does_not() {
        let sh = |weights| table(Kind::Sh, &servers(weights)).unwrap();
        assert_eq!(sh([1, 1, 2])[..8], [1, 1, 2, 3, 1, 1, 2, 3]);
        assert_eq!(sh([1, 1, 0])[..6], [1, 2, 3, 1, 2, 3], "one slot is least");
        assert_eq!(sh([1, 1, 300]), [1; 256]);
        let dh = table(Kind::Dh, &servers([1, 1, 2])).unwrap();
        assert_eq!(dh[252..], [1, 2, 3, 1]);
        for kind in [Kind::Sh, Kind::Dh] {
            assert_eq!(table(kind, &[]), Some(vec![0; 256]));
        }
        assert_eq!(table(Kind::Wlc, &servers([1, 1, 2])), None);
    }
}
