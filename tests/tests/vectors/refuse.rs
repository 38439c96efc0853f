//! What does not go to a server, why, and that such a frame stays as it is.

use etherparse::{EtherType, IpNumber};
use lb_common::layout::{Sizes, server_flags};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::sched::Kind::Rr;
use lb_common::state::Class;
use lb_tests::case::{
    Case, SIZES, answered, case, case_sized, opens, opens_inactive, refused, tcp_service, to,
    udp_service, way,
};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{Packet, tcp, udp};

const CLIENT: &str = "192.0.2.1:40000";
const VIP: &str = "10.0.0.100:80";

/// Offsets of bytes in a frame without IP options.
const IP: usize = 14;
const TRANSPORT: usize = 34;

const SCTP: u8 = IpNumber::SCTP.0;
const ICMPV6: u8 = IpNumber::IPV6_ICMP.0;

fn both(name: &'static str) -> Case {
    case(
        name,
        &[tcp_service(VIP, Rr, &[1]), udp_service(VIP, Rr, &[1])],
    )
}

fn syn() -> Packet {
    tcp(CLIENT, VIP, SYN)
}

#[test]
fn other_addresses_ports_and_protocols_are_no_service() {
    let _ = case("a tcp service", &[tcp_service(VIP, Rr, &[1])])
        .send(
            &tcp(CLIENT, "10.0.0.101:80", SYN),
            refused(Reason::NoService),
        )
        .send(
            &tcp(CLIENT, "10.0.0.100:81", SYN),
            refused(Reason::NoService),
        )
        .send(
            &tcp(CLIENT, "10.0.0.100:20480", SYN),
            refused(Reason::NoService),
        )
        .send(&tcp(VIP, CLIENT, SYN), refused(Reason::NoService))
        .send(&udp(CLIENT, VIP), refused(Reason::NoService))
        .send(&syn(), opens(0));
    let _ = case("no services at all", &[]).send(&syn(), refused(Reason::NoService));
    let none = Sizes {
        services: 1,
        servers: 1,
        flows: 1,
    };
    let _ = case_sized("the smallest tables", none, &[]).send(&syn(), refused(Reason::NoService));
}

#[test]
fn frames_for_other_hosts_are_not_ours() {
    let mut case = both("ethernet destinations");
    for mac in [
        [2, 0, 0, 0, 2, 2],
        [0; 6],
        [0xff; 6],
        [1, 0, 0x5e, 0, 0, 1],
        [0, 0, 0, 0, 2, 1],
    ] {
        case.sends(&syn().to_mac(mac).bytes(), refused(Reason::OtherHost));
    }
    let _ = case.send(&syn(), opens(0)).send(
        &tcp(CLIENT, VIP, ACK).to_mac([2, 0, 0, 0, 3, 0]),
        refused(Reason::OtherHost),
    );
}

#[test]
fn what_is_not_ip_passes() {
    let mut case = both("ether types");
    for kind in [
        EtherType::ARP,
        EtherType::VLAN_TAGGED_FRAME,
        EtherType::PROVIDER_BRIDGING,
        EtherType(0x8847),
        EtherType(46),
        EtherType(0),
        EtherType(0xffff),
    ] {
        let mut packet = syn();
        packet.ethernet.ether_type = kind;
        case.sends(&packet.bytes(), refused(Reason::NotIp));
    }
    // Called IPv6, it is of the wrong version.
    let mut packet = syn();
    packet.ethernet.ether_type = EtherType::IPV6;
    case.sends(&packet.bytes(), refused(Reason::Malformed));
}

