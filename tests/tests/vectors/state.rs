//! The life of a flow: states, timeouts, and what of it is counted as active.

use lb_common::flow::Word;
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::state::Class;
use lb_common::state::tcp::State::{
    self, Close, CloseWait, Established, FinWait, LastAck, Listen, None as New, SynRecv, SynSent,
    Synack, TimeWait,
};
use lb_tests::case::{Case, case, opens, opens_inactive, refused, tcp_service, to, udp_service};
use lb_tests::packet::flags::{ACK, FIN, NULL, PSH, RST, SYN};
use lb_tests::packet::{tcp, udp};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";

fn two(name: &'static str) -> Case {
    let services = [tcp_service(VIP, Rr, &[1, 1]), udp_service(VIP, Rr, &[1, 1])];
    case(name, &services)
}

#[test]
fn a_connection_from_syn_to_the_end() {
    let _ = two("the client closes first")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .is_in(CLIENT, SynRecv)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .is_in(CLIENT, Established)
        .send(&tcp(CLIENT, VIP, ACK | PSH).payload(b"data"), to(0))
        .is_in(CLIENT, Established)
        .send(
            &tcp(CLIENT, VIP, FIN | ACK),
            to(0).active(0, -1).inactive(0, 1),
        )
        .is_in(CLIENT, FinWait)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .is_in(CLIENT, FinWait);
}

/// The kernel's table for packets of the client alone (net/netfilter/ipvs/ip_vs_proto_tcp.c:
/// `tcp_states`, rows INPUT_ONLY): every state and event.
#[test]
fn every_state_and_event() {
    let table = [
        (
            SYN,
            [
                SynRecv,
                Established,
                Established,
                SynRecv,
                SynRecv,
                SynRecv,
                SynRecv,
                SynRecv,
                SynRecv,
                SynRecv,
                SynRecv,
            ],
        ),
        (
            FIN,
            [
                Close, FinWait, SynSent, TimeWait, FinWait, TimeWait, Close, CloseWait, LastAck,
                Listen, TimeWait,
            ],
        ),
        (
            ACK,
            [
                Established,
                Established,
                SynSent,
                Established,
                FinWait,
                TimeWait,
                Close,
                CloseWait,
                Close,
                Listen,
                Established,
            ],
        ),
        (
            RST,
            [
                Close, Close, Close, SynRecv, Close, Close, Close, Close, LastAck, Listen, Close,
            ],
        ),
        (NULL, [Close; 11]),
    ];
    let states = [
        New,
        Established,
        SynSent,
        SynRecv,
        FinWait,
        TimeWait,
        Close,
        CloseWait,
        LastAck,
        Listen,
        Synack,
    ];
    let active = |state| i64::from(matches!(state, Established | SynSent | SynRecv | Synack));
    let mut case = two("states and events").send(&tcp(CLIENT, VIP, SYN), opens(0));
    for (flags, row) in table {
        for (state, next) in states.into_iter().zip(row) {
            if flags == SYN && matches!(state, TimeWait | Close) {
                continue; // A new connection: see `a_syn_reopens_what_is_over`.
            }
            let more = active(next) - active(state);
            case = case
                .change(|tables| put(tables, state))
                .send(
                    &tcp(CLIENT, VIP, flags),
                    to(0).active(0, more).inactive(0, -more),
                )
                .is_in(CLIENT, next);
        }
    }
}

/// Puts the only flow into a state, and its server's counts right.
pub(crate) fn put(tables: &mut Memory, state: State) {
    let class = Class::from(state);
    for cell in &tables.flows {
        let mut bucket = cell.get();
        for [_, bits] in &mut bucket.entries {
            let word = Word::from_bits(*bits);
            if word != Word::VOID {
                *bits = word.moved(class, word.deadline()).bits();
            }
        }
        cell.set(bucket);
    }
    let mut counts = tables.server_states[0].get();
    counts.active = class.is_active().into();
    counts.inactive = 1 - counts.active;
    tables.server_states[0].set(counts);
}

