//! A packet of no known flow: schedule a server and remember it.

use super::{Packet, Stages, Tables, follow, persist};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{About, Counts, Insertion, Role, Tuple, Word};
use crate::layout::{Service, features, punt, server_flags, service_flags, settings};
use crate::reason::Reason;
use crate::sched::{self, Choice};
use crate::state::{Class, Direction, sctp, tcp};
use crate::time::Tick;
use crate::wire::tcp_flags::RST;

/// Hands a packet to the agent if its service has a helper; an error ends its way here.
#[inline(always)]
pub fn help<T: Tables>(tables: &T, packet: &Packet, record: u32) -> Result<(), Reason> {
    let Some(service) = tables.service(record) else {
        return Ok(());
    };
    let helped = is_helped(service, packet.tuple.port());
    if !helped || tables.is_resent() {
        return Ok(());
    }
    Err(if tables.punt(punt::Why::FromClient, service.id) {
        Reason::Helped
    } else {
        Reason::HelperBusy
    })
}

/// Whether a service has a helper that sees the packets of this virtual port. The data connections
/// of an FTP service are left alone.
#[inline(always)]
pub(super) fn is_helped(service: &Service, port: Port) -> bool {
    let own_port = service.port == 0 || service.port == u32::from(port.number());
    service.flags & service_flags::HELPED != 0 && own_port
}

/// The word of the connection that is expected of a packet's client from any port
/// (net/netfilter/ipvs/ip_vs_conn.c: `IP_VS_CONN_F_NO_CPORT`); void when none is. `has_come`
/// expects it no longer than this tick.
#[inline(always)]
pub fn expected<T: Tables>(tables: &T, packet: &Packet, has_come: bool) -> Word {
    let expected = Tuple {
        ports: Tuple::ports(Port::new(0), packet.tuple.port()),
        ..packet.tuple
    };
    let (key, now) = (expected.key(tables.flow_seed()), tables.now());
    let Some((entry, word)) = tables.find_flow(&key, &expected, now) else {
        return Word::VOID;
    };
    if has_come {
        tables.continue_flow(entry, word, word.moved(word.class(), now));
    }
    word
}

/// Begins to choose the server of a new flow: perhaps it has one already, perhaps its scheduler is
/// to be asked.
#[inline(always)]
pub fn choose<T: Stages>(tables: &T, packet: &Packet, record: u32) -> Result<Choice, Reason> {
    if is_martian(packet) {
        return Err(Reason::Martian);
    }
    let service = tables.service(record).ok_or(Reason::Inconsistent)?;
    if service.flags & service_flags::DELETED != 0 {
        return Err(Reason::NoService);
    }
    if !is_own_port(packet, service) {
        if tables.features() & features::HELPERS != 0 && packet.opens() {
            let word = tables.expected(packet, true);
            if word != Word::VOID {
                return Ok(Choice::of(Some(word.server())).with(Choice::CONTROLLED));
            }
        }
        // Of an FTP service's data ports only a persistent one schedules connections.
        if service.persistence == 0 {
            return Err(Reason::NoService);
        }
    }
    let key = packet.tuple.key(tables.flow_seed());
    let untracked = tables
        .untracked(service.id)
        .is_some_and(|until| !until.is_past(tables.now()));
    let is_datagram = packet.tuple.protocol == protocol::UDP;
    if untracked && (is_datagram || !packet.opens()) {
        // It may be of a flow that found no room when it opened: where that one went, go on.
        //
        // deviates: for as long as a flow without an entry may live, so it is with every new UDP
        // flow of the service, whatever its scheduler and templates say. ipvs drops what it has no
        // room for.
        return Ok(Choice::of(tables.schedule_stateless(record, &key)));
    }
    if !may_open(tables, packet) {
        return Err(Reason::NoFlow);
    }
    let to_schedule = Choice::to_schedule(service.scheduler);
    if service.persistence == 0 {
        return Ok(to_schedule);
    }
    let choice = match persist::by_template(tables, packet, service) {
        Some(server) => Choice::of(Some(server)),
        None => to_schedule,
    };
    Ok(choice.with(Choice::CONTROLLED))
}