#[test]
fn every_cut_of_a_packet_is_malformed() {
    let packets = [
        syn().payload(b"early data"),
        udp(CLIENT, VIP),
        syn().options(10),
        udp(CLIENT, VIP).options(1),
    ];
    let mut case = both("truncated");
    for packet in packets {
        let frame = packet.bytes();
        for len in 0..frame.len() {
            case.sends(&frame[..len], refused(Reason::Malformed));
        }
    }
    let _ = case
        .send(&syn(), opens(0))
        .send(&udp(CLIENT, VIP), opens_inactive(1));
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let mut case = both("lengths");
    let mut change = |packet: &Packet, at: usize, bytes: &[u8]| {
        let mut frame = packet.bytes();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        case.sends(&frame, refused(Reason::Malformed));
    };
    let (tcp, udp) = (syn().payload(b"data").padded(6), udp(CLIENT, VIP).padded(6));
    for version in (0..16).filter(|version| *version != 4) {
        change(&tcp, IP, &[version << 4 | 5]);
    }
    for words in (0..5).chain([12, 13, 14, 15]) {
        change(&tcp, IP, &[0x40 | words]);
    }
    let (tcp_length, udp_length) = (44, 36);
    let behind_frame = tcp_length + 7;
    for length in (0..40).chain([behind_frame, 0x7fff, 0xffff]) {
        change(&tcp, IP + 2, &u16::to_be_bytes(length));
    }
    for length in (0..udp_length).chain([udp_length + 7]) {
        change(&udp, IP + 2, &u16::to_be_bytes(length));
    }
    for words in (0..5).chain(7..16) {
        change(&tcp, TRANSPORT + 12, &[words << 4]);
    }
    for length in (0..8).chain([17, 18, 0xffff]) {
        change(&udp, TRANSPORT + 4, &u16::to_be_bytes(length));
    }
    // A datagram may be shorter than its packet.
    let mut frame = udp.bytes();
    frame[TRANSPORT + 4..TRANSPORT + 6].copy_from_slice(&[0, 8]);
    let known = case.twin().run(&frame).result;
    assert!(known.is_ok(), "{known:?}");
}

