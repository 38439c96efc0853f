//! Fragments: the later ones go where the first one went, by every way.

use etherparse::{EtherType, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, UdpHeader};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::Verdict;
use lb_common::flow::Word;
use lb_common::layout::{Hint, features, hint_bit, port_index, punt, server_flags, settings};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::service::Key;
use lb_common::state::Class;
use lb_common::wire::MacAddr;
use lb_tests::case::{Case, INGRESS, case, tcp_service, udp_service, way};
use lb_tests::kernel::{Kernel, STANDSTILL};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{CLIENT_MAC, DIRECTOR_MAC, Packet, tcp, udp};
use lb_tests::twin::Outcome;
use std::net::{IpAddr, Ipv6Addr};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";
const SERVER: &str = "10.1.0.1:8080";

/// Where an IP header begins, and where its data does.
const NETWORK: usize = 14;
const DATA: usize = NETWORK + 20;

fn address(text: &str) -> Addr {
    let address: IpAddr = text.parse().expect("an address");
    address.into()
}

fn hint(tables: &mut Memory, hint: Hint, text: &str) {
    let (word, bit) = hint_bit(hint, address(text));
    tables.hints[word as usize] |= 1 << bit;
}

fn direct(name: &'static str) -> Case {
    let services = [tcp_service(VIP, Rr, &[1, 1]), udp_service(VIP, Rr, &[1, 1])];
    case(name, &services).change(|tables| hint(tables, Hint::Virtual, "10.0.0.100"))
}

/// A service with one masqueraded server, at another port; the way back to the client leads out of
/// the interface that frames come in by.
fn masqueraded(name: &'static str) -> Case {
    let services = [tcp_service(VIP, Rr, &[1]), udp_service(VIP, Rr, &[1])];
    case(name, &services).change(|tables| {
        hint(tables, Hint::Virtual, "10.0.0.100");
        hint(tables, Hint::Masqueraded, "10.1.0.1");
        tables.control.features |= features::MASQUERADE;
        for server in &mut tables.servers[..2] {
            server.flags |= server_flags::MASQUERADE;
            server.port = 8080;
        }
        let place = u64::from(port_index(INGRESS) + 1);
        let back = MacAddr::new(CLIENT_MAC).word() | place << 48;
        tables.back_ways[7].set(back);
    })
}

/// The way back of every reply, which the kernel that runs the tests has no route for.
fn give_ways_back(tables: &mut Memory) {
    for (hot, cold) in tables.flows.iter().zip(&tables.flow_details) {
        let mut details = cold.get();
        for (way, entry) in hot.get().entries.iter().enumerate() {
            let word = Word::from_bits(entry[1]);
            if word.has(Word::REPLY) && word.class() != Class::FRAGMENT {
                details.entries[way].back = 8;
            }
        }
        cold.set(details);
    }
}

/// A datagram's fragments of 64 bytes each, the first with the UDP header.
fn fragments(from: &str, to: &str, identification: u16, parts: u16) -> Vec<Vec<u8>> {
    let mut whole = udp(from, to).payload(&vec![0x5a; usize::from(parts) * 64 - 8]);
    whole.ip.identification = identification;
    cut(&whole)
}

