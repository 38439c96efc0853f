//! The stream against one that is translated byte by byte.

use super::super::Mode;
use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;

fn expectation(port: u16) -> Expectation {
    let end = SocketAddr::new([10, 0, 0, 1].into(), port);
    Expectation {
        mode: Mode::Passive,
        client: end,
        address: end,
        server: end,
    }
}

/// Two streams byte by byte: which new bytes each old one stands for. Of an edit's old bytes each
/// stands for one new byte as long as there are any, and the last one for all the others.
#[derive(Debug)]
struct Model {
    origin: u32,
    old: Vec<u8>,
    new: Vec<Vec<u8>>,
    stream: Stream,
}

impl Model {
    /// `edits` are pairs of distances: from the last edit, and how many bytes it replaces; and
    /// what it puts there.
    fn new(origin: u32, old: Vec<u8>, edits: &[(usize, usize, Vec<u8>)]) -> Self {
        let mut model = Self {
            origin,
            new: old.iter().map(|byte| vec![*byte]).collect(),
            old,
            stream: Stream::new(origin),
        };
        let mut at = 0;
        for (gap, len, text) in edits {
            let start = at + gap;
            at = start + len;
            if at > model.old.len() {
                break;
            }
            for offset in 0..*len {
                let from = offset.min(text.len());
                let to = if offset + 1 == *len {
                    text.len()
                } else {
                    (offset + 1).min(text.len())
                };
                model.new[start + offset] = text[from..to].to_vec();
            }
            model.stream.replace(Edit {
                start: origin.wrapping_add(start as u32),
                len: *len as u32,
                text: text.clone().into(),
                expectation: expectation(start as u16),
            });
        }
        model.stream.advance(origin, &model.old);
        model
    }

    fn position(&self, offset: usize) -> u32 {
        self.origin.wrapping_add(offset as u32)
    }

    /// Where each old offset falls, the end included.
    fn places(&self) -> Vec<usize> {
        let ends = self.new.iter().scan(0, |end, new| {
            *end += new.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }
}

fn models() -> impl Strategy<Value = Model> {
    let text = prop::collection::vec(any::<u8>(), 1..12);
    let edits = prop::collection::vec((0..20usize, 1..12usize, text), 0..EDITS);
    let origin = prop_oneof![any::<u32>(), u32::MAX - 60..=u32::MAX];
    let old = prop::collection::vec(any::<u8>(), 0..100);
    (origin, old, edits).prop_map(|(origin, old, edits)| Model::new(origin, old, &edits))
}

proptest! {
    #[test]
    fn positions_are_translated_both_ways(model in models()) {
        let places = model.places();
        for (offset, place) in places.iter().enumerate() {
            let position = model.position(offset);
            prop_assert_eq!(model.stream.forward(position), model.position(*place));
        }
        for place in 0..=places[model.old.len()] {
            let position = model.position(place);
            let last = places.iter().rposition(|other| *other <= place).unwrap();
            prop_assert_eq!(model.stream.back(position), model.position(last), "{}", place);
            let first = places.iter().position(|other| *other >= place).unwrap();
            prop_assert_eq!(model.stream.back_up(position), model.position(first), "{}", place);
        }
    }

    #[test]
    fn every_cut_is_translated_alike(model in models()) {
        for from in 0..=model.old.len() {
            for to in from..=model.old.len() {
                let translated = model.stream.translate(model.position(from), &model.old[from..to]);
                prop_assert_eq!(translated, model.new[from..to].concat());
            }
        }
    }

    #[test]
    fn what_is_acknowledged_may_be_forgotten(model in models(), place in 0..200usize) {
        let places = model.places();
        let whole = model.new.concat();
        let place = place.min(whole.len());
        let mut later = model.stream.clone();
        later.acknowledge(model.position(place));

        for place in place..=whole.len() {
            let position = model.position(place);
            prop_assert_eq!(later.back(position), model.stream.back(position));
        }
        // Whatever the server sends again, the client finds what it has, and where it should be.
        for from in 0..model.old.len() {
            for to in from + 1..=model.old.len() {
                let begin = later.forward(model.position(from)).wrapping_sub(model.origin) as i32;
                let text = later.translate(model.position(from), &model.old[from..to]);
                let end = begin + text.len() as i32;
                if places[to] > place {
                    prop_assert_eq!(end, places[to] as i32);
                    prop_assert!(begin <= (places[from].max(place)) as i32);
                } else {
                    prop_assert!(end <= place as i32);
                }
                for (at, byte) in (begin..).zip(text) {
                    prop_assert!(at < place as i32 || whole[at as usize] == byte);
                }
            }
        }
    }

    #[test]
    fn announcements_come_with_the_beginning_of_their_text(model in models()) {
        for from in 0..=model.old.len() {
            for to in from..=model.old.len() {
                let ports = |expectations: Vec<Expectation>| -> Vec<u16> {
                    expectations.iter().map(|expected| expected.client.port()).collect()
                };
                let stream = &model.stream;
                let found = stream.announced(model.position(from), to - from).collect();
                let all = stream.announced(model.origin, model.old.len()).collect();
                let mut within = ports(all);
                within.retain(|port| (from..to).contains(&usize::from(*port)));
                prop_assert_eq!(ports(found), within);
            }
        }
    }
}

#[test]
fn an_acknowledgement_of_the_future_is_ignored() {
    let old = b"227 (10,0,0,1,4,1)\r\n".to_vec();
    let mut model = Model::new(u32::MAX - 3, old, &[(5, 12, b"192,0,2,1,4,1".to_vec())]);
    let end = model.position(21);
    model.stream.acknowledge(end.wrapping_add(1));
    assert_eq!(model.stream.edits(), 1);
    model.stream.acknowledge(end);
    assert_eq!(model.stream.edits(), 0);
    assert!(model.stream.is_changed());
}

#[test]
fn texts_of_the_same_length_leave_no_trace() {
    let mut model = Model::new(7, b"abc".to_vec(), &[(1, 1, b"x".to_vec())]);
    assert!(model.stream.is_changed());
    model.stream.acknowledge(model.position(3));
    assert!(!model.stream.is_changed());
}

#[test]
fn the_beginning_of_the_unfinished_line_is_known() {
    let mut stream = Stream::new(100);
    assert!(stream.is_line_start(100));
    stream.advance(100, b"220 he");
    assert!(stream.is_line_start(100) && !stream.is_line_start(106));
    // The same again, and more.
    stream.advance(103, b" hello\r\n");
    assert!(stream.is_line_start(111) && !stream.is_line_start(100));
    stream.advance(100, b"220 hello\r\n");
    assert!(stream.is_line_start(111));
    // Behind a hole nothing is known: what comes may begin a line, and then the line begins there.
    assert!(stream.is_line_start(200));
    stream.advance(200, b"227 ");
    assert!(stream.is_line_start(200) && !stream.is_line_start(204));
    assert!(stream.is_open(204) && !stream.is_open(203));
    assert!(stream.leaves_hole(205) && !stream.leaves_hole(204));
}
