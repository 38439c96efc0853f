//! A full table: who makes room, who never does, and where flows without an entry go.
//!
//! The table has one bucket, so that every flow competes for the same four entries.

use lb_common::datapath::Tables as _;
use lb_common::flow::Word;
use lb_common::layout::{Sizes, features, server_flags};
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::state::tcp::State::{Established, SynRecv};
use lb_tests::case::{
    Case, SIZES, case_sized, opens, opens_inactive, refused, tcp_service, to, udp_service,
};
use lb_tests::packet::flags::{ACK, FIN, RST, SYN};
use lb_tests::packet::{tcp, udp};
use std::net::IpAddr;

const VIP: &str = "10.0.0.100:80";
const ONE_BUCKET: Sizes = Sizes { flows: 2, ..SIZES };
/// Flow `n` of TCP goes to server `n % 8`, as round robin has it; server 8 is the only one for
/// UDP.
const SERVERS: u32 = 8;

fn four(name: &'static str) -> Case {
    let services = [
        tcp_service(VIP, Rr, &[1; SERVERS as usize]),
        udp_service(VIP, Rr, &[1]),
    ];
    let case = case_sized(name, ONE_BUCKET, &services);
    assert_eq!(case.tables().flows.len(), 1);
    case
}

fn client(n: u32) -> String {
    format!("192.0.2.{n}:40000")
}

fn has(case: &Case, flows: &[u32]) {
    let live: Vec<u32> = (0..20)
        .filter(|n| case.flow(&client(*n)).is_some())
        .collect();
    assert_eq!(live, flows);
}

/// Opens flows 0 to 3, a tick apart.
fn opened(name: &'static str) -> Case {
    (0..4).fold(four(name), |case, n| {
        case.send(&tcp(&client(n), VIP, SYN), opens(n)).pass(1)
    })
}

/// The same, with all of them established.
fn established(name: &'static str) -> Case {
    (0..4).fold(opened(name), |case, n| {
        case.send(&tcp(&client(n), VIP, ACK), to(n))
    })
}

#[test]
fn a_half_open_flow_makes_room_the_oldest_first() {
    let mut case = opened("half-open, oldest first");
    for n in 4..8 {
        let evicts = to(n)
            .connection(n)
            .active(n, 1)
            .active(n - 4, -1)
            .event(Reason::Evicted);
        case = case.send(&tcp(&client(n), VIP, SYN), evicts).pass(1);
        has(&case, &[n - 3, n - 2, n - 1, n]);
    }
    let _ = case.send(&tcp(&client(0), VIP, ACK), refused(Reason::NoFlow));
}

#[test]
fn an_expired_flow_makes_room_before_a_live_one() {
    let case = four("expired first").send(&tcp(&client(0), VIP, SYN), opens(0));
    let case = (1..4).fold(case, |case, n| {
        case.send(&udp(&client(n), VIP), opens_inactive(8))
    });
    let case = case
        .pass_timeout(SynRecv.into())
        .pass(1)
        .send(&udp(&client(4), VIP), opens_inactive(8).active(0, -1));
    has(&case, &[1, 2, 3, 4]);
}

#[test]
fn a_flow_takes_its_own_older_entry_before_an_expired_one() {
    let case = four("own entry")
        .send(&tcp(&client(0), VIP, SYN), opens(0))
        .pass_timeout(SynRecv.into())
        .send(&tcp(&client(1), VIP, SYN), opens(1))
        .send(&tcp(&client(1), VIP, ACK), to(1))
        .send(
            &tcp(&client(1), VIP, RST),
            to(1).active(1, -1).inactive(1, 1),
        )
        .pass(1);
    let before = case.tables().flows[0].get().entries;
    let reopens = to(2).connection(2).active(2, 1).inactive(1, -1);
    let case = case.send(&tcp(&client(1), VIP, SYN), reopens);
    let after = case.tables().flows[0].get().entries;
    assert_eq!(before[0], after[0], "the expired entry stays");
    assert_eq!(before[1][0], after[1][0], "the flow keeps its entry");
    assert_eq!(after[2..], [[0; 2]; 2]);
}

