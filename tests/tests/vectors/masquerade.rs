//! Address translation: a frame on its way to its server, and back to its client. What it must have
//! become is the frame that etherparse makes for the other ends.

use lb_common::datapath::{Tables as _, Verdict};
use lb_common::flow::Word;
use lb_common::layout::server_flags::MASQUERADE;
use lb_common::layout::{Interface, port_index};
use lb_common::reason::Reason;
use lb_common::state::tcp::State;
use lb_common::wire::MacAddr;
use lb_tests::case::INGRESS;
use lb_tests::director::{Director, SERVER_MAC, Server};
use lb_tests::frame::{DATA, Frame, INIT, Transport, sctp, tcp, udp};
use lb_tests::packet::flags::{ACK, FIN, PSH, SYN};
use lb_tests::packet::{CLIENT_MAC, DIRECTOR_MAC};

/// Client, virtual address, server at the same port, server at another port.
const FAMILIES: [[&str; 4]; 2] = [
    [
        "192.0.2.1:40000",
        "10.0.0.100:80",
        "10.1.0.1:80",
        "10.1.0.1:8080",
    ],
    [
        "[2001:db8::1]:40000",
        "[fd00::100]:80",
        "[fd01::1]:80",
        "[fd01::1]:8080",
    ],
];

fn server(end: &'static str) -> Server {
    Server::new(end, MASQUERADE)
}

/// The first packet of each transport's flows, and one that follows.
fn transports(from: &str, to: &str) -> Vec<(Frame, Frame)> {
    vec![
        (tcp(from, to, SYN), tcp(from, to, ACK | PSH)),
        (udp(from, to), udp(from, to).payload(b"again")),
        (
            sctp(from, to, INIT),
            sctp(from, to, DATA).payload(&[7; 301]),
        ),
    ]
}

fn to_server(frame: Frame, server: &str) -> Frame {
    frame.to(server).sent(SERVER_MAC, DIRECTOR_MAC)
}

fn to_client(frame: Frame, vip: &str) -> Frame {
    frame.from(vip).sent(CLIENT_MAC, DIRECTOR_MAC)
}

#[test]
fn packets_go_to_the_server_and_back() {
    for [client, vip, same, other] in FAMILIES {
        for end in [same, other] {
            let mut director = Director::new(vip, server(end));
            for (first, next) in transports(client, vip) {
                for frame in [first, next] {
                    let expected = to_server(frame.clone(), end);
                    assert_eq!(director.sends(&frame), expected.bytes(), "{frame:?}");
                }
            }
            director.give_ways_back();
            for (first, next) in transports(end, client) {
                for frame in [first, next] {
                    let expected = to_client(frame.clone(), vip);
                    assert_eq!(director.sends(&frame), expected.bytes(), "{frame:?}");
                }
            }
        }
    }
}

#[test]
fn every_length_of_packet_keeps_its_checksum() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        for len in (0..64).chain([255, 256, 257, 1000, 1440]) {
            let payload: Vec<u8> = (0..len).map(|n| (n * 31) as u8).collect();
            for (first, next) in transports(client, vip) {
                for frame in [first, next] {
                    let frame = frame.payload(&payload);
                    let expected = to_server(frame.clone(), other);
                    assert_eq!(director.sends(&frame), expected.bytes(), "{frame:?}");
                }
            }
        }
    }
}

#[test]
fn headers_of_every_length_and_tags_are_kept() {
    const TAGS: [&[(u16, u16)]; 3] = [
        &[(0x8100, 0x6064)],
        &[(0x88a8, 7), (0x8100, 8)],
        &[(0x8100, 1), (0x8100, 2)],
    ];
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        for (first, _) in transports(client, vip) {
            let mut frames = vec![first.clone().with(|frame| frame.padding = 6)];
            frames.extend(TAGS.map(|tags| first.clone().tags(tags)));
            for words in 1..=10 {
                frames.push(
                    first
                        .clone()
                        .with(|frame| frame.options = vec![1; words * 4]),
                );
            }
            for extensions in [
                vec![(0, vec![0, 1, 4, 0, 0, 0, 0])],
                vec![(60, vec![0, 1, 4, 0, 0, 0, 0]), (43, vec![0; 7])],
                vec![(44, vec![0, 0, 0, 1, 2, 3, 4])],
            ] {
                frames.push(first.clone().with(|frame| frame.extensions = extensions));
            }
            for frame in frames {
                let expected = to_server(frame.clone(), other);
                assert_eq!(director.sends(&frame), expected.bytes(), "{frame:?}");
            }
        }
    }
}

