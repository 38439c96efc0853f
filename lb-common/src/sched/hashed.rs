//! sh, dh and mh: the server in the slot of an address's hash (net/netfilter/ipvs/ip_vs_sh.c,
//! ip_vs_dh.c, ip_vs_mh.c).

use super::hashing::{MH_KEYS, MH_SLOTS, SLOTS, fold, siphash, slot};
use super::{Kind, is_usable};
use crate::datapath::{Packet, Stages};
use crate::layout::{Service, service_flags};
use crate::repeat::Body;

const MH: u32 = Kind::Mh as u32;

/// The server for a packet; with the fallback flag, another one instead of a server that cannot
/// be used.
#[inline(always)]
pub(super) fn pick<T: Stages>(tables: &T, service: &Service, packet: &Packet) -> Option<u32> {
    let by_destination = service.scheduler == Kind::Dh as u32;
    let mut number = if by_destination {
        fold(packet.tuple.address)
    } else {
        fold(packet.tuple.client)
    };
    if !by_destination && service.flags & service_flags::SCHED_2 != 0 {
        number = number.wrapping_add(packet.tuple.client_port().number().into());
    }
    let mh = service.scheduler == MH;
    let start = if mh {
        siphash(number, MH_KEYS[0]) % MH_SLOTS
    } else {
        slot(number)
    };
    let mut search = Search {
        tables,
        service,
        number,
        start,
        slot: start,
        tried: 0,
        found: 0,
    };
    let fallback = !by_destination && service.flags & service_flags::SCHED_1 != 0;
    let slots = if mh { MH_SLOTS } else { SLOTS };
    tables.repeat(if fallback { slots + 1 } else { 1 }, &mut search);
    search.found.checked_sub(1).map(|server| server as u32)
}

/// The search through the slots, one a turn.
#[repr(C)]
struct Search<'a, T> {
    tables: &'a T,
    service: &'a Service,
    /// Slots behind the first that were tried.
    tried: u64,
    /// The server's id plus 1; 0 for none.
    found: u64,
    /// What is hashed.
    number: u32,
    /// The first slot.
    start: u32,
    /// The slot in this turn.
    slot: u32,
}

impl<T: Stages> Body for Search<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Service {
            first,
            flags,
            table,
            table_len,
            ..
        } = *self.service;
        if self.slot >= table_len {
            return true;
        }
        let place = self.tables.table_slot(table.wrapping_add(self.slot));
        let place = u32::from(place.unwrap_or(0));
        if place == 0 {
            return true;
        }
        let Some(member) = self.tables.member(first.wrapping_add(place - 1)) else {
            return true;
        };
        if is_usable(self.tables, member, flags) {
            self.found = u64::from(member.server) + 1;
            return true;
        }
        self.slot = if self.service.scheduler == MH {
            let offset = (self.tried as u32 + self.start) % MH_SLOTS;
            siphash(self.number.wrapping_add(offset), MH_KEYS[0]) % MH_SLOTS
        } else {
            (self.tried as u32 + 2 * self.start) % SLOTS
        };
        self.tried += 1;
        false
    }
}
