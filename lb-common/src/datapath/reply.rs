//! Masqueraded servers' packets, back to their clients.

use super::open::is_helped;
use super::{Packet, Stages, Tables, Verdict, follow, forward};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{Role, Tuple, Word};
use crate::hash;
use crate::layout::{BACK_WAYS, BackWay, FlowDetails, features, punt};
use crate::reason::Reason;
use crate::state::Direction;
use crate::wire::{Frame, MacAddr};

/// A packet that a masqueraded server may have sent for one of its flows
/// (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_out_hook`, `handle_response`). `found` is told the
/// connection, whose template is to be held afterwards: [`follow::hold_known`].
#[inline(always)]
pub fn reply<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    found: impl FnOnce(&Tuple),
) -> Result<Verdict, Reason> {
    let now = tables.now();
    let tuple = packet.tuple.reversed(Role::Reply);
    let key = tuple.key(tables.flow_seed());
    let Some((entry, word)) = tables.find_flow(&key, &tuple, now) else {
        return Err(tables.call_out(packet));
    };
    let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
    if !is_half(&tuple, &details) {
        return Err(Reason::NoService);
    }
    let connection = Tuple {
        client: details.client,
        address: details.address,
        ports: details.ports,
        protocol: packet.tuple.protocol,
        role: Role::Connection,
    };
    help(tables, details.service, connection.port())?;
    found(&connection);
    if !word.has(Word::ONE_PACKET) {
        let key = connection.key(tables.flow_seed());
        let (forth, seen) = tables
            .find_flow(&key, &connection, now)
            .ok_or(Reason::NoService)?;
        if seen.server() != word.server() {
            return Err(Reason::NoService);
        }
        if let Some(next) = follow::advance(tables, Direction::Output, packet, forth, seen, now) {
            let back = word.moved(next.class(), next.deadline());
            tables.continue_flow(entry, word, back);
        }
    }
    forward::to_client(
        frame,
        tables,
        packet,
        word.server(),
        connection.address,
        connection.port(),
        details.back,
    )
}

/// The same for a plain packet, when there is nothing to do but to send it on; none otherwise.
///
/// The server's half has the client's class and deadline, so what it says of a packet that changes
/// neither is what the client's half would say. Where two CPUs made them differ, the next tick, or
/// the next packet that changes something, makes them alike again.
#[inline(always)]
pub(super) fn known<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
) -> Option<Result<Verdict, Reason>> {
    let now = tables.now();
    let tuple = packet.tuple.reversed(Role::Reply);
    let key = tuple.key(tables.flow_seed());
    let (entry, word) = tables.find_flow(&key, &tuple, now)?;
    let class = follow::next_class(Direction::Output, packet, word.class());
    let next = word.moved(class, now.after(tables.timeout(class)));
    if next != word || word.has(Word::ONE_PACKET) {
        return None;
    }
    let details = tables.flow_details(entry)?;
    if !is_half(&tuple, &details) {
        return None;
    }
    Some(forward::to_client(
        frame,
        tables,
        packet,
        word.server(),
        details.address,
        details.port(),
        details.back,
    ))
}

/// Whether the details of an entry are those of the server's half that it was found by: it may have
/// become another flow's since. Where a CPU reorders stores, and only then, they may be another's of the
/// same client and port for the moment in which it becomes that.
#[inline(always)]
fn is_half(half: &Tuple, details: &FlowDetails) -> bool {
    details.client == half.client && details.client_port() == half.client_port()
}

/// Hands a server's datagram of no flow to the agent: it may open a connection by itself, which the
/// agent knows (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_new_conn_out`). Gives the reason why its way
/// ends here.
#[inline(always)]
pub fn call_out<T: Tables>(tables: &T, packet: &Packet) -> Reason {
    let may_open =
        tables.features() & features::CALLS != 0 && packet.tuple.protocol == protocol::UDP;
    if !may_open || tables.is_resent() {
        Reason::NoService
    } else if tables.punt(punt::Why::FromServer, u32::MAX) {
        Reason::Helped
    } else {
        Reason::HelperBusy
    }
}

/// Hands a server's packet to the agent if its service has a helper for this virtual port.
#[inline(always)]
fn help<T: Tables>(tables: &T, service: u32, port: Port) -> Result<(), Reason> {
    let Some(record) = tables
        .record(service)
        .and_then(|record| tables.service(record))
    else {
        return Ok(());
    };
    if !is_helped(record, port) || tables.is_resent() {
        return Ok(());
    }
    Err(if tables.punt(punt::Why::FromServer, service) {
        Reason::Helped
    } else {
        Reason::HelperBusy
    })
}

/// Keeps the server's half of a flow in step with the client's, `word`; `packet` is the client's.
/// Gives what the half is found by, and where the way back to the client is kept, when it is not
/// there and has to be made.
#[inline(always)]
pub fn keep<T: Tables>(tables: &T, packet: &Packet, word: Word) -> Option<(Tuple, u32)> {
    let (address, port) = tables.server_end(word.server())?;
    let port = forward::server_port(&packet.tuple, word, port);
    let tuple = Tuple {
        address,
        ports: Tuple::ports(packet.tuple.client_port(), port),
        role: Role::Reply,
        ..packet.tuple
    };
    let back = back(
        tables,
        packet.tuple.address,
        packet.tuple.client,
        packet.bytes,
    );
    let (key, now) = (tuple.key(tables.flow_seed()), tables.now());
    let Some((entry, seen)) = tables.find_flow(&key, &tuple, now) else {
        return Some((tuple, back));
    };
    if seen.server() != word.server() {
        return Some((tuple, back));
    }
    let next = seen.moved(word.class(), word.deadline());
    if next != seen {
        tables.continue_flow(entry, seen, next);
    }
    // The kernel may have found a better way meanwhile.
    let details = tables.flow_details(entry)?;
    if details.back != back {
        tables.set_flow_back(entry, back);
    }
    None
}

/// Looks for the way back to a client that has sent nothing yet: the server's packet in hand opens
/// the connection.
#[inline(always)]
pub fn find_way<T: Tables>(tables: &T, packet: &Packet) {
    if packet.tuple.protocol != protocol::UDP || !tables.is_resent() {
        return;
    }
    let reply = packet.tuple.reversed(Role::Reply);
    let (key, now) = (reply.key(tables.flow_seed()), tables.now());
    let Some((entry, _)) = tables.find_flow(&key, &reply, now) else {
        return;
    };
    if let Some(details) = tables.flow_details(entry)
        && details.back == 0
    {
        let back = back(tables, details.address, packet.tuple.address, packet.bytes);
        tables.set_flow_back(entry, back);
    }
}

/// Where the way from a virtual address back to a client is kept, for packets of so many bytes, plus
/// 1; 0 for none.
#[inline(always)]
fn back<T: Tables>(tables: &T, address: Addr, client: Addr, bytes: u16) -> u32 {
    /// Places that a way may have.
    const TRIES: u32 = 4;

    let Some(way) = tables.route(address, client, bytes) else {
        return 0;
    };
    let first = hash::below(hash::finish(way) as u32, BACK_WAYS);
    let mut i = 0;
    while i < TRIES {
        let index = (first + i) & (BACK_WAYS - 1);
        if tables.back_way(index) == way || tables.set_back_way(index, way) {
            return index + 1;
        }
        i += 1;
    }
    0
}

/// The next hop's Ethernet address, and the egress interface's place plus 1, of a way back.
#[inline(always)]
pub(super) const fn decode(way: BackWay) -> (MacAddr, u32) {
    (MacAddr::from_word(way), (way >> 48) as u32)
}
