//! Flows in a hash map of the kernel's.
//!
//! The map says nothing of what an insertion took the place of, so servers' counts go wrong here:
//! one of the reasons why lb keeps flows itself.
#![expect(unsafe_code, reason = "map memory is raw pointers")]

use crate::atomic::field;
use crate::tables::Maps;
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::flow::{About, Counts, Flows, Insertion, Key, Tuple, Word};
use lb_common::layout::FlowDetails;
use lb_common::state::Class;
use lb_common::time::Tick;

/// What tells IPv4 flows apart: a third of lb's own tuple, for the kernel hashes and compares
/// all of a key. Words that are stored whole, as the verifier wants them on the stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    addresses: u64,
    ports_protocol: u64,
}

impl Ends {
    #[inline(always)]
    fn of(tuple: &Tuple) -> Self {
        let [.., client] = tuple.client.words();
        let [.., address] = tuple.address.words();
        Self {
            addresses: u64::from(client) | u64::from(address) << 32,
            ports_protocol: u64::from(tuple.ports) | u64::from(tuple.protocol) << 32,
        }
    }
}

/// A flow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// A [`Word`].
    word: u64,
    service: u64,
}

/// As many as the yardsticks' maps have room for; set at load.
#[btf_map]
static KERNEL_FLOWS: LruHashMap<Ends, Flow, 1> = LruHashMap::new();

impl Flows for Maps<'_> {
    type Entry = *mut Flow;

    /// The map finds an older entry by itself.
    #[inline(always)]
    fn entry_bits(_: *mut Flow) -> u64 {
        0
    }

    #[inline(always)]
    fn entry_from_bits(_: u64) -> Option<*mut Flow> {
        None
    }

    #[inline(always)]
    fn find_flow(&self, _: &Key, tuple: &Tuple, now: Tick) -> Option<(*mut Flow, Word)> {
        let flow = KERNEL_FLOWS.get_ptr_mut(Ends::of(tuple))?;
        let word = Word::from_bits(field!(flow, word).get());
        word.is_live(now).then_some((flow, word))
    }

    #[inline(always)]
    fn continue_flow(&self, flow: *mut Flow, old: Word, new: Word) -> Option<Counts> {
        if !field!(flow, word).swap_if(old.bits(), new.bits()) {
            return None;
        }
        let active = |class: Class| i32::from(class.is_active());
        let change = active(new.class()) - active(old.class());
        Some(Counts {
            connections: 0,
            active: change,
            inactive: -change,
            persistent: 0,
        })
    }

    #[inline(always)]
    fn insert_flow(
        &self,
        _: &Key,
        word: Word,
        tuple: &Tuple,
        service: u32,
        _: Option<*mut Flow>,
        _: Tick,
    ) -> Insertion<*mut Flow> {
        let flow = Flow {
            word: word.bits(),
            service: service.into(),
        };
        match KERNEL_FLOWS.insert(Ends::of(tuple), flow, 0) {
            Ok(()) => Insertion::Inserted {
                own: false,
                lost: Word::VOID,
                entry: core::ptr::null_mut(),
            },
            Err(_) => Insertion::Full,
        }
    }

    /// The map publishes what it inserts.
    #[inline(always)]
    fn publish_flow(&self, _: *mut Flow, _: &Key, _: &Tuple, _: About) {}

    /// The map does not say.
    #[inline(always)]
    fn flow_details(&self, _: *mut Flow) -> Option<FlowDetails> {
        None
    }

    #[inline(always)]
    fn set_flow_back(&self, _: *mut Flow, _: u32) {}
}