#[test]
fn a_closing_flow_makes_room_when_none_is_half_open() {
    let fin = |n: u32, case: Case| {
        case.send(
            &tcp(&client(n), VIP, FIN | ACK),
            to(n).active(n, -1).inactive(n, 1),
        )
    };
    // Flow 2 begins to close first, then flow 1; flow 3 is half-open again.
    let case = fin(1, fin(2, established("closing")).pass(3));
    let case = case
        .send(
            &tcp(&client(3), VIP, RST),
            to(3).active(3, -1).inactive(3, 1),
        )
        .send(
            &tcp(&client(3), VIP, SYN),
            to(4).connection(4).active(4, 1).inactive(3, -1),
        );
    let makes_room = |n: u32| to(n).connection(n).active(n, 1).event(Reason::Evicted);
    let case = case.send(&tcp(&client(5), VIP, SYN), makes_room(5).active(4, -1));
    has(&case, &[0, 1, 2, 5]);
    let case = case
        .send(&tcp(&client(5), VIP, ACK), to(5))
        .send(&tcp(&client(6), VIP, SYN), makes_room(6).inactive(2, -1));
    has(&case, &[0, 1, 5, 6]);
    let case = case
        .send(&tcp(&client(6), VIP, ACK), to(6))
        .send(&tcp(&client(7), VIP, SYN), makes_room(7).inactive(1, -1));
    has(&case, &[0, 5, 6, 7]);
}

#[test]
fn making_room_is_counted_whatever_was_closing() {
    let reset = established("after a reset").send(
        &tcp(&client(2), VIP, RST),
        to(2).active(2, -1).inactive(2, 1),
    );
    let new = to(4).connection(4).active(4, 1).event(Reason::Evicted);
    let case = reset.send(&tcp(&client(9), VIP, SYN), new.inactive(2, -1));
    has(&case, &[0, 1, 3, 9]);
    // The same ports again are no making of room.
    let again = case
        .send(&tcp(&client(9), VIP, ACK), to(4))
        .send(
            &tcp(&client(9), VIP, RST),
            to(4).active(4, -1).inactive(4, 1),
        )
        .send(
            &tcp(&client(9), VIP, SYN),
            to(5).connection(5).active(5, 1).inactive(4, -1),
        );
    has(&again, &[0, 1, 3, 9]);
}

#[test]
fn a_single_datagram_makes_room_and_a_talk_does_not() {
    let case = (0..3).fold(four("udp"), |case, n| {
        case.send(&udp(&client(n), VIP), opens_inactive(8))
            .send(&udp(&client(n), VIP), to(8))
    });
    let case = case.send(&udp(&client(3), VIP), opens_inactive(8)).send(
        &udp(&client(4), VIP),
        to(8).connection(8).event(Reason::Evicted),
    );
    has(&case, &[0, 1, 2, 4]);
    let case = case
        .send(&udp(&client(4), VIP), to(8))
        .send(&udp(&client(5), VIP), to(8).event(Reason::Untracked));
    has(&case, &[0, 1, 2, 4]);
}

#[test]
fn established_flows_never_make_room() {
    let mut case = established("established");
    let mut seen = [false; SERVERS as usize];
    for n in 4..20 {
        let untracked = |server| to(server).connection(server).event(Reason::Untracked);
        let server = case.chosen(&tcp(&client(n), VIP, SYN), untracked);
        seen[server as usize] = true;
        for flags in [SYN, ACK, ACK, FIN | ACK, ACK] {
            let again = if flags == SYN {
                to(server).connection(server)
            } else {
                to(server)
            };
            let packet = tcp(&client(n), VIP, flags);
            case = case.send(&packet, again.event(Reason::Untracked));
        }
        has(&case, &[0, 1, 2, 3]);
    }
    assert!(seen.iter().filter(|seen| **seen).count() > 3, "{seen:?}");
    for n in 0..4 {
        case = case
            .send(&tcp(&client(n), VIP, ACK), to(n))
            .is_in(&client(n), Established);
    }
}

