//! Packets that the agent sees first, and connections that it expects.

use lb_common::addr::{Port, protocol};
use lb_common::datapath::{Tables, Verdict};
use lb_common::flow::{About, Flows as _, Insertion, Role, Tuple, Word};
use lb_common::layout::server_flags::MASQUERADE;
use lb_common::layout::{features, punt, service_flags};
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::state::tcp::State;
use lb_tests::director::{Director, SERVER_MAC, Server};
use lb_tests::frame::{Frame, tcp, udp};
use lb_tests::packet::DIRECTOR_MAC;
use lb_tests::packet::flags::{ACK, SYN};
use std::net::SocketAddr;

/// Client, virtual address, server.
const FAMILIES: [[&str; 3]; 2] = [
    ["192.0.2.1:40000", "10.0.0.100:21", "10.1.0.1:2121"],
    ["[2001:db8::1]:40000", "[fd00::100]:21", "[fd01::1]:2121"],
];

/// With this, the agent sends again.
const TOKEN: u64 = 0x0123_4567_89ab_cdef;

/// A director whose services at `vip` have helpers.
fn helped(vip: &str, server: &'static str) -> Director {
    let mut director = Director::new(vip, Server::new(server, MASQUERADE));
    director.change(|tables| {
        tables.control.features |= features::HELPERS | features::FTP | features::CALLS;
        for service in &mut tables.services {
            service.flags |= service_flags::HELPED;
        }
    });
    director
}

/// The same end with another port.
fn at_port(end: &str, port: u16) -> String {
    let end: SocketAddr = end.parse().expect("an address and port");
    SocketAddr::new(end.ip(), port).to_string()
}

fn tuple(client: &str, address: &str) -> Tuple {
    let [client, address] =
        [client, address].map(|end| -> SocketAddr { end.parse().expect("an address and port") });
    Tuple {
        client: client.ip().into(),
        address: address.ip().into(),
        ports: Tuple::ports(Port::new(client.port()), Port::new(address.port())),
        protocol: protocol::TCP,
        role: Role::Connection,
    }
}

/// Expects a connection to the first server, which is TCP's.
fn expect(tables: &Memory, tuple: &Tuple, flags: u64) {
    let deadline = tables.now().after(100);
    let word = Word::new(0, State::Listen.into(), deadline).with(Word::CONTROLLED | flags);
    let key = tuple.key(tables.flow_seed());
    let made = tables.insert_flow(&key, word, tuple, 0, None, tables.now());
    let Insertion::Inserted { entry, .. } = made else {
        panic!("no room for {tuple:?}");
    };
    let about = About {
        service: 0,
        back: 0,
        role: Role::Connection,
    };
    tables.publish_flow(entry, &key, tuple, about);
}

fn punts(director: &Director) -> Vec<(punt::Why, u32)> {
    director.tables().punts.borrow().clone()
}

fn resends(director: &mut Director, resent: bool) {
    director.change(|tables| {
        tables.resent = resent;
        tables.control.token = TOKEN;
    });
}

fn to_server(frame: Frame, server: &str) -> Vec<u8> {
    frame.to(server).sent(SERVER_MAC, DIRECTOR_MAC).bytes()
}

#[test]
fn the_agent_sees_both_directions_of_a_control_connection_and_sends_them_on() {
    for [client, vip, server] in FAMILIES {
        let mut director = helped(vip, server);
        let (forth, back) = (tcp(client, vip, SYN), tcp(server, client, SYN | ACK));
        director.refuses(&forth.bytes(), Reason::Helped);
        resends(&mut director, true);
        assert_eq!(director.sends(&forth), to_server(forth.clone(), server));
        resends(&mut director, false);
        director.refuses(&back.bytes(), Reason::Helped);
        resends(&mut director, true);
        director.give_ways_back();
        director.sends(&back);
        let seen = [(punt::Why::FromClient, 0), (punt::Why::FromServer, 0)];
        assert_eq!(punts(&director), seen);
    }
}

