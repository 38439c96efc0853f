//! Services with many servers.

use lb_common::layout::{Sizes, service_flags};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::sched::Kind;
use lb_common::wire::MacAddr;
use lb_tests::case::{INGRESS, tcp_service, way};
use lb_tests::packet::flags::SYN;
use lb_tests::packet::{DIRECTOR_MAC, tcp};
use lb_tests::twin::Twin;
use std::net::{IpAddr, Ipv4Addr};

/// More than any service is known to have.
const SERVERS: usize = 1500;

#[test]
fn the_last_of_many_servers_is_found() {
    let sizes = Sizes {
        services: 1,
        servers: 2048,
        flows: 64,
    };
    for kind in Kind::ALL {
        // The tables of sh and dh have 256 slots; the virtual address has slot 248.
        let last = if kind == Kind::Dh {
            248
        } else if kind == Kind::Sh {
            255
        } else {
            SERVERS - 1
        };
        let server = |n: usize| NewServer {
            addr: IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + n as u32)).into(),
            weight: u32::from(n == last),
            way: Some(way(n as u8)),
        };
        let service = NewService {
            servers: (0..SERVERS).map(server).collect(),
            ..tcp_service("10.0.0.100:80", kind, &[])
        };
        let mut memory = Memory::new(sizes)
            .with_services(&[service])
            .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC));
        // So that sh and mh find it from any slot.
        memory.services[0].flags = service_flags::SCHED_1;
        let mut twin = Twin::new(memory);
        for client in ["192.0.2.1:1000", "192.0.2.2:1000"] {
            let outcome = twin.run(&tcp(client, "10.0.0.100:80", SYN).bytes());
            assert!(outcome.result.is_ok(), "{}", kind.name());
        }
        let state = twin.tables().server_states[last].get();
        assert_eq!(state.active, 2, "{}", kind.name());
    }
}
