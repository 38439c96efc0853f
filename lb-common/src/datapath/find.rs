//! Which service a packet is for (net/netfilter/ipvs/ip_vs_ctl.c: `ip_vs_service_find`).

use super::{Packet, Stages, Tables, follow};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{Tuple, Word};
use crate::layout::{MarkRule, features};
use crate::repeat::Body;
use crate::service::{Key, directory};

/// Features for which [`service`] is not the whole answer.
pub(super) const FURTHER: u32 =
    features::ANY_PORT | features::FTP | features::MARKS | features::EXPECTED;

/// A record that does not exist, for packets of known flows of which the service is gone.
const KNOWN: u32 = u32::MAX - 1;

/// The record of the service with the packet's address, protocol and port.
#[inline(always)]
pub(super) fn service<T: Tables>(tables: &T, tuple: &Tuple) -> Option<u32> {
    lookup(
        tables,
        &Key::new(tuple.address, tuple.port(), tuple.protocol),
    )
}

#[inline(always)]
fn lookup<T: Tables>(tables: &T, key: &Key) -> Option<u32> {
    let directory = tables.directory();
    let hash = key.hash(directory.seed);
    let displacement = tables.displacement(directory::displacement_index(hash, &directory))?;
    let slot = tables.slot(directory::slot_index(hash, displacement, &directory))?;
    if slot.key == *key {
        slot.record.checked_sub(1)
    } else {
        None
    }
}

/// The record of the service that a packet is for, when `exact` is the one of its address,
/// protocol and port: that of its mark comes before, those of port 21 and of no port after.
///
/// With mark rules, packets of known flows are for the flow's service, whatever the rules say
/// now; as in ipvs, which looks for connections first.
#[inline(always)]
pub fn further<T: Stages>(tables: &T, packet: &Packet, exact: Option<u32>) -> Option<u32> {
    const FTP: Port = Port::new(21);
    const FTP_DATA: u16 = 20;

    let (features, tuple) = (tables.features(), &packet.tuple);
    if features & features::MARKS != 0 {
        let key = tuple.key(tables.flow_seed());
        if let Some((_, word)) = tables.find_flow(&key, tuple, tables.now())
            && !follow::may_reopen(tables, packet, word)
        {
            let service = tables.server_service(word.server());
            let record = service.and_then(|service| tables.record(service));
            return record.or(exact).or(Some(KNOWN));
        }
        let mark = mark(tables, tuple);
        if mark != 0
            && let found @ Some(_) = lookup(tables, &Key::of_mark(mark, tuple.address.is_v4()))
        {
            return found;
        }
    }
    if exact.is_some() {
        return exact;
    }
    let port = tuple.port().number();
    if features & features::FTP != 0
        && tuple.protocol == protocol::TCP
        && (port == FTP_DATA || port >= 1024)
        && let found @ Some(_) = lookup(tables, &Key::new(tuple.address, FTP, protocol::TCP))
    {
        return found;
    }
    if features & features::EXPECTED != 0
        && tuple.protocol == protocol::TCP
        && let found @ Some(_) = tables.of_flow(packet)
    {
        return found;
    }
    if features & features::ANY_PORT != 0 {
        return lookup(
            tables,
            &Key::new(tuple.address, Port::default(), tuple.protocol),
        );
    }
    None
}

/// The record of the service that a connection is of, known or expected.
#[inline(always)]
pub fn of_flow<T: Stages>(tables: &T, packet: &Packet) -> Option<u32> {
    let tuple = &packet.tuple;
    let key = tuple.key(tables.flow_seed());
    let word = match tables.find_flow(&key, tuple, tables.now()) {
        Some((_, word)) => word,
        None => tables.expected(packet, false),
    };
    if word == Word::VOID {
        return None;
    }
    tables.record(tables.server_service(word.server())?)
}

/// The mark that the rules give a packet; 0 for none.
#[inline(always)]
fn mark<T: Tables>(tables: &T, tuple: &Tuple) -> u32 {
    let mut search = Search {
        tables,
        tuple,
        index: 0,
        mark: 0,
    };
    tables.repeat(tables.rules(), &mut search);
    search.mark
}

/// The loop of [`mark`].
struct Search<'a, T> {
    tables: &'a T,
    tuple: &'a Tuple,
    index: u32,
    mark: u32,
}

impl<T: Tables> Body for Search<'_, T> {
    #[inline(always)]
    fn turn(&mut self) -> bool {
        let Some(rule) = self.tables.rule(self.index) else {
            return true;
        };
        self.index += 1;
        if matches(&rule, self.tuple, self.tables.ingress()) {
            self.mark = rule.mark;
        }
        self.mark != 0
    }
}

#[inline(always)]
fn matches(rule: &MarkRule, tuple: &Tuple, ingress: u32) -> bool {
    let is_in = |address: Addr, network: Addr, prefix: u32| address.network(prefix) == network;
    let port = u32::from(tuple.port().number());
    (rule.protocol == 0 || rule.protocol == u32::from(tuple.protocol))
        && (rule.ifindex == 0 || rule.ifindex == ingress)
        && (rule.family == 4) == tuple.address.is_v4()
        && port >= rule.ports & 0xffff
        && port <= rule.ports >> 16
        && is_in(tuple.client, rule.source, rule.source_prefix)
        && is_in(tuple.address, rule.destination, rule.destination_prefix)
}
