//! Answers to senders: what they must be is put together by etherparse.

use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use lb_common::layout::server_flags::{CHECKSUM, GRE, GUE, IPIP, MASQUERADE, ROUTE};
use lb_common::layout::service_flags::{REFUSE_RESET, REFUSE_SILENTLY};
use lb_common::layout::{Answers, port_index};
use lb_common::reason::Reason;
use lb_tests::case::INGRESS;
use lb_tests::director::{Director, OWN, Server};
use lb_tests::frame::{Addresses, Frame, INIT, Transport, network, sctp, tcp, udp};
use lb_tests::packet::flags::{ACK, FIN, PSH, RST, SYN};
use lb_tests::packet::{CLIENT_MAC, DIRECTOR_MAC};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::net::IpAddr;

/// Client, virtual address, server, the virtual address alone, the interface's own.
const FAMILIES: [[&str; 5]; 2] = [
    [
        "192.0.2.1:40000",
        "10.0.0.100:80",
        "10.1.0.1:8080",
        "10.0.0.100",
        OWN.0,
    ],
    [
        "[2001:db8::1]:40000",
        "[fd00::100]:80",
        "[fd01::1]:8080",
        "fd00::100",
        OWN.1,
    ],
];

const TAGS: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 0x6064)], &[(0x88a8, 7), (0x8100, 8)]];

/// Type, code and the bytes behind the checksum, for both families.
type Error = [(u8, u8, [u8; 4]); 2];

const PORT_UNREACHABLE: Error = [(3, 3, [0; 4]), (1, 4, [0; 4])];
const TIME_EXCEEDED: Error = [(11, 0, [0; 4]), (3, 0, [0; 4])];

const fn too_big(mtu: u16) -> Error {
    let [high, low] = mtu.to_be_bytes();
    [(3, 4, [0, 0, high, low]), (2, 0, [0, 0, high, low])]
}

/// What goes back in answer to a frame: the same tags, the Ethernet addresses exchanged.
fn back(frame: &Frame, source: &str) -> Frame {
    let v4 = frame.from.is_ipv4();
    let source: IpAddr = source.parse().expect("an address");
    Frame {
        destination_mac: CLIENT_MAC,
        source_mac: DIRECTOR_MAC,
        from: (source, 0).into(),
        to: frame.from,
        traffic_class: if v4 { 0xc0 } else { 0 },
        ttl: 64,
        flow_label: 0,
        dont_fragment: true,
        identification: 0,
        options: Vec::new(),
        extensions: Vec::new(),
        padding: 0,
        ..frame.clone()
    }
}

/// The ICMP error that answers a frame.
fn error(frame: &Frame, source: &str, error: &Error) -> Vec<u8> {
    let answer = back(frame, source);
    let mut quoted = frame.packet();
    match answer.addresses() {
        Addresses::V4(..) => {
            quoted.truncate(576 - 28);
            let (type_u8, code_u8, bytes5to8) = error[0];
            let kind = Icmpv4Type::Unknown {
                type_u8,
                code_u8,
                bytes5to8,
            };
            let icmp = Icmpv4Header::with_checksum(kind, &quoted).to_bytes();
            let packet = network(&answer, 1, &[&icmp[..], &quoted].concat());
            [answer.link(0x0800), packet].concat()
        }
        Addresses::V6(from, to) => {
            quoted.truncate(1280 - 48);
            let (type_u8, code_u8, bytes5to8) = error[1];
            let kind = Icmpv6Type::Unknown {
                type_u8,
                code_u8,
                bytes5to8,
            };
            let icmp = Icmpv6Header::with_checksum(kind, from, to, &quoted).expect("it fits");
            let packet = network(&answer, 58, &[&icmp.to_bytes()[..], &quoted].concat());
            [answer.link(0x86dd), packet].concat()
        }
    }
}

/// The TCP reset that answers a frame.
fn reset(frame: &Frame, sequence: u32, acknowledgement: u32, flags: u8) -> Vec<u8> {
    let mut answer = back(frame, &frame.to.ip().to_string());
    answer.from = frame.to;
    answer.traffic_class = 0;
    answer.payload.clear();
    answer.transport = Transport::Tcp {
        flags,
        sequence,
        acknowledgement,
        options: Vec::new(),
    };
    let mut bytes = answer.bytes();
    // The builder's segments have a window, a reset has none.
    let at = bytes.len() - 6;
    let window = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].fill(0);
    let sum = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]);
    let sum = u32::from(sum) + u32::from(window);
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[at + 2..at + 4].copy_from_slice(&(sum as u16).to_be_bytes());
    bytes
}

fn transports(from: &str, to: &str) -> Vec<Frame> {
    vec![tcp(from, to, SYN), udp(from, to), sctp(from, to, INIT)]
}

fn empty(vip: &str, server: &'static str, flags: u32) -> Director {
    Director::new(vip, Server::new(server, ROUTE)).without_servers(flags)
}

