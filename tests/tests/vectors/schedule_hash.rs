//! sh, dh and mh. What they choose was computed with the kernel's own schedulers, compiled
//! unmodified in user space.

use lb_common::addr::{Addr, Port, protocol};
use lb_common::layout::service_flags::{SCHED_1, SCHED_2};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind::{self, Dh, Mh, Sh};
use lb_common::sched::build;
use lb_common::service::Key;
use lb_tests::case::{Case, answered, case, opens, way};
use lb_tests::packet::flags::SYN;
use lb_tests::packet::tcp;
use std::net::{IpAddr, Ipv4Addr};

const VIP: &str = "10.0.0.100:80";

const CLIENTS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "198.51.100.77", "203.0.113.7"];

/// Servers 10.0.0.13 (server 0), .12 (1) and .11 (2) with weights 2, 1 and 1.
fn service(name: &'static str, kind: Kind, flags: u32) -> Case {
    let server = |(n, weight): (u8, u32)| NewServer {
        addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 13 - n)).into(),
        weight,
        way: Some(way(n)),
    };
    let vip: IpAddr = Ipv4Addr::new(10, 0, 0, 100).into();
    let service = NewService {
        key: Key::new(Addr::from(vip), Port::new(80), protocol::TCP),
        scheduler: kind,
        servers: (0..).zip([2, 1, 1]).map(server).collect(),
    };
    case(name, &[service]).change(|tables| tables.services[0].flags = flags)
}

/// Quiesces 10.0.0.13, and makes the table anew if `rebuilt`.
fn quiesce(tables: &mut Memory, rebuilt: bool) {
    tables.members[0].weight = 0;
    tables.servers[0].weight = 0;
    if rebuilt {
        let servers = [0, 1, 1].map(|weight| build::Server {
            weight,
            last_weight: weight,
            address: Addr::default(),
            port: 0,
        });
        let table = build::table(Sh, &servers).expect("sh has a table");
        for (word, slots) in tables.tables.iter_mut().zip(table.chunks(4)) {
            word.copy_from_slice(slots);
        }
    }
}

/// Each client opens a flow from this port; a server's name is its last number, 0 for none.
fn choose(mut case: Case, port: u16, expected: [u32; 4]) -> Case {
    for (client, last) in CLIENTS.into_iter().zip(expected) {
        let expect = match last {
            0 => answered(Reason::NoServer),
            last => opens(13 - last),
        };
        case = case.send(&tcp(&format!("{client}:{port}"), VIP, SYN), expect);
    }
    case
}

#[test]
fn sh_goes_by_the_clients_address() {
    let case = choose(service("sh", Sh, 0), 1000, [12, 13, 11, 13]);
    let case = case.change(|tables| quiesce(tables, true));
    let _ = choose(case, 1001, [11, 12, 12, 12]);
}

#[test]
fn sh_goes_by_the_clients_port_too_if_told() {
    let _ = choose(service("sh-port", Sh, SCHED_2), 40000, [12, 13, 11, 13]);
}

#[test]
fn sh_takes_another_server_only_if_told() {
    let quiesced = |flags| service("sh", Sh, flags).change(|tables| quiesce(tables, false));
    let _ = choose(quiesced(0), 1000, [12, 0, 11, 0]);
    // The slots are 50, 148, 103 and 124; .13 has the first two of each four. The search goes on
    // at twice the slot: 100, 40, 206, 248, and from there.
    let _ = choose(quiesced(SCHED_1), 1000, [12, 12, 11, 12]);
}

#[test]
fn mh_goes_by_the_clients_address_and_port() {
    let case = choose(service("mh", Mh, 0), 1000, [13, 11, 13, 12]);
    let case = case.change(|tables| quiesce(tables, false));
    let _ = choose(case, 1001, [0, 11, 0, 12]);
    let _ = choose(service("mh-port", Mh, SCHED_2), 40000, [13, 11, 13, 11]);
}

#[test]
fn mh_takes_another_server_if_told() {
    let case = service("mh-fallback", Mh, SCHED_1).change(|tables| quiesce(tables, false));
    let _ = choose(case, 1000, [12, 11, 11, 12]);
    let all = |tables: &mut Memory| tables.members[..3].iter_mut().for_each(|m| m.weight = 0);
    for (kind, flags) in [(Mh, SCHED_1), (Sh, SCHED_1), (Dh, 0)] {
        let case = service("all quiesced", kind, flags).change(all);
        let _ = choose(case, 1000, [0; 4]);
    }
}

#[test]
fn dh_goes_by_the_virtual_address() {
    // 10.0.0.100 has slot 248, one of every third from 2 on: .11.
    let _ = choose(service("dh", Dh, SCHED_1 | SCHED_2), 1000, [11; 4]);
    let quiesce = |tables: &mut Memory| tables.members[2].weight = 0;
    let case = service("dh", Dh, SCHED_1 | SCHED_2).change(quiesce);
    let _ = choose(case, 1000, [0; 4]);
}

#[test]
fn a_service_without_servers_has_none() {
    for (kind, flags) in [(Mh, SCHED_1), (Sh, SCHED_1), (Dh, 0)] {
        let empty = lb_tests::case::tcp_service(VIP, kind, &[]);
        let case = case("empty", &[empty]).change(|tables| tables.services[0].flags = flags);
        let _ = choose(case, 1000, [0; 4]);
    }
}
