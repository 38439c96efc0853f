//! The maps. Their sizes here are placeholders: the agent sets them at load, from
//! [`lb_common::layout::Sizes`].
#![expect(unsafe_code, reason = "map memory is raw pointers")]

use crate::atomic::Shared;
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE, btf_maps::Array, helpers::bpf_get_smp_processor_id, macros::btf_map,
};
use lb_common::layout::{
    ColdBucket, Control, DirectorySlot, HotBucket, Member, PORTS as PORT_COUNT, Server,
    ServerState, Service, ServiceState, Traffic, reason_index, traffic_index,
};
use lb_common::reason::Reason;

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
static PORTS: Array<u64, { PORT_COUNT as usize }, MMAPABLE> = Array::new();
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
    /// An interface's Ethernet address.
    port: PORTS -> u64;
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

/// This CPU's count of a server's traffic from clients.
#[inline(always)]
pub(crate) fn traffic(server: u32) -> Option<*mut Traffic> {
    traffic_at(traffic_index(cpu(), SERVER_COUNT.get(), server, false))
}

/// Counts a reason on this CPU.
#[inline(always)]
pub(crate) fn count_reason(reason: Reason) {
    if let Some(count) = reasons_at(reason_index(cpu(), reason)) {
        // SAFETY: a value of a map; this CPU's own, and XDP does not nest.
        let count = unsafe { Shared::new(count) };
        count.set(count.get() + 1);
    }
}
