//! Services of marks.

use lb_common::addr::{Addr, protocol};
use lb_common::layout::{MarkRule, features, server_flags};
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::service::Key;
use lb_common::state::tcp::State::{SynRecv, TimeWait};
use lb_tests::case::{Case, case, opens, refused, tcp_service, to};
use lb_tests::packet::flags::{ACK, FIN, RST, SYN};
use lb_tests::packet::tcp;
use std::net::Ipv4Addr;

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";
const MARK: u32 = 7;

/// A service of a mark with two servers; the mark is given to TCP for the virtual address.
fn marked(name: &'static str) -> Case {
    let mut service = tcp_service(VIP, Rr, &[1, 1]);
    service.key = Key::of_mark(MARK, true);
    case(name, &[service]).change(|tables| {
        tables.services[0].mark = MARK;
        tables.control.features |= features::MARKS;
        tables.control.rules = 1 << 1;
        tables.rules[0] = MarkRule {
            destination: Addr::from(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100))),
            destination_prefix: 128,
            protocol: protocol::TCP.into(),
            ports: 0xffff << 16,
            mark: MARK,
            family: 4,
            ..MarkRule::default()
        };
    })
}

#[test]
fn flows_by_a_mark_are_known_again() {
    let _ = marked("known")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .send(&tcp(CLIENT, VIP, ACK), to(0).active(0, 0))
        // Whatever the rules say now.
        .change(|tables| tables.control.rules = 0)
        .send(&tcp(CLIENT, VIP, ACK), to(0))
        .send(&tcp("192.0.2.2:1", VIP, SYN), refused(Reason::NoService));
}

#[test]
fn a_syn_on_the_ports_of_a_finished_flow_is_scheduled() {
    for end in [RST, FIN | ACK] {
        let _ = marked("again")
            .send(&tcp(CLIENT, VIP, SYN), opens(0))
            .send(&tcp(CLIENT, VIP, ACK), to(0))
            .send(&tcp(CLIENT, VIP, end), to(0).active(0, -1).inactive(0, 1))
            .change(|tables| crate::state::put(tables, TimeWait))
            .send(
                &tcp(CLIENT, VIP, SYN),
                to(1).connection(1).active(1, 1).inactive(0, -1),
            )
            .is_in(CLIENT, SynRecv);
    }
}

#[test]
fn the_packets_of_a_removed_servers_flow_are_dropped() {
    let _ = marked("removed")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .change(|tables| tables.servers[0].flags &= !server_flags::AVAILABLE)
        .send(&tcp(CLIENT, VIP, ACK), refused(Reason::ServerGone));
}
