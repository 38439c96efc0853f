//! The schedulers that compare servers by their connections or weights. Servers are named as in
//! `schedule`; every flow is an active connection.

use crate::schedule::{VIP, golden, picks, reweigh, service, with_thresholds};
use lb_common::layout::Sizes;
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::{self, Fo, Lblc, Lblcr, Lc, Nq, Ovf, Sed, Twos, Wlc};
use lb_common::wire::MacAddr;
use lb_tests::case::tcp_service;
use lb_tests::case::{INGRESS, SIZES, answered, case, opens, opens_inactive, udp_service};
use lb_tests::packet::flags::{ACK, FIN, SYN};
use lb_tests::packet::{DIRECTOR_MAC, tcp, udp};
use lb_tests::twin::Twin;

#[test]
fn connections_and_weights_decide() {
    golden("lc", Lc, &[1, 1, 1], "C B A C B A C");
    golden("lc knows weights as 0 or more", Lc, &[9, 0, 1], "C A C A C");
    golden("wlc A1 B2", Wlc, &[1, 2], "B A B B A B B A");
    golden("wlc A1 B0", Wlc, &[1, 0], "A A A");
    golden(
        "wlc A2147483647 B2147483647",
        Wlc,
        &[2147483647, 2147483647],
        "B A B A",
    );
    golden("sed A2147483647 B1", Sed, &[2147483647, 1], "A A A");
    golden("sed A1 B3", Sed, &[1, 3], "B B B A B B B A");
    golden("nq A1 B3", Nq, &[1, 3], "B A B B B B B A");
    golden("nq prefers an idle server", Nq, &[1, 100, 1], "C B A B B B");
    golden("fo", Fo, &[1, 3, 2], "B B B");
    golden("fo, on a tie the newer", Fo, &[2, 2], "B B");
    let _ = picks(service("ovf A2 B3", Ovf, &[2, 3]), 0, "B B B B A A A")
        .send(&tcp("192.0.2.2:1", VIP, SYN), answered(Reason::NoServer));
}

#[test]
fn a_server_that_is_quiesced_gets_nothing() {
    let kinds = [Lc, Wlc, Sed, Nq, Fo, Ovf, Twos].map(|kind| (kind, 0));
    for (kind, entries) in kinds.into_iter().chain([(Lblc, 1), (Lblcr, 2)]) {
        let case = service(kind.name(), kind, &[0, 0]);
        let _ = case
            .send(&tcp("192.0.2.2:1", VIP, SYN), answered(Reason::NoServer))
            .change(|tables| reweigh(tables, &[0, 2]))
            .send(&tcp("192.0.2.2:1", VIP, SYN), opens(0).flows(entries));
    }
}

#[test]
fn an_inactive_connection_is_a_256th_and_more() {
    let service = |kind: Kind| case(kind.name(), &[udp_service(VIP, kind, &[1, 1])]);
    for kind in [Lc, Wlc] {
        let _ = service(kind)
            .send(&udp("192.0.2.1:1", VIP), opens_inactive(0))
            .send(&udp("192.0.2.1:2", VIP), opens_inactive(1))
            .send(&udp("192.0.2.1:3", VIP), opens_inactive(0))
            .change(|tables| put(tables, 0, 0, 257))
            .change(|tables| put(tables, 1, 1, 0))
            .send(&udp("192.0.2.1:4", VIP), opens_inactive(0))
            .send(&udp("192.0.2.1:5", VIP), opens_inactive(1));
    }
    for kind in [Sed, Nq] {
        let _ = service(kind)
            .change(|tables| put(tables, 0, 0, 5))
            .send(&udp("192.0.2.1:1", VIP), opens_inactive(0))
            .change(|tables| put(tables, 0, 1, 5))
            .send(&udp("192.0.2.1:2", VIP), opens_inactive(1));
    }
}

#[test]
fn overloaded_servers_are_passed_over() {
    for kind in [Lc, Wlc, Sed, Nq, Ovf, Fo] {
        let case = with_thresholds(service(kind.name(), kind, &[1, 1]), 0, (1, 1));
        let _ = picks(case, 0, "B A A");
    }
}

#[test]
fn two_choices_are_one_with_one_server() {
    golden("twos", Twos, &[0, 3, 0], "B B B");
}

/// Flows that begin and end while weights change: host and kernel agree on every choice.
#[test]
fn host_and_kernel_choose_alike() {
    let sizes = Sizes {
        flows: 256,
        ..SIZES
    };
    for kind in Kind::ALL {
        if kind == Twos {
            // Their random numbers differ.
            continue;
        }
        let weights = [3, 0, 1, 7, 2, 2, 5];
        let memory = Memory::new(sizes)
            .with_services(&[tcp_service(VIP, kind, &weights)])
            .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
        let mut twin = Twin::new(memory);
        let mut sent = 0;
        for step in 0u16..60 {
            let client = format!("192.0.2.{}:{}", step % 7 + 1, 1000 + step);
            let flags: &[u8] = if step % 3 == 0 {
                &[SYN, FIN | ACK]
            } else {
                &[SYN, ACK]
            };
            for flags in flags {
                let outcome = twin.run(&tcp(&client, VIP, *flags).bytes());
                sent += u32::from(outcome.result.is_ok());
            }
            if step % 10 == 9 {
                twin.change(|tables| {
                    let place = usize::from(step) % weights.len();
                    let weight = &mut tables.members[place].weight;
                    *weight = (*weight + 3) % 8;
                    tables.servers[place].weight = *weight;
                });
            }
        }
        assert!(
            sent > 30,
            "{}: {sent} packets went to a server",
            kind.name()
        );
    }
}

/// Gives a server these counts.
fn put(tables: &mut Memory, server: usize, active: u32, inactive: u32) {
    let cell = &tables.server_states[server];
    let mut state = cell.get();
    (state.active, state.inactive) = (active, inactive);
    cell.set(state);
}
