//! The flow table as the program has it: lookups and insertions from user space, by the very code
//! that the program runs.

use super::flows::count;
use super::mapped::Mapped;
use super::maps::Maps;
use lb_common::flow::{
    self, About, Buckets, Counts, Flows as _, Insertion, Key, Place, Tuple, Word,
};
use lb_common::layout::{ColdBucket, FlowDetails, HotBucket, WAYS};
use lb_common::repeat::{Body, Repeat};
use lb_common::time::Tick;
use std::mem::{offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The flow table and what is counted of its flows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    maps: Arc<Maps>,
}

/// A flow in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its word.
    pub(crate) word: Word,
    /// What it is.
    pub(crate) details: FlowDetails,
}

impl Table {
    /// The table of these maps.
    pub(crate) fn new(maps: Arc<Maps>) -> Self {
        Self { maps }
    }

    /// The live flow that is found by this tuple.
    pub(crate) fn get(&self, tuple: &Tuple, now: Tick) -> Option<Found> {
        let key = self.key(tuple);
        let (place, word) = self.find_flow(&key, tuple, now)?;
        let details = self.details(place)?;
        // The entry may have become another flow's meanwhile.
        let bucket = self.bucket(place.bucket)?;
        let digest = bucket.word(place.way as usize, 0);
        (digest.load(Ordering::Acquire) == key.digest).then_some(Found { word, details })
    }

    /// Enters a flow that is found by `tuple` and listed as `described`, or gives the one that is
    /// there this word; false when there is no room.
    pub(crate) fn enter(
        &self,
        tuple: &Tuple,
        described: &Tuple,
        word: Word,
        about: About,
        now: Tick,
    ) -> bool {
        let key = self.key(tuple);
        let own = self.find_flow(&key, tuple, now).map(|(place, _)| place);
        match self.insert_flow(&key, word, tuple, about.service, own, now) {
            Insertion::Inserted {
                lost,
                own: _,
                entry,
            } => {
                count(&self.maps, word.server(), Counts::of(word));
                if lost != Word::VOID {
                    count(&self.maps, lost.server(), Counts::of(lost).taken());
                }
                self.publish_flow(entry, &key, described, about);
                true
            }
            Insertion::Full => false,
        }
    }

    /// Gives the live flow that is found by this tuple another word. Where the program changed it
    /// meanwhile, that stands.
    pub(crate) fn change(&self, tuple: &Tuple, now: Tick, next: impl Fn(Word) -> Word) {
        let Some((place, word)) = self.find_flow(&self.key(tuple), tuple, now) else {
            return;
        };
        let next = next(word);
        if next != word
            && let Some(counts) = self.continue_flow(place, word, next)
        {
            count(&self.maps, word.server(), counts);
        }
    }

    /// Sets [`FlowDetails::back`] of the live flow that is found by this tuple.
    pub(crate) fn mark(&self, tuple: &Tuple, back: u32, now: Tick) {
        if let Some((place, _)) = self.find_flow(&self.key(tuple), tuple, now) {
            self.set_back(place, back);
        }
    }

    fn key(&self, tuple: &Tuple) -> Key {
        tuple.key(self.maps.control.load(0).flow_seed)
    }
}

impl Repeat for Table {
    fn repeat<B: Body>(&self, turns: u32, body: &mut B) {
        for _ in 0..turns {
            if body.turn() {
                return;
            }
        }
    }
}

/// A bucket of the hot array.
pub(crate) struct Bucket<'a> {
    flows: &'a Mapped<HotBucket>,
    index: u32,
}

impl Bucket<'_> {
    fn word(&self, way: usize, half: usize) -> &std::sync::atomic::AtomicU64 {
        let entry = (way % WAYS) * size_of::<[u64; 2]>();
        let offset = offset_of!(HotBucket, entries) + entry + half * size_of::<u64>();
        self.flows.word64(self.index, offset)
    }

    fn swap(&self, way: usize, half: usize, old: u64, new: u64) -> bool {
        self.word(way, half)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl flow::Bucket for Bucket<'_> {
    fn digest(&self, way: usize) -> u64 {
        self.word(way, 0).load(Ordering::Acquire)
    }

    fn word(&self, way: usize) -> Word {
        Word::from_bits(Bucket::word(self, way, 1).load(Ordering::Acquire))
    }

    fn swap_digest(&self, way: usize, old: u64, new: u64) -> bool {
        self.swap(way, 0, old, new)
    }

    fn set_digest(&self, way: usize, new: u64) {
        self.word(way, 0).store(new, Ordering::Release);
    }

    fn swap_word(&self, way: usize, old: Word, new: Word) -> bool {
        self.swap(way, 1, old.bits(), new.bits())
    }
}

/// Words of [`FlowDetails`].
const WORDS: usize = size_of::<FlowDetails>() / size_of::<u32>();

/// Where the `word`th word of a flow's details is in its bucket.
fn detail(place: Place, word: usize) -> usize {
    let entry = (place.way as usize % WAYS) * size_of::<FlowDetails>();
    offset_of!(ColdBucket, entries) + entry + word * size_of::<u32>()
}

impl Buckets for Table {
    type Bucket<'a> = Bucket<'a>;

    fn buckets(&self) -> u32 {
        self.maps.flows.len()
    }

    fn bucket(&self, index: u32) -> Option<Bucket<'_>> {
        let flows = &*self.maps.flows;
        (index < flows.len()).then_some(Bucket { flows, index })
    }

    fn describe(&self, place: Place, tuple: &Tuple, about: About) {
        let details = FlowDetails {
            client: tuple.client,
            address: tuple.address,
            ports: tuple.ports,
            service: about.service,
            protocol: tuple.protocol_and(about.role),
            back: about.back,
        };
        // Word by word: the bucket's other entries are others' to write.
        let words: [u32; WORDS] = zerocopy::transmute!(details);
        for (word, value) in words.into_iter().enumerate() {
            self.maps
                .flow_details
                .word32(place.bucket, detail(place, word))
                .store(value, Ordering::Relaxed);
        }
    }

    fn details(&self, place: Place) -> Option<FlowDetails> {
        let details = &self.maps.flow_details;
        if place.bucket >= details.len() {
            return None;
        }
        let words: [u32; WORDS] = std::array::from_fn(|word| {
            details
                .word32(place.bucket, detail(place, word))
                .load(Ordering::Relaxed)
        });
        FlowDetails::read_from_bytes(words.as_bytes()).ok()
    }

    fn set_back(&self, place: Place, back: u32) {
        let offset = detail(place, 0) + offset_of!(FlowDetails, back);
        self.maps
            .flow_details
            .word32(place.bucket, offset)
            .store(back, Ordering::Relaxed);
    }
}
