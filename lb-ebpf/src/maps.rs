//! The maps. Their sizes here are placeholders: the agent sets them at load, from
//! [`lb_common::layout::Sizes`].
#![expect(unsafe_code, reason = "map memory is raw pointers")]

use crate::atomic::Shared;
use crate::frame::within;
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ProgramArray, RingBuf},
    helpers::{bpf_get_smp_processor_id, bpf_xdp_load_bytes},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::datapath::Packet;
use lb_common::flow::Tuple;
use lb_common::layout::{
    BACK_WAYS as BACK_WAY_COUNT, BackWay, ColdBucket, Control, DirectorySlot, HINT_WORDS,
    HotBucket, Interface, MARK_RULES, MarkRule, Member, PORTS as PORT_COUNT, Server, ServerState,
    Service, ServiceState, TableWord, Traffic, punt, reason_index, traffic_index,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// A map of values that the agent has in its memory as well.
type SharedArray<T> = Array<T, 1, MMAPABLE>;

/// A constant that the agent sets at load; the verifier knows its value.
pub(crate) struct Constant(u32);

impl Constant {
    #[inline(always)]
    pub(crate) fn get(&self) -> u32 {
        // SAFETY: a static of this program; volatile, because the loader changes its bytes in the
        // object after the compiler has seen them.
        unsafe { core::ptr::from_ref(&self.0).read_volatile() }
    }
}

#[unsafe(no_mangle)]
pub(crate) static TICK_SHIFT: Constant = Constant(0);
#[unsafe(no_mangle)]
pub(crate) static BUCKETS: Constant = Constant(0);
#[unsafe(no_mangle)]
pub(crate) static SERVER_COUNT: Constant = Constant(0);
#[unsafe(no_mangle)]
pub(crate) static DIRECTORY_SLOTS: Constant = Constant(0);
#[unsafe(no_mangle)]
pub(crate) static DIRECTORY_DISPLACEMENTS: Constant = Constant(0);

#[btf_map]
static CONTROL: SharedArray<Control> = Array::new();
#[btf_map]
static DISPLACEMENTS: SharedArray<u32> = Array::new();
#[btf_map]
static SLOTS: SharedArray<DirectorySlot> = Array::new();
#[btf_map]
static SERVICES: SharedArray<Service> = Array::new();
#[btf_map]
static SERVICE_STATES: SharedArray<ServiceState> = Array::new();
#[btf_map]
static MEMBERS: SharedArray<Member> = Array::new();
#[btf_map]
static SERVERS: SharedArray<Server> = Array::new();
#[btf_map]
static SERVER_STATES: SharedArray<ServerState> = Array::new();
#[btf_map]
static FLOWS: SharedArray<HotBucket> = Array::new();
#[btf_map]
static FLOW_DETAILS: SharedArray<ColdBucket> = Array::new();
#[btf_map]
static PORTS: Array<Interface, { PORT_COUNT as usize }, MMAPABLE> = Array::new();
#[btf_map]
static TABLES: SharedArray<TableWord> = Array::new();
#[btf_map]
static HINTS: Array<u64, { HINT_WORDS as usize }, MMAPABLE> = Array::new();
#[btf_map]
static RULES: Array<MarkRule, { 2 * MARK_RULES as usize }, MMAPABLE> = Array::new();
#[btf_map]
static BACK_WAYS: Array<BackWay, { BACK_WAY_COUNT as usize }, MMAPABLE> = Array::new();
#[btf_map]
static ANSWERS: SharedArray<u64> = Array::new();
#[btf_map]
static PROGRAMS: ProgramArray<1> = ProgramArray::new();
#[btf_map]
static SCRATCH: Array<Scratch, 1> = Array::new();
#[btf_map]
static PUNTS: RingBuf<Punt, { punt::RING as usize }> = RingBuf::new();
#[btf_map]
static TRAFFIC: SharedArray<Traffic> = Array::new();
#[btf_map]
static REASONS: SharedArray<u64> = Array::new();

/// Defines a function that finds a value in one of the arrays above.
macro_rules! lookup {
    ($($(#[$doc:meta])* $name:ident: $map:ident -> $value:ty;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(index: u32) -> Option<*mut $value> {
            $map.get_ptr_mut(index)
        }
    )*};
}

lookup! {
    /// What every packet needs to know; its only index is 0.
    control: CONTROL -> Control;
    /// A displacement.
    displacement: DISPLACEMENTS -> u32;
    /// A slot of a directory.
    slot: SLOTS -> DirectorySlot;
    /// A service's record.
    service: SERVICES -> Service;
    /// What a service remembers.
    service_state: SERVICE_STATES -> ServiceState;
    /// A place in a list of servers.
    member: MEMBERS -> Member;
    /// A server.
    server: SERVERS -> Server;
    /// What is counted of a server across CPUs.
    server_state: SERVER_STATES -> ServerState;
    /// A bucket of flows.
    flows: FLOWS -> HotBucket;
    /// What the flows of a bucket are.
    flow_details: FLOW_DETAILS -> ColdBucket;
    /// An interface.
    port: PORTS -> Interface;
    /// Four slots of lookup tables.
    table_word: TABLES -> TableWord;
    /// A word of the hints.
    hint_word: HINTS -> u64;
    /// A mark rule.
    rule: RULES -> MarkRule;
    /// A way back to clients.
    back_way: BACK_WAYS -> BackWay;
    /// How many answers a CPU gave.
    answers_at: ANSWERS -> u64;
    /// A server's packets and bytes in one direction, on one CPU.
    traffic_at: TRAFFIC -> Traffic;
    /// How often a reason was met, on one CPU.
    reasons_at: REASONS -> u64;
}

#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// This CPU's count of a server's traffic, from clients or back to them.
#[inline(always)]
pub(crate) fn traffic(server: u32, reply: bool) -> Option<*mut Traffic> {
    traffic_at(traffic_index(cpu(), SERVER_COUNT.get(), server, reply))
}

/// How many answers this CPU gave.
#[inline(always)]
pub(crate) fn answers() -> Option<*mut u64> {
    answers_at(cpu())
}

/// Goes on with the program of the map's only place; returns only if there is none.
#[inline(always)]
pub(crate) fn tail_call_rest(context: &XdpContext) {
    // SAFETY: the program in that place is of this kind, for the kernel allows no other.
    let _ = unsafe { PROGRAMS.tail_call(context, 0) };
}

/// What the functions of a program hand to each other besides numbers: one for each CPU, for XDP
/// does not nest.
#[repr(C)]
pub(crate) struct Scratch {
    /// The packet in hand.
    pub(crate) packet: Packet,
    /// A tuple besides the packet's.
    pub(crate) tuple: Tuple,
    /// How long the packet may be, if it is too long.
    pub(crate) mtu: u32,
}

/// This CPU's scratch place.
#[inline(always)]
pub(crate) fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(cpu())
}

