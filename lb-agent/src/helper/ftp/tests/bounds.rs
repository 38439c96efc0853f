//! What is remembered for how long, and what is no packet of the connection's.

use super::*;
use etherparse::TcpHeader;
use proptest::prelude::*;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn limited(connections: usize) -> Helper {
    Helper::new(Limits {
        connections,
        idle: 10 * MINUTE,
        ..Limits::DEFAULT
    })
}

/// The `n`th client's connection.
fn nth(n: u16) -> Ends {
    let mut ends = v4();
    ends.client.set_port(n);
    ends
}

impl Wire {
    fn is_shifted(&mut self) -> bool {
        self.server(len(PASSIVE), BANNER).unwrap().0 != len(PASSIVE)
    }

    fn close(&mut self, side: Side, flag: fn(&mut TcpHeader) -> &mut bool) {
        let mut frame = match side {
            Side::Client => self.client_frame(0, 0, b""),
            Side::Server => self.server_frame(len(PASSIVE), b""),
        };
        *flag(&mut frame.tcp) = true;
        let bytes = frame.bytes();
        self.helper.packet(self.now, side, &bytes, &self.ends);
    }

    fn remembered_after(&mut self, wait: Duration) -> usize {
        self.now += wait;
        self.helper.sweep(self.now);
        self.helper.connections()
    }
}

#[test]
fn idle_connections_are_forgotten_in_time() {
    let mut wire = rewritten();
    wire.helper = limited(10);
    wire.client(0, PASV);
    assert_eq!(wire.remembered_after(10 * MINUTE), 1);
    // Every packet counts, from either side.
    wire.acknowledge(0);
    assert_eq!(wire.remembered_after(10 * MINUTE), 1);
    wire.server(0, b"").unwrap();
    assert_eq!(wire.remembered_after(10 * MINUTE), 1);
    assert_eq!(wire.remembered_after(Duration::from_millis(1)), 0);
}

#[test]
fn closed_connections_are_forgotten_sooner() {
    for both in [false, true] {
        let mut wire = rewritten();
        wire.close(Side::Client, |tcp| &mut tcp.fin);
        if both {
            wire.close(Side::Server, |tcp| &mut tcp.fin);
        }
        assert_eq!(wire.remembered_after(2 * MINUTE), 1);
        assert_eq!(wire.remembered_after(MINUTE), usize::from(!both));
    }
    for side in [Side::Client, Side::Server] {
        let mut wire = rewritten();
        wire.close(side, |tcp| &mut tcp.rst);
        assert!(wire.is_shifted(), "what is on its way is still translated");
        assert_eq!(wire.remembered_after(3 * MINUTE), 0);
    }
}

#[test]
fn the_next_connection_of_the_same_ports_begins_anew() {
    let mut wire = rewritten();
    assert!(wire.is_shifted());
    let mut frame = wire.server_frame(0, b"");
    frame.tcp.syn = true;
    assert_eq!(wire.send_server(&frame).frame, Some(frame.bytes()));
    assert_eq!(wire.helper.connections(), 0);
    assert!(!wire.is_shifted());
}

#[test]
fn a_connection_met_in_its_middle_is_taken_up() {
    let mut wire = Wire::new(v4());
    assert_eq!(wire.server(500, BANNER).unwrap().0, 500);
    wire.client(500 + len(BANNER), PASV);
    let (at, text, expect) = wire.server(500 + len(BANNER), PASSIVE).unwrap();
    assert_eq!((at, &text[..]), (500 + len(BANNER), PASSIVE_REWRITTEN));
    assert_eq!(expect, [passive()]);
}

#[test]
fn packets_without_data_are_not_worth_remembering() {
    let mut wire = Wire::new(v4());
    wire.acknowledge(0);
    wire.client(0, b"USER anonymous\r\n");
    wire.server(0, b"").unwrap();
    assert_eq!(wire.helper.connections(), 0);
    wire.server(0, BANNER).unwrap();
    assert_eq!(wire.helper.connections(), 1);
}

