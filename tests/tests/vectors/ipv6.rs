//! IPv6: what parsing makes of headers and extension headers, and where the packets go.

use lb_common::layout::server_flags::ROUTE;
use lb_common::reason::Reason;
use lb_tests::director::{Director, SERVER_MAC, Server};
use lb_tests::frame::{Frame, INIT, sctp, tcp, udp};
use lb_tests::packet::DIRECTOR_MAC;
use lb_tests::packet::flags::{ACK, SYN};

const CLIENT: &str = "[2001:db8::1]:40000";
const VIP: &str = "[fd00::100]:80";

/// Offsets of bytes in a frame without tags and extension headers.
const IP: usize = 14;
const TRANSPORT: usize = 54;

/// Extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

fn director() -> Director {
    Director::new(VIP, Server::new("[fd01::1]:80", ROUTE))
}

fn goes(director: &mut Director, frame: &Frame) {
    let expected = frame.clone().sent(SERVER_MAC, DIRECTOR_MAC);
    assert_eq!(director.sends(frame), expected.bytes(), "{frame:?}");
}

/// An extension header of `units` times 8 bytes, padded by an option.
fn padded(number: u8, units: u8) -> (u8, Vec<u8>) {
    let len = usize::from(units) * 8;
    let mut body = vec![0; len - 1];
    body[0] = units - 1;
    body[1] = 1;
    body[2] = u8::try_from(len - 4).expect("a short header");
    (number, body)
}

#[test]
fn every_transport_goes_to_its_server() {
    let mut director = director();
    for frame in [
        tcp(CLIENT, VIP, SYN),
        tcp(CLIENT, VIP, ACK),
        udp(CLIENT, VIP),
        sctp(CLIENT, VIP, INIT),
    ] {
        goes(&mut director, &frame);
        goes(
            &mut director,
            &frame.clone().with(|frame| frame.padding = 9),
        );
        goes(
            &mut director,
            &frame.clone().with(|frame| frame.traffic_class = 0xff),
        );
        goes(&mut director, &frame.ttl(2));
    }
}

#[test]
fn up_to_six_extension_headers_are_walked() {
    let mut director = director();
    let one = padded(DESTINATION, 1);
    let authentication = (
        AUTHENTICATION,
        vec![
            4, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
        ],
    );
    for extensions in [
        vec![padded(HOP_BY_HOP, 1)],
        vec![
            padded(HOP_BY_HOP, 1),
            padded(DESTINATION, 2),
            (ROUTING, vec![0; 7]),
        ],
        vec![authentication],
        vec![padded(DESTINATION, 20)],
        // An atomic fragment is a whole packet (RFC 6946).
        vec![(FRAGMENT, vec![0, 0, 0, 1, 2, 3, 4])],
        vec![one.clone(); 6],
    ] {
        for frame in [
            tcp(CLIENT, VIP, SYN),
            udp(CLIENT, VIP),
            sctp(CLIENT, VIP, INIT),
        ] {
            let extensions = extensions.clone();
            goes(
                &mut director,
                &frame.with(|frame| frame.extensions = extensions),
            );
        }
    }
    for extensions in [
        vec![one.clone(); 7],
        vec![one; 12],
        vec![padded(DESTINATION, 21)],
    ] {
        let frame = udp(CLIENT, VIP).with(|frame| frame.extensions = extensions);
        director.refuses(&frame.bytes(), Reason::Malformed);
    }
}

#[test]
fn ipv4s_addresses_in_their_mapped_form_are_no_packets() {
    // A service that would be found, if these were IPv4's.
    let (client, vip) = ("192.0.2.1:40000", "10.0.0.100:80");
    let (mapped_client, mapped) = ("[::ffff:192.0.2.1]:40000", "[::ffff:10.0.0.100]:80");
    let mut director = Director::new(vip, Server::new("10.1.0.1:80", ROUTE));
    director.sends(&udp(client, vip));
    for (from, to) in [
        (mapped_client, mapped),
        (CLIENT, mapped),
        (mapped_client, VIP),
    ] {
        for frame in [tcp(from, to, SYN), udp(from, to), sctp(from, to, INIT)] {
            director.refuses(&frame.bytes(), Reason::Malformed);
        }
    }
}

