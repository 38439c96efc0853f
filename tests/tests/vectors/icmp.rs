//! ICMP errors go where the packets came from that they quote.

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice,
    Icmpv6Type, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::Verdict;
use lb_common::flow::Word;
use lb_common::layout::{Hint, features, hint_bit, port_index, punt, server_flags, traffic_index};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::service::Key;
use lb_common::wire::MacAddr;
use lb_tests::case::{Case, INGRESS, case, tcp_service, udp_service, way};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{CLIENT_MAC, DIRECTOR_MAC, Packet, tcp, udp};
use lb_tests::twin::Outcome;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";
const SERVER: &str = "10.1.0.1:8080";
const ROUTER: &str = "198.51.100.9";

const NETWORK: usize = 14;
/// Where an ICMP header begins in IPv4, and where what it quotes does.
const ICMP: usize = NETWORK + 20;
const QUOTE: usize = ICMP + 8;

/// Fragmentation needed and DF set, next-hop MTU 1400 (RFC 1191).
const TOO_BIG: [u8; 6] = [3, 4, 0, 0, 5, 120];

fn address(text: &str) -> Addr {
    let address: IpAddr = text.parse().expect("an address");
    address.into()
}

fn hint(tables: &mut Memory, hint: Hint, text: &str) {
    let (word, bit) = hint_bit(hint, address(text));
    tables.hints[word as usize] |= 1 << bit;
}

fn services() -> [NewService; 2] {
    [tcp_service(VIP, Rr, &[1, 1]), udp_service(VIP, Rr, &[1, 1])]
}

/// Servers 0 and 2, of TCP and UDP, are masqueraded at port 8080.
fn masqueraded(name: &'static str) -> Case {
    case(name, &services()).change(|tables| {
        hint(tables, Hint::Masqueraded, "10.1.0.1");
        tables.control.features |= features::MASQUERADE;
        for server in [0, 2] {
            tables.servers[server].flags |= server_flags::MASQUERADE;
            tables.servers[server].port = 8080;
        }
        let place = u64::from(port_index(INGRESS) + 1);
        tables.back_ways[7].set(MacAddr::new(CLIENT_MAC).word() | place << 48);
    })
}

/// The way back of every reply, which the kernel that runs the tests has no route for.
fn give_ways_back(tables: &mut Memory) {
    for (hot, cold) in tables.flows.iter().zip(&tables.flow_details) {
        let mut details = cold.get();
        for (way, entry) in hot.get().entries.iter().enumerate() {
            if Word::from_bits(entry[1]).has(Word::REPLY) {
                details.entries[way].back = 8;
            }
        }
        cold.set(details);
    }
}

/// A packet as errors quote it: from its IP header on, and so many bytes of what follows that.
fn quoted(packet: &Packet, bytes: usize) -> Vec<u8> {
    let frame = packet.bytes();
    let header = usize::from(frame[NETWORK] & 0xf) * 4;
    let end = frame.len().min(NETWORK + header + bytes);
    frame[NETWORK..end].to_vec()
}

/// An error from a router to an address: type, code and the next four bytes, then the quote.
fn error(to: &str, says: [u8; 6], quote: &[u8]) -> Vec<u8> {
    let icmp = Icmpv4Header::with_checksum(
        Icmpv4Type::Unknown {
            type_u8: says[0],
            code_u8: says[1],
            bytes5to8: [says[2], says[3], says[4], says[5]],
        },
        quote,
    );
    let octets = |text: &str| text.parse::<Ipv4Addr>().expect("an address").octets();
    let len = u16::try_from(8 + quote.len()).expect("it fits");
    let mut ip =
        Ipv4Header::new(len, 60, IpNumber::ICMP, octets(ROUTER), octets(to)).expect("it fits");
    ip.header_checksum = ip.calc_header_checksum();
    [
        &ethernet(EtherType::IPV4)[..],
        &ip.to_bytes(),
        &icmp.to_bytes(),
        quote,
    ]
    .concat()
}

fn ethernet(ether_type: EtherType) -> [u8; 14] {
    let ethernet = Ethernet2Header {
        source: CLIENT_MAC,
        destination: DIRECTOR_MAC,
        ether_type,
    };
    ethernet.to_bytes()
}

fn run(case: &mut Case, frame: &[u8]) -> Outcome {
    case.twin().run(frame)
}