#[test]
fn a_datagram_without_checksum_has_none_afterwards() {
    for [client, vip, _, other] in FAMILIES {
        let bare = |from: &str, to: &str| {
            udp(from, to).with(|frame| frame.transport = Transport::Udp { checksum: false })
        };
        let mut director = Director::new(vip, server(other));
        let forth = bare(client, vip);
        assert_eq!(director.sends(&forth), to_server(forth, other).bytes());
        director.give_ways_back();
        let back = bare(other, client);
        assert_eq!(director.sends(&back), to_client(back, vip).bytes());
    }
}

#[test]
fn a_checksum_that_becomes_zero_is_written_as_all_ones() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        // One of all the words that a payload can have makes the sum zero.
        let frame = (0..=u16::MAX)
            .map(|word| udp(client, vip).payload(&word.to_be_bytes()))
            .find(|frame| {
                let bytes = to_server(frame.clone(), other).packet();
                let at = bytes.len() - 4;
                bytes[at..at + 2] == [0xff, 0xff]
            })
            .expect("a payload");
        assert_eq!(director.sends(&frame), to_server(frame, other).bytes());
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        for (first, _) in transports(client, vip) {
            let mut frame = first.bytes();
            let mut expected = to_server(first, other).bytes();
            let last = frame.len() - 1;
            for bytes in [&mut frame, &mut expected] {
                bytes[last] ^= 1;
            }
            let outcome = director.run(&frame);
            assert_eq!(outcome.result, Ok(Verdict::Transmit));
            assert_eq!(outcome.frame, expected);
        }
    }
}

#[test]
fn replies_without_a_way_are_routed_by_the_host() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        for (first, _) in transports(client, vip) {
            director.sends(&first);
        }
        for (reply, _) in transports(other, client) {
            // The host's stack takes the hop, and has the last one.
            for ttl in [64, 1] {
                let reply = reply.clone().ttl(ttl);
                let before = director.twin.tables().reason(Reason::RoutedByHost);
                let outcome = director.run(&reply.bytes());
                assert_eq!(outcome.result, Ok(Verdict::Pass));
                assert_eq!(outcome.frame, reply.from(vip).bytes());
                let now = director.twin.tables().reason(Reason::RoutedByHost);
                assert_eq!(now, before + 1);
            }
        }
    }
}

#[test]
fn a_way_out_of_another_interface_is_a_redirect() {
    const OTHER: u32 = 77;
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        director.sends(&udp(client, vip));
        director.give_ways_back();
        director.change(|tables| {
            let place = &mut tables.ports[OTHER as usize];
            place.ifindex = OTHER;
            place.mac_and_mtu = 0x0605_0403_0202;
            for way in &tables.back_ways {
                if way.get() != 0 {
                    way.set(way.get() & 0xffff_ffff_ffff | u64::from(OTHER + 1) << 48);
                }
            }
        });
        let reply = udp(other, client);
        let outcome = director.run(&reply.bytes());
        assert_eq!(outcome.result, Ok(Verdict::Redirect(OTHER)));
        let expected = reply.from(vip).sent(CLIENT_MAC, [2, 2, 3, 4, 5, 6]);
        assert_eq!(outcome.frame, expected.bytes());
    }
}

