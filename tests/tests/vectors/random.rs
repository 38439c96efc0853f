//! Random frames: host and kernel agree on each, and what goes to a server is what etherparse
//! takes for a packet of its service.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};
use lb_common::datapath::Verdict;
use lb_common::memory::Memory;
use lb_common::sched::Kind::{Rr, Wrr};
use lb_common::wire::MacAddr;
use lb_tests::case::{INGRESS, SIZES, tcp_service, udp_service};
use lb_tests::kernel::SHORTEST;
use lb_tests::packet::{DIRECTOR_MAC, tcp, udp};
use lb_tests::twin::Twin;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const SERVICES: [&str; 2] = ["10.0.0.100:80", "10.0.0.100:443"];

/// A few flows in small tables, so that frames meet: TCP with servers 0 to 2 and UDP with 3 and 4
/// at the first address; TCP with server 5 at the second.
fn tables() -> Memory {
    Memory::new(lb_common::layout::Sizes { flows: 8, ..SIZES })
        .with_services(&[
            tcp_service(SERVICES[0], Wrr, &[3, 1, 2]),
            udp_service(SERVICES[0], Rr, &[1, 1]),
            tcp_service(SERVICES[1], Rr, &[1]),
        ])
        .with_ingress(INGRESS, MacAddr::new(DIRECTOR_MAC))
}

prop_compose! {
    fn valid()(
        client in 1u8..40,
        service in prop::sample::select(SERVICES.to_vec()),
        is_tcp in any::<bool>(),
        flags in prop_oneof![prop::sample::select(vec![2u8, 2, 16, 17, 4]), 0u8..32],
        options in prop_oneof![8 => Just(0usize), 2 => 1usize..=10],
        ttl in prop_oneof![8 => Just(64u8), 2 => any::<u8>()],
        payload in prop::collection::vec(any::<u8>(), 0..40),
        padding in 0usize..8,
    ) -> Vec<u8> {
        let client = format!("192.0.2.{client}:1000");
        let packet = if is_tcp { tcp(&client, service, flags) } else { udp(&client, service) };
        packet.options(options).ttl(ttl).payload(&payload).padded(padding).bytes()
    }
}

/// A valid frame, a few bytes of which are changed and which may be cut; or any bytes at all.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0usize..60, any::<u8>()), 0..3);
    let cut = prop::option::weighted(0.1, SHORTEST..90);
    let mutated = (valid(), changes, cut).prop_map(|(mut frame, changes, cut)| {
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(cut.unwrap_or(usize::MAX));
        frame
    });
    let noise = prop::collection::vec(any::<u8>(), SHORTEST..200);
    prop_oneof![9 => mutated, 1 => noise]
}

#[test]
fn host_and_kernel_agree_on_every_frame() {
    let twin = RefCell::new(Twin::new(tables()));
    let now = twin.borrow().tables().now;
    let config = Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    };
    let frames = prop::collection::vec((frame(), 0u32..20), 1..80);
    let (ran, sent) = (RefCell::new(0), RefCell::new(0));
    let result = TestRunner::new(config).run(&frames, |frames| {
        let mut twin = twin.borrow_mut();
        twin.change(|memory| {
            *memory = tables();
            memory.now = now;
        });
        for (frame, ticks) in frames {
            if ticks > 15 {
                twin.pass(ticks);
            }
            let outcome = twin.run(&frame);
            *ran.borrow_mut() += 1;
            if let Ok(Verdict::Answer(_)) = outcome.result {
                answered(&frame, &outcome.frame);
            } else if outcome.result.is_ok() {
                *sent.borrow_mut() += 1;
                delivered(&frame, &outcome.frame);
            } else {
                assert_eq!(outcome.frame, frame);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (ran, sent) = (ran.into_inner(), sent.into_inner());
    assert!(
        sent > ran / 5 && sent < ran,
        "{sent} of {ran} frames went to a server"
    );
}

/// Judges an answer: back to its sender, and a valid packet.
fn answered(before: &[u8], after: &[u8]) {
    assert_eq!(before[..6], after[6..12]);
    assert_eq!(before[6..12], after[..6]);
    SlicedPacket::from_ethernet(after).expect("a valid packet");
}

/// Judges where a frame went.
fn delivered(before: &[u8], after: &[u8]) {
    assert_eq!(before[..6], DIRECTOR_MAC);
    let packet = SlicedPacket::from_ethernet(before).expect("a valid packet");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        panic!("no IPv4 packet")
    };
    let ip = ip.header();
    assert_eq!(ip.destination(), [10, 0, 0, 100]);
    let (protocol, port) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (IpNumber::TCP, tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (IpNumber::UDP, udp.destination_port()),
        // Of a fragment etherparse reads no ports.
        None if ip.more_fragments() && ip.fragments_offset().value() == 0 => {
            let at = 14 + usize::from(ip.ihl()) * 4 + 2;
            (
                ip.protocol(),
                u16::from_be_bytes([before[at], before[at + 1]]),
            )
        }
        other => panic!("not of any service: {other:?}"),
    };
    let servers = match (protocol, port) {
        (IpNumber::TCP, 80) => 0..3,
        (IpNumber::UDP, 80) => 3..5,
        (IpNumber::TCP, 443) => 5..6,
        other => panic!("not of any service: {other:?}"),
    };
    // The ways of each service's servers count from 0.
    assert_eq!(after[..5], [2, 0, 0, 0, 3]);
    assert!(
        usize::from(after[5]) < servers.len(),
        "a server of another service"
    );
    assert_eq!(after[6..12], DIRECTOR_MAC);
    assert_eq!(after[22], ip.ttl() - 1);
    let header = SlicedPacket::from_ethernet(after).expect("a valid packet");
    let Some(NetSlice::Ipv4(new)) = &header.net else {
        panic!("no IPv4 packet")
    };
    if ip.header_checksum() == ip.to_header().calc_header_checksum() {
        let new = new.header().to_header();
        assert_eq!(new.header_checksum, new.calc_header_checksum());
    }
}
