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
            turns: (server.last_weight / divisor >> shift).max((server.last_weight != 0).into()),
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
