//! Tunnels: what a frame must have become is what the other builder, that of decapsulation's tests,
//! puts around the packet, a hop further on.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::layout::server_flags::{CHECKSUM, GRE, GUE, IPIP};
use lb_common::layout::settings;
use lb_common::reason::Reason;
use lb_tests::director::{Director, OWN, SERVER_MAC, Server};
use lb_tests::frame::{Frame, INIT, Transport, sctp, tcp, udp};
use lb_tests::packet::DIRECTOR_MAC;
use lb_tests::packet::flags::SYN;
use lb_tests::tunnel::{Shim, Tunnelled, tunnelled};

const GUE_PORT: u16 = 6080;

/// Clients and virtual addresses.
const INNER: [[&str; 2]; 2] = [
    ["192.0.2.1:40000", "10.0.0.100:80"],
    ["[2001:db8::1]:40000", "[fd00::100]:80"],
];

/// Servers, with the director's own address of their family.
const OUTER: [[&str; 2]; 2] = [["10.1.0.1:80", OWN.0], ["[fd01::1]:80", OWN.1]];

/// Each kind of tunnel: its flags, and what stands between the headers.
fn shims() -> Vec<(u32, Shim)> {
    let gue = |checksum| Shim::Gue {
        port: GUE_PORT,
        extensions: Vec::new(),
        checksum,
    };
    vec![
        (IPIP, Shim::Ipip),
        (GRE, Shim::Gre { checksum: false }),
        (GRE | CHECKSUM, Shim::Gre { checksum: true }),
        (GUE, gue(false)),
        (GUE | CHECKSUM, gue(true)),
    ]
}

fn server([end, source]: [&'static str; 2], flags: u32) -> Server {
    Server {
        source,
        tunnel_port: GUE_PORT,
        ..Server::new(end, flags)
    }
}

fn director(vip: &str, outer: [&'static str; 2], flags: u32) -> Director {
    Director::new(vip, server(outer, flags))
}

/// The bytes that a tunnel adds.
fn overhead(outer: [&str; 2], shim: &Shim) -> usize {
    let ip = if outer[1].contains(':') { 40 } else { 20 };
    ip + match shim {
        Shim::Ipip => 0,
        Shim::Gre { checksum } => 4 + 4 * usize::from(*checksum),
        Shim::Gue { .. } | Shim::GueDirect { .. } => 12,
    }
}

/// What the frame must have become, but for what is read from it: the identification of a packet
/// that may be fragmented, and the UDP source port.
fn expected(frame: &Frame, outer: [&str; 2], shim: &Shim, sent: &[u8]) -> Tunnelled {
    let inner = frame.clone().sent(SERVER_MAC, DIRECTOR_MAC);
    let end: std::net::SocketAddr = outer[0].parse().expect("an address and port");
    let to = end.ip().to_string();
    let mut expected = tunnelled(outer[1], &to, shim.clone(), &inner.packet()).tags(&frame.tags);
    expected.source_mac = DIRECTOR_MAC;
    expected.destination_mac = SERVER_MAC;
    expected.ttl = inner.ttl;
    expected.flow_label = 0;
    expected.traffic_class = match frame.traffic_class {
        class if class & 3 == 3 => class & !1,
        class => class,
    };
    expected.dont_fragment = frame.dont_fragment && frame.from.is_ipv4();
    expected.padding = frame.padding;
    let packet = SlicedPacket::from_ethernet(sent).expect("a valid frame");
    if let Some(NetSlice::Ipv4(ip)) = &packet.net
        && !expected.dont_fragment
    {
        expected.identification = ip.header().identification();
    }
    if let Some(TransportSlice::Udp(udp)) = &packet.transport
        && matches!(shim, Shim::Gue { .. })
    {
        expected.source_port = udp.source_port();
        assert!((32_768..=60_999).contains(&expected.source_port));
    }
    expected
}

/// Sends a frame, and judges what it became.
fn sends(director: &mut Director, frame: &Frame, outer: [&str; 2], shim: &Shim) -> Tunnelled {
    let sent = director.sends(frame);
    let expected = expected(frame, outer, shim, &sent);
    assert_eq!(sent, expected.bytes(), "{frame:?} in {shim:?}");
    expected
}

fn transports(from: &str, to: &str) -> Vec<Frame> {
    vec![
        tcp(from, to, SYN),
        udp(from, to),
        udp(from, to).with(|frame| frame.transport = Transport::Udp { checksum: false }),
        sctp(from, to, INIT),
    ]
}

/// Runs `each` for every pair of families, and kind of tunnel.
fn for_every_tunnel(
    mut each: impl FnMut(&mut Director, [&'static str; 2], [&'static str; 2], &Shim),
) {
    for inner in INNER {
        for outer in OUTER {
            for (flags, shim) in shims() {
                each(&mut director(inner[1], outer, flags), inner, outer, &shim);
            }
        }
    }
}

#[test]
fn every_packet_goes_into_every_tunnel() {
    for_every_tunnel(|director, [client, vip], outer, shim| {
        for frame in transports(client, vip) {
            // The second goes as one of a known flow.
            sends(director, &frame, outer, shim);
            sends(director, &frame, outer, shim);
        }
    });
}

#[test]
fn tags_options_and_bytes_behind_the_packet_are_kept() {
    const TAGS: [&[(u16, u16)]; 3] = [
        &[(0x8100, 0x6064)],
        &[(0x88a8, 7), (0x8100, 8)],
        &[(0x8100, 1), (0x8100, 2)],
    ];
    for_every_tunnel(|director, [client, vip], outer, shim| {
        let plain = udp(client, vip);
        for tags in TAGS {
            sends(director, &plain.clone().tags(tags), outer, shim);
        }
        for change in [
            |frame: &mut Frame| frame.padding = 6,
            |frame: &mut Frame| frame.options = vec![1; 40],
            |frame: &mut Frame| frame.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])],
            |frame: &mut Frame| frame.payload = vec![0xff; 1201],
            |frame: &mut Frame| frame.payload = Vec::new(),
        ] {
            sends(director, &plain.clone().with(change), outer, shim);
        }
    });
}