#[test]
fn a_client_comes_once_from_any_port_where_it_is_expected() {
    for [client, vip, server] in FAMILIES {
        let mut director = helped(vip, server);
        let (passive, listener) = (at_port(vip, 30_000), at_port(server, 30_000));
        let expected = tuple(&at_port(client, 0), &passive);
        director.change(|tables| expect(tables, &expected, Word::KEEPS_PORT));
        let first = tcp(&at_port(client, 50_001), &passive, SYN);
        let (other, elsewhere) = (
            tcp(&at_port(client, 50_002), &passive, SYN),
            tcp(&at_port(client, 50_003), &at_port(vip, 30_001), SYN),
        );
        director.refuses(&elsewhere.bytes(), Reason::NoService);
        assert_eq!(director.sends(&first), to_server(first.clone(), &listener));
        // It goes on by itself, and the agent sees nothing of it.
        let next = tcp(&at_port(client, 50_001), &passive, ACK);
        assert_eq!(director.sends(&next), to_server(next.clone(), &listener));
        director.pass(1);
        director.refuses(&other.bytes(), Reason::NoService);
        assert_eq!(director.sends(&next), to_server(next.clone(), &listener));
        assert_eq!(punts(&director), []);
    }
}

#[test]
fn a_server_answers_from_the_port_below_its_own() {
    for [client, vip, server] in FAMILIES {
        let mut director = helped(vip, server);
        let (data, at_server) = (at_port(vip, 20), at_port(server, 2120));
        let expected = tuple(client, &data);
        director.change(|tables| expect(tables, &expected, Word::PORT_BELOW));
        let frame = tcp(client, &data, ACK);
        assert_eq!(director.sends(&frame), to_server(frame.clone(), &at_server));
        // The server's half was made by that.
        director.give_ways_back();
        let back = tcp(&at_server, client, ACK);
        assert_eq!(director.run(&back.bytes()).result, Ok(Verdict::Transmit));
    }
}

#[test]
fn data_connections_of_other_ports_are_found_by_their_flow() {
    for [client, vip, server] in FAMILIES {
        let vip = at_port(vip, 990);
        let mut director = helped(&vip, server);
        let (passive, listener) = (at_port(&vip, 30_000), at_port(server, 30_000));
        let (data, at_server) = (at_port(&vip, 989), at_port(server, 2120));
        let expected = tuple(&at_port(client, 0), &passive);
        director.change(|tables| {
            expect(tables, &expected, Word::KEEPS_PORT);
            expect(tables, &tuple(client, &data), Word::PORT_BELOW);
        });
        let (syn, ack) = (tcp(client, &passive, SYN), tcp(client, &data, ACK));
        director.refuses(&syn.bytes(), Reason::NoService);
        director.change(|tables| tables.control.features |= features::EXPECTED);
        assert_eq!(director.sends(&syn), to_server(syn.clone(), &listener));
        assert_eq!(director.sends(&ack), to_server(ack.clone(), &at_server));
        let other = tcp(client, &at_port(&vip, 30_001), SYN);
        director.refuses(&other.bytes(), Reason::NoService);
    }
}

#[test]
fn the_agent_sees_servers_datagrams_of_no_flow_once() {
    for [client, vip, server] in FAMILIES {
        let mut director = helped(vip, server);
        let frame = udp(server, client).bytes();
        director.refuses(&frame, Reason::Helped);
        director.refuses(&tcp(server, client, SYN).bytes(), Reason::NoService);
        assert_eq!(punts(&director), [(punt::Why::FromServer, u32::MAX)]);
        resends(&mut director, true);
        director.refuses(&frame, Reason::NoService);
        director.change(|tables| {
            tables.control.features &= !features::CALLS;
            tables.resent = false;
        });
        director.refuses(&frame, Reason::NoService);
        assert_eq!(punts(&director).len(), 1);
    }
}
