//! Persistence: a client's connections go where its template says
//! (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_sched_persist`).

use super::{Packet, Stages, Tables};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{Role, Tuple, Word};
use crate::layout::{Service, server_flags, settings};
use crate::state::{Class, sctp, tcp};

/// The server for a new connection of a persistent service by its client's template, if there is
/// one that counts.
#[inline(always)]
pub(super) fn by_template<T: Stages>(
    tables: &T,
    packet: &Packet,
    service: &Service,
) -> Option<u32> {
    let (tuple, now) = (template(&packet.tuple, service), tables.now());
    let key = tuple.key(tables.flow_seed());
    let (entry, word) = tables.find_flow(&key, &tuple, now)?;
    if !is_valid(tables, word.server()) {
        return None;
    }
    // Its connections may hold it longer than that.
    if word.deadline().remaining(now) < service.persistence {
        let deadline = now.after(service.persistence);
        tables.continue_flow(entry, word, word.moved(word.class(), deadline));
    }
    Some(word.server())
}

/// Whether a template's server still gets new connections (`ip_vs_check_template`).
#[inline(always)]
fn is_valid<T: Tables>(tables: &T, server: u32) -> bool {
    let flags = tables.server(server).map_or(0, |(flags, _)| flags);
    let expire_quiescent = tables.settings() & settings::EXPIRE_QUIESCENT_TEMPLATE != 0;
    flags & server_flags::AVAILABLE != 0
        && !(expire_quiescent && flags & server_flags::QUIESCED != 0)
}

/// The template of where a connection goes: its tuple and its word.
#[inline(always)]
pub fn new_template<T: Tables>(
    tables: &T,
    packet: &Packet,
    record: u32,
    chosen: Word,
) -> Option<(Tuple, Word)> {
    let service = tables.service(record)?;
    let deadline = tables.now().after(service.persistence);
    let word = Word::new(chosen.server(), Class::TEMPLATE, deadline);
    Some((template(&packet.tuple, service), word))
}

/// Makes a flow's template live as long as the flow, and assures it once one of its flows is
/// established.
///
/// deviates: ipvs looks at a template again a minute after its time, as long as it has
/// connections; here every connection moves its template's deadline along with its own.
#[inline(always)]
pub fn hold<T: Tables>(tables: &T, connection: &Tuple, service: u32, word: Word) {
    let Some(service) = tables
        .record(service)
        .and_then(|record| tables.service(record))
    else {
        return;
    };
    let tuple = template(connection, service);
    let (key, now) = (tuple.key(tables.flow_seed()), tables.now());
    let Some((entry, seen)) = tables.find_flow(&key, &tuple, now) else {
        return;
    };
    let established = word.class() == tcp::State::Established.into()
        || word.class() == sctp::State::Established.into();
    let class = if established {
        Class::ASSURED
    } else {
        seen.class()
    };
    let deadline = if seen.deadline().remaining(now) < word.deadline().remaining(now) {
        word.deadline()
    } else {
        seen.deadline()
    };
    let next = seen.moved(class, deadline);
    if next != seen {
        tables.continue_flow(entry, seen, next);
    }
}

/// What the template of a connection is found by.
#[inline(always)]
fn template(connection: &Tuple, service: &Service) -> Tuple {
    const FTP: u32 = 21;

    let v4 = connection.client.is_v4();
    let client = if v4 {
        Addr::from_v4_word(connection.client.v4_word() & service.mask)
    } else {
        connection.client.network(service.prefix)
    };
    let all_ports = service.mark != 0
        || service.port == 0
        || service.port == FTP && connection.protocol == protocol::TCP;
    let port = if all_ports {
        Port::default()
    } else {
        connection.port()
    };
    let address = match service.mark {
        0 => connection.address,
        mark if v4 => Addr::from_v4_word(mark.to_be()),
        mark => Addr::from_words([mark.to_be(), 0, 0, 0]),
    };
    Tuple {
        client,
        address,
        ports: Tuple::ports(Port::default(), port),
        protocol: if service.mark == 0 {
            connection.protocol
        } else {
            0
        },
        role: Role::Template,
    }
}
