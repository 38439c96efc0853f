//! Sequence numbers, acknowledgements and what comes again.

use super::*;
use etherparse::TcpOptionElement::{Noop, SelectiveAcknowledgement};

const OK: &[u8] = b"226 done\r\n";

#[test]
fn what_follows_is_shifted_both_ways() {
    let mut wire = rewritten();
    let (end, new_end) = (len(PASSIVE), len(PASSIVE_REWRITTEN));
    assert_eq!(new_end, end + GROWTH);
    assert_eq!(wire.server(end, OK), Some((new_end, OK.to_vec(), vec![])));
    assert_eq!(wire.acknowledge(new_end + len(OK)), end + len(OK));
    assert_eq!(wire.acknowledge(new_end), end);
    assert_eq!(
        wire.acknowledge(5),
        5 - GROWTH,
        "old news, and older than that"
    );
    // Empty segments, and those that close.
    assert_eq!(wire.server(end, b""), Some((new_end, vec![], vec![])));
    let mut fin = wire.server_frame(end + len(OK), b"");
    fin.tcp.fin = true;
    let said = read(&wire.send_server(&fin).frame.unwrap());
    assert_eq!(
        (said.seq.wrapping_sub(SERVER), said.fin),
        (new_end + len(OK), true)
    );
}

#[test]
fn a_shorter_text_shifts_the_other_way() {
    let mut wire = Wire::new(ends(["192.0.2.1:5", "1.2.3.4:21", "10.100.100.100:21"]));
    wire.client(0, PASV);
    let reply = b"227 ok (10,100,100,100,156,64)\r\n";
    let (_, text, _) = wire.server(0, reply).unwrap();
    assert_eq!(text, b"227 ok (1,2,3,4,156,64)\r\n");
    assert_eq!(wire.server(32, OK), Some((25, OK.to_vec(), vec![])));
    assert_eq!(wire.acknowledge(25), 32);
    assert_eq!(wire.acknowledge(35), 42);
}

#[test]
fn a_reply_that_comes_again_is_replaced_alike() {
    let mut wire = rewritten();
    let again = Some((0, PASSIVE_REWRITTEN.to_vec(), vec![passive()]));
    assert_eq!(wire.server(0, PASSIVE), again);
    assert_eq!(wire.server(0, PASSIVE), again);
    // With what follows, and with a part of that again.
    let (_, text, expect) = wire.server(0, &[PASSIVE, OK].concat()).unwrap();
    assert_eq!(text, [PASSIVE_REWRITTEN, OK].concat());
    assert_eq!(expect, [passive()]);
    let tail = wire.server(len(PASSIVE) + 4, &OK[4..]).unwrap();
    assert_eq!(tail, (len(PASSIVE_REWRITTEN) + 4, OK[4..].to_vec(), vec![]));
    assert_eq!(wire.helper.counters().passive, 4);
}

#[test]
fn a_reply_that_comes_again_in_pieces_makes_the_same_text() {
    for cut in 1..PASSIVE.len() {
        let mut wire = rewritten();
        wire.client(0, PASV);
        let (first, second) = PASSIVE.split_at(cut);
        let (at, head, _) = wire.server(0, first).unwrap();
        assert_eq!((at, &head[..]), (0, &PASSIVE_REWRITTEN[..head.len()]));
        let (at, tail, _) = wire.server(cut as u32, second).unwrap();
        assert_eq!(at, len(&head));
        assert_eq!([head, tail].concat(), PASSIVE_REWRITTEN);
        assert_eq!(
            wire.helper.counters().split,
            0,
            "it was whole when it was news"
        );
    }
}

#[test]
fn a_reply_is_not_acknowledged_before_all_of_it_is() {
    let mut wire = rewritten();
    // The old text is bytes 27 to 42 of the server's, the new one 27 to 47.
    for (has, means) in [
        (27, 27),
        (28, 28),
        (41, 41),
        (42, 41),
        (46, 41),
        (47, 42),
        (51, 46),
    ] {
        assert_eq!(wire.acknowledge(has), means);
    }
}

#[test]
fn blocks_the_client_has_are_shifted() {
    let mut wire = rewritten();
    let (end, new_end) = (len(PASSIVE), len(PASSIVE_REWRITTEN));
    wire.server(end, &OK.repeat(4)).unwrap();
    let seq = |at: u32| SERVER.wrapping_add(at);
    let blocks = [Some((seq(new_end + 30), seq(new_end + 40))), None, None];
    let options = [
        Noop,
        Noop,
        SelectiveAcknowledgement((seq(new_end + 10), seq(new_end + 20)), blocks),
    ];
    let frame = wire.client_frame(0, 3, b"").options(&options);
    let said = read(&wire.send_client(&frame).frame.unwrap());
    let shifted = [
        (seq(end + 10), seq(end + 20)),
        (seq(end + 30), seq(end + 40)),
    ];
    assert_eq!(said.sack, shifted);
    assert_eq!(said.ack, seq(3));
}

#[test]
fn a_block_within_a_text_is_rounded_to_less() {
    let mut wire = rewritten();
    let seq = |at: u32| SERVER.wrapping_add(at);
    // The old text is bytes 27 to 42 of the server's, the new one 27 to 47.
    let cases = [
        ((28, 30), (28, 30)),
        ((20, 43), (20, 41)),
        ((42, 46), (42, 42)),
        ((30, 60), (30, 55)),
    ];
    wire.server(len(PASSIVE), OK).unwrap();
    for ((left, right), (old_left, old_right)) in cases {
        let block = SelectiveAcknowledgement((seq(left), seq(right)), [None; 3]);
        let frame = wire.client_frame(0, 3, b"").options(&[Noop, Noop, block]);
        let said = read(&wire.send_client(&frame).frame.unwrap());
        assert_eq!(
            said.sack,
            [(seq(old_left), seq(old_right))],
            "{left}..{right}"
        );
    }
}

