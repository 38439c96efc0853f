//! Direct routing: what becomes of a frame that goes to a server.

use lb_common::datapath::Way;
use lb_common::sched::Kind::Rr;
use lb_common::state::tcp::State;
use lb_tests::case::{Case, case, opens, opens_inactive, tcp_service, to, udp_service, way};
use lb_tests::packet::flags::{ACK, PSH, SYN};
use lb_tests::packet::{Packet, tcp, udp};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";

fn both(name: &'static str) -> Case {
    case(
        name,
        &[tcp_service(VIP, Rr, &[1]), udp_service(VIP, Rr, &[1])],
    )
}

#[test]
fn tcp_and_udp_go_to_the_servers_of_their_service() {
    let data = tcp(CLIENT, VIP, ACK | PSH).payload(b"GET / HTTP/1.0\r\n\r\n");
    let _ = both("tcp and udp at one address and port")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .send(&udp(CLIENT, VIP), opens_inactive(1))
        .send(&data, to(0))
        .is_in(CLIENT, State::Established)
        .send(&udp(CLIENT, VIP).payload(&[]), to(1));
}

#[test]
fn every_length_of_ip_options_is_kept() {
    let mut case = both("ip options");
    for words in 0..=10 {
        let client = format!("192.0.2.{words}:40000");
        let with = |packet: Packet| packet.options(words).payload(b"x");
        case = case
            .send(&with(tcp(&client, VIP, SYN)), opens(0))
            .send(&with(tcp(&client, VIP, ACK)), to(0))
            .send(&with(udp(&client, VIP)), opens_inactive(1));
    }
}

#[test]
fn ttl_shrinks_by_one_from_every_value() {
    let mut case = both("ttl").send(&udp(CLIENT, VIP), opens_inactive(1));
    for ttl in 2..=255 {
        case.sends(&udp(CLIENT, VIP).ttl(ttl).bytes(), to(1));
    }
}

#[test]
fn the_checksum_stays_right_where_its_sum_carries() {
    // The identification gives the header any checksum. One hop less adds 0x0100 to it; the last
    // sum but one is all ones, which is written as zero.
    let with = |identification| {
        let mut packet = udp(CLIENT, VIP);
        packet.ip.identification = identification;
        packet.bytes()
    };
    let checksum = |frame: &[u8]| u16::from_be_bytes([frame[24], frame[25]]);
    let mut case = both("checksum").send(&udp(CLIENT, VIP), opens_inactive(1));
    let wanted = [
        0, 0xff, 0x100, 0xfe00, 0xfefe, 0xfeff, 0xff00, 0xff01, 0xfffe,
    ];
    let frames: Vec<Vec<u8>> = (0..=u16::MAX)
        .map(with)
        .filter(|frame| wanted.contains(&checksum(frame)))
        .collect();
    assert_eq!(frames.len(), wanted.len());
    for mut frame in frames {
        case.sends(&frame, to(1));
        if checksum(&frame) == 0 {
            // The same sum, as a sender writes it that does not know better.
            frame[24..26].fill(0xff);
            case.sends(&frame, to(1));
        }
    }
}

#[test]
fn bytes_behind_the_packet_stay_and_do_not_count() {
    let _ = both("ethernet padding")
        .send(&tcp(CLIENT, VIP, SYN).padded(6), opens(0))
        .send(&udp(CLIENT, VIP).padded(1000), opens_inactive(1));
}

#[test]
fn long_frames_go_unbroken() {
    let _ = both("a full frame")
        .send(&udp(CLIENT, VIP).payload(&[0x55; 1472]), opens_inactive(1))
        .send(&tcp(CLIENT, VIP, SYN).payload(&[0xaa; 1460]), opens(0));
}

#[test]
fn another_interface_is_a_redirect() {
    const OTHER: u32 = 77;
    let other = Way {
        ifindex: OTHER,
        ..way(9)
    };
    let _ = both("redirect")
        .change(|tables| tables.servers[0].way = other.encode(5))
        .send(&tcp(CLIENT, VIP, SYN), opens(0).redirected(OTHER))
        .send(&tcp(CLIENT, VIP, ACK), to(0).redirected(OTHER))
        .send(&udp(CLIENT, VIP), opens_inactive(1));
}

#[test]
fn a_new_way_counts_from_the_next_packet_on() {
    let _ = both("another next hop")
        .send(&tcp(CLIENT, VIP, SYN), opens(0))
        .change(|tables| tables.servers[0].way = way(200).encode(2))
        .send(&tcp(CLIENT, VIP, ACK), to(0));
}
