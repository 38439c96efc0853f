//! Segments against etherparse.

use super::super::frames::{Frame, read};
use super::*;
use etherparse::TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgement, Timestamp};
use proptest::prelude::*;

const V4: [&str; 2] = ["192.0.2.1:40000", "10.0.0.1:21"];
const V6: [&str; 2] = ["[2001:db8::1]:40000", "[2001:db8::21]:21"];

fn frame(ends: [&str; 2], data: &[u8]) -> Frame {
    let [from, to] = ends.map(|end| end.parse().unwrap());
    Frame::new(from, to, 0xffff_fff0, 77, data)
}

/// Everything that may lie around a segment.
fn wrappings() -> Vec<Frame> {
    let mut frames = Vec::new();
    for ends in [V4, V6] {
        let plain = frame(ends, b"PASV\r\n");
        let wrapped = Frame {
            vlans: vec![5, 7],
            padding: 9,
            ip_options: if ends == V4 { 3 } else { 0 },
            extensions: if ends == V6 { vec![0, 60, 60] } else { vec![] },
            ..plain.clone()
        };
        let tagged = Frame {
            vlans: vec![4095],
            ..plain.clone()
        };
        let stamped = plain.clone().options(&[Noop, Noop, Timestamp(1, 2)]);
        frames.extend([plain, wrapped, tagged, stamped]);
    }
    frames
}

#[test]
fn a_segment_is_found_in_every_wrapping() {
    for frame in wrappings() {
        let bytes = frame.bytes();
        let segment = Segment::parse(&bytes).unwrap();
        assert_eq!(segment.source(), frame.from);
        assert_eq!(segment.destination(), frame.to);
        assert_eq!((segment.seq(), segment.ack()), (0xffff_fff0, 77));
        assert_eq!(segment.flags(), flags::ACK);
        assert_eq!(segment.data(), b"PASV\r\n");
        let wrapping = 14 + frame.vlans.len() * 4 + frame.padding;
        assert_eq!(segment.packet_len(), bytes.len() - wrapping);
    }
}

