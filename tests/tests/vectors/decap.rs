//! Decapsulation on real servers.

use etherparse::SlicedPacket;
use lb_common::decap::ecn::codepoint::{CE, ECT_0, ECT_1, NOT_ECT};
use lb_common::decap::{Refusal, Settings, Tunnel, Tunnels};
use lb_tests::real_server::{GUE_PORT, Outcome, Twin, in_namespace, settings};
use lb_tests::tunnel::{Shim, Tunnelled, inner, tunnelled};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::net::IpAddr;

const VIP: &str = "10.0.0.100:80";
const VIP6: &str = "[fd00::100]:80";
const CLIENT: &str = "192.0.2.1:40000";
const CLIENT6: &str = "[2001:db8::1]:40000";

/// The outer addresses: the director's and the real server's, in both families.
const PATHS: [(&str, &str); 2] = [("10.0.0.2", "10.0.0.11"), ("fd00::2", "fd00::11")];

fn twin() -> Twin {
    twin_with(settings(), true)
}

fn twin_with(settings: Settings, forwards: bool) -> Twin {
    let vips: [IpAddr; 2] = ["10.0.0.100", "fd00::100"].map(|a| a.parse().expect("an address"));
    Twin::new(settings, &vips, forwards)
}

/// Packets for the virtual addresses: TCP and UDP over both families.
fn inners(traffic_class: u8) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (from, to) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
        for is_tcp in [true, false] {
            packets.push(inner(
                from,
                to,
                is_tcp,
                traffic_class,
                b"GET / HTTP/1.0\r\n",
            ));
        }
    }
    packets
}

fn v4() -> Vec<u8> {
    inner(CLIENT, VIP, false, 0, b"datagram")
}

fn gue(extensions: &[u8], checksum: bool) -> Shim {
    Shim::Gue {
        port: GUE_PORT,
        extensions: extensions.to_vec(),
        checksum,
    }
}

fn shims() -> Vec<(Tunnel, Shim)> {
    let direct = |checksum| Shim::GueDirect {
        port: GUE_PORT,
        checksum,
    };
    vec![
        (Tunnel::Ipip, Shim::Ipip),
        (Tunnel::Gre, Shim::Gre { checksum: false }),
        (Tunnel::Gre, Shim::Gre { checksum: true }),
        (Tunnel::Gue, gue(&[], false)),
        (Tunnel::Gue, gue(&[], true)),
        (Tunnel::Gue, gue(&[0xab; 4], false)),
        (Tunnel::Gue, gue(&[0xab; 124], true)),
        (Tunnel::Gue, direct(false)),
        (Tunnel::Gue, direct(true)),
    ]
}

/// A datagram for the virtual address in an IPIP tunnel between the first of [`PATHS`].
fn ipip() -> Tunnelled {
    tunnelled(PATHS[0].0, PATHS[0].1, Shim::Ipip, &v4())
}

/// Runs a frame whose packet must be taken out of its tunnel.
fn taken_off(twin: &mut Twin, frame: &Tunnelled, tunnel: Tunnel) -> Vec<u8> {
    let Outcome { result, frame: out } = twin.run(&frame.bytes());
    assert_eq!(result, Ok(tunnel), "{frame:?}");
    SlicedPacket::from_ethernet(&out).expect("a valid packet");
    out
}

fn refused(twin: &mut Twin, frame: &[u8], refusal: Refusal) {
    assert_eq!(twin.run(frame).result, Err(refusal), "{frame:02x?}");
}

#[test]
fn every_packet_comes_out_of_every_tunnel() {
    const TAGS: [&[(u16, u16)]; 4] = [
        &[],
        &[(0x8100, 0x6064)],
        &[(0x88a8, 7), (0x8100, 8)],
        &[(0x8100, 1), (0x8100, 2)],
    ];
    in_namespace(true, || {
        let mut twin = twin();
        for (from, to) in PATHS {
            for (tunnel, shim) in shims() {
                for inner in inners(0) {
                    for tags in TAGS {
                        let frame = tunnelled(from, to, shim.clone(), &inner).tags(tags);
                        assert_eq!(taken_off(&mut twin, &frame, tunnel), frame.plain());
                    }
                }
            }
        }
    });
}

#[test]
fn bytes_behind_the_packet_and_long_packets_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        for (tunnel, shim) in shims() {
            let (from, to) = PATHS[0];
            let frame = tunnelled(from, to, shim.clone(), &v4()).padded(9);
            assert_eq!(taken_off(&mut twin, &frame, tunnel), frame.plain());
            let long = inner(CLIENT, VIP, true, 0, &[0x55; 1300]);
            let frame = tunnelled(from, to, shim, &long);
            assert_eq!(taken_off(&mut twin, &frame, tunnel), frame.plain());
        }
    });
}