/// Opens a flow, which must be with this server.
fn open(case: &mut Case, packet: &Packet, server: u8) {
    let outcome = run(case, &packet.bytes());
    assert_eq!(outcome.result, Ok(Verdict::Transmit));
    assert_eq!(outcome.frame[..6], way(server).destination.bytes());
}

/// Runs a frame that must go to this Ethernet address.
fn goes(case: &mut Case, frame: &[u8], mac: MacAddr) -> Vec<u8> {
    let outcome = run(case, frame);
    assert_eq!(outcome.result, Ok(Verdict::Transmit));
    assert_eq!(outcome.frame[..6], mac.bytes());
    outcome.frame
}

/// Runs a frame that must be the host's as it is.
fn stays(case: &mut Case, frame: &[u8]) {
    let outcome = run(case, frame);
    assert_eq!(outcome.result, Err(Reason::NoQuotedFlow));
    assert_eq!(outcome.frame, frame, "the frame changed");
}

/// The IP header at a place, whose checksum must be right.
fn ip(frame: &[u8], at: usize) -> Ipv4Header {
    let (header, _) = Ipv4Header::from_slice(&frame[at..]).expect("an IPv4 header");
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    header
}

/// The error in a frame, whose checksums must be right: the outer and the quoted IP header.
fn received(frame: &[u8]) -> (Ipv4Header, Ipv4Header) {
    let icmp = Icmpv4Slice::from_slice(&frame[ICMP..]).expect("ICMP");
    let right = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.checksum(), right, "the ICMP checksum");
    (ip(frame, NETWORK), ip(frame, QUOTE))
}

#[test]
fn an_error_about_a_servers_packet_goes_to_that_server() {
    let mut case = case("direct routing", &services());
    open(&mut case, &tcp("192.0.2.7:1", VIP, SYN), 0);
    open(&mut case, &tcp(CLIENT, VIP, SYN), 1);
    open(&mut case, &udp("192.0.2.7:1", VIP), 0);
    open(&mut case, &udp(CLIENT, VIP), 1);
    let flows = |case: &Case| case.tables().live_flows().collect::<Vec<_>>();
    let before = flows(&case);
    let answers = [tcp(VIP, CLIENT, ACK), udp(VIP, CLIENT)];
    for answer in answers {
        for options in [0, 1, 10] {
            for bytes in [8, 9, 20, 1000] {
                for says in [
                    TOO_BIG,
                    [3, 1, 0, 0, 0, 0],
                    [4, 0, 0, 0, 0, 0],
                    [11, 0, 0, 0, 0, 0],
                ] {
                    let quote = quoted(&answer.clone().options(options), bytes);
                    let frame = error("10.0.0.100", says, &quote);
                    let after = goes(&mut case, &frame, way(1).destination);
                    let (outer, _) = received(&after);
                    assert_eq!(outer.time_to_live, 59);
                    assert_eq!(after[NETWORK + 12..], frame[NETWORK + 12..]);
                }
            }
        }
    }
    assert_eq!(flows(&case), before, "an error changed a flow");
    let index = traffic_index(0, case.tables().sizes.servers, 1, false);
    let counted = case.tables().traffic[index as usize].get().packets;
    assert_eq!(counted, 1 + 3 * 4 * 4);
}

#[test]
fn an_error_goes_through_its_servers_tunnel() {
    let mut case = case("tunnel", &services()).change(|tables| {
        tables.servers[0].flags |= server_flags::IPIP;
        tables.servers[0].source = address("10.0.0.2");
    });
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    let frame = error("10.0.0.100", TOO_BIG, &quoted(&tcp(VIP, CLIENT, ACK), 8));
    let after = goes(&mut case, &frame, way(0).destination);
    assert_eq!(ip(&after, NETWORK).destination, [10, 1, 0, 1]);
    assert_eq!(ip(&after, NETWORK + 20).destination, [10, 0, 0, 100]);
    assert_eq!(after[NETWORK + 20 + 12..], frame[NETWORK + 12..]);
}

