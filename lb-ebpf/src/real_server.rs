//! The program of real servers, and its maps.
#![expect(
    unsafe_code,
    reason = "an entry point the kernel looks for by name; map memory and helpers"
)]

use crate::frame::Xdp;
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NOT_FWDED, bpf_fib_lookup as Route,
        xdp_action,
    },
    btf_maps::{HashMap, PerCpuArray},
    helpers::bpf_fib_lookup,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::addr::Addr;
use lb_common::decap::{self, Action, Host, Settings, decapsulate, event_index};

/// [`Settings`], set at load.
#[unsafe(no_mangle)]
static DECAPSULATION: Words = Words([0; 2]);

/// Words that the agent sets at load; the verifier knows them.
struct Words([u64; 2]);

/// The virtual addresses. The size is a placeholder: the agent sets it at load.
#[btf_map]
static VIRTUAL: HashMap<Addr, u32, 1> = HashMap::new();

/// What was counted.
#[btf_map]
static DECAPSULATION_EVENTS: PerCpuArray<u64, { decap::EVENTS as usize }> = PerCpuArray::new();

/// Takes packets for the virtual addresses out of their tunnels, and hands them to the stack.
#[xdp(frags)]
fn real_server(ctx: XdpContext) -> u32 {
    let outcome = decapsulate(&mut Xdp(&ctx), &Machine(&ctx));
    if let Some(count) = DECAPSULATION_EVENTS.get_ptr_mut(event_index(outcome)) {
        // SAFETY: a value of a map, this CPU's own, and XDP does not nest.
        unsafe { *count += 1 };
    }
    match outcome.map_err(|refusal| refusal.action()) {
        Ok(_) | Err(Action::Pass) => xdp_action::XDP_PASS,
        Err(Action::Drop) => xdp_action::XDP_DROP,
    }
}

/// The host as the maps and the kernel's routes know it.
struct Machine<'a>(&'a XdpContext);

impl Host for Machine<'_> {
    #[inline(always)]
    fn settings(&self) -> Settings {
        // SAFETY: a static of this program; volatile, because the loader changes its bytes in the
        // object after the compiler has seen them.
        Settings::decode(unsafe { core::ptr::from_ref(&DECAPSULATION.0).read_volatile() })
    }

    #[inline(always)]
    fn is_virtual(&self, address: &Addr) -> bool {
        VIRTUAL.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_own(&self, source: &Addr, destination: &Addr) -> bool {
        is_own(self.0, source, destination)
    }
}

/// linux/socket.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Whether the kernel would not forward the packet. Out of line for its stack.
#[inline(never)]
fn is_own(ctx: &XdpContext, source: &Addr, destination: &Addr) -> bool {
    // SAFETY: a struct of integers, for which zeroes are values.
    let mut route: Route = unsafe { core::mem::zeroed() };
    // SAFETY: the context is the program's own, and has this field.
    route.ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    if destination.is_v4() {
        route.family = AF_INET;
        route.__bindgen_anon_3.ipv4_src = source.words()[3];
        route.__bindgen_anon_4.ipv4_dst = destination.words()[3];
    } else {
        route.family = AF_INET6;
        route.__bindgen_anon_3.ipv6_src = source.words();
        route.__bindgen_anon_4.ipv6_dst = destination.words();
    }
    // SAFETY: the helper reads and writes the struct of which it is told the size.
    let answer =
        unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut route, size_of::<Route>() as i32, 0) };
    answer == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED)
        || answer == i64::from(BPF_FIB_LKUP_RET_FWD_DISABLED)
}
