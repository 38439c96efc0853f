//! The maps as [`Buckets`]: lb's own flow table.
#![expect(
    unsafe_code,
    reason = "map memory is raw pointers, and global functions have names of their own"
)]

use crate::atomic::{Shared, field};
use crate::maps;
use crate::tables::Maps;
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::datapath::Tables as _;
use lb_common::flow::{About, Bucket, Buckets, Flows as _, Key, Place, Tuple, Word, find_further};
use lb_common::layout::{FlowDetails, HotBucket, WAYS};
use lb_common::time::Tick;

/// A bucket of flows in map memory.
pub(crate) struct HotBucketPtr(*mut HotBucket);

impl HotBucketPtr {
    #[inline(always)]
    fn half(&self, way: usize, half: usize) -> Shared<u64> {
        field!(self.0, entries[way & (WAYS - 1)][half])
    }
}

impl Bucket for HotBucketPtr {
    #[inline(always)]
    fn digest(&self, way: usize) -> u64 {
        self.half(way, 0).get()
    }

    #[inline(always)]
    fn word(&self, way: usize) -> Word {
        Word::from_bits(self.half(way, 1).get())
    }

    #[inline(always)]
    fn swap_digest(&self, way: usize, old: u64, new: u64) -> bool {
        self.half(way, 0).swap_if(old, new)
    }

    #[inline(always)]
    fn set_digest(&self, way: usize, new: u64) {
        self.half(way, 0).set(new);
    }

    #[inline(always)]
    fn swap_word(&self, way: usize, old: Word, new: Word) -> bool {
        self.half(way, 1).swap_if(old.bits(), new.bits())
    }
}

/// [`find_further`] for a key: the entry's bits, or 0. A global function like the stages, which the
/// verifier checks once and not for each of its many callers.
#[unsafe(no_mangle)]
#[linkage = "weak"]
extern "C" fn flow_find_further(ctx: *mut xdp_md, digest: u64, place: u64) -> u64 {
    let context = XdpContext::new(ctx);
    let Some(tables) = Maps::open_for_known(&context) else {
        return 0;
    };
    let found = find_further(&tables, &Key::from_bits([digest, place]), tables.now());
    found.map_or(0, Maps::entry_bits)
}

impl Buckets for Maps<'_> {
    type Bucket<'b>
        = HotBucketPtr
    where
        Self: 'b;

    #[inline(always)]
    fn buckets(&self) -> u32 {
        maps::BUCKETS.get()
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<HotBucketPtr> {
        maps::flows(index).map(HotBucketPtr)
    }

    #[inline(always)]
    fn find_further(&self, key: &Key, _: Tick) -> Option<Place> {
        let [digest, place] = key.bits();
        Self::entry_from_bits(flow_find_further(self.context(), digest, place))
    }

    #[inline(always)]
    fn describe(&self, place: Place, tuple: &Tuple, about: About) {
        let Some(bucket) = maps::flow_details(place.bucket) else {
            return;
        };
        let way = place.way as usize & (WAYS - 1);
        field!(bucket, entries[way].client).set_halves(tuple.client);
        field!(bucket, entries[way].address).set_halves(tuple.address);
        field!(bucket, entries[way].ports).set(tuple.ports);
        field!(bucket, entries[way].service).set(about.service);
        field!(bucket, entries[way].protocol).set(tuple.protocol_and(about.role));
        field!(bucket, entries[way].back).set(about.back);
    }

    #[inline(always)]
    fn details(&self, place: Place) -> Option<FlowDetails> {
        let bucket = maps::flow_details(place.bucket)?;
        let way = place.way as usize & (WAYS - 1);
        Some(FlowDetails {
            client: field!(bucket, entries[way].client).halves(),
            address: field!(bucket, entries[way].address).halves(),
            ports: field!(bucket, entries[way].ports).get(),
            service: field!(bucket, entries[way].service).get(),
            protocol: field!(bucket, entries[way].protocol).get(),
            back: field!(bucket, entries[way].back).get(),
        })
    }

    #[inline(always)]
    fn set_back(&self, place: Place, back: u32) {
        if let Some(bucket) = maps::flow_details(place.bucket) {
            field!(bucket, entries[place.way as usize & (WAYS - 1)].back).set(back);
        }
    }
}