#[test]
fn a_draft_keeps_everything_but_the_padding() {
    for frame in wrappings() {
        let bytes = frame.bytes();
        let same = Segment::parse(&bytes).unwrap().draft().finish();
        assert_eq!(same, bytes[..bytes.len() - frame.padding]);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for frame in [frame(V4, b"PORT 1"), frame(V6, b"EPRT |")] {
        let bytes = frame.bytes();
        // In IPv6 nothing covers traffic class, flow label and hop limit.
        let covered =
            |at: usize| frame.from.is_ipv4() || !(at == 14 || (15..18).contains(&at) || at == 21);
        for at in (12..bytes.len()).filter(|at| covered(*at)) {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Segment::parse(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_frame_that_was_cut_is_malformed() {
    for mut frame in wrappings() {
        frame.padding = 0;
        let bytes = frame.bytes();
        for len in 0..bytes.len() {
            let cut = Segment::parse(&bytes[..len]);
            assert_eq!(cut.err(), Some(Unfit::Malformed), "{len} of {frame:?}");
        }
    }
}

#[test]
fn other_frames_are_told_apart() {
    let unfit = |bytes: &[u8]| Segment::parse(bytes).err();

    let mut arp = frame(V4, b"").bytes();
    arp[13] = 0x06;
    assert_eq!(unfit(&arp), Some(Unfit::Foreign));

    let three_tags = Frame {
        vlans: vec![1, 2, 3],
        ..frame(V4, b"")
    };
    assert_eq!(unfit(&three_tags.bytes()), Some(Unfit::Foreign));

    let udp = etherparse::PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4([192, 0, 2, 1], [10, 0, 0, 1], 64)
        .udp(40000, 21);
    let mut bytes = Vec::new();
    udp.write(&mut bytes, b"PASV\r\n").unwrap();
    assert_eq!(unfit(&bytes), Some(Unfit::Foreign));

    for (number, why) in [
        (44, Unfit::Fragment),
        (43, Unfit::Foreign),
        (51, Unfit::Foreign),
    ] {
        let extended = Frame {
            extensions: vec![60, number],
            ..frame(V6, b"")
        };
        assert_eq!(unfit(&extended.bytes()), Some(why));
    }
    let endless = Frame {
        extensions: vec![60; EXTENSIONS],
        ..frame(V6, b"")
    };
    assert_eq!(unfit(&endless.bytes()), Some(Unfit::Foreign));
}

#[test]
fn fragments_are_told_apart() {
    for (offset, more) in [(0, true), (1, false), (0x1fff, true)] {
        let header = etherparse::Ipv4Header {
            fragment_offset: offset.try_into().unwrap(),
            more_fragments: more,
            time_to_live: 64,
            ..Default::default()
        };
        let ip = etherparse::IpHeaders::Ipv4(header, Default::default());
        let packet = etherparse::PacketBuilder::ethernet2([0; 6], [0; 6]).ip(ip);
        let mut bytes = Vec::new();
        packet.tcp(1, 2, 3, 4).write(&mut bytes, b"").unwrap();
        assert_eq!(Segment::parse(&bytes).err(), Some(Unfit::Fragment));
    }
}

#[test]
fn data_may_grow_and_vanish() {
    for frame in wrappings() {
        let bytes = frame.bytes();
        for data in [&b""[..], b"x", b"a text that is longer than the other"] {
            let mut draft = Segment::parse(&bytes).unwrap().draft();
            draft.set_data(data);
            let said = read(&draft.finish());
            assert_eq!((said.seq, said.ack), (0xffff_fff0, 77));
            assert_eq!(said.data, data);
        }
    }
}

#[test]
fn flags_are_cleared() {
    let mut fin = frame(V4, b"bye");
    fin.tcp.fin = true;
    let bytes = fin.bytes();
    let mut draft = Segment::parse(&bytes).unwrap().draft();
    draft.clear(flags::FIN);
    assert!(!read(&draft.finish()).fin);
    assert!(read(&bytes).fin);
}

#[test]
fn every_block_of_the_sack_option_changes() {
    let blocks = [Some((30, 40)), Some((50, 60)), None];
    let options = [
        MaximumSegmentSize(1),
        SelectiveAcknowledgement((10, 20), blocks),
        Noop,
        Noop,
    ];
    for ends in [V4, V6] {
        let bytes = frame(ends, b"data").options(&options).bytes();
        let mut draft = Segment::parse(&bytes).unwrap().draft();
        draft.change_sack(|left, right| (left - 1, right + 1));
        let said = read(&draft.finish());
        assert_eq!(said.sack, [(9, 21), (29, 41), (49, 61)]);
        assert_eq!(said.data, b"data");
    }
}

#[test]
fn impossible_options_are_left_alone() {
    let impossible: [&[u8]; 6] = [
        &[5, 0, 0, 0],
        &[5, 1, 0, 0],
        &[1, 1, 1, 5],
        &[5, 40, 1, 2],
        &[5, 4, 1, 2],
        &[0, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0],
    ];
    for options in impossible {
        let mut plain = frame(V4, b"");
        plain.tcp.set_options_raw(options).unwrap();
        let bytes = plain.bytes();
        let mut draft = Segment::parse(&bytes).unwrap().draft();
        draft.change_sack(|_, _| panic!("{options:?} has no block"));
        assert_eq!(draft.finish(), bytes);
    }
}

proptest! {
    #[test]
    fn drafts_are_right_whatever_is_in_them(
        v6: bool,
        old in prop::collection::vec(any::<u8>(), 0..100),
        new in prop::collection::vec(any::<u8>(), 0..100),
        seq: u32,
        ack: u32,
    ) {
        let bytes = frame(if v6 { V6 } else { V4 }, &old).bytes();
        let mut draft = Segment::parse(&bytes).unwrap().draft();
        draft.set_seq(seq);
        draft.set_ack(ack);
        draft.set_data(&new);
        let said = read(&draft.finish());
        prop_assert_eq!((said.seq, said.ack), (seq, ack));
        prop_assert_eq!(said.data, new);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        which in 0..8usize,
        keep in 0..70usize,
    ) {
        // Random bytes, and such behind the beginning of a good frame.
        let good = wrappings()[which].bytes();
        let spoilt = [&good[..keep.min(good.len())], &bytes].concat();
        for bytes in [&bytes, &spoilt] {
            if let Ok(segment) = Segment::parse(bytes) {
                let mut draft = segment.draft();
                draft.change_sack(|left, right| (right, left));
                draft.finish();
            }
        }
    }
}