#[test]
fn a_full_helper_forgets_what_can_be_taken_up_anew() {
    let mut wire = rewritten();
    wire.helper = limited(5);
    // The first has shifted numbers, the others not.
    wire.client(0, PASV);
    wire.server(0, PASSIVE).unwrap();
    let first = wire.ends;
    for n in 1..=4 {
        wire.now += Duration::from_secs(1);
        wire.ends = nth(n);
        wire.server(0, BANNER).unwrap();
    }
    assert_eq!(wire.helper.connections(), 5);
    wire.ends = nth(5);
    wire.server(0, BANNER).unwrap();
    // Of four, the two unseen for longest made room for one.
    assert_eq!(wire.helper.connections(), 4);
    let counters = wire.helper.counters();
    assert_eq!((counters.evicted, counters.full), (2, 0));
    wire.ends = first;
    assert!(wire.is_shifted());
}

#[test]
fn a_helper_full_of_shifted_connections_takes_no_more() {
    let mut wire = rewritten();
    wire.helper = limited(3);
    for n in 1..=3 {
        wire.ends = nth(n);
        wire.client(0, PASV);
        wire.server(0, PASSIVE).unwrap();
    }
    wire.ends = nth(4);
    wire.client(0, PASV);
    assert_eq!(wire.server(0, PASSIVE), Some((0, PASSIVE.to_vec(), vec![])));
    assert_eq!(wire.helper.counters().full, 2);
    // An active connection needs no memory.
    assert_eq!(wire.client(0, b"PORT 192,0,2,1,156,64\r\n").len(), 1);
    // Those whose time is over make room.
    wire.now += 11 * MINUTE;
    wire.client(0, PASV);
    assert_eq!(wire.server(0, PASSIVE).unwrap().2.len(), 1);
    assert_eq!(wire.helper.connections(), 1);
}

#[test]
fn what_is_no_packet_of_the_connection_goes_on_untouched() {
    let mut wire = rewritten();
    let mut other = v4();
    other.client.set_port(1);
    let mut arp = wire.client_frame(0, 0, PASV).bytes();
    arp[13] = 6;
    let foreign = [
        // Of another client, of the other side, to another port.
        Frame::new(other.client, other.address, 0, 0, PASV).bytes(),
        wire.server_frame(0, PASSIVE).bytes(),
        Frame::new(other.client, other.server, 0, 0, PASV).bytes(),
        arp,
    ];
    for frame in foreign {
        let outcome = wire
            .helper
            .packet(wire.now, Side::Client, &frame, &wire.ends);
        assert_eq!(outcome.frame, Some(frame));
        assert_eq!(outcome.expect, []);
    }
    assert_eq!(wire.helper.counters().foreign, 4);

    let fragment = Frame {
        extensions: vec![44],
        ..Frame::new(v6().client, v6().address, 0, 0, PASV)
    };
    let outcome = wire.send_client(&fragment);
    assert_eq!(outcome.frame, Some(fragment.bytes()));
    assert_eq!(wire.helper.counters().fragments, 1);
}

#[test]
fn broken_packets_are_dropped_and_change_nothing() {
    let mut wire = Wire::new(v4());
    let good = wire.client_frame(0, 0, PASV).bytes();
    let mut spoilt = good.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    for (frame, checksum, malformed) in [(&spoilt[..], 1, 0), (&good[..good.len() - 1], 1, 1)] {
        let side = Side::Client;
        let outcome = wire.helper.packet(wire.now, side, frame, &wire.ends);
        assert_eq!(outcome, Outcome::default());
        let counters = wire.helper.counters();
        assert_eq!(
            (counters.checksum, counters.malformed),
            (checksum, malformed)
        );
    }
    assert_eq!(wire.helper.connections(), 0);
}