#[test]
fn errors_of_which_no_flow_is_known_are_the_hosts() {
    let mut case = case("no flow", &services());
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    let answer = tcp(VIP, CLIENT, ACK);
    let good = quoted(&answer, 8);
    let frame = |quote: &[u8]| error("10.0.0.100", TOO_BIG, quote);
    goes(&mut case, &frame(&good), way(0).destination);

    // Another flow, protocol, or not what was sent to the virtual address.
    stays(
        &mut case,
        &frame(&quoted(&tcp(VIP, "192.0.2.1:40001", ACK), 8)),
    );
    stays(
        &mut case,
        &frame(&quoted(&tcp("10.0.0.100:81", CLIENT, ACK), 8)),
    );
    stays(&mut case, &frame(&quoted(&udp(VIP, CLIENT), 8)));
    stays(&mut case, &frame(&quoted(&tcp(CLIENT, VIP, ACK), 8)));
    stays(&mut case, &error("10.0.0.101", TOO_BIG, &good));
    // Cut short, of another version, a header that is too short, a later fragment, a protocol
    // without ports.
    for bytes in [0, 4, 7] {
        stays(&mut case, &frame(&quoted(&answer, bytes)));
    }
    stays(&mut case, &frame(&good[..19]));
    stays(&mut case, &frame(&[]));
    let changed = |at: usize, byte: u8| {
        let mut quote = good.clone();
        quote[at] = byte;
        frame(&quote)
    };
    for (at, byte) in [(0, 0x65), (0, 0x44), (0, 0x4f), (7, 1), (9, 1), (9, 4)] {
        stays(&mut case, &changed(at, byte));
    }
    // More fragments, of which this is the first, is well.
    goes(&mut case, &changed(6, 0x20), way(0).destination);
    // The quote goes on behind the packet's end, in Ethernet's padding.
    let mut padded = frame(&quoted(&answer, 4));
    padded.extend_from_slice(&[0; 32]);
    stays(&mut case, &padded);
    // A last hop: an error is never answered with another one.
    let mut last = frame(&good);
    last[NETWORK + 8] = 1;
    let mut header = ip_unchecked(&last);
    header.header_checksum = header.calc_header_checksum();
    last[NETWORK..ICMP].copy_from_slice(&header.to_bytes());
    stays(&mut case, &last);
    // A server that is gone.
    case.twin()
        .change(|tables| tables.servers[0].flags &= !server_flags::AVAILABLE);
    stays(&mut case, &frame(&good));
}

#[test]
fn an_ipv6_error_that_quotes_a_mapped_address_is_about_no_ipv4_flow() {
    // The last word of this address is the virtual one, and keys of IPv4 flows have no others.
    const ALIKE: &str = "fd00::a00:64";
    let mut case = case("mapped", &services());
    open(&mut case, &udp(CLIENT, VIP), 0);
    let too_big = Icmpv6Type::PacketTooBig { mtu: 1280 };
    let quote = udp6((ALIKE, 80), ("::ffff:192.0.2.1", 40000));
    stays(&mut case, &error6(ALIKE, too_big, &quote));
}

fn ip_unchecked(frame: &[u8]) -> Ipv4Header {
    Ipv4Header::from_slice(&frame[NETWORK..])
        .expect("an IPv4 header")
        .0
}

#[test]
fn what_is_no_error_is_not_looked_at() {
    let mut case = case("echo", &services());
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    for kind in [0, 5, 8, 12, 13] {
        let quote = quoted(&tcp(VIP, CLIENT, ACK), 8);
        let frame = error("10.0.0.100", [kind, 0, 0, 0, 0, 0], &quote);
        assert_eq!(run(&mut case, &frame).result, Err(Reason::Protocol));
    }
}

#[test]
fn an_error_for_a_masqueraded_server_quotes_what_it_sent() {
    let mut case = masqueraded("from the client's side");
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    open(&mut case, &udp(CLIENT, VIP), 0);
    let checksumless = {
        let mut quote = quoted(&udp(VIP, CLIENT), 100);
        quote[26..28].fill(0);
        quote
    };
    for quote in [
        quoted(&tcp(VIP, CLIENT, ACK), 8),
        quoted(&tcp(VIP, CLIENT, ACK), 17),
        quoted(&tcp(VIP, CLIENT, ACK).payload(b"data"), 100),
        quoted(&tcp(VIP, CLIENT, ACK).options(3).payload(b"data"), 100),
        quoted(&udp(VIP, CLIENT), 8),
        quoted(&udp(VIP, CLIENT), 100),
        checksumless,
    ] {
        let frame = error("10.0.0.100", TOO_BIG, &quote);
        let after = goes(&mut case, &frame, way(0).destination);
        let (outer, inner) = received(&after);
        assert_eq!(
            (outer.source, outer.destination),
            ([198, 51, 100, 9], [10, 1, 0, 1])
        );
        assert_eq!(
            (inner.source, inner.destination),
            ([10, 1, 0, 1], [192, 0, 2, 1])
        );
        judge(
            &inner,
            &after[QUOTE + inner.header_len()..],
            (8080, 40000),
            &quote,
        );
        // The interesting part is untouched.
        assert_eq!(after[ICMP + 4..QUOTE], frame[ICMP + 4..QUOTE]);
    }
    // Another server's flow with direct routing is not translated.
    open(&mut case, &tcp("192.0.2.9:9", VIP, SYN), 1);
    let frame = error(
        "10.0.0.100",
        TOO_BIG,
        &quoted(&tcp(VIP, "192.0.2.9:9", ACK), 8),
    );
    let after = goes(&mut case, &frame, way(1).destination);
    assert_eq!(after[NETWORK + 12..], frame[NETWORK + 12..]);
}