#[test]
fn a_reply_too_long_for_its_way_out_is_answered() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        director.sends(&udp(client, vip));
        director.give_ways_back();
        director.change(|tables| {
            let interface = &mut tables.ports[port_index(INGRESS) as usize];
            let mac = MacAddr::from_word(interface.mac_and_mtu);
            interface.mac_and_mtu = Interface::mac_and_mtu(mac, 1400);
        });
        let empty = udp(other, client).payload(&[]);
        let room = 1400 - empty.packet().len();
        let fits = empty.clone().payload(&vec![0x5a; room]);
        assert_eq!(director.sends(&fits), to_client(fits, vip).bytes());
        let longer = empty.payload(&vec![0x5a; room + 1]);
        director.answers(&longer.bytes(), Reason::TooBig);
        assert_eq!(director.twin.tables().mtu(), 1400);
    }
}

#[test]
fn a_reply_without_the_clients_half_passes_to_the_ticks_end() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        director.sends(&udp(client, vip));
        director.sends(&udp(client, vip));
        director.give_ways_back();
        let reply = udp(other, client);
        let translated = to_client(reply.clone(), vip).bytes();
        assert_eq!(director.sends(&reply), translated);
        director.change(|tables| {
            for bucket in &tables.flows {
                let mut entries = bucket.get();
                for entry in &mut entries.entries {
                    if !Word::from_bits(entry[1]).has(Word::REPLY) {
                        entry[1] = Word::VOID.bits();
                    }
                }
                bucket.set(entries);
            }
        });
        assert_eq!(director.sends(&reply), translated);
        director.pass(1);
        director.refuses(&reply.bytes(), Reason::NoService);
    }
}

#[test]
fn a_reply_that_changes_the_state_moves_both_halves() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        director.sends(&tcp(client, vip, SYN));
        director.run(&tcp(other, client, SYN | ACK).bytes());
        director.sends(&tcp(client, vip, ACK));
        let classes = |director: &Director| -> Vec<_> {
            let flows = director.tables().live_flows();
            flows.map(|(word, _)| word.class()).collect()
        };
        assert_eq!(classes(&director), [State::Established.into(); 2]);
        director.run(&tcp(other, client, FIN | ACK).bytes());
        assert_eq!(classes(&director), [State::FinWait.into(); 2]);
        director.run(&tcp(other, client, ACK).bytes());
        assert_eq!(classes(&director), [State::FinWait.into(); 2]);
    }
}

#[test]
fn what_servers_send_of_their_own_accord_is_not_theirs_to_translate() {
    for [client, vip, _, other] in FAMILIES {
        let mut director = Director::new(vip, server(other));
        for (reply, _) in transports(other, client) {
            director.refuses(&reply.bytes(), Reason::NoService);
        }
        director.sends(&udp(client, vip));
        director.refuses(&tcp(other, client, ACK).bytes(), Reason::NoService);
    }
}

#[test]
fn the_first_fragment_of_an_sctp_packet_keeps_its_port() {
    // More fragments, offset 0: in IPv4's header, and in IPv6's extension header.
    let [client, vip, same, other] = FAMILIES[0];
    let cut = |mut bytes: Vec<u8>| {
        bytes[20] |= 0x20;
        let (header, _) = etherparse::Ipv4Header::from_slice(&bytes[14..]).expect("a header");
        bytes[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        bytes
    };
    let [client6, vip6, same6, other6] = FAMILIES[1];
    let first =
        |frame: Frame| frame.with(|frame| frame.extensions = vec![(44, vec![0, 0, 1, 1, 2, 3, 4])]);
    let cases = [
        (vip, same, other, sctp(client, vip, INIT), true),
        (vip6, same6, other6, first(sctp(client6, vip6, INIT)), false),
    ];
    for (vip, same, other, frame, v4) in cases {
        let frame = frame.with(|frame| frame.dont_fragment = false);
        let bytes = |frame: &Frame| {
            if v4 {
                cut(frame.bytes())
            } else {
                frame.bytes()
            }
        };
        let mut director = Director::new(vip, server(same));
        let outcome = director.run(&bytes(&frame));
        assert_eq!(outcome.result, Ok(Verdict::Transmit));
        assert_eq!(outcome.frame, bytes(&to_server(frame.clone(), same)));
        let mut director = Director::new(vip, server(other));
        director.refuses(&bytes(&frame), Reason::Fragment);
    }
}