#[test]
fn later_fragments_of_unseen_packets_are_early() {
    let whole = tcp(CLIENT, VIP, ACK).payload(&[1; 64]);
    let later = |packet: &Packet, offset, more| {
        let mut packet = packet.clone().fragment(offset, more);
        packet.ip.identification ^= 1;
        packet
    };
    let _ = both("fragments")
        .send(&syn().fragment(0, true), opens(0).flows(1))
        .send(&syn(), to(0))
        .send(&whole.clone().fragment(0, true), to(0))
        .send(&later(&whole, 1, true), refused(Reason::EarlyFragment))
        .send(
            &later(&whole, 0x1fff, false),
            refused(Reason::EarlyFragment),
        )
        .send(
            &udp(CLIENT, VIP).fragment(8, false),
            refused(Reason::EarlyFragment),
        )
        .send(&whole.fragment(0, false), to(0));
    // The evil bit (RFC 3514) is none of the fragment bits.
    let mut evil = syn().bytes();
    evil[IP + 6] |= 0x80;
    let result = both("evil").twin().run(&evil).result;
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn martians_and_land_open_nothing() {
    let mut case = both("martians");
    for client in [
        "0.0.0.0:1",
        "0.1.2.3:1",
        "127.0.0.1:1",
        "127.255.255.255:1",
        "224.0.0.1:1",
        "239.255.255.255:1",
        "240.0.0.1:1",
        "255.255.255.255:1",
        "10.0.0.100:1",
        VIP,
    ] {
        for flags in [SYN, ACK] {
            let packet = tcp(client, VIP, flags);
            case.sends(&packet.bytes(), refused(Reason::Martian));
        }
        case.sends(&udp(client, VIP).bytes(), refused(Reason::Martian));
    }
    for client in [
        "1.0.0.0:1",
        "126.255.255.255:1",
        "128.0.0.1:1",
        "223.255.255.255:1",
    ] {
        case.sends(&tcp(client, VIP, SYN).bytes(), opens(0));
    }
}

#[test]
fn a_packet_at_its_last_hop_ends() {
    // The connection is scheduled before the packet is sent, as in ipvs.
    let _ = both("ttl")
        .send(
            &syn().ttl(1),
            answered(Reason::TtlExceeded)
                .connection(0)
                .active(0, 1)
                .flows(1),
        )
        .send(&syn().ttl(0), answered(Reason::TtlExceeded))
        .send(&syn().ttl(2), to(0));
}

#[test]
fn other_protocols_pass() {
    let mut case = both("protocols");
    for number in (0..=255).filter(|number| !matches!(number, 6 | 17)) {
        let mut packet = syn();
        packet.ip.protocol = IpNumber(number);
        let reason = match number {
            SCTP => Reason::NoService,
            ICMPV6 => Reason::Malformed,
            _ => Reason::Protocol,
        };
        case.sends(&packet.bytes(), refused(reason));
    }
    // Of ICMP, errors alone are of interest.
    for kind in 0..=255 {
        let mut packet = syn();
        packet.ip.protocol = IpNumber::ICMP;
        let mut frame = packet.bytes();
        frame[TRANSPORT] = kind;
        let reason = match kind {
            3 | 4 | 11 => Reason::NoQuotedFlow,
            _ => Reason::Protocol,
        };
        case.sends(&frame, refused(reason));
    }
}

#[test]
fn a_service_without_servers_answers() {
    let services = [tcp_service(VIP, Rr, &[]), udp_service(VIP, Rr, &[0])];
    let _ = case("no server", &services)
        .send(&syn(), answered(Reason::NoServer))
        .send(&udp(CLIENT, VIP), answered(Reason::NoServer))
        .send(&tcp(CLIENT, VIP, ACK), refused(Reason::NoFlow));
}

#[test]
fn a_flow_of_a_removed_server_expires_although_its_client_goes_on() {
    let gone = |tables: &mut Memory| tables.servers[0].flags = 0;
    let services = [tcp_service(VIP, Rr, &[]), udp_service(VIP, Rr, &[1, 1])];
    let mut case = case("a talking client", &services)
        .send(&udp(CLIENT, VIP), opens_inactive(0))
        .send(&udp(CLIENT, VIP), to(0))
        .change(gone);
    let timeout = case.tables().control.timeouts[usize::from(Class::UDP.number())];
    for _ in 0..=timeout {
        case.sends(&udp(CLIENT, VIP).bytes(), refused(Reason::ServerGone));
        case = case.pass(1);
    }
    let _ = case.send(&udp(CLIENT, VIP), opens_inactive(1).inactive(0, -1));
}

#[test]
fn flows_of_a_removed_server_are_dropped() {
    let _ = both("server removed")
        .send(&syn(), opens(0))
        .change(|tables| tables.servers[0].flags = 0)
        .send(&tcp(CLIENT, VIP, ACK), refused(Reason::ServerGone))
        .change(|tables| tables.servers[0].flags = 1)
        .send(&tcp(CLIENT, VIP, ACK), to(0));
}

#[test]
fn a_server_without_a_way_is_not_sent_to() {
    let (old, new) = (way(1).encode(1), way(2).encode(2));
    let mut case = both("ways").send(&syn(), opens(0));
    let mut ways = vec![[0; 3], way(1).encode(0)];
    for pick in 1..7 {
        ways.push([0, 1, 2].map(|i| if pick >> i & 1 == 0 { old[i] } else { new[i] }));
        ways.push([0, 1, 2].map(|i| if pick >> i & 1 == 0 { old[i] } else { 0 }));
    }
    for way in ways {
        case = case
            .change(|tables| tables.servers[0].way = way)
            .send(&syn(), refused(Reason::Unresolved));
    }
    let _ = case
        .change(|tables| tables.servers[0].way = new)
        .send(&syn(), to(0));
}

#[test]
fn entries_beyond_the_tables_are_inconsistent() {
    let _ = both("a member that names no server")
        .change(|tables| tables.members[0].server = SIZES.servers)
        .send(&syn(), refused(Reason::Inconsistent));
    let beyond = SIZES.records() + 1;
    let _ = both("a slot that names no record")
        .change(|tables| {
            tables
                .slots
                .iter_mut()
                .filter(|s| s.record != 0)
                .for_each(|s| s.record = beyond)
        })
        .send(&syn(), refused(Reason::Inconsistent));
}

#[test]
fn a_removed_service_is_no_service_at_once() {
    let _ = both("service removed")
        .send(&syn(), opens(0))
        .change(|tables| {
            tables.slots.iter_mut().for_each(|slot| slot.record = 0);
            for server in &mut tables.servers {
                server.flags &= !server_flags::AVAILABLE;
            }
        })
        .send(&tcp(CLIENT, VIP, ACK), refused(Reason::NoService));
}
