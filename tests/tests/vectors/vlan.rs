//! Tagged frames, and what else there is on a link.

use lb_common::layout::server_flags::ROUTE;
use lb_common::reason::Reason;
use lb_tests::director::{Director, SERVER_MAC, Server};
use lb_tests::frame::{Frame, INIT, sctp, tcp, udp};
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{CLIENT_MAC, DIRECTOR_MAC};

const FAMILIES: [[&str; 3]; 2] = [
    ["192.0.2.1:40000", "10.0.0.100:80", "10.1.0.1:80"],
    ["[2001:db8::1]:40000", "[fd00::100]:80", "[fd01::1]:80"],
];

/// C-TAG, S-TAG (IEEE 802.1Q).
const C: u16 = 0x8100;
const S: u16 = 0x88a8;

fn frames(from: &str, to: &str) -> Vec<Frame> {
    vec![
        tcp(from, to, SYN),
        tcp(from, to, ACK),
        udp(from, to),
        sctp(from, to, INIT),
    ]
}

#[test]
fn one_tag_or_two_are_kept() {
    let all: [&[(u16, u16)]; 7] = [
        &[],
        &[(C, 0)],
        &[(C, 0xffff)],
        &[(S, 100)],
        &[(S, 100), (C, 0x6064)],
        &[(C, 1), (C, 2)],
        &[(C, 1), (S, 2)],
    ];
    for [client, vip, server] in FAMILIES {
        let mut director = Director::new(vip, Server::new(server, ROUTE));
        for tags in all {
            for frame in frames(client, vip) {
                let frame = frame.tags(tags);
                let expected = frame.clone().sent(SERVER_MAC, DIRECTOR_MAC);
                assert_eq!(director.sends(&frame), expected.bytes(), "{frame:?}");
            }
        }
        // The flow is one, whatever its tags.
        assert_eq!(director.twin.tables().live_flows().count(), 3);
    }
}

#[test]
fn a_third_tag_is_none_of_ours() {
    for [client, vip, server] in FAMILIES {
        let mut director = Director::new(vip, Server::new(server, ROUTE));
        for tags in [[(C, 1), (C, 2), (C, 3)], [(S, 1), (S, 2), (C, 3)]] {
            for frame in frames(client, vip) {
                director.refuses(&frame.tags(&tags).bytes(), Reason::NotIp);
            }
        }
    }
}

#[test]
fn every_cut_of_a_tagged_packet_is_malformed() {
    for [client, vip, server] in FAMILIES {
        let mut director = Director::new(vip, Server::new(server, ROUTE));
        for tags in [&[(C, 1)][..], &[(S, 1), (C, 2)]] {
            let frame = udp(client, vip).tags(tags).bytes();
            for len in 0..frame.len() {
                director.refuses(&frame[..len], Reason::Malformed);
            }
        }
    }
}

#[test]
fn what_else_is_on_a_link_passes() {
    let [client, vip, server] = FAMILIES[0];
    let mut director = Director::new(vip, Server::new(server, ROUTE));
    // ARP, LLDP, MPLS (one label and many), PPPoE (discovery and session), EAPOL, loopback test,
    // an IEEE 802.3 frame whose type is its length, and types that are none.
    let kinds = [
        0x0806, 0x88cc, 0x8847, 0x8848, 0x8863, 0x8864, 0x888e, 0x9000, 46, 1500, 0, 0xffff,
    ];
    for tags in [&[][..], &[(C, 5)], &[(S, 5), (C, 6)]] {
        for kind in kinds {
            let frame = udp(client, vip).tags(tags);
            let bytes = [frame.link(kind), frame.packet()].concat();
            director.refuses(&bytes, Reason::NotIp);
        }
    }
    // Spanning tree: an 802.3 frame with an LLC header, to a group.
    let mut frame = [[1, 0x80, 0xc2, 0, 0, 0], CLIENT_MAC].concat();
    frame.extend([0, 38, 0x42, 0x42, 3]);
    frame.resize(60, 0);
    director.refuses(&frame, Reason::NotIp);
}
