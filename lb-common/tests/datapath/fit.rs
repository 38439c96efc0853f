//! How many flows find room, and that a flood takes none from those that are established.

use crate::frames::{Flow, TCP, send, tables};
use lb_common::layout::Sizes;
use lb_common::reason::Reason;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Clients of ordinary networks: addresses one behind the other, few ports each.
fn client(n: u32) -> Flow {
    Flow::new(0x0b00_0000 + n / 4, 40_000 + (n % 4) as u16, TCP)
}

#[test]
fn the_design_number_of_flows_fits() {
    const FLOWS: u32 = 200_000;
    let sizes = Sizes {
        services: 2,
        servers: 32,
        flows: FLOWS,
    };
    let memory = tables(sizes, &[1; 16]);
    let open = |n: u32| {
        let flow = client(n);
        let server = send(&memory, &mut flow.frame(SYN)).expect("a server");
        assert_eq!(send(&memory, &mut flow.frame(ACK)), Ok(server));
        server
    };
    let servers: Vec<u32> = (0..FLOWS).map(open).collect();
    let tracked = memory.live_flows().count() as u32;
    let lost = FLOWS - tracked;
    assert!(
        lost <= FLOWS / 10_000,
        "{lost} of {FLOWS} flows found no room"
    );
    assert_eq!(memory.reason(Reason::Untracked), u64::from(lost) * 2);
    assert_eq!(memory.reason(Reason::Evicted), 0);
    for (n, server) in (0..).zip(servers) {
        assert_eq!(
            send(&memory, &mut client(n).frame(ACK)),
            Ok(server),
            "flow {n}"
        );
    }
}

#[test]
fn a_flood_takes_no_established_flow() {
    const ESTABLISHED: u32 = 2_000;
    const FLOOD: u32 = 100_000;
    let sizes = Sizes {
        services: 2,
        servers: 32,
        flows: 5_000,
    };
    let memory = tables(sizes, &[1; 16]);
    // Sources all over the address space, in the order of a multiplicative generator.
    let flood = |n: u32| {
        let mixed = n.wrapping_mul(0x9e37_79b1);
        Flow::new(0x1000_0000 | mixed >> 4, mixed as u16, TCP)
    };
    for n in 0..FLOOD / 4 {
        assert!(send(&memory, &mut flood(n).frame(SYN)).is_ok());
    }
    let entries = memory.flows.len() * lb_common::layout::WAYS;
    assert!(
        memory.live_flows().count() > entries * 99 / 100,
        "the table is full"
    );
    let open = |n: u32| {
        let server = send(&memory, &mut client(n).frame(SYN)).expect("a server");
        assert_eq!(send(&memory, &mut client(n).frame(ACK)), Ok(server));
        server
    };
    let servers: Vec<u32> = (0..ESTABLISHED).map(open).collect();
    for n in FLOOD / 4..FLOOD {
        assert!(send(&memory, &mut flood(n).frame(SYN)).is_ok());
    }
    for (n, server) in (0..).zip(servers) {
        assert_eq!(
            send(&memory, &mut client(n).frame(ACK)),
            Ok(server),
            "flow {n}"
        );
    }
    assert_eq!(
        memory.reason(Reason::Untracked),
        0,
        "half-open flows made room"
    );
}
