//! The programs' entries.
#![expect(
    unsafe_code,
    reason = "entry points and sections that the kernel looks for by name"
)]

use crate::{frame::Xdp, maps, tables::Maps};
use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::datapath::{Verdict, process};
use lb_common::reason::{Action, Reason};

/// The director: sends packets for services to their servers.
#[xdp]
fn lb(ctx: XdpContext) -> u32 {
    let Some(tables) = Maps::open(&ctx) else {
        return xdp_action::XDP_ABORTED;
    };
    match process(&mut Xdp(&ctx), &tables) {
        Ok(Verdict::Transmit) => xdp_action::XDP_TX,
        // SAFETY: the helper takes two numbers and checks them.
        Ok(Verdict::Redirect(ifindex)) => unsafe { bpf_redirect(ifindex, 0) as u32 },
        Err(reason) => stop(reason),
    }
}

/// What becomes of a packet that goes to no server.
#[inline(always)]
fn stop(reason: Reason) -> u32 {
    maps::count_reason(reason);
    match reason.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    }
}

/// Writes the time into its packet: jiffies, then nanoseconds of CLOCK_MONOTONIC, 8 bytes each.
/// The agent runs it by BPF_PROG_TEST_RUN to learn the kernel's HZ; it is never attached.
#[xdp]
fn clock(ctx: XdpContext) -> u32 {
    use lb_common::wire::Frame;
    // SAFETY: helpers without arguments.
    let (jiffies, ns) = unsafe { (bpf_jiffies64(), bpf_ktime_get_ns()) };
    let mut frame = Xdp(&ctx);
    let Some(window) = frame.window::<16>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    window[..8].copy_from_slice(&jiffies.to_le_bytes());
    window[8..].copy_from_slice(&ns.to_le_bytes());
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
