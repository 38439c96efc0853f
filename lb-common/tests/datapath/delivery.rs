//! Whatever comes in: nothing panics, and nothing goes where it must not.

use crate::frames::{DIRECTOR, Flow, PORT, TCP, UDP, VIP, send, sum, tables};
use lb_common::layout::Sizes;
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;

const SIZES: Sizes = Sizes {
    services: 2,
    servers: 16,
    flows: 256,
};
/// The third server of each service takes no new connections.
const WEIGHTS: [u32; 4] = [1, 1, 0, 3];

/// Where fields lie in a frame whose headers were understood.
fn flow_of(frame: &[u8]) -> Flow {
    let transport = 14 + usize::from(frame[14] & 15) * 4;
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address =
        |at: usize| Ipv4Addr::from([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    Flow {
        client: address(26),
        port: port(transport),
        to: address(30),
        to_port: port(transport + 2),
        protocol: frame[23],
    }
}

/// Flows that were seen, and their servers; none for one that only packets at their last hop
/// were seen of, which open flows and go nowhere.
type Seen = HashMap<Flow, Option<u32>>;

/// Sends a frame and checks what may be said of any.
fn check(memory: &Memory, frame: &[u8], seen: &mut Seen) {
    let mut after = frame.to_vec();
    let server = match send(memory, &mut after) {
        Ok(server) => server,
        Err(reason) => {
            assert_eq!(after, frame, "a refused frame changed");
            if reason == Reason::TtlExceeded {
                seen.insert(flow_of(frame), None);
            }
            return;
        }
    };
    assert_eq!(frame[..6], DIRECTOR, "the frame was for another host");
    assert_eq!(frame[12..14], [8, 0]);
    if u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff == 0 {
        goes_where_its_flow_does(frame, server, seen);
    } else {
        // A later fragment, where the first one went; it has no ports.
        assert_eq!(flow_of(frame).to, VIP);
    }

    assert_eq!(after.len(), frame.len());
    assert_eq!(after[22], frame[22] - 1, "TTL");
    let header = 14..14 + usize::from(frame[14] & 15) * 4;
    if sum(&frame[header.clone()]) == 0xffff {
        assert_eq!(sum(&after[header]), 0xffff, "checksum");
    }
    for (at, (old, new)) in frame.iter().zip(&after).enumerate() {
        assert!(
            old == new || at < 12 || matches!(at, 22 | 24 | 25),
            "byte {at}"
        );
    }
}

/// Checks that a packet with ports went to its service, and to the server of its flow.
fn goes_where_its_flow_does(frame: &[u8], server: u32, seen: &mut Seen) {
    let flow = flow_of(frame);
    assert_eq!(
        (flow.to, flow.to_port),
        (VIP, PORT),
        "there is no such service"
    );
    assert!(matches!(flow.protocol, TCP | UDP));

    let first = if flow.protocol == TCP {
        0
    } else {
        WEIGHTS.len() as u32
    };
    let weight = server
        .checked_sub(first)
        .and_then(|n| WEIGHTS.get(n as usize));
    assert!(
        weight.is_some_and(|weight| *weight != 0),
        "server {server} is not the service's"
    );
    let known = seen.insert(flow, Some(server));
    let flags = frame.get(14 + usize::from(frame[14] & 15) * 4 + 13);
    if flow.protocol == UDP {
        assert!(known.flatten().is_none_or(|known| known == server));
    } else if flags.is_none_or(|flags| flags & 0b110 != 0b010) {
        let known = known.expect("a segment that opens nothing is of a flow that was seen");
        assert!(known.is_none_or(|known| known == server), "the flow moved");
    }
}

prop_compose! {
    /// A valid frame of one of few flows, most of them to a service.
    fn valid()(
        client in 0xc000_0200u32..0xc000_0208,
        port in 1000u16..1003,
        to in prop::sample::select(vec![VIP, VIP, VIP, VIP, Ipv4Addr::new(10, 0, 0, 101)]),
        to_port in prop::sample::select(vec![PORT, PORT, PORT, PORT, 81]),
        protocol in prop::sample::select(vec![TCP, UDP]),
        flags in prop_oneof![prop::sample::select(vec![2u8, 16, 17, 4]), any::<u8>()],
        words in prop_oneof![8 => Just(5u8), 2 => 6u8..16],
        ttl in prop_oneof![8 => Just(64u8), 2 => any::<u8>()],
        data in 0u16..40,
    ) -> Vec<u8> {
        Flow { client: client.into(), port, to, to_port, protocol }
            .frame_with(flags, words, ttl, data)
    }
}

/// The same, changed in a few places and cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0usize..60, any::<u8>()), 0..4);
    (valid(), changes, prop::option::weighted(0.1, 0usize..80)).prop_map(
        |(mut frame, changes, cut)| {
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(cut.unwrap_or(usize::MAX));
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_go_nowhere_wrong(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let memory = tables(SIZES, &WEIGHTS);
        let mut seen = Seen::new();
        for frame in frames {
            check(&memory, &frame, &mut seen);
        }
    }

    #[test]
    fn mutated_packets_go_nowhere_wrong(frames in prop::collection::vec(mutated(), 1..100)) {
        let memory = tables(SIZES, &WEIGHTS);
        let mut seen = Seen::new();
        for frame in frames {
            check(&memory, &frame, &mut seen);
        }
    }
}