/// Ends the choice of a new flow's server; gives the flow's word.
#[inline(always)]
pub fn settle<T: Tables>(
    tables: &T,
    packet: &Packet,
    record: u32,
    choice: Choice,
) -> Result<Word, Reason> {
    let service = tables.service(record).ok_or(Reason::Inconsistent)?;
    let server = choice.server().ok_or(refusal(service, packet))?;
    let mut flags = 0;
    if !is_own_port(packet, service) {
        flags |= Word::KEEPS_PORT;
    }
    if choice.has(Choice::CONTROLLED) {
        flags |= Word::CONTROLLED;
        if choice.has(Choice::TO_SCHEDULE) {
            flags |= Word::NEW_TEMPLATE;
        }
    }
    let method = tables.server(server).map_or(0, |(flags, _)| flags) & server_flags::METHOD;
    let class = first_class(packet, method == server_flags::MASQUERADE);
    let deadline = tables.now().after(tables.timeout(class));
    let one_packet =
        service.flags & service_flags::ONE_PACKET != 0 && packet.tuple.protocol == protocol::UDP;
    if one_packet {
        tables.count_flow(server, Counts::default().scheduled());
    }
    let flags = flags | if one_packet { Word::ONE_PACKET } else { 0 };
    if service.flags & service_flags::THRESHOLDS != 0 {
        sched::note_connection(tables, server, one_packet);
    }
    Ok(Word::new(server, class, deadline).with(flags))
}

/// Whether a packet is for the service's own port, and not for an FTP service's data.
#[inline(always)]
fn is_own_port(packet: &Packet, service: &Service) -> bool {
    service.mark != 0 || service.port == u32::from(packet.tuple.port().number())
}

/// Why a packet goes nowhere when no server may take it. The data ports of an FTP service are the
/// host's own then.
#[inline(always)]
fn refusal(service: &Service, packet: &Packet) -> Reason {
    let own_port = service.mark != 0
        || service.port == 0
        || service.port == u32::from(packet.tuple.port().number());
    if !own_port {
        Reason::NoService
    } else if service.flags & service_flags::REFUSE_SILENTLY != 0 {
        Reason::NoServerSilent
    } else if service.flags & service_flags::REFUSE_RESET != 0
        && packet.tuple.protocol == protocol::TCP
    {
        Reason::NoServerReset
    } else {
        Reason::NoServer
    }
}

/// Whether a packet may open a flow, with what is set.
#[inline(always)]
fn may_open<T: Tables>(tables: &T, packet: &Packet) -> bool {
    if packet.opens() {
        return true;
    }
    let settings = tables.settings();
    match packet.tuple.protocol {
        protocol::TCP => settings & settings::SLOPPY_TCP != 0 && packet.flags & RST == 0,
        protocol::SCTP => {
            settings & settings::SLOPPY_SCTP != 0 && packet.flags != sctp::Event::Abort as u8
        }
        _ => true,
    }
}

/// The live entry of a tuple.
#[inline(always)]
pub fn entry_of<T: Tables>(tables: &T, tuple: &Tuple) -> Option<T::Entry> {
    let key = tuple.key(tables.flow_seed());
    let found = tables.find_flow(&key, tuple, tables.now());
    found.map(|(entry, _)| entry)
}

