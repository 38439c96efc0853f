//! Which data connections are expected.

use super::*;

#[test]
fn an_active_connection_comes_from_the_port_below() {
    let cases = [
        (
            v4(),
            &b"PORT 192,0,2,1,156,64\r\n"[..],
            ["192.0.2.1:40000", "198.51.100.21:20", "10.0.0.1:20"],
        ),
        (
            v4(),
            b"EPRT |1|192.0.2.1|40000|\r\n",
            ["192.0.2.1:40000", "198.51.100.21:20", "10.0.0.1:20"],
        ),
        (
            v6(),
            b"EPRT |2|2001:db8::c|40000|\r\n",
            ["[2001:db8::c]:40000", "[2001:db8::21]:20", "[fd00::1]:20"],
        ),
        // Another service's ports, and a client that has the data sent to somebody else.
        (
            ends(["192.0.2.1:5", "198.51.100.21:2121", "10.0.0.1:8021"]),
            b"PORT 192,0,2,99,0,9\r\n",
            ["192.0.2.99:9", "198.51.100.21:2120", "10.0.0.1:8020"],
        ),
    ];
    for (ends, command, expectation) in cases {
        let mut wire = Wire::new(ends);
        let mut frame = wire.client_frame(0, 0, command);
        frame.padding = 5;
        // The same each time, and the frame goes on untouched.
        for _ in 0..2 {
            let outcome = wire.send_client(&frame);
            assert_eq!(outcome.frame, Some(frame.bytes()));
            assert_eq!(outcome.expect, [expected(Mode::Active, expectation)]);
        }
        assert_eq!(wire.helper.counters().active, 2);
        assert_eq!(wire.helper.connections(), 0);
    }
}

#[test]
fn no_port_is_below_the_first() {
    for (address, server) in [
        ("198.51.100.21:1", "10.0.0.1:21"),
        ("198.51.100.21:21", "10.0.0.1:1"),
    ] {
        let mut wire = Wire::new(ends(["192.0.2.1:5", address, server]));
        assert_eq!(wire.client(0, b"PORT 192,0,2,1,156,64\r\n"), []);
        assert_eq!(wire.helper.counters().unusable, 1);
    }
}

#[test]
fn a_passive_connection_goes_to_the_virtual_address() {
    let mut wire = Wire::new(v4());
    wire.server(0, BANNER).unwrap();
    assert_eq!(wire.client(len(BANNER), PASV), []);
    let (at, text, expect) = wire.server(len(BANNER), PASSIVE).unwrap();
    assert_eq!((at, &text[..]), (len(BANNER), PASSIVE_REWRITTEN));
    assert_eq!(expect, [passive()]);
    assert_eq!(wire.helper.counters().passive, 1);
    assert_eq!(wire.helper.counters().rewritten, 1);
}

#[test]
fn the_address_in_a_reply_does_not_matter() {
    for address in ["198,51,100,21", "8,8,8,8", "127,0,0,1"] {
        let mut wire = Wire::new(v4());
        wire.client(0, PASV);
        let reply = format!("227 Entering Passive Mode ({address},156,64).\r\n");
        let (_, text, expect) = wire.server(0, reply.as_bytes()).unwrap();
        assert_eq!(text, PASSIVE_REWRITTEN);
        assert_eq!(expect, [passive()]);
    }
}

#[test]
fn an_extended_reply_names_the_port_alone() {
    let plain = &b"229 Entering Extended Passive Mode (|||40000|)\r\n"[..];
    let six = expected(
        Mode::Passive,
        ["[2001:db8::c]:0", "[2001:db8::21]:40000", "[fd00::1]:40000"],
    );
    let cases = [
        (v4(), EPSV, plain, passive()),
        (v6(), EPSV, plain, six),
        (v6(), b"EPSV 2\r\n", plain, six),
        (
            v4(),
            b"epsv 1\n",
            b"229 Entering Extended Passive Mode (|1|10.0.0.1|40000|)\r\n",
            passive(),
        ),
        (
            v6(),
            EPSV,
            b"229 Entering Extended Passive Mode (!!!40000!)\r\n",
            six,
        ),
    ];
    for (ends, command, reply, expectation) in cases {
        let mut wire = Wire::new(ends);
        wire.client(0, command);
        let (_, text, expect) = wire.server(0, reply).unwrap();
        assert_eq!(text, plain);
        assert_eq!(expect, [expectation]);
    }
}