#[test]
fn without_a_server_the_port_is_unreachable() {
    for [client, vip, server, address, _] in FAMILIES {
        let mut director = empty(vip, server, 0);
        for frame in transports(client, vip) {
            for tags in TAGS {
                let frame = frame.clone().tags(tags);
                let answer = director.answers(&frame.bytes(), Reason::NoServer);
                assert_eq!(answer, error(&frame, address, &PORT_UNREACHABLE));
            }
        }
    }
}

#[test]
fn as_much_is_quoted_as_the_standards_wish() {
    for [client, vip, server, address, _] in FAMILIES {
        let mut director = empty(vip, server, 0);
        let plain = udp(client, vip);
        let mut frames: Vec<_> = [0, 1, 63, 64, 65, 519, 520, 521, 1183, 1184, 1185, 1400]
            .map(|len| {
                let payload: Vec<u8> = (0..len).map(|n| (n * 13) as u8).collect();
                plain.clone().payload(&payload)
            })
            .into();
        frames.push(plain.clone().payload(b"").with(|frame| frame.padding = 18));
        frames.push(plain.clone().with(|frame| frame.options = vec![1; 40]));
        let extension = (60, vec![0, 1, 4, 0, 0, 0, 0]);
        frames.push(plain.with(|frame| frame.extensions = vec![extension]));
        for frame in frames {
            let answer = director.answers(&frame.bytes(), Reason::NoServer);
            assert_eq!(
                answer,
                error(&frame, address, &PORT_UNREACHABLE),
                "{frame:?}"
            );
        }
    }
}

#[test]
fn long_frames_in_several_buffers_are_quoted_in_one() {
    for [client, vip, server, address, _] in FAMILIES {
        let mut director = empty(vip, server, 0);
        for len in [3500, 8000, 20_000] {
            let frame = udp(client, vip).payload(&vec![0xa5; len]);
            let answer = director.answers(&frame.bytes(), Reason::NoServer);
            assert_eq!(answer, error(&frame, address, &PORT_UNREACHABLE));
        }
    }
}

#[test]
fn a_service_that_resets_answers_a_syn_as_a_closed_port_does() {
    for [client, vip, server, address, _] in FAMILIES {
        let mut director = empty(vip, server, REFUSE_RESET);
        // RFC 9293, section 3.5.2: the acknowledgement is the sequence number plus the length.
        for (flags, payload, len) in [
            (SYN, &b""[..], 1),
            (SYN | FIN, b"", 2),
            (SYN | PSH, b"early data", 11),
        ] {
            for tags in TAGS {
                let frame = tcp(client, vip, flags).payload(payload).tags(tags);
                let answer = director.answers(&frame.bytes(), Reason::NoServerReset);
                assert_eq!(answer, reset(&frame, 0, 0x0102_0304 + len, RST | ACK));
            }
        }
        // A segment that acknowledges something is believed.
        let frame = tcp(client, vip, SYN | ACK);
        let answer = director.answers(&frame.bytes(), Reason::NoServerReset);
        assert_eq!(answer, reset(&frame, 0x0506_0708, 0, RST));
        for frame in [udp(client, vip), sctp(client, vip, INIT)] {
            let answer = director.answers(&frame.bytes(), Reason::NoServer);
            assert_eq!(answer, error(&frame, address, &PORT_UNREACHABLE));
        }
    }
}

#[test]
fn a_reset_leaves_options_and_extension_headers_behind() {
    for [client, vip, server, ..] in FAMILIES {
        let mut director = empty(vip, server, REFUSE_RESET);
        let options = |frame: &mut Frame| {
            frame.options = vec![1; 40];
            frame.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])];
            frame.payload = Vec::new();
            frame.padding = 3;
            if let Transport::Tcp {
                options, sequence, ..
            } = &mut frame.transport
            {
                *options = vec![1; 40];
                *sequence = u32::MAX;
            }
        };
        let frame = tcp(client, vip, SYN).with(options);
        let answer = director.answers(&frame.bytes(), Reason::NoServerReset);
        assert_eq!(answer, reset(&frame, 0, 0, RST | ACK));
    }
}

#[test]
fn a_silent_service_says_nothing() {
    for [client, vip, server, ..] in FAMILIES {
        let mut director = empty(vip, server, REFUSE_SILENTLY);
        for frame in transports(client, vip) {
            director.refuses(&frame.bytes(), Reason::NoServerSilent);
        }
    }
}

#[test]
fn a_packet_at_its_last_hop_is_answered_by_the_interface() {
    for [client, vip, server, _, own] in FAMILIES {
        for flags in [ROUTE, MASQUERADE, IPIP, GRE | CHECKSUM, GUE] {
            let mut director = Director::new(vip, Server::new(server, flags));
            for frame in transports(client, vip) {
                for ttl in [1, 0] {
                    let frame = frame.clone().ttl(ttl);
                    let answer = director.answers(&frame.bytes(), Reason::TtlExceeded);
                    assert_eq!(answer, error(&frame, own, &TIME_EXCEEDED));
                }
            }
        }
    }
}