#[test]
fn a_packet_in_several_buffers_is_read_to_its_end() {
    in_namespace(true, || {
        let mut twin = twin();
        for (from, to) in PATHS {
            let jumbo = inner(CLIENT, VIP, false, 0, &[0x55; 8900]);
            let frame = tunnelled(from, to, Shim::Ipip, &jumbo);
            assert_eq!(taken_off(&mut twin, &frame, Tunnel::Ipip), frame.plain());
            let mut short = frame.bytes();
            short.truncate(short.len() - 1);
            refused(&mut twin, &short, Refusal::Malformed);
        }
    });
}

#[test]
fn congestion_goes_over_to_the_inner_header() {
    // A DSCP of each header that has to stay, and to go.
    const INNER: u8 = 0xb8;
    const OUTER: u8 = 0x28;
    // RFC 6040, figure 4.
    let merged = |inner, outer| match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    };
    in_namespace(true, || {
        let mut twin = twin();
        for (from, to) in PATHS {
            for (a, b) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
                for i in [NOT_ECT, ECT_0, ECT_1, CE] {
                    for o in [NOT_ECT, ECT_0, ECT_1, CE] {
                        let packet = |ecn| inner(a, b, true, INNER | ecn, b"data");
                        let frame =
                            tunnelled(from, to, Shim::Ipip, &packet(i)).traffic_class(OUTER | o);
                        let Some(ecn) = merged(i, o) else {
                            refused(&mut twin, &frame.bytes(), Refusal::Congestion);
                            continue;
                        };
                        let mut right = frame.clone();
                        right.inner = packet(ecn);
                        let out = taken_off(&mut twin, &frame, Tunnel::Ipip);
                        assert_eq!(out, right.plain(), "{i:02b} in {o:02b}");
                    }
                }
            }
        }
    });
}

#[test]
fn plain_packets_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        for packet in inners(0) {
            let frame = tunnelled(PATHS[0].0, PATHS[0].1, Shim::Ipip, &packet).plain();
            refused(&mut twin, &frame, Refusal::Plain);
        }
        // ARP, a length in place of a type (IEEE 802.3), MPLS, a third tag.
        for kind in [0x0806, 0x0026, 0x8847] {
            let mut frame = ipip().bytes();
            frame[12..14].copy_from_slice(&u16::to_be_bytes(kind));
            refused(&mut twin, &frame, Refusal::Plain);
        }
        let tags = ipip().tags(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)]);
        refused(&mut twin, &tags.bytes(), Refusal::Plain);
        // UDP to another port than GUE's.
        let other = Shim::GueDirect {
            port: GUE_PORT + 1,
            checksum: true,
        };
        let frame = tunnelled(PATHS[0].0, PATHS[0].1, other, &v4());
        refused(&mut twin, &frame.bytes(), Refusal::Plain);
    });
}

#[test]
fn only_the_tunnels_asked_for_are_taken_off() {
    in_namespace(true, || {
        for only in Tunnel::ALL {
            let mut twin = twin_with(
                Settings {
                    tunnels: Tunnels::default().with(only),
                    ..settings()
                },
                true,
            );
            for (from, to) in PATHS {
                for (tunnel, shim) in shims() {
                    let frame = tunnelled(from, to, shim, &v4());
                    if tunnel == only {
                        taken_off(&mut twin, &frame, tunnel);
                    } else {
                        refused(&mut twin, &frame.bytes(), Refusal::Plain);
                    }
                }
            }
        }
    });
}

#[test]
fn other_hosts_packets_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        for (tunnel, shim) in shims() {
            for (from, to) in [("10.0.0.2", "198.51.100.7"), ("fd00::2", "2001:db8:f::7")] {
                let frame = tunnelled(from, to, shim.clone(), &v4());
                refused(&mut twin, &frame.bytes(), Refusal::OtherHost);
            }
            let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, shim.clone(), &v4());
            frame.destination_mac[5] ^= 1;
            refused(&mut twin, &frame.bytes(), Refusal::OtherHost);
            frame.destination_mac[5] ^= 1;
            taken_off(&mut twin, &frame, tunnel);
        }
    });
    // A host that does not forward has no packets but its own.
    in_namespace(false, || {
        let mut twin = twin_with(settings(), false);
        for (from, to) in PATHS.into_iter().chain([("10.0.0.2", "198.51.100.7")]) {
            let frame = tunnelled(from, to, Shim::Ipip, &v4());
            taken_off(&mut twin, &frame, Tunnel::Ipip);
        }
    });
}

