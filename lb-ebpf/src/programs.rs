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
use lb_common::datapath::{Ending, known, rest};
use lb_common::reason::Reason;

/// The director: sends packets for services to their servers. Known flows' packets it sends by
/// itself; all others it hands to [`lb_rest`].
#[xdp(frags)]
fn lb(ctx: XdpContext) -> u32 {
    let Some(tables) = Maps::open_for_known(&ctx) else {
        return xdp_action::XDP_ABORTED;
    };
    let ending = known(&mut Xdp(&ctx), &tables);
    if ending.kind() == Ending::FURTHER {
        maps::tail_call_rest(&ctx);
        // Only while the agent has not put the program in its place.
        maps::count_reason(Reason::Inconsistent as u32);
        return xdp_action::XDP_PASS;
    }
    end(ending)
}

/// The director, for the packets that take more than a look: a program of its own, because the
/// kernel gives each 512 bytes of stack.
#[xdp(frags)]
fn lb_rest(ctx: XdpContext) -> u32 {
    let Some(tables) = Maps::open(&ctx) else {
        return xdp_action::XDP_ABORTED;
    };
    end(rest(&mut Xdp(&ctx), &tables))
}

/// Makes an end of a packet's way.
#[inline(always)]
fn end(ending: Ending) -> u32 {
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
