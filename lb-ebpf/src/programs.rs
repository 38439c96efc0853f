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
use lb_common::datapath::{Ending, process};
use lb_common::reason::Reason;

/// The director: sends packets for services to their servers.
#[xdp(frags)]
fn lb(ctx: XdpContext) -> u32 {
    let Some(tables) = Maps::open(&ctx) else {
        return xdp_action::XDP_ABORTED;
    };
    let ending = process(&mut Xdp(&ctx), &tables);
    let value = ending.value();
    match ending.kind() {
        Ending::TRANSMIT => xdp_action::XDP_TX,
        // SAFETY: the helper takes two numbers and checks them.
        Ending::REDIRECT => unsafe { bpf_redirect(value, 0) as u32 },
        Ending::PASS => xdp_action::XDP_PASS,
        Ending::ANSWER => {
            maps::count_reason(value);
            maps::count_reason(Reason::Answered as u32);
            xdp_action::XDP_TX
        }
        _ => {
            maps::count_reason(value);
            if Reason::DROPPED >> (value & 63) & 1 != 0 {
                xdp_action::XDP_DROP
            } else {
                xdp_action::XDP_PASS
            }
        }
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