#[test]
fn every_cut_of_a_packet_is_malformed() {
    let mut director = director();
    let extensions = |frame: &mut Frame| {
        frame.extensions = vec![padded(HOP_BY_HOP, 1), padded(DESTINATION, 2)];
    };
    for frame in [
        tcp(CLIENT, VIP, SYN),
        udp(CLIENT, VIP),
        sctp(CLIENT, VIP, INIT),
        udp(CLIENT, VIP).with(extensions),
    ] {
        let bytes = frame.bytes();
        for len in 0..bytes.len() {
            director.refuses(&bytes[..len], Reason::Malformed);
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let mut director = director();
    let mut change = |frame: &Frame, at: usize, bytes: &[u8]| {
        let mut frame = frame.bytes();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        director.refuses(&frame, Reason::Malformed);
    };
    let (tcp, udp) = (tcp(CLIENT, VIP, SYN), udp(CLIENT, VIP));
    for version in (0..16).filter(|version| *version != 6) {
        change(&tcp, IP, &[version << 4]);
    }
    let len = |frame: &Frame| u16::try_from(frame.packet().len() - 40).expect("a short frame");
    for length in (0..20).chain([len(&tcp) + 1, 0x7fff, 0xffff]) {
        change(&tcp, IP + 4, &length.to_be_bytes());
    }
    for length in (0..len(&udp)).chain([len(&udp) + 1]) {
        change(&udp, IP + 4, &length.to_be_bytes());
    }
    for words in (0..5).chain(10..16) {
        change(&tcp, TRANSPORT + 12, &[words << 4]);
    }
    for length in (0..8).chain([len(&udp) + 1, 0xffff]) {
        change(&udp, TRANSPORT + 4, &length.to_be_bytes());
    }
    // An extension header that is longer than the packet.
    let long = udp
        .clone()
        .with(|frame| frame.extensions = vec![padded(DESTINATION, 1)]);
    for units in 3..=255 {
        change(&long, TRANSPORT + 1, &[units]);
    }
    // ICMP is another protocol than ICMPv6.
    change(&tcp, IP + 6, &[1]);
}

#[test]
fn other_headers_are_other_protocols() {
    let mut director = director();
    for number in 0..=255 {
        if matches!(
            number,
            1 | 6 | 17 | 58 | 132 | HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
        ) {
            continue;
        }
        let mut frame = tcp(CLIENT, VIP, SYN).bytes();
        frame[IP + 6] = number;
        director.refuses(&frame, Reason::Protocol);
    }
    // Neighbour discovery and echoes are the host's.
    for kind in 128..=255 {
        let mut frame = udp(CLIENT, VIP).bytes();
        frame[IP + 6] = 58;
        frame[TRANSPORT] = kind;
        director.refuses(&frame, Reason::Protocol);
    }
}

#[test]
fn martians_and_land_open_nothing() {
    let mut director = director();
    for client in [
        "[::]:1",
        "[::1]:1",
        "[ff02::1]:1",
        "[ff0e::1]:1",
        "[fd00::100]:1",
        VIP,
    ] {
        for frame in [
            tcp(client, VIP, SYN),
            udp(client, VIP),
            sctp(client, VIP, INIT),
        ] {
            director.refuses(&frame.bytes(), Reason::Martian);
        }
    }
    for client in ["[2001:db8::2]:1", "[fe80::1]:1", "[fd00::99]:1"] {
        goes(&mut director, &tcp(client, VIP, SYN));
    }
}

#[test]
fn control_bits_that_open_nothing_leave_nothing() {
    let mut director = director();
    for flags in 0..=255 {
        let opens = flags & 0x06 == 0x02;
        if !opens {
            director.refuses(&tcp(CLIENT, VIP, flags).bytes(), Reason::NoFlow);
            assert_eq!(director.twin.tables().live_flows().count(), 0);
        }
    }
    // As ipvs has it, a SYN that ends as well begins.
    goes(&mut director, &tcp(CLIENT, VIP, 0x03));
}

#[test]
fn a_virtual_address_may_be_link_local() {
    let vip = "[fe80::100]:80";
    let mut director = Director::new(vip, Server::new("[fd01::1]:80", ROUTE));
    for client in ["[fe80::1]:40000", CLIENT] {
        goes(&mut director, &tcp(client, vip, SYN));
        goes(&mut director, &udp(client, vip));
    }
    director.refuses(&tcp(vip, vip, SYN).bytes(), Reason::Martian);
}