#[test]
fn a_flow_without_an_entry_gets_one_when_there_is_room() {
    let mut case = established("room again");
    let untracked = |server| to(server).connection(server).event(Reason::Untracked);
    let server = case.chosen(&tcp(&client(9), VIP, SYN), untracked);
    // Flow 3 closes; the next packet of the untracked flow takes its place.
    let takes = to(server)
        .active(server, 1)
        .inactive(3, -1)
        .event(Reason::Evicted);
    let case = case
        .send(
            &tcp(&client(3), VIP, RST),
            to(3).active(3, -1).inactive(3, 1),
        )
        .send(&tcp(&client(9), VIP, ACK), takes)
        // Half-open until it is seen again, lest stray segments fill the table.
        .is_in(&client(9), SynRecv)
        .send(&tcp(&client(9), VIP, ACK), to(server))
        .is_in(&client(9), Established);
    has(&case, &[0, 1, 2, 9]);
}

#[test]
fn datagrams_without_an_entry_keep_their_server_when_there_is_room() {
    let services = [udp_service(VIP, Rr, &[1; SERVERS as usize])];
    let mut case = (0..4).fold(case_sized("datagrams", ONE_BUCKET, &services), |case, n| {
        case.send(&udp(&client(n), VIP), opens_inactive(n))
            .send(&udp(&client(n), VIP), to(n))
    });
    let untracked = |server| to(server).event(Reason::Untracked);
    let chosen: Vec<u32> = (10..16)
        .map(|n| case.chosen(&udp(&client(n), VIP), untracked))
        .collect();
    assert!(
        chosen.iter().any(|server| *server != chosen[0]),
        "{chosen:?}"
    );
    for (n, server) in (10..16).zip(&chosen) {
        case = case.send(&udp(&client(n), VIP), untracked(*server));
    }
    // Flow 3 is gone; the next datagram takes its place, and goes where the ones before it went.
    let case = case
        .change(|tables| {
            let mut bucket = tables.flows[0].get();
            bucket.entries[3] = [0; 2];
            tables.flows[0].set(bucket);
        })
        .send(&udp(&client(15), VIP), opens_inactive(chosen[5]))
        .send(&udp(&client(15), VIP), to(chosen[5]));
    has(&case, &[0, 1, 2, 15]);
}

#[test]
fn flows_without_an_entry_are_known_by_hash_for_a_while() {
    let mut case = established("the while");
    let untracked = |server| to(server).connection(server).event(Reason::Untracked);
    let server = case.chosen(&tcp(&client(9), VIP, SYN), untracked);
    // All the table's flows expire in the same tick as the while ends.
    let case = case.pass_timeout(Established.into()).pass(1);
    let ack = tcp(&client(9), VIP, ACK);
    let case = case.send(&ack, refused(Reason::NoFlow));

    let mut case = case.change(|tables| {
        let until = tables.now;
        tables.set_untracked(0, until);
    });
    // In the while's last tick any segment of the service is taken for such a flow's.
    let taken = case.chosen(&ack, |server| {
        to(server).active(server, 1).active(0, -1).flows(1)
    });
    assert_eq!(taken, server);
}

#[test]
fn a_masqueraded_flow_without_room_is_refused() {
    let case = four("masqueraded").change(|tables| {
        tables.control.features |= features::MASQUERADE;
        for server in &mut tables.servers[..SERVERS as usize] {
            server.flags |= server_flags::MASQUERADE;
            // What is translated into itself is as by direct routing.
            server.addr = IpAddr::from([10, 0, 0, 100]).into();
            server.port = 80;
        }
    });
    // Two entries each.
    let case = (0..2).fold(case, |case, n| {
        case.send(&tcp(&client(n), VIP, SYN), opens(n).flows(1))
    });
    let case = case.change(|tables| {
        let mut bucket = tables.flows[0].get();
        for [_, bits] in &mut bucket.entries {
            let word = Word::from_bits(*bits);
            *bits = word.moved(Established.into(), word.deadline()).bits();
        }
        tables.flows[0].set(bucket);
    });
    // Its server's answers would leave with the server's own address.
    let _ = case.send(
        &tcp(&client(2), VIP, SYN),
        refused(Reason::NoRoom).event(Reason::Untracked),
    );
}