/// Cuts a packet without IP options into fragments of 64 bytes.
fn cut(whole: &Packet) -> Vec<Vec<u8>> {
    let bytes = whole.bytes();
    let parts: Vec<&[u8]> = bytes[DATA..].chunks(64).collect();
    let fragment = |(n, part): (usize, &&[u8])| {
        let mut ip = whole.clone().fragment(n as u16 * 8, n + 1 < parts.len()).ip;
        ip.set_payload_len(part.len()).expect("it fits");
        ip.header_checksum = ip.calc_header_checksum();
        [&bytes[..NETWORK], &ip.to_bytes(), part].concat()
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// What is sent on in these frames, put together again: the IP header of the first, and the data.
fn together(frames: &[Vec<u8>]) -> (Ipv4Header, Vec<u8>) {
    let headers: Vec<Ipv4Header> = frames.iter().map(|frame| header(frame)).collect();
    let mut data = Vec::new();
    for (header, frame) in headers.iter().zip(frames) {
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, data.len());
        data.extend_from_slice(&frame[DATA..]);
        assert_eq!(header.source, headers[0].source);
        assert_eq!(header.destination, headers[0].destination);
    }
    (headers[0].clone(), data)
}

/// The IP header of a frame, whose checksum must be right.
fn header(frame: &[u8]) -> Ipv4Header {
    let (header, _) = Ipv4Header::from_slice(&frame[NETWORK..]).expect("an IPv4 header");
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    header
}

fn run(case: &mut Case, frame: &[u8]) -> Outcome {
    case.twin().run(frame)
}

/// Runs a frame that must go to this Ethernet address.
fn goes(case: &mut Case, frame: &[u8], mac: MacAddr) -> Vec<u8> {
    let outcome = run(case, frame);
    assert_eq!(outcome.result, Ok(Verdict::Transmit));
    assert_eq!(outcome.frame[..6], mac.bytes());
    outcome.frame
}

/// Runs a frame that must not go anywhere.
fn stays(case: &mut Case, frame: &[u8], reason: Reason) {
    let outcome = run(case, frame);
    assert_eq!(outcome.result, Err(reason));
    assert_eq!(outcome.frame, frame, "the frame changed");
}

fn punts(case: &Case) -> Vec<punt::Why> {
    let punts = case.tables().punts.borrow();
    punts.iter().map(|(why, _)| *why).collect()
}

#[test]
fn later_fragments_go_to_the_server_of_the_first() {
    let mut case = direct("direct routing");
    // Two packets at a time of one client, in turn: rr gives the datagrams' flow one server.
    let (a, b) = (fragments(CLIENT, VIP, 1, 3), fragments(CLIENT, VIP, 2, 3));
    let mac = way(0).destination;
    for frame in [&a[0], &b[0], &a[1], &b[2], &a[2], &b[1]] {
        let after = goes(&mut case, frame, mac);
        assert_eq!(header(&after).time_to_live, header(frame).time_to_live - 1);
        assert_eq!(after[NETWORK + 12..], frame[NETWORK + 12..]);
    }
    assert_eq!(punts(&case), []);
    let index = lb_common::layout::traffic_index(0, case.tables().sizes.servers, 2, false);
    let traffic = case.tables().traffic[index as usize].get();
    assert_eq!((traffic.packets, traffic.bytes), (6, 6 * 84));
}

#[test]
fn later_fragments_follow_another_connection_of_the_client_to_another_server() {
    let mut case = direct("two connections");
    let first = fragments("192.0.2.1:40000", VIP, 1, 2);
    let second = fragments("192.0.2.1:40001", VIP, 2, 2);
    let third = fragments("192.0.2.2:40000", VIP, 1, 2);
    for (parts, server) in [(&first, 0), (&second, 1), (&third, 0)] {
        goes(&mut case, &parts[0], way(server).destination);
    }
    for (parts, server) in [(&third, 0), (&second, 1), (&first, 0)] {
        goes(&mut case, &parts[1], way(server).destination);
    }
}

#[test]
fn a_later_fragment_before_the_first_waits_with_the_agent() {
    let mut case = direct("out of order");
    let parts = fragments(CLIENT, VIP, 9, 3);
    stays(&mut case, &parts[2], Reason::EarlyFragment);
    goes(&mut case, &parts[0], way(0).destination);
    goes(&mut case, &parts[1], way(0).destination);
    assert_eq!(punts(&case), [punt::Why::EarlyFragment]);
    // The agent sends it again.
    case.twin().change(|tables| {
        tables.resent = true;
        tables.control.token = 0x0123_4567_89ab_cdef;
    });
    goes(&mut case, &parts[2], way(0).destination);
    // One that the agent had in vain is the host's.
    stays(
        &mut case,
        &fragments(CLIENT, VIP, 10, 2)[1],
        Reason::Fragment,
    );
    assert_eq!(punts(&case).len(), 1);
}

#[test]
fn only_the_agent_can_send_again() {
    const PASS: u32 = 2;
    const DROP: u32 = 1;
    let late = &fragments(CLIENT, VIP, 9, 2)[1];
    // Without a token there is no agent.
    for (token, given, action) in [(7, 7, PASS), (7, 8, DROP), (0, 0, DROP), (7, 7 << 32, DROP)] {
        let case = direct("tokens").change(|tables| tables.control.token = token);
        let mut kernel = Kernel::load(case.tables(), STANDSTILL).expect("root");
        let (seen, _) = kernel.run_again(late, given).expect("it runs");
        assert_eq!(seen, action, "{given} for {token}");
    }
}

#[test]
fn fragments_that_cannot_be_ours_are_the_hosts() {
    let mut case = direct("others' fragments");
    let elsewhere = fragments(CLIENT, "10.0.0.101:80", 1, 2);
    stays(&mut case, &elsewhere[1], Reason::Fragment);
    let mut icmp = fragments(CLIENT, VIP, 1, 2).remove(1);
    let mut ip = header(&icmp);
    ip.protocol = IpNumber::ICMP;
    ip.header_checksum = ip.calc_header_checksum();
    icmp[NETWORK..DATA].copy_from_slice(&ip.to_bytes());
    stays(&mut case, &icmp, Reason::Fragment);
    let mut other_host = fragments(CLIENT, VIP, 1, 2).remove(1);
    other_host[5] ^= 1;
    stays(&mut case, &other_host, Reason::OtherHost);
    // The first one of a service that is not there is the host's, and so are the others then.
    let mut none = case.change(|tables| hint(tables, Hint::Virtual, "10.0.0.101"));
    stays(&mut none, &elsewhere[0], Reason::NoService);
    stays(&mut none, &elsewhere[1], Reason::EarlyFragment);
}

#[test]
fn a_first_fragment_is_forgotten_in_time() {
    let mut case = direct("timeout");
    let parts = fragments(CLIENT, VIP, 9, 3);
    goes(&mut case, &parts[0], way(0).destination);
    let mut case = case.pass_timeout(Class::FRAGMENT);
    goes(&mut case, &parts[1], way(0).destination);
    let mut case = case.pass(1);
    stays(&mut case, &parts[2], Reason::EarlyFragment);
}

#[test]
fn a_server_that_is_gone_gets_no_more() {
    let mut case = direct("a removed server");
    let parts = fragments(CLIENT, VIP, 9, 4);
    goes(&mut case, &parts[0], way(0).destination);
    case.twin()
        .change(|tables| tables.servers[2].flags &= !server_flags::AVAILABLE);
    stays(&mut case, &parts[1], Reason::ServerGone);
    case.twin().change(|tables| {
        tables.servers[2].flags |= server_flags::AVAILABLE;
        tables.servers[2].way = [0; 3];
    });
    stays(&mut case, &parts[1], Reason::Unresolved);
    // Its number became another service's server.
    case.twin().change(|tables| {
        tables.servers[2].way = way(9).encode(3);
        tables.servers[2].service = 5;
    });
    stays(&mut case, &parts[2], Reason::Fragment);
}

#[test]
fn fragments_must_leave_the_transport_header_alone() {
    let sctp = NewService {
        key: Key::new(address("10.0.0.100"), Port::new(80), protocol::SCTP),
        ..udp_service(VIP, Rr, &[1])
    };
    // An INIT: a UDP header's ports are SCTP's, and the first chunk's type is its thirteenth byte.
    let mut init = udp(CLIENT, VIP).payload(&[0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 0]);
    init.ip.protocol = IpNumber::SCTP;
    for (opening, refused) in [(tcp(CLIENT, VIP, SYN), 2), (udp(CLIENT, VIP), 0), (init, 1)] {
        let services = [
            tcp_service(VIP, Rr, &[1]),
            udp_service(VIP, Rr, &[1]),
            sctp.clone(),
        ];
        let mut case = case("overlap", &services);
        let first = opening.clone().fragment(0, true);
        goes(&mut case, &first.bytes(), way(0).destination);
        for offset in 1..=4 {
            let late = opening.clone().fragment(offset, false).bytes();
            if offset <= refused {
                stays(&mut case, &late, Reason::Overlap);
            } else {
                goes(&mut case, &late, way(0).destination);
            }
        }
    }
}

#[test]
fn a_first_fragment_that_cuts_the_header_is_refused() {
    let mut case = direct("tiny");
    // Eight bytes of TCP: ports and a sequence number, no flags (RFC 1858).
    let whole = tcp(CLIENT, VIP, SYN).bytes();
    let mut ip = tcp(CLIENT, VIP, SYN).fragment(0, true).ip;
    ip.set_payload_len(8).expect("it fits");
    ip.header_checksum = ip.calc_header_checksum();
    // Ethernet's padding is no header.
    let tiny = [&whole[..NETWORK], &ip.to_bytes(), &whole[DATA..DATA + 20]].concat();
    stays(&mut case, &tiny, Reason::Malformed);
}

#[test]
fn masqueraded_fragments_are_translated_and_stay_one_datagram() {
    let mut case = masqueraded("both ways");
    let parts = fragments(CLIENT, VIP, 9, 3);
    let there: Vec<_> = parts
        .iter()
        .map(|part| goes(&mut case, part, way(0).destination))
        .collect();
    let (ip, data) = together(&there);
    assert_eq!(ip.destination, [10, 1, 0, 1]);
    check_udp(&ip, &data, 40000, 8080);

    case.twin().change(give_ways_back);
    let parts = fragments(SERVER, CLIENT, 11, 3);
    let back: Vec<_> = parts
        .iter()
        .map(|part| goes(&mut case, part, MacAddr::new(CLIENT_MAC)))
        .collect();
    for frame in &back {
        assert_eq!(frame[6..12], DIRECTOR_MAC);
    }
    let (ip, data) = together(&back);
    assert_eq!(
        (ip.source, ip.destination),
        ([10, 0, 0, 100], [192, 0, 2, 1])
    );
    check_udp(&ip, &data, 80, 40000);

    // Out of order they wait as well, and without a way back the host routes them.
    let late = fragments(SERVER, CLIENT, 12, 2);
    stays(&mut case, &late[1], Reason::EarlyFragment);
    goes(&mut case, &late[0], MacAddr::new(CLIENT_MAC));
    case.twin().change(|tables| tables.back_ways[7].set(0));
    let outcome = run(&mut case, &late[1]);
    assert_eq!(outcome.result, Ok(Verdict::Pass));
    let ip = header(&outcome.frame);
    assert_eq!((ip.source, ip.time_to_live), ([10, 0, 0, 100], 64));
}

/// A datagram put together from fragments is what its sender sent, but for the ports.
fn check_udp(ip: &Ipv4Header, data: &[u8], from: u16, to: u16) {
    let (header, payload) = UdpHeader::from_slice(data).expect("a UDP header");
    assert_eq!((header.source_port, header.destination_port), (from, to));
    assert_eq!(payload, [0x5a; 3 * 64 - 8]);
    let right = header.calc_checksum_ipv4_raw(ip.source, ip.destination, payload);
    assert_eq!(header.checksum, right.expect("it fits"));
}

#[test]
fn fragments_of_masqueraded_tcp_keep_its_checksum() {
    let mut case = masqueraded("tcp");
    goes(
        &mut case,
        &tcp(CLIENT, VIP, SYN).bytes(),
        way(0).destination,
    );
    let whole = tcp(CLIENT, VIP, ACK).payload(&[0x5a; 3 * 64 - 20]);
    let there: Vec<_> = cut(&whole)
        .iter()
        .map(|part| goes(&mut case, part, way(0).destination))
        .collect();
    let (ip, data) = together(&there);
    let (tcp, payload) = etherparse::TcpHeader::from_slice(&data).expect("a TCP header");
    assert_eq!(tcp.destination_port, 8080);
    let right = tcp.calc_checksum_ipv4_raw(ip.source, ip.destination, payload);
    assert_eq!(tcp.checksum, right.expect("it fits"));
}

#[test]
fn fragments_go_through_tunnels() {
    for method in [
        server_flags::IPIP,
        server_flags::GRE,
        server_flags::GUE | server_flags::CHECKSUM,
    ] {
        let mut case = direct("tunnels").change(|tables| {
            tables.servers[2].flags |= method;
            tables.servers[2].source = address("10.0.0.2");
            tables.servers[2].tunnel_port = 6080;
        });
        let parts = fragments(CLIENT, VIP, 1, 3);
        for part in &parts {
            let after = goes(&mut case, part, way(0).destination);
            let outer = header(&after);
            assert_eq!(outer.destination, [10, 1, 0, 1]);
            let inner = after.len() - (part.len() - NETWORK);
            let mut packet = vec![0; NETWORK];
            packet.extend_from_slice(&after[inner..]);
            assert_eq!(header(&packet).time_to_live, header(part).time_to_live - 1);
            assert_eq!(packet[NETWORK + 12..], part[NETWORK + 12..]);
        }
    }
}

#[test]
fn one_packet_services_remember_fragments_too() {
    let mut case = direct("one packet").change(|tables| {
        tables.services[1].flags |= lb_common::layout::service_flags::ONE_PACKET;
        tables.control.settings |= settings::SLOPPY_TCP;
    });
    let (a, b) = (fragments(CLIENT, VIP, 1, 2), fragments(CLIENT, VIP, 2, 2));
    goes(&mut case, &a[0], way(0).destination);
    goes(&mut case, &b[0], way(1).destination);
    goes(&mut case, &b[1], way(1).destination);
    goes(&mut case, &a[1], way(0).destination);
}

#[test]
fn ipv6_fragments_follow_too() {
    let (client, vip): (Ipv6Addr, Ipv6Addr) = (
        "2001:db8::1".parse().expect("an address"),
        "fd00::100".parse().expect("an address"),
    );
    let service = NewService {
        key: Key::new(IpAddr::V6(vip).into(), Port::new(80), protocol::UDP),
        scheduler: Rr,
        servers: vec![NewServer {
            addr: address("fd00::11"),
            weight: 1,
            way: Some(way(0)),
        }],
    };
    let mut case = case("ipv6", &[service]).change(|tables| {
        hint(tables, Hint::Virtual, "fd00::100");
    });
    let udp = UdpHeader::with_ipv6_checksum(40000, 80, &ipv6(client, vip, 0), &[0x5a; 120]);
    let udp = [&udp.expect("it fits").to_bytes()[..], &[0x5a; 120]].concat();
    // Behind another extension header as well.
    for options in [false, true] {
        let frame = |n: usize| {
            let fragment = Ipv6FragmentHeader::new(
                IpNumber::UDP,
                (n as u16 * 8).try_into().expect("13 bits"),
                n == 0,
                7 + u32::from(options),
            );
            let destination: &[u8] = if options {
                &[44, 0, 1, 4, 0, 0, 0, 0]
            } else {
                &[]
            };
            let part = [destination, &fragment.to_bytes(), &udp[n * 64..][..64]].concat();
            let mut ip = ipv6(client, vip, part.len());
            ip.next_header = if options {
                IpNumber::IPV6_DESTINATION_OPTIONS
            } else {
                IpNumber::IPV6_FRAGMENTATION_HEADER
            };
            let ethernet = etherparse::Ethernet2Header {
                source: CLIENT_MAC,
                destination: DIRECTOR_MAC,
                ether_type: EtherType::IPV6,
            };
            [&ethernet.to_bytes()[..], &ip.to_bytes(), &part].concat()
        };
        stays(&mut case, &frame(1), Reason::EarlyFragment);
        for n in [0, 1] {
            let after = goes(&mut case, &frame(n), way(0).destination);
            assert_eq!(after[NETWORK + 7], 63);
            assert_eq!(after[NETWORK + 8..], frame(n)[NETWORK + 8..]);
        }
    }
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Ipv6Header {
    Ipv6Header {
        payload_length: len as u16,
        next_header: IpNumber::UDP,
        hop_limit: 64,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    }
}