#[test]
fn an_error_from_behind_a_masqueraded_server_quotes_what_the_client_sent() {
    let mut case = masqueraded("from the server's side");
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    open(&mut case, &udp(CLIENT, VIP), 0);
    case.twin().change(give_ways_back);
    for (quote, server) in [
        (quoted(&tcp(CLIENT, SERVER, ACK), 8), 0),
        (quoted(&tcp(CLIENT, SERVER, ACK).payload(b"data"), 100), 0),
        (quoted(&udp(CLIENT, SERVER), 8), 2),
        (quoted(&udp(CLIENT, SERVER), 100), 2),
    ] {
        let frame = error("192.0.2.1", [3, 3, 0, 0, 0, 0], &quote);
        let after = goes(&mut case, &frame, MacAddr::new(CLIENT_MAC));
        let (outer, inner) = received(&after);
        assert_eq!(
            (outer.source, outer.destination),
            ([10, 0, 0, 100], [192, 0, 2, 1])
        );
        assert_eq!(
            (inner.source, inner.destination),
            ([192, 0, 2, 1], [10, 0, 0, 100])
        );
        judge(&inner, &after[QUOTE + 20..], (40000, 80), &quote);
        let index = traffic_index(0, case.tables().sizes.servers, server, true);
        assert_ne!(case.tables().traffic[index as usize].get().packets, 0);
    }
    // Not of a flow, not to its client, or not about its server.
    let other = quoted(&tcp("192.0.2.1:40001", SERVER, ACK), 8);
    stays(&mut case, &error("192.0.2.1", TOO_BIG, &other));
    let good = quoted(&tcp(CLIENT, SERVER, ACK), 8);
    stays(&mut case, &error("192.0.2.2", TOO_BIG, &good));
    let other = quoted(&tcp(CLIENT, "10.1.0.1:8081", ACK), 8);
    stays(&mut case, &error("192.0.2.1", TOO_BIG, &other));
    // Without a way the host routes it on.
    case.twin().change(|tables| tables.back_ways[7].set(0));
    let outcome = run(&mut case, &error("192.0.2.1", TOO_BIG, &good));
    assert_eq!(outcome.result, Ok(Verdict::Pass));
    assert_eq!(received(&outcome.frame).0.source, [10, 0, 0, 100]);
}

/// Judges a quoted transport header: its ports, and its checksum where the whole packet is quoted
/// and had one; what of it is not quoted cannot have changed.
fn judge(ip: &Ipv4Header, transport: &[u8], ports: (u16, u16), before: &[u8]) {
    let whole = ip.header_len() + transport.len() == usize::from(ip.total_len);
    assert_eq!(transport.len(), before.len() - ip.header_len());
    if !whole {
        let seen = [[transport[0], transport[1]], [transport[2], transport[3]]];
        assert_eq!(seen.map(u16::from_be_bytes), [ports.0, ports.1]);
    } else if ip.protocol == IpNumber::TCP {
        let (tcp, data) = TcpHeader::from_slice(transport).expect("a TCP header");
        assert_eq!((tcp.source_port, tcp.destination_port), ports);
        let right = tcp.calc_checksum_ipv4_raw(ip.source, ip.destination, data);
        assert_eq!(tcp.checksum, right.expect("it fits"));
    } else {
        let (udp, data) = UdpHeader::from_slice(transport).expect("a UDP header");
        assert_eq!((udp.source_port, udp.destination_port), ports);
        if before[26..28] == [0, 0] {
            assert_eq!(udp.checksum, 0);
        } else {
            let right = udp.calc_checksum_ipv4_raw(ip.source, ip.destination, data);
            assert_eq!(udp.checksum, right.expect("it fits"));
        }
    }
}

