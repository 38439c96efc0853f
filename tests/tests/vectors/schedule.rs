//! Which server gets a new connection.
//!
//! The sequences are those of the kernel's own schedulers, compiled unmodified in user space and
//! fed the same servers (net/netfilter/ipvs/ip_vs_rr.c, ip_vs_wrr.c). Servers are named A, B, C,
//! D in the order in which they are added; the newest is the first of the list.

use lb_common::layout::{Member, service_flags};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::{self, Rr, Wrr};
use lb_common::sched::{Turn, Weights, first_turn, turn_after_change};
use lb_tests::case::{Case, answered, case, opens, opens_inactive, tcp_service, udp_service};
use lb_tests::packet::flags::SYN;
use lb_tests::packet::{tcp, udp};

pub(crate) const VIP: &str = "10.0.0.100:80";

#[test]
fn rr_takes_turns_and_skips_weight_0() {
    golden("rr A1 B1 C0 D1", Rr, &[1, 1, 0, 1], "D B A D B A D B A D");
    golden("rr A1", Rr, &[1], "A A A");
}

#[test]
fn wrr_goes_by_weight() {
    for (name, weights, picks) in [
        (
            "wrr A1 B2 C3",
            &[1, 2, 3][..],
            "C B A C C B C B A C C B C B A C C B C B",
        ),
        (
            "wrr A1 B2 C0",
            &[1, 2, 0],
            "B A B B A B B A B B A B B A B B A B B A",
        ),
        (
            "wrr A4 B3 C2",
            &[4, 3, 2],
            "C B A A B A C B A C B A A B A C B A C B",
        ),
        (
            "wrr A2 B4 C6",
            &[2, 4, 6],
            "C B A C C B C B A C C B C B A C C B C B",
        ),
        (
            "wrr A5 B1 C1",
            &[5, 1, 1],
            "C B A A A A A C B A A A A A C B A A A A",
        ),
        (
            "wrr A10 B1 C3",
            &[10, 1, 3],
            "C B A A A A A A A A C A C A C B A A A A",
        ),
        (
            "wrr A3 B6 C4",
            &[3, 6, 4],
            "C B A B B C B C B A C B A C B A B B C B",
        ),
        ("wrr A3 B1", &[3, 1], "B A A A B A A A"),
        // The greatest weight that there is, and 1: the sums do not wrap.
        (
            "wrr A2147483647 B2147483647",
            &[2147483647, 2147483647],
            "B A B A B A",
        ),
        ("wrr A2147483647 B1 C0", &[2147483647, 1, 0], "B A A A A A"),
    ] {
        golden(name, Wrr, weights, picks);
    }
}

#[test]
fn wrr_follows_changes_of_weights() {
    let case = service("wrr, weights change", Wrr, &[1, 2, 3]);
    let case = picks(case, 0, "C B A C");
    let case = picks(
        case.change(|tables| reweigh(tables, &[5, 2, 3])),
        4,
        "C A C B A C B",
    );
    let _ = picks(
        case.change(|tables| reweigh(tables, &[5, 2, 0])),
        11,
        "B A A A A B A B A",
    );
}

#[test]
fn no_server_with_a_weight_is_no_server() {
    for (name, kind) in [("rr, all quiesced", Rr), ("wrr, all quiesced", Wrr)] {
        let syn = tcp("192.0.2.1:40000", VIP, SYN);
        let _ = service(name, kind, &[0, 0])
            .send(&syn, answered(Reason::NoServer))
            .send(&syn, answered(Reason::NoServer))
            .change(|tables| reweigh(tables, &[0, 2]))
            .send(&syn, opens(0));
    }
}

#[test]
fn rr_and_wrr_skip_overloaded_servers() {
    let case = with_thresholds(service("rr, thresholds", Rr, &[1, 1, 1]), 1, (1, 1));
    let _ = picks(case, 0, "C B A C A C A");
    let case = with_thresholds(service("wrr, thresholds", Wrr, &[1, 2, 3]), 2, (2, 2));
    let case = picks(case, 0, "C B A C C B C B A C C B C B C C B");
    // With every server overloaded none is chosen, and later wrr begins at the head.
    let all = |tables: &mut Memory| {
        for server in 0..3 {
            set_overloaded(tables, server, true);
        }
    };
    let none = |tables: &mut Memory| {
        for server in 0..3 {
            tables.servers[server].upper = 0;
        }
    };
    let _ = case
        .change(|tables| {
            for server in &mut tables.servers[..3] {
                (server.upper, server.lower) = (100, 1);
            }
            all(tables);
        })
        .send(&tcp("192.0.2.2:1", VIP, SYN), answered(Reason::NoServer))
        .change(none)
        .send(&tcp("192.0.2.2:2", VIP, SYN), opens(0));
}