#[test]
fn segments_without_acknowledgement_keep_their_number() {
    let mut wire = rewritten();
    let mut reset = wire.client_frame(0, 77, b"");
    reset.tcp.ack = false;
    reset.tcp.rst = true;
    assert_eq!(wire.send_client(&reset).frame, Some(reset.bytes()));
}

#[test]
fn a_second_change_adds_to_the_first() {
    let mut wire = rewritten();
    wire.client(0, PASV);
    let second = len(PASSIVE);
    let (at, text, _) = wire.server(second, PASSIVE).unwrap();
    assert_eq!((at, &text[..]), (second + GROWTH, PASSIVE_REWRITTEN));
    assert_eq!(
        wire.server(2 * second, OK).unwrap().0,
        2 * (second + GROWTH)
    );
    // The first comes again while both are open, the second after the first was acknowledged.
    assert_eq!(wire.server(0, PASSIVE).unwrap().1, PASSIVE_REWRITTEN);
    assert_eq!(wire.acknowledge(second + GROWTH), second);
    let (at, text, expect) = wire.server(second, PASSIVE).unwrap();
    assert_eq!((at, &text[..]), (second + GROWTH, PASSIVE_REWRITTEN));
    assert_eq!(expect, [passive()]);
    assert_eq!(wire.acknowledge(2 * (second + GROWTH)), 2 * second);
    // Nothing that comes again after that reaches behind what the client has.
    let (at, text, expect) = wire.server(0, &PASSIVE.repeat(2)).unwrap();
    assert!(at + len(&text) <= 2 * (second + GROWTH));
    assert_eq!(expect, []);
}

#[test]
fn a_segment_behind_a_hole_waits_for_the_reply_in_it() {
    let mut wire = Wire::new(v4());
    wire.server(0, BANNER).unwrap();
    let at = len(BANNER);
    // Nothing is due: it goes on.
    assert!(wire.server(at + 10, OK).is_some());
    let at = at + 10 + len(OK);
    wire.client(at, PASV);
    assert_eq!(wire.server(at + len(PASSIVE), OK), None);
    let mut fin = wire.server_frame(at + len(PASSIVE), b"");
    fin.tcp.fin = true;
    assert_eq!(wire.send_server(&fin), Outcome::default());
    // What says nothing goes on.
    assert!(wire.server(at + len(PASSIVE), b"").is_some());
    assert_eq!(wire.server(at, PASSIVE).unwrap().2, [passive()]);
    assert_eq!(
        wire.server(at + len(PASSIVE), OK).unwrap().0,
        at + len(PASSIVE) + GROWTH
    );
    assert_eq!(wire.helper.counters().held, 2);
}

#[test]
fn a_hole_that_stays_is_given_up() {
    let mut wire = Wire::new(v4());
    wire.server(0, BANNER).unwrap();
    wire.client(len(BANNER), PASV);
    for _ in 0..4 {
        assert_eq!(wire.server(100, PASSIVE), None);
    }
    let (at, text, expect) = wire.server(100, PASSIVE).unwrap();
    assert_eq!(
        (at, &text[..], &expect[..]),
        (100, PASSIVE_REWRITTEN, &[passive()][..])
    );
    assert_eq!(wire.helper.counters().abandoned, 1);
    // What was in the hole goes where it was.
    assert_eq!(
        wire.server(len(BANNER), OK),
        Some((len(BANNER), OK.to_vec(), vec![]))
    );
}

#[test]
fn too_many_open_changes_wait_for_acknowledgement() {
    let mut wire = Wire::new(v4());
    let (old, new) = (len(PASSIVE), len(PASSIVE_REWRITTEN));
    wire.client(0, &PASV.repeat(9));
    for n in 0..8 {
        assert_eq!(wire.server(n * old, PASSIVE).unwrap().0, n * new);
    }
    assert_eq!(wire.server(8 * old, PASSIVE), None);
    assert_eq!(wire.server(8 * old, PASSIVE), None);
    assert_eq!(wire.helper.counters().crowded, 2);
    assert_eq!(wire.acknowledge(new), old);
    let ninth = Some((8 * new, PASSIVE_REWRITTEN.to_vec(), vec![passive()]));
    assert_eq!(wire.server(8 * old, PASSIVE), ninth);
}

#[test]
fn a_segment_that_would_not_fit_is_shortened() {
    let mut wire = Wire::new(v4());
    wire.client(0, PASV);
    // 1460 bytes are what 1500 leave behind the headers.
    let said = [&b"x".repeat(1460 - PASSIVE.len() - 2)[..], b"\r\n", PASSIVE].concat();
    let new = [&said[..said.len() - PASSIVE.len()], PASSIVE_REWRITTEN].concat();
    let mut frame = wire.server_frame(0, &said);
    frame.tcp.fin = true;
    let got = read(&wire.send_server(&frame).frame.unwrap());
    assert!(!got.fin);
    assert_eq!(got.data, new[..1460]);
    assert_eq!(wire.acknowledge(1460), 1455);
    // The rest comes again, with the end.
    let mut frame = wire.server_frame(1455, &said[1455..]);
    frame.tcp.fin = true;
    let got = read(&wire.send_server(&frame).frame.unwrap());
    assert!(got.fin);
    assert_eq!(
        (got.seq.wrapping_sub(SERVER), &got.data[..]),
        (1455, &new[1455..])
    );
    assert_eq!(wire.helper.counters().shortened, 1);
}