#[test]
fn a_reply_that_nobody_asked_for_goes_on_as_it_is() {
    for asked in [&b""[..], EPSV, b"PASV", b"HELP PASV\r\n"] {
        let mut wire = Wire::new(v4());
        wire.client(0, asked);
        assert_eq!(wire.server(0, PASSIVE), Some((0, PASSIVE.to_vec(), vec![])));
    }
    // Nor one more than was asked for.
    let mut wire = rewritten();
    let again = wire.server(len(PASSIVE), PASSIVE).unwrap();
    assert_eq!(again, (len(PASSIVE) + GROWTH, PASSIVE.to_vec(), vec![]));
}

#[test]
fn a_reply_counts_only_where_a_line_begins() {
    let listing = [b"211-Files:\r\n 227 (10,0,0,1,156,64)\r\nx", PASSIVE].concat();
    let mut wire = Wire::new(v4());
    wire.client(0, PASV);
    assert_eq!(wire.server(0, &listing), Some((0, listing.clone(), vec![])));

    // A line that began in the last segment.
    let mut wire = Wire::new(v4());
    wire.server(0, b"211 the file ").unwrap();
    wire.client(13, PASV);
    assert_eq!(
        wire.server(13, PASSIVE),
        Some((13, PASSIVE.to_vec(), vec![]))
    );
    assert_eq!(
        wire.server(13 + len(PASSIVE), PASSIVE).unwrap().2,
        [passive()]
    );
}

#[test]
fn several_lines_in_a_segment_count_each() {
    let mut wire = Wire::new(v4());
    let commands =
        b"NOOP\r\nPORT 192,0,2,1,156,64\r\nRETR a\r\nEPRT |1|192.0.2.1|40001|\r\npasv\r\nEPSV\r\n";
    let [first, second] = &wire.client(0, commands)[..] else {
        panic!("not two")
    };
    assert_eq!((first.client.port(), second.client.port()), (40000, 40001));

    let extended = b"229 ok (|||40001|)\r\n";
    let said = [b"200 ok\r\n", PASSIVE, extended].concat();
    let (_, text, expect) = wire.server(0, &said).unwrap();
    assert_eq!(text, [b"200 ok\r\n", PASSIVE_REWRITTEN, extended].concat());
    let ports: Vec<_> = expect
        .iter()
        .map(|expected| expected.server.port())
        .collect();
    assert_eq!(ports, [40000, 40001]);
}

#[test]
fn a_line_that_is_cut_goes_on_and_is_counted() {
    let mut wire = Wire::new(v4());
    wire.client(0, b"PORT 192,0,2,1,1");
    wire.client(0, b"NOOP\r\nPAS");
    wire.client(0, b"HELP");
    assert_eq!(wire.helper.counters().split, 2);

    wire.client(0, PASV);
    let (first, second) = PASSIVE.split_at(30);
    assert_eq!(wire.server(0, first), Some((0, first.to_vec(), vec![])));
    assert_eq!(wire.helper.counters().split, 3);
    assert_eq!(wire.server(30, second), Some((30, second.to_vec(), vec![])));
    // Part of the address went on: it stays as it was, however often it comes.
    assert_eq!(wire.server(0, PASSIVE), Some((0, PASSIVE.to_vec(), vec![])));
}

#[test]
fn a_line_that_was_cut_before_the_address_may_come_again() {
    let mut wire = Wire::new(v4());
    wire.client(0, PASV);
    assert_eq!(
        wire.server(0, &PASSIVE[..20]),
        Some((0, PASSIVE[..20].to_vec(), vec![]))
    );
    let (_, text, expect) = wire.server(0, PASSIVE).unwrap();
    assert_eq!(
        (&text[..], &expect[..]),
        (PASSIVE_REWRITTEN, &[passive()][..])
    );
}

#[test]
fn what_names_nothing_usable_goes_on_and_is_counted() {
    let mut wire = Wire::new(v4());
    assert_eq!(wire.client(0, b"PORT 1,2,3\r\n"), []);
    assert_eq!(wire.client(0, b"EPRT |2|::1|9|\r\n"), []);
    wire.client(0, PASV);
    // A port that is no data port.
    let reply = b"227 Entering Passive Mode (10,0,0,1,0,22).\r\n";
    assert_eq!(wire.server(0, reply), Some((0, reply.to_vec(), vec![])));
    assert_eq!(wire.helper.counters().unusable, 3);
}

#[test]
fn one_packet_announces_only_so_many() {
    let mut wire = Wire::new(v4());
    assert_eq!(
        wire.client(0, &b"PORT 192,0,2,1,9,9\r\n".repeat(20)).len(),
        8
    );
    wire.client(0, &PASV.repeat(20));
    let (_, text, expect) = wire.server(0, &PASSIVE.repeat(20)).unwrap();
    assert_eq!(expect.len(), 8);
    assert_eq!(
        text,
        [PASSIVE_REWRITTEN.repeat(8), PASSIVE.repeat(12)].concat()
    );
}