#[test]
fn a_syn_reopens_what_is_over() {
    for over in [TimeWait, Close] {
        let _ = two("ports used again")
            .send(&tcp(CLIENT, VIP, SYN), opens(0))
            .change(|tables| put(tables, over))
            .send(
                &tcp(CLIENT, VIP, SYN),
                to(1).connection(1).active(1, 1).inactive(0, -1),
            )
            .is_in(CLIENT, SynRecv)
            .send(&tcp(CLIENT, VIP, ACK), to(1));
    }
}

#[test]
fn a_syn_again_is_the_same_connection() {
    let _ = two("a SYN sent again")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .send(&tcp(CLIENT, VIP, SYN), to(0))
        .is_in(CLIENT, SynRecv)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .send(&tcp(CLIENT, VIP, SYN), to(0))
        .is_in(CLIENT, Established);
}

#[test]
fn only_a_syn_opens() {
    let mut case = two("segments of no connection");
    for flags in 0..64 {
        let opening = flags & (SYN | RST) == SYN;
        if !opening {
            case.sends(&tcp(CLIENT, VIP, flags).bytes(), refused(Reason::NoFlow));
        }
    }
    let _ = case
        .send(&tcp("192.0.2.2:1", VIP, SYN | ACK), opens(0))
        .is_in("192.0.2.2:1", SynRecv)
        .send(&tcp("192.0.2.3:1", VIP, SYN | FIN), opens(1))
        .is_in("192.0.2.3:1", SynRecv);
}

#[test]
fn a_reset_ends_it_and_an_open_one_survives_it() {
    let _ = two("reset")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .send(&tcp(CLIENT, VIP, RST), to(0))
        .is_in(CLIENT, SynRecv)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .send(
            &tcp(CLIENT, VIP, RST | ACK),
            to(0).active(0, -1).inactive(0, 1),
        )
        .is_in(CLIENT, Close);
}

#[test]
fn a_flow_lives_to_the_last_tick_of_its_timeout() {
    let _ = two("timeouts")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .pass_timeout(SynRecv.into())
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .is_in(CLIENT, Established)
        .pass_timeout(Established.into())
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .is_in(CLIENT, Established)
        .pass_timeout(Established.into())
        .pass(1)
        .send(&tcp(CLIENT, VIP, ACK), refused(Reason::NoFlow))
        // The expired entry leaves the counts when its place is taken, by its own flow here.
        .send(&tcp(CLIENT, VIP, SYN), opens(1).active(0, -1));
}

#[test]
fn datagrams_are_one_flow_until_they_cease() {
    let _ = two("udp")
        .send(&udp(CLIENT, VIP), opens_inactive(2))
        .is_in(CLIENT, Class::UDP_FIRST)
        .send(&udp(CLIENT, VIP), to(2))
        .is_in(CLIENT, Class::UDP)
        .pass_timeout(Class::UDP)
        .send(&udp(CLIENT, VIP), to(2))
        .is_in(CLIENT, Class::UDP)
        .pass_timeout(Class::UDP)
        .pass(1)
        .send(&udp(CLIENT, VIP), opens_inactive(3).inactive(2, -1))
        .is_in(CLIENT, Class::UDP_FIRST);
}

#[test]
fn address_port_and_protocol_tell_flows_apart() {
    let _ = two("tuples")
        .send(&tcp("192.0.2.1:1000", VIP, SYN), opens(0))
        .send(&tcp("192.0.2.1:1001", VIP, SYN), opens(1))
        .send(&tcp("192.0.2.2:1000", VIP, SYN), opens(0))
        .send(&udp("192.0.2.1:1000", VIP), opens_inactive(2))
        .send(&tcp("192.0.2.1:1001", VIP, ACK), to(1))
        .send(&tcp("192.0.2.1:1000", VIP, ACK), to(0))
        .send(&udp("192.0.2.1:1000", VIP), to(2));
}

#[test]
fn a_quiesced_server_keeps_its_flows() {
    let _ = two("weight 0")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .change(|tables| tables.members[0].weight = 0)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .send(&tcp("192.0.2.2:1", VIP, SYN), opens(1))
        .send(&tcp("192.0.2.3:1", VIP, SYN), opens(1));
}