#[test]
fn every_checksum_stays_right_where_its_sum_carries() {
    let mut case = masqueraded("carries");
    open(&mut case, &udp(CLIENT, VIP), 0);
    for identification in (0..=u16::MAX).step_by(257) {
        let mut answer = udp(VIP, CLIENT).payload(&identification.to_be_bytes());
        answer.ip.identification = identification;
        let quote = quoted(&answer, 100);
        let after = goes(
            &mut case,
            &error("10.0.0.100", TOO_BIG, &quote),
            way(0).destination,
        );
        let (_, inner) = received(&after);
        judge(&inner, &after[QUOTE + 20..], (8080, 40000), &quote);
    }
}

#[test]
fn too_big_about_a_tunnel_is_for_the_agent_and_the_host() {
    let mut case = case("tunnels", &services()).change(|tables| {
        hint(tables, Hint::Tunnelled, "10.1.0.2");
        tables.control.features |= features::TUNNEL;
    });
    let outer = |protocol: u8, to: [u8; 4]| {
        let mut ip =
            Ipv4Header::new(1400, 64, IpNumber(protocol), [10, 0, 0, 2], to).expect("it fits");
        ip.header_checksum = ip.calc_header_checksum();
        [&ip.to_bytes()[..], &[0x45, 0, 5, 100, 0, 0, 0, 0]].concat()
    };
    let server = [10, 1, 0, 2];
    let mut expected = Vec::new();
    for protocol in [protocol::IPIP, protocol::IPV6, protocol::GRE, protocol::UDP] {
        stays(
            &mut case,
            &error("10.0.0.2", TOO_BIG, &outer(protocol, server)),
        );
        expected.push((punt::Why::TunnelError, 0));
        assert_eq!(*case.tables().punts.borrow(), expected);
    }
    let ipip = outer(protocol::IPIP, server);
    stays(&mut case, &error("10.0.0.2", [3, 1, 0, 0, 0, 0], &ipip));
    stays(&mut case, &error("10.0.0.3", TOO_BIG, &ipip));
    stays(
        &mut case,
        &error("10.0.0.2", TOO_BIG, &outer(protocol::TCP, server)),
    );
    stays(
        &mut case,
        &error("10.0.0.2", TOO_BIG, &outer(protocol::IPIP, [10, 1, 0, 3])),
    );
    case.twin()
        .change(|tables| tables.control.features &= !features::TUNNEL);
    stays(&mut case, &error("10.0.0.2", TOO_BIG, &ipip));
    assert_eq!(*case.tables().punts.borrow(), expected);
}

#[test]
fn garbage_is_no_flow_and_both_worlds_agree_on_it() {
    let mut case = masqueraded("garbage");
    open(&mut case, &tcp(CLIENT, VIP, SYN), 0);
    case.twin().change(give_ways_back);
    let mut random = 0x1234_5678_u32;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random
    };
    for round in 0..2000 {
        let (to, packet) = if round % 2 == 0 {
            ("10.0.0.100", tcp(VIP, CLIENT, ACK))
        } else {
            ("192.0.2.1", tcp(CLIENT, SERVER, ACK))
        };
        let mut frame = error(to, TOO_BIG, &quoted(&packet, next() as usize % 30));
        for _ in 0..next() % 3 {
            let at = QUOTE + next() as usize % (frame.len() - QUOTE);
            frame[at] = next() as u8;
        }
        frame.truncate(frame.len() - next() as usize % 3);
        // The twin compares.
        run(&mut case, &frame);
    }
}

/// The IPv6 addresses of a client, a service, its server and the interface.
const CLIENT6: &str = "2001:db8::1";
const VIP6: &str = "fd00::100";
const SERVER6: &str = "fd00::11";

fn ipv6(source: &str, destination: &str, next_header: IpNumber, len: usize) -> Ipv6Header {
    let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    Ipv6Header {
        payload_length: u16::try_from(len).expect("it fits"),
        next_header,
        hop_limit: 64,
        source: octets(source),
        destination: octets(destination),
        ..Ipv6Header::default()
    }
}