#[test]
fn packets_for_other_addresses_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        for (from, to) in PATHS {
            for (_, shim) in shims() {
                for packet in [
                    inner(CLIENT, "10.0.0.101:80", true, 0, b""),
                    inner(CLIENT6, "[fd00::101]:80", true, 0, b""),
                    // In IPv6's own form it is no IPv4 address.
                    inner(CLIENT6, "[::ffff:10.0.0.100]:80", true, 0, b""),
                ] {
                    let frame = tunnelled(from, to, shim.clone(), &packet);
                    refused(&mut twin, &frame.bytes(), Refusal::NotVirtual);
                }
            }
        }
    });
}

#[test]
fn outer_fragments_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        for (_, shim) in shims() {
            // More follow; or the second one, of which only the addresses are as they seem.
            for field in [0x2000_u16, 0x00b9, 0x20b9] {
                let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, shim.clone(), &v4()).bytes();
                frame[20..22].copy_from_slice(&field.to_be_bytes());
                mend(&mut frame);
                refused(&mut twin, &frame, Refusal::Fragment);
            }
            let mut frame = tunnelled(PATHS[1].0, PATHS[1].1, shim, &v4());
            // As long as a fragment header, and where one would be.
            frame.options = Some(vec![0, 0, 1, 0, 0, 0, 7]);
            let mut frame = frame.bytes();
            frame[20] = 44;
            refused(&mut twin, &frame, Refusal::Fragment);
        }
        // Fragments of what is no tunnel are nobody's business.
        let plain = tunnelled(PATHS[0].0, PATHS[0].1, Shim::Ipip, &inners(0)[0]);
        let mut frame = plain.plain();
        frame[20..22].copy_from_slice(&[0x20, 0]);
        mend(&mut frame);
        refused(&mut twin, &frame, Refusal::Plain);
    });
}

#[test]
fn an_outer_destination_option_is_no_hindrance() {
    in_namespace(true, || {
        let mut twin = twin();
        for (tunnel, shim) in shims() {
            let mut frame = tunnelled(PATHS[1].0, PATHS[1].1, shim, &v4());
            // Tunnel encapsulation limit 4, and two bytes of padding (RFC 2473, section 4.1.1).
            frame.options = Some(vec![0, 4, 1, 4, 1, 1, 0]);
            assert_eq!(taken_off(&mut twin, &frame, tunnel), frame.plain());
            // One that says it is longer than the packet.
            let mut bytes = frame.bytes();
            bytes[14 + 40 + 1] = 0xff;
            assert!(twin.run(&bytes).result.is_err());
        }
    });
}

#[test]
fn malformed_outer_headers_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        // Cut at every byte, up to where the inner header is whole.
        for (from, to) in PATHS {
            for (_, shim) in shims() {
                let frame = tunnelled(from, to, shim, &v4()).bytes();
                for len in 14..frame.len() {
                    let result = twin.run(&frame[..len]).result;
                    assert_eq!(result, Err(Refusal::Malformed), "cut at {len}");
                }
            }
        }
        let mut change = |at: usize, byte: u8, mended: bool, refusal| {
            let mut frame = ipip().bytes();
            frame[at] = byte;
            if mended {
                mend(&mut frame);
            }
            refused(&mut twin, &frame, refusal);
        };
        // Version, header length, total length, checksum.
        change(14, 0x55, true, Refusal::Malformed);
        change(14, 0x44, false, Refusal::Malformed);
        change(17, 19, true, Refusal::Malformed);
        change(16, 0x10, true, Refusal::Malformed);
        change(24, 0x55, false, Refusal::Malformed);
        // Options: the header is right, and not known here.
        change(14, 0x46, false, Refusal::Unsupported);
        // UDP lengths that the datagram does not have.
        for length in [0_u16, 7, 12 + 36 + 1] {
            let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, gue(&[], false), &v4()).bytes();
            frame[38..40].copy_from_slice(&length.to_be_bytes());
            refused(&mut twin, &frame, Refusal::Malformed);
        }
    });
}