/// An entry for the agent.
#[repr(C)]
pub(crate) struct Punt {
    header: punt::Header,
    bytes: [u8; punt::BYTES],
}

/// Hands the beginning of a packet to the agent; false when it has no room.
#[inline(never)]
pub(crate) fn punt(context: &XdpContext, header: &punt::Header) -> bool {
    let Some(mut entry) = PUNTS.reserve(0) else {
        return false;
    };
    let entry_bytes = entry.as_mut_ptr();
    let len = header.len.min(punt::BYTES as u32);
    // SAFETY: the entry is this program's until it is submitted; the helper writes `len` bytes,
    // which the entry has room for, or none when the packet has not as many.
    let copied = unsafe {
        (&raw mut (*entry_bytes).header).write(*header);
        let bytes = (&raw mut (*entry_bytes).bytes).cast();
        let len = within(len, punt::BYTES as u32);
        bpf_xdp_load_bytes(context.ctx, 0, bytes, len) == 0
    };
    if copied {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
    copied
}

/// Counts the reason with this number on this CPU.
#[inline(always)]
pub(crate) fn count_reason(reason: u32) {
    if let Some(count) = reasons_at(reason_index(cpu(), reason)) {
        // SAFETY: a value of a map; this CPU's own, and XDP does not nest.
        let count = unsafe { Shared::new(count) };
        count.set(count.get() + 1);
    }
}