fn udp6(from: (&str, u16), to: (&str, u16)) -> Vec<u8> {
    let ip = ipv6(from.0, to.0, IpNumber::UDP, 16);
    let udp = UdpHeader::with_ipv6_checksum(from.1, to.1, &ip, b"datagram").expect("it fits");
    [&ip.to_bytes()[..], &udp.to_bytes(), b"datagram"].concat()
}

fn error6(to: &str, kind: Icmpv6Type, quote: &[u8]) -> Vec<u8> {
    let ip = ipv6("2001:db8:ffff::1", to, IpNumber::IPV6_ICMP, 8 + quote.len());
    let icmp = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, quote);
    let icmp = icmp.expect("it fits");
    [
        &ethernet(EtherType::IPV6)[..],
        &ip.to_bytes(),
        &icmp.to_bytes(),
        quote,
    ]
    .concat()
}

#[test]
fn ipv6_errors_are_translated_too() {
    let service = NewService {
        key: Key::new(address(VIP6), Port::new(80), protocol::UDP),
        scheduler: Rr,
        servers: [SERVER6, "fd00::12"]
            .into_iter()
            .zip(0..)
            .map(|(text, host)| NewServer {
                addr: address(text),
                weight: 1,
                way: Some(way(host)),
            })
            .collect(),
    };
    let mut case = case("ipv6", &[service]).change(|tables| {
        hint(tables, Hint::Masqueraded, SERVER6);
        tables.control.features |= features::MASQUERADE;
        tables.servers[0].flags |= server_flags::MASQUERADE;
        tables.servers[0].port = 8080;
        let place = u64::from(port_index(INGRESS) + 1);
        tables.back_ways[7].set(MacAddr::new(CLIENT_MAC).word() | place << 48);
    });
    let too_big = Icmpv6Type::PacketTooBig { mtu: 1280 };
    for (port, server) in [(40000, 0), (40001, 1)] {
        let datagram = udp6((CLIENT6, port), (VIP6, 80));
        let frame = [&ethernet(EtherType::IPV6)[..], &datagram].concat();
        goes(&mut case, &frame, way(server).destination);
    }
    case.twin().change(give_ways_back);

    // Direct routing, with a fragment header in the quote as well.
    let answer = udp6((VIP6, 80), (CLIENT6, 40001));
    let mut fragment = answer[..40].to_vec();
    fragment[6] = 44;
    let header = Ipv6FragmentHeader::new(IpNumber::UDP, 0.try_into().expect("0"), true, 7);
    fragment.extend_from_slice(&header.to_bytes());
    fragment.extend_from_slice(&answer[40..]);
    for quote in [&answer, &fragment] {
        let frame = error6(VIP6, too_big, quote);
        let after = goes(&mut case, &frame, way(1).destination);
        assert_eq!(after[NETWORK + 8..], frame[NETWORK + 8..]);
    }
    fragment[43] = 8;
    stays(&mut case, &error6(VIP6, too_big, &fragment));
    fragment[6] = 60;
    stays(&mut case, &error6(VIP6, too_big, &fragment));

    // Masqueraded, both ways.
    for (to, quote, expected, mac) in [
        (
            VIP6,
            udp6((VIP6, 80), (CLIENT6, 40000)),
            udp6((SERVER6, 8080), (CLIENT6, 40000)),
            way(0).destination,
        ),
        (
            CLIENT6,
            udp6((CLIENT6, 40000), (SERVER6, 8080)),
            udp6((CLIENT6, 40000), (VIP6, 80)),
            MacAddr::new(CLIENT_MAC),
        ),
    ] {
        let after = goes(&mut case, &error6(to, too_big, &quote), mac);
        let (ip, rest) = Ipv6Header::from_slice(&after[NETWORK..]).expect("an IPv6 header");
        let icmp = Icmpv6Slice::from_slice(rest).expect("ICMPv6");
        let right = icmp
            .icmp_type()
            .calc_checksum(ip.source, ip.destination, icmp.payload());
        assert_eq!(icmp.checksum(), right.expect("it fits"));
        assert_eq!(
            icmp.payload(),
            expected,
            "the quote is what the other end sent"
        );
        let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        if to == VIP6 {
            assert_eq!(ip.destination, octets(SERVER6));
        } else {
            assert_eq!((ip.source, ip.destination), (octets(VIP6), octets(CLIENT6)));
        }
    }
}
