//! What lblc and lblcr remember of a destination. Servers are named as in `schedule`.

use crate::schedule::{VIP, picks, reweigh, service, with_thresholds};
use lb_common::flow::Word;
use lb_common::layout::{Sizes, server_flags};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::{Lblc, Lblcr};
use lb_common::state::Class;
use lb_tests::case::{Case, SIZES, answered, case_sized, opens, tcp_service};
use lb_tests::packet::flags::SYN;
use lb_tests::packet::tcp;

/// Opens a flow from this port to this server; so many more entries are live.
fn open(case: Case, port: u16, server: u32, entries: i64) -> Case {
    let syn = tcp(&format!("192.0.2.9:{port}"), VIP, SYN);
    case.send(&syn, opens(server).flows(entries))
}

#[test]
fn lblc_stays_with_a_server_until_it_is_overloaded() {
    // The second server would be the least loaded from the second flow on.
    let case = open(service("lblc", Lblc, &[2, 2]), 1, 0, 1);
    let case = picks(case, 0, "B B");
    // Three active connections are more than its weight, and A has less than half of its own.
    let case = picks(case, 2, "A A A");
    // Now A has three as well, and none is hardly used.
    let _ = picks(case, 5, "A A A");
}

#[test]
fn lblc_leaves_a_server_that_is_quiesced_or_gone() {
    let case = open(service("lblc, quiesced", Lblc, &[9, 9]), 1, 0, 1);
    let case = case.change(|tables| reweigh(tables, &[9, 0]));
    let case = picks(case, 0, "A A");
    let case = case.change(|tables| reweigh(tables, &[9, 9]));
    // It was not forgotten for the old one.
    let case = picks(case, 2, "A");
    let case = case.change(|tables| {
        tables.servers[1].flags &= !server_flags::AVAILABLE;
        tables.members[1].weight = 0;
    });
    let case = picks(case, 3, "B B");
    let _ = case
        .change(|tables| {
            tables.servers[0].flags &= !server_flags::AVAILABLE;
            tables.members[0].weight = 0;
        })
        .send(&tcp("192.0.2.8:1", VIP, SYN), answered(Reason::NoServer));
}

#[test]
fn lblcr_remembers_servers_that_are_gone() {
    // All three come in, A last.
    let case = open(service("lblcr, gone", Lblcr, &[2, 2, 2]), 1, 0, 2);
    let case = picks(case, 0, "C C");
    let case = open(case, 2, 1, 1);
    let case = picks(case, 2, "B B");
    let case = open(case, 3, 2, 1);
    // A and B leave the list; their entries in the set stand before C's, which is found to be in it.
    let case = case.change(|tables| {
        reweigh(tables, &[0, 0, 2]);
        for gone in [1, 2] {
            tables.servers[gone].flags &= !server_flags::AVAILABLE;
        }
        tables.services[0].len = 1;
    });
    let _ = case.send(&tcp("192.0.2.8:1", VIP, SYN), opens(0));
}

#[test]
fn a_link_of_lblcrs_set_that_gave_way_ends_it() {
    for lost in 0..2 {
        // C, then B, then A come in; A's entry names B, B's names C, and C's itself.
        let case = open(service("lblcr, a link lost", Lblcr, &[2, 2, 2]), 1, 0, 2);
        let case = picks(case, 0, "C C");
        let case = open(case, 2, 1, 1);
        let case = picks(case, 2, "B B");
        let case = open(case, 3, 2, 1);
        let case = case.change(|tables| {
            let names_c = |bits: u64| {
                let word = Word::from_bits(bits);
                word.class() == Class::CACHE && word.server() == 0
            };
            let mut seen = 0;
            for cell in &tables.flows {
                let mut bucket = cell.get();
                for entry in bucket.entries.iter_mut().filter(|entry| names_c(entry[1])) {
                    if seen == lost {
                        *entry = [0; 2];
                    }
                    seen += 1;
                }
                cell.set(bucket);
            }
            assert_eq!(seen, 2, "B's entry and C's");
        });
        // The servers up to there are of the set still: B, where it ends, is the least loaded once
        // A has four.
        let _ = picks(case, 4, "A A A B");
    }
}

#[test]
fn lblc_heeds_thresholds_when_it_chooses_only() {
    let case = service("lblc, thresholds", Lblc, &[9, 9]);
    let case = open(with_thresholds(case, 0, (2, 1)), 1, 0, 1);
    let _ = picks(case, 0, "B B B");
    let case = service("lblcr, thresholds", Lblcr, &[9, 9]);
    let case = open(with_thresholds(case, 0, (2, 1)), 1, 0, 2);
    let case = picks(case, 0, "B");
    let _ = picks(open(case, 2, 1, 1), 1, "A A");
}

#[test]
fn lblcr_takes_another_server_in_when_the_least_loaded_is_overloaded() {
    let case = open(service("lblcr", Lblcr, &[2, 2, 2]), 1, 0, 2);
    let case = picks(case, 0, "C C");
    // B comes in, then is the least loaded of both.
    let case = open(case, 2, 1, 1);
    let case = picks(case, 2, "B");
    // On a tie the one that came in last is first.
    let case = picks(case, 3, "B");
    // Both have three now; A comes in.
    let case = open(case, 3, 2, 1);
    let case = picks(case, 4, "A A");
    // All have three, none is hardly used: the least loaded, the last one in first.
    let _ = picks(case, 6, "A B C A");
}

#[test]
fn a_destination_is_forgotten_after_a_day() {
    for (kind, entries) in [(Lblc, 1), (Lblcr, 2)] {
        // In so large a table no entry takes the place of one that expired.
        let sizes = Sizes {
            flows: 1 << 12,
            ..SIZES
        };
        let case = case_sized(kind.name(), sizes, &[tcp_service(VIP, kind, &[9, 9])]);
        let case = open(case, 1, 0, entries).pass_timeout(Class::CACHE);
        let case = picks(case, 0, "B");
        let case = case.pass_timeout(Class::CACHE).pass(1);
        // B has two connections more, by their counts.
        let _ = open(case, 2, 1, entries);
    }
}

#[test]
fn a_service_that_gets_its_scheduler_anew_begins_anew() {
    let anew = |tables: &mut Memory| tables.services[0].table = 7;
    for (kind, entries) in [(Lblc, 1), (Lblcr, 2)] {
        let case = open(service(kind.name(), kind, &[9, 9]), 1, 0, entries);
        let case = picks(case, 0, "B").change(anew);
        let _ = picks(open(case, 2, 1, entries), 1, "A A");
    }
}