/// What either side may say: pieces of what matters, and anything.
fn speech() -> impl Strategy<Value = Vec<u8>> {
    let hinted = "(PASV|EPSV|PORT 1,2,3,4,5,6|EPRT [|]1[|]1.2.3.4[|]5[|]|227 [(]?1,2,3,4,5,6[)]?|229 [(][|]{3}2000[|][)]| |\r?\n|[(,|x]){0,9}";
    prop_oneof![
        3 => hinted.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_grow(
        packets in prop::collection::vec(
            (any::<[bool; 2]>(), 0..3u16, -3..60i32, any::<u8>(), speech(), any::<(u8, u8)>()),
            0..60,
        ),
    ) {
        let mut wire = Wire::new(v4());
        wire.helper = limited(2);
        let mut at = 0u32;
        for ([from_client, spoil], n, step, flags, data, (byte, xor)) in packets {
            wire.ends = nth(n);
            wire.now += Duration::from_secs(20);
            at = at.wrapping_add_signed(step);
            let mut frame = if from_client {
                wire.client_frame(0, at, &data)
            } else {
                wire.server_frame(at, &data)
            };
            frame.tcp.fin = flags & 3 == 3;
            frame.tcp.syn = flags & 60 == 60;
            frame.tcp.rst = flags & 112 == 112;
            let mut bytes = frame.bytes();
            if spoil {
                let at = usize::from(byte) % bytes.len();
                bytes[at] ^= xor;
            }
            let side = if from_client { Side::Client } else { Side::Server };
            let outcome = wire.helper.packet(wire.now, side, &bytes, &wire.ends);
            prop_assert!(wire.helper.connections() <= 2);
            prop_assert!(outcome.expect.len() <= 8);
            if !spoil && let Some(frame) = outcome.frame {
                // Right in lengths and checksums.
                read(&frame);
            }
        }
    }
}

#[test]
fn another_helper_goes_on_from_the_state() {
    let mut wire = rewritten();
    let hand_over = |wire: &mut Wire| {
        let state = wire.helper.state(&wire.ends).unwrap();
        let kept = serde_json::to_string(&state).unwrap();
        wire.helper = limited(10);
        let state: State = serde_json::from_str(&kept).unwrap();
        assert!(state.is_changed());
        wire.helper.restore(wire.ends, state, wire.now);
    };
    hand_over(&mut wire);
    // The reply, sent again, is replaced alike.
    let again = wire.server(0, PASSIVE).unwrap();
    assert_eq!(again, (0, PASSIVE_REWRITTEN.to_vec(), vec![passive()]));
    let behind = len(PASSIVE);
    assert_eq!(wire.server(behind, BANNER).unwrap().0, behind + GROWTH);
    assert_eq!(wire.acknowledge(behind + GROWTH), behind);
    // Now there is nothing but the shift.
    hand_over(&mut wire);
    assert!(wire.is_shifted());
    assert_eq!(wire.acknowledge(behind + GROWTH), behind);
}

#[test]
fn the_state_changes_with_what_matters() {
    let mut wire = Wire::new(v4());
    wire.server(0, BANNER);
    assert_eq!(wire.helper.state(&wire.ends), None);
    wire.client(len(BANNER), PASV);
    let due = wire.helper.state(&wire.ends).unwrap();
    assert!(!due.is_changed());
    wire.server(len(BANNER), PASSIVE).unwrap();
    let replaced = wire.helper.state(&wire.ends).unwrap();
    assert!(replaced.is_changed() && !replaced.is_like(&due));
    let end = len(BANNER) + len(PASSIVE);
    wire.server(end, BANNER).unwrap();
    let on = wire.helper.state(&wire.ends).unwrap();
    assert!(on.is_like(&replaced) && on != replaced);
    wire.acknowledge(end + GROWTH);
    assert!(!wire.helper.state(&wire.ends).unwrap().is_like(&on));
    assert_eq!(wire.helper.states().count(), 1);
}
