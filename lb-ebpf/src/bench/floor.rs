//! What the machine allows: programs that do next to nothing.

use crate::packet::Head;
use crate::tuple::Tuple;
use aya_ebpf::{
    EbpfContext,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_xdp_adjust_head,
    macros::xdp,
    programs::XdpContext,
};

/// The cost of the ruler for programs that leave the packet's length alone.
#[xdp(frags)]
pub(crate) fn nothing(_: XdpContext) -> u32 {
    XDP_TX
}

/// Moves the head once; the feeder moves it back at the same price. So half of what this costs
/// more than [`nothing`] is the ruler's for programs that make packets longer.
#[xdp(frags)]
pub(crate) fn nothing_grown(ctx: XdpContext) -> u32 {
    let by = -i32::from(crate::layout::IPIP);
    // SAFETY: `ctx` is the context that the kernel gave.
    if unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), by) } != 0 {
        return XDP_DROP;
    }
    let Some(packet) = Head::<14>::of(&ctx) else {
        return XDP_ABORTED;
    };
    packet.store::<0, u8>(0);
    XDP_TX
}

/// Parses Ethernet, IPv4 and ports, and sends the packet back to its sender.
#[xdp(frags)]
pub(crate) fn parse(ctx: XdpContext) -> u32 {
    let Some((_, packet)) = Tuple::of(&ctx) else {
        return XDP_PASS;
    };
    let (to, to_rest): (u32, u16) = (packet.load::<0, _>(), packet.load::<4, _>());
    let (from, from_rest): (u32, u16) = (packet.load::<6, _>(), packet.load::<10, _>());
    packet.store::<0, u32>(from);
    packet.store::<4, u16>(from_rest);
    packet.store::<6, u32>(to);
    packet.store::<10, u16>(to_rest);
    XDP_TX
}