#[test]
fn a_server_is_overloaded_from_its_upper_threshold_to_below_its_lower_one() {
    let case = with_thresholds(service("hysteresis", Rr, &[1, 1]), 0, (3, 2));
    // A has 4 connections when B has 3 of them and is full.
    let case = picks(case, 0, "B A B A B A A A");
    let is_overloaded = |tables: &Memory| tables.server_states[0].get().overloaded;
    assert_eq!(is_overloaded(case.tables()), 1);
    let end = |case: Case| {
        case.change(|tables| {
            let cell = &tables.server_states[0];
            let mut state = cell.get();
            state.active -= 1;
            cell.set(state);
        })
    };
    let case = picks(end(case), 8, "A A");
    let case = picks(end(case), 10, "B A B A A");
    assert_eq!(is_overloaded(case.tables()), 1);
}

/// The same service with thresholds at the server in this place of the list.
pub(crate) fn with_thresholds(case: Case, place: usize, (upper, lower): (u32, u32)) -> Case {
    case.change(|tables| {
        tables.services[0].flags |= service_flags::THRESHOLDS;
        let server = &mut tables.servers[place];
        (server.upper, server.lower) = (upper, lower);
    })
}

fn set_overloaded(tables: &mut Memory, server: usize, overloaded: bool) {
    let cell = &tables.server_states[server];
    let mut state = cell.get();
    state.overloaded = overloaded.into();
    cell.set(state);
}

#[test]
fn a_service_begins_where_the_agent_says() {
    for (place, first) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let start = |tables: &mut Memory| {
            tables.services[0].turn = Turn {
                place,
                ..Turn::default()
            }
            .bits()
        };
        let _ = service("rr from the middle", Rr, &[1, 1, 1])
            .change(start)
            .send(&tcp("192.0.2.1:40000", VIP, SYN), opens(first));
    }
}

#[test]
fn services_take_turns_each_for_itself() {
    let services = [tcp_service(VIP, Rr, &[1, 1]), udp_service(VIP, Rr, &[1, 1])];
    let _ = case("two services", &services)
        .send(&tcp("192.0.2.1:1000", VIP, SYN), opens(0))
        .send(&udp("192.0.2.1:1000", VIP), opens_inactive(2))
        .send(&udp("192.0.2.1:1001", VIP), opens_inactive(3))
        .send(&tcp("192.0.2.1:1001", VIP, SYN), opens(1));
}

/// Checks the first picks of a service to which servers of these weights were added in order.
pub(crate) fn golden(name: &'static str, kind: Kind, weights: &[u32], expected: &str) {
    let _ = picks(service(name, kind, weights), 0, expected);
}

pub(crate) fn service(name: &'static str, kind: Kind, weights: &[u32]) -> Case {
    let newest_first: Vec<u32> = weights.iter().rev().copied().collect();
    let turn = first_turn(kind, weights.iter().copied()).bits();
    case(name, &[tcp_service(VIP, kind, &newest_first)])
        .change(|tables| tables.services[0].turn = turn)
}

/// Opens a flow for each name in `expected`; `before` connections were opened so far.
pub(crate) fn picks(mut case: Case, before: u16, expected: &str) -> Case {
    for (name, port) in expected.split(' ').zip(1000 + before..) {
        let oldest = case.tables().services[0].len - 1;
        let server = oldest - u32::from(name.as_bytes()[0] - b'A');
        case = case.send(&tcp(&format!("192.0.2.1:{port}"), VIP, SYN), opens(server));
    }
    case
}

/// Gives the service's servers these weights, A's first, as the agent does: another generation
/// of the list, with a turn made of the one that counted.
pub(crate) fn reweigh(tables: &mut Memory, weights: &[u32]) {
    let service = &mut tables.services[0];
    let seen = Turn::from_bits(tables.service_states[0].get().turn);
    let turn = if u32::from(seen.generation) == service.generation {
        seen
    } else {
        Turn::from_bits(service.turn)
    };
    let new = Weights::of(weights.iter().copied());
    let kind = Kind::from_number(service.scheduler).expect("a scheduler");
    service.turn = turn_after_change(kind, turn, new, Some).bits();
    service.generation += 1;
    service.weight_max = new.max;
    service.weight_step = new.step;
    for (at, weight) in weights.iter().rev().enumerate() {
        let member = &mut tables.members[service.first as usize + at];
        *member = Member {
            weight: *weight,
            ..*member
        };
        tables.servers[member.server as usize].weight = *weight;
    }
}