#[test]
fn the_outer_header_follows_the_inner_one() {
    for_every_tunnel(|director, [client, vip], outer, shim| {
        for traffic_class in [0, 1, 2, 3, 0xb8, 0xbb, 0xfc, 0xff] {
            let frame = udp(client, vip).with(|frame| frame.traffic_class = traffic_class);
            sends(director, &frame, outer, shim);
        }
        for ttl in [2, 3, 255] {
            sends(director, &udp(client, vip).ttl(ttl), outer, shim);
        }
    });
}

#[test]
fn what_may_be_fragmented_may_be_so_outside_and_has_an_identification() {
    for inner in INNER {
        for (flags, shim) in shims() {
            let outer = OUTER[0];
            let mut director = director(inner[1], outer, flags);
            let mut seen = std::collections::BTreeSet::new();
            for n in 0..50 {
                // An IPv6 packet's is made of its transport header.
                let frame = udp(inner[0], inner[1]).payload(&[n; 20]).with(|frame| {
                    frame.dont_fragment = false;
                    frame.identification = n.into();
                });
                seen.insert(sends(&mut director, &frame, outer, &shim).identification);
            }
            assert!(seen.len() >= 49, "{} of 50 are different", seen.len());
        }
    }
}

#[test]
fn without_pmtu_disc_every_outer_packet_may_be_fragmented() {
    let ([client, vip], outer) = (INNER[0], OUTER[0]);
    let mut director = director(vip, outer, IPIP);
    director.change(|tables| tables.control.settings &= !settings::PMTU_DISC);
    let frame = udp(client, vip);
    let sent = director.sends(&frame);
    let mut expected = expected(&frame, outer, &Shim::Ipip, &sent);
    expected.dont_fragment = false;
    expected.identification = u16::from_be_bytes([sent[18], sent[19]]);
    assert_eq!(sent, expected.bytes());
}

#[test]
fn a_flow_has_one_source_port_and_flows_have_many() {
    for [client, vip] in INNER {
        let mut director = director(vip, OUTER[0], GUE);
        let shim = &shims()[3].1;
        let (host, _) = client.rsplit_once(':').expect("a port");
        let mut seen = std::collections::BTreeSet::new();
        for port in 1000..1030 {
            let frame = udp(&format!("{host}:{port}"), vip);
            let first = sends(&mut director, &frame, OUTER[0], shim).source_port;
            let longer = frame.payload(&[1; 99]).ttl(9);
            let again = sends(&mut director, &longer, OUTER[0], shim).source_port;
            assert_eq!(first, again);
            seen.insert(first);
        }
        assert!(seen.len() >= 28, "{} of 30 are different", seen.len());
    }
}

#[test]
fn a_packet_fits_to_the_last_byte() {
    for_every_tunnel(|director, [client, vip], outer, shim| {
        let empty = udp(client, vip).payload(&[]);
        let room = 1500 - overhead(outer, shim) - empty.packet().len();
        sends(
            director,
            &empty.clone().payload(&vec![0x5a; room]),
            outer,
            shim,
        );
        let longer = empty.payload(&vec![0x5a; room + 1]);
        director.answers(&longer.bytes(), Reason::TooBig);
        let may_be = longer.with(|frame| frame.dont_fragment = false);
        director.answers(&may_be.bytes(), Reason::TooBig);
    });
}

#[test]
fn a_tunnel_without_a_source_has_no_end() {
    for [client, vip] in INNER {
        let mut director = Director::new(vip, Server::new("10.1.0.1:80", IPIP));
        director.refuses(&udp(client, vip).bytes(), Reason::Inconsistent);
    }
}

#[test]
fn long_frames_in_several_buffers_go_into_tunnels() {
    // The kernel gives a program under test 3520 bytes of a frame in its first buffer.
    for_every_tunnel(|director, [client, vip], outer, shim| {
        director.change(|tables| {
            let way = lb_common::datapath::Way::decode(tables.servers[1].way).expect("a way");
            let way = lb_common::datapath::Way { mtu: 9000, ..way };
            tables.servers[1].way = way.encode(2);
        });
        for len in [3400, 3520, 8000, 8801] {
            let payload: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            sends(director, &udp(client, vip).payload(&payload), outer, shim);
        }
    });
}