#[test]
fn an_interface_without_an_address_lends_the_virtual_one() {
    for [client, vip, server, address, _] in FAMILIES {
        let mut director = Director::new(vip, Server::new(server, MASQUERADE));
        director.change(|tables| {
            let interface = &mut tables.ports[port_index(INGRESS) as usize];
            interface.v4 = 0;
            interface.v6 = lb_common::addr::Addr::default();
        });
        let frame = udp(client, vip);
        director.sends(&frame);
        let last = frame.ttl(1);
        let answer = director.answers(&last.bytes(), Reason::TtlExceeded);
        assert_eq!(answer, error(&last, address, &TIME_EXCEEDED));
        // But never a client's.
        director.give_ways_back();
        let reply = udp(server, client).ttl(1);
        director.refuses(&reply.bytes(), Reason::TtlExceeded);
    }
}

#[test]
fn a_server_is_told_that_its_reply_ends_here() {
    for [client, vip, server, _, own] in FAMILIES {
        let mut director = Director::new(vip, Server::new(server, MASQUERADE));
        director.sends(&udp(client, vip));
        director.give_ways_back();
        let reply = udp(server, client).ttl(1);
        let answer = director.answers(&reply.bytes(), Reason::TtlExceeded);
        assert_eq!(answer, error(&reply, own, &TIME_EXCEEDED));
    }
}

#[test]
fn a_packet_that_is_too_big_is_told_the_mtu() {
    for [client, vip, server, _, own] in FAMILIES {
        let v4 = client.starts_with('1');
        let ip = if v4 { 20 } else { 40 };
        for (flags, mtu) in [
            (ROUTE, 1400),
            (MASQUERADE, 1400),
            (IPIP, 1400 - ip),
            (GRE, 1400 - ip - 4),
            (GRE | CHECKSUM, 1400 - ip - 8),
            (GUE, 1400 - ip - 12),
            (GUE | CHECKSUM, 1400 - ip - 12),
        ] {
            let server = Server {
                mtu: 1400,
                source: own,
                ..Server::new(server, flags)
            };
            let mut director = Director::new(vip, server);
            let empty = udp(client, vip).payload(b"");
            let room = usize::from(mtu) - empty.packet().len();
            director.sends(&empty.clone().payload(&vec![1; room]));
            for dont_fragment in [true, false] {
                let frame = empty.clone().payload(&vec![1; room + 1]);
                let frame = frame.with(|frame| frame.dont_fragment = dont_fragment);
                let answer = director.answers(&frame.bytes(), Reason::TooBig);
                assert_eq!(answer, error(&frame, own, &too_big(mtu)));
            }
        }
    }
}

#[test]
fn no_mtu_is_announced_that_no_link_may_have() {
    for ([client, vip, server, _, own], least) in FAMILIES.into_iter().zip([68, 1280]) {
        let server = Server {
            mtu: 60,
            source: own,
            ..Server::new(server, IPIP)
        };
        let mut director = Director::new(vip, server);
        let frame = udp(client, vip).payload(&[1; 100]);
        let answer = director.answers(&frame.bytes(), Reason::TooBig);
        assert_eq!(answer, error(&frame, own, &too_big(least)));
    }
}

#[test]
fn what_must_not_be_answered_is_not() {
    for [client, vip, server, ..] in FAMILIES {
        // A reset never gets an answer, nor does what did not come from a host.
        let mut director = Director::new(vip, Server::new(server, ROUTE));
        director.sends(&tcp(client, vip, SYN));
        let frame = tcp(client, vip, RST).ttl(1);
        director.refuses(&frame.bytes(), Reason::TtlExceeded);
        let mut director = empty(vip, server, 0);
        for source in [
            "224.0.0.1:1",
            "0.0.0.0:1",
            "255.255.255.255:1",
            "[ff02::1]:1",
            "[::]:1",
        ] {
            if source.starts_with('[') == client.starts_with('[') {
                director.refuses(&udp(source, vip).bytes(), Reason::Martian);
            }
        }
    }
}

#[test]
fn answers_are_limited_in_each_tick() {
    // Each CPU has a limit of its own, and the test knows the first one's.
    let mut first = CpuSet::new();
    first.set(0).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &first).expect("the first CPU");

    let [client, vip, server, ..] = FAMILIES[0];
    let mut director = empty(vip, server, 0);
    let frame = udp(client, vip).bytes();
    let now = u64::from(director.twin.tables().now.bits()) << 32;
    let given = |count: u32| now | u64::from(count);
    director.change(|tables| tables.answers[0].set(given(Answers::A_TICK - 1)));
    director.answers(&frame, Reason::NoServer);
    for more in 1..3 {
        director.refuses(&frame, Reason::NoServer);
        let limited = director.twin.tables().reason(Reason::AnswersLimited);
        assert_eq!(limited, more);
    }
    // Another tick's do not count.
    director.change(|tables| tables.answers[0].set(given(Answers::A_TICK) ^ 1 << 32));
    director.answers(&frame, Reason::NoServer);
}