#[test]
fn tunnel_headers_that_are_not_known_stay() {
    in_namespace(true, || {
        let mut twin = twin();
        let mut change = |shim: &Shim, at: usize, byte: u8, refusal| {
            let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, shim.clone(), &v4()).bytes();
            frame[34 + at] = byte;
            refused(&mut twin, &frame, refusal);
        };
        let gre = Shim::Gre { checksum: false };
        // Routing, key, sequence number, versions; and what GRE carries beside IP.
        for (at, byte) in [(0, 0x40), (0, 0x20), (0, 0x10), (0, 0x08), (1, 1), (1, 7)] {
            change(&gre, at, byte, Refusal::Unsupported);
        }
        for (at, byte) in [(2, 0x65), (3, 0x06)] {
            change(&gre, at, byte, Refusal::Unsupported);
        }
        // Control messages, flags, variants 2 and 3, and what GUE carries beside IP.
        let gue = gue(&[], false);
        for (at, byte) in [(0, 0x20), (0, 0x80), (0, 0xc0), (0, 0x55), (1, 17), (1, 0)] {
            change(&gue, 8 + at, byte, Refusal::Unsupported);
        }
        for (at, byte) in [(2, 0x80), (3, 1)] {
            change(&gue, 8 + at, byte, Refusal::Unsupported);
        }
        // Bits that RFC 2784 has for the future are ignored.
        let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, gre, &v4()).bytes();
        frame[34] = 0x03;
        frame[35] = 0xf8;
        assert_eq!(twin.run(&frame).result, Ok(Tunnel::Gre));
    });
}

#[test]
fn malformed_inner_packets_for_us_end_here() {
    in_namespace(true, || {
        let mut twin = twin();
        for (_, shim) in shims() {
            let mut change = |inner: &[u8], at: usize, byte: u8| {
                let mut packet = inner.to_vec();
                packet[at] = byte;
                let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, shim.clone(), inner);
                let whole = frame.bytes();
                let head = whole.len() - inner.len();
                frame.inner = inner.to_vec();
                let bytes = [&whole[..head], &packet].concat();
                refused(&mut twin, &bytes, Refusal::Inner);
            };
            // Header length, longer than the outer packet, shorter than its own header.
            change(&v4(), 0, 0x44);
            change(&v4(), 3, v4().len() as u8 + 1);
            change(&v4(), 2, 1);
            change(&v4(), 3, 19);
            let v6 = inner(CLIENT6, VIP6, false, 0, b"datagram");
            change(&v6, 5, v6.len() as u8 - 40 + 1);
            change(&v6, 4, 1);
        }
        // A version that contradicts the outer header's protocol.
        let v6 = inner(CLIENT6, VIP6, false, 0, b"datagram");
        let mut frame = tunnelled(PATHS[0].0, PATHS[0].1, Shim::Ipip, &v6).bytes();
        frame[34] = 0x40;
        refused(&mut twin, &frame, Refusal::Inner);
        // Shorter than the outer packet has room for is no contradiction.
        let mut frame = ipip();
        frame.inner.extend([0; 5]);
        let out = taken_off(&mut twin, &frame, Tunnel::Ipip);
        assert_eq!(out, frame.plain());
    });
}

/// Mends the checksum of the IPv4 header behind an untagged Ethernet header.
fn mend(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum: u32 = frame[14..34]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

prop_compose! {
    fn valid()(
        path in prop::sample::select(PATHS.to_vec()),
        shim in prop::sample::select(shims()),
        packet in prop::sample::select(inners(2)),
        tags in prop::collection::vec((prop::sample::select(vec![0x8100u16, 0x88a8]), any::<u16>()), 0..3),
        traffic_class: u8,
        padding in 0usize..8,
    ) -> Vec<u8> {
        tunnelled(path.0, path.1, shim.1, &packet)
            .tags(&tags)
            .traffic_class(traffic_class)
            .padded(padding)
            .bytes()
    }
}

/// A valid frame, a few bytes of which are changed and which may be cut; or any bytes at all.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0usize..120, any::<u8>()), 0..3);
    let cut = prop::option::weighted(0.1, 14usize..150);
    let mutated = (valid(), changes, cut).prop_map(|(mut frame, changes, cut)| {
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(cut.unwrap_or(usize::MAX));
        frame
    });
    let noise = prop::collection::vec(any::<u8>(), 14..200);
    prop_oneof![9 => mutated, 1 => noise]
}

#[test]
fn host_and_kernel_agree_on_every_tunnel_frame() {
    in_namespace(true, || {
        let twin = std::cell::RefCell::new(twin());
        let config = Config {
            cases: 4000,
            failure_persistence: None,
            ..Config::default()
        };
        let (ran, taken) = (Cell::new(0), Cell::new(0));
        let result = TestRunner::new(config).run(&frame(), |frame| {
            let outcome = twin.borrow_mut().run(&frame);
            ran.set(ran.get() + 1);
            taken.set(taken.get() + u32::from(outcome.result.is_ok()));
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
        let (ran, taken) = (ran.get(), taken.get());
        assert!(taken > ran / 5 && taken < ran, "{taken} of {ran} taken out");
    });
}
