//! Which service a packet is for, and the switch from one directory to the other.

use lb_common::layout::Directory;
use lb_common::memory::{Memory, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_tests::case::{Case, case, opens, opens_inactive, refused, tcp_service, to, udp_service};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{tcp, udp};

const CLIENT: &str = "192.0.2.1:40000";

/// As many services as there is room for; service `n` has server `n`.
const SERVICES: [(&str, bool); 8] = [
    ("10.0.0.100:80", true),
    ("10.0.0.100:80", false),
    ("10.0.0.100:81", true),
    ("10.0.0.100:20480", true),
    ("10.0.0.101:80", true),
    ("100.0.0.10:80", true),
    ("10.0.0.100:65535", false),
    ("10.0.0.100:1", false),
];

fn services() -> Vec<NewService> {
    let service = |(address, is_tcp): (&str, bool)| match is_tcp {
        true => tcp_service(address, Rr, &[1]),
        false => udp_service(address, Rr, &[1]),
    };
    SERVICES.map(service).into()
}

fn every_service_is_found(mut case: Case, client: &str) -> Case {
    for (server, (address, is_tcp)) in (0..).zip(SERVICES) {
        case = match is_tcp {
            true => case.send(&tcp(client, address, SYN), opens(server)),
            false => case.send(&udp(client, address), opens_inactive(server)),
        };
    }
    case
}

/// Moves all services from the first directory to the second and switches, as the agent does.
fn switch(tables: &mut Memory) {
    let (slots, displacements) = (
        tables.sizes.slots() as usize,
        tables.sizes.displacements() as usize,
    );
    tables.slots.rotate_right(slots);
    tables.displacements.rotate_right(displacements);
    tables.control.directories.swap(0, 1);
    tables.control.directory = 1;
}

#[test]
fn every_service_is_found_in_either_directory() {
    let case = case("a full directory", &services());
    let case = every_service_is_found(case, "192.0.2.1:1");
    let case = every_service_is_found(case.change(switch), "192.0.2.2:1");
    let _ = case
        .send(&tcp("192.0.2.1:1", SERVICES[0].0, ACK), to(0))
        .send(&udp(CLIENT, "10.0.0.100:81"), refused(Reason::NoService))
        .send(
            &tcp(CLIENT, "10.0.0.102:80", SYN),
            refused(Reason::NoService),
        );
}

#[test]
fn the_directory_that_does_not_count_is_not_read() {
    let syn = tcp(CLIENT, SERVICES[0].0, SYN);
    let _ = case("an empty second directory", &services())
        .change(|tables| tables.control.directory = 1)
        .send(&syn, refused(Reason::NoService))
        .change(|tables| tables.control.directory = 0)
        .send(&syn, opens(0))
        .change(switch)
        .change(|tables| tables.control.directories[0] = Directory::default())
        .send(&syn, to(0));
}