/// Makes an entry of the table, in the place of its `own` live one if it has one. False when there is
/// no room.
///
/// The details of a server's half are the client's half, which `packet` is of.
#[inline(always)]
pub fn enter<T: Tables>(
    tables: &T,
    packet: &Packet,
    tuple: &Tuple,
    word: Word,
    back: u32,
    own: Option<T::Entry>,
) -> bool {
    let service = tables.server_service(word.server()).unwrap_or(u32::MAX);
    let about = About {
        service,
        back,
        role: tuple.role,
    };
    let (now, key) = (tables.now(), tuple.key(tables.flow_seed()));
    match tables.insert_flow(&key, word, tuple, about.service, own, now) {
        Insertion::Inserted { lost, own, entry } => {
            let opened = tuple.role == Role::Connection && packet.opens();
            count_made(tables, word, u8::from(opened) ^ tables.blur() != 0);
            if lost != Word::VOID {
                count_lost(tables, lost, now, own);
            }
            // Last: until the stores to memory that no cache has are through, every atomic
            // operation would wait.
            let described = if word.has(Word::REPLY) {
                &packet.tuple
            } else {
                tuple
            };
            tables.publish_flow(entry, &key, described, about);
            true
        }
        Insertion::Full => {
            tables.count_event(Reason::Untracked);
            false
        }
    }
}

/// Counts an entry that was made; `opened` counts a connection. Out of line to spare its caller's
/// stack.
#[inline(never)]
fn count_made<T: Tables>(tables: &T, word: Word, opened: bool) {
    let counts = Counts::of(word);
    let counts = if opened { counts.scheduled() } else { counts };
    tables.count_flow(word.server(), counts);
}

/// The word of a flow for which the table has no room: its server needs no memory.
#[inline(always)]
pub fn without_entry<T: Stages>(
    tables: &T,
    packet: &Packet,
    record: u32,
    chosen: Word,
) -> Result<Word, Reason> {
    let service = tables.service(record).ok_or(Reason::Inconsistent)?;
    let key = packet.tuple.key(tables.flow_seed());
    let server = tables
        .schedule_stateless(record, &key)
        .ok_or(refusal(service, packet))?;
    // Of a datagram nobody can tell whether it is the flow's first.
    if packet.tuple.protocol != protocol::UDP && packet.opens() {
        tables.count_flow(server, Counts::default().scheduled());
    }
    let longest = match packet.tuple.protocol {
        protocol::TCP => Class::from(tcp::State::Established),
        protocol::SCTP => Class::from(sctp::State::Established),
        _ => Class::UDP,
    };
    let until = tables.now().after(tables.timeout(longest));
    tables.set_untracked(service.id, until);
    Ok(chosen.to(server))
}

/// Counts what an insertion took the place of, its `own` older entry or another's.
///
/// Out of line, for the kernel gives all functions on a way through the program 512 bytes of
/// stack together.
#[inline(never)]
pub(super) fn count_lost<T: Tables>(tables: &T, lost: Word, now: Tick, own: bool) {
    tables.count_flow(lost.server(), Counts::of(lost).taken());
    if lost.is_live(now) && !own {
        tables.count_event(Reason::Evicted);
    }
}

/// The class of a flow after its first packet.
///
/// deviates: a TCP flow that is first seen in its middle (`sloppy_tcp`) is half-open until it is seen
/// again, in ipvs established: a flood of stray segments must not fill the table with flows that never
/// make room.
#[inline(always)]
fn first_class(packet: &Packet, masqueraded: bool) -> Class {
    let direction = if masqueraded {
        Direction::Input
    } else {
        Direction::InputOnly
    };
    match packet.tuple.protocol {
        protocol::TCP if !packet.opens() => tcp::State::SynRecv.into(),
        protocol::TCP => follow::next_class(direction, packet, tcp::State::None.into()),
        protocol::SCTP => follow::next_class(direction, packet, sctp::State::None.into()),
        _ => Class::UDP_FIRST,
    }
}

/// Whether the source address cannot be a client's: this network (RFC 1122), loopback,
/// multicast, reserved, broadcast, or the service's own address.
#[inline(always)]
fn is_martian(packet: &Packet) -> bool {
    let client: Addr = packet.tuple.client;
    let first = client.v4_number() >> 24;
    let [a, b, c, _] = client.words();
    let v6 = u32::from_be(a) >> 24 == 0xff || a | b | c == 0;
    client == packet.tuple.address
        || client.is_v4() && (first == 0 || first == 127 || first >= 224)
        || !client.is_v4() && v6
}
