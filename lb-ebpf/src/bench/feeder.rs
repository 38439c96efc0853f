//! The ruler. `BPF_PROG_TEST_RUN` repeats a program on one packet and restores nothing between
//! repeats: a program that adds a header runs out of headroom after some repeats and its
//! failure path is measured from then on. So the feeder is what gets repeated: it takes back
//! what the previous repeat did to head and metadata, writes a fresh packet of a chosen flow
//! and tail-calls the program under test with a constant index, which the JIT makes a jump.
//!
//! It also looks at what the previous repeat left: how much longer the packet is and whether it
//! is addressed to somebody else. These sums tell that every packet was forwarded, and not only
//! the last one, whose verdict the kernel returns.

use crate::layout::{Feed, Order, Tally};
use crate::packet::{Head, checksum, halves};
use aya_ebpf::{
    EbpfContext,
    bindings::xdp_action::XDP_ABORTED,
    btf_maps::{Array, PerCpuArray, ProgramArray},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_meta},
    macros::{btf_map, xdp},
    programs::XdpContext,
};

/// The program under test.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// What to feed. Not on a cache line with [`TALLY`]: sharing one costs 13 ns a packet as soon
/// as two CPUs measure.
#[btf_map]
static FEED: Array<Feed, 1> = Array::new();

#[btf_map]
static TALLY: PerCpuArray<Tally, 1> = PerCpuArray::new();

/// The first flow of [`Order::FRESH`]: flows below it are the established ones.
const FIRST_FRESH: u64 = 1 << 24;

/// Flow numbers end here: 24 bits of address and 16 ports each.
const FLOWS: u64 = 1 << 28;

/// Feeds IPv4 packets without options.
#[xdp(frags)]
pub(crate) fn feeder4(ctx: XdpContext) -> u32 {
    if feed4(&ctx).is_some() {
        // SAFETY: nothing here needs dropping, and the map is a program array.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

/// Feeds IPv6 packets without extension headers.
#[xdp(frags)]
pub(crate) fn feeder6(ctx: XdpContext) -> u32 {
    if feed6(&ctx).is_some() {
        // SAFETY: nothing here needs dropping, and the map is a program array.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

/// One end of a flow as it stands in a packet: the low 32 bits of the address, the port.
type End = (u32, u16);

#[inline(always)]
fn feed4(ctx: &XdpContext) -> Option<()> {
    let feed = FEED.get(0)?;
    let flow = restore(ctx, feed)?;
    let (source, destination) = ends(feed, flow);
    let sum = feed.header_sum + halves(source.0) + halves(destination.0);
    let packet = Head::<54>::of(ctx)?;
    packet.store::<0, u64>(template::<0>(feed));
    packet.store::<8, u64>(template::<8>(feed));
    packet.store::<16, u64>(template::<16>(feed));
    packet.store::<24, u16>(checksum(sum));
    packet.store::<26, u64>(u64::from(destination.0) << 32 | u64::from(source.0));
    packet.store::<34, u32>(u32::from(destination.1) << 16 | u32::from(source.1));
    packet.store::<38, u64>(template::<38>(feed));
    packet.store::<46, u64>(template::<46>(feed));
    Some(())
}

#[inline(always)]
fn feed6(ctx: &XdpContext) -> Option<()> {
    let feed = FEED.get(0)?;
    let flow = restore(ctx, feed)?;
    let (source, destination) = ends(feed, flow);
    let packet = Head::<74>::of(ctx)?;
    packet.store::<0, u64>(template::<0>(feed));
    packet.store::<8, u64>(template::<8>(feed));
    packet.store::<14, u64>(template::<14>(feed));
    packet.store::<22, u64>(template::<22>(feed));
    packet.store::<30, u64>(u64::from(source.0) << 32 | template::<30>(feed) & 0xffff_ffff);
    packet.store::<38, u64>(template::<38>(feed));
    packet.store::<46, u64>(u64::from(destination.0) << 32 | template::<46>(feed) & 0xffff_ffff);
    packet.store::<54, u32>(u32::from(destination.1) << 16 | u32::from(source.1));
    packet.store::<58, u64>(template::<58>(feed));
    packet.store::<66, u64>(template::<66>(feed));
    Some(())
}

/// Takes back and tallies what the previous repeat did; says which flow is next.
#[inline(always)]
fn restore(ctx: &XdpContext, feed: &Feed) -> Option<u64> {
    let tally = TALLY.get_ptr_mut(0)?;
    // SAFETY: the entry is this CPU's; a test run does not migrate and nothing interrupts it
    // that would use the map.
    let tally = unsafe { &mut *tally };

    let metadata = ctx.data() - ctx.metadata();
    // SAFETY: `ctx` is the context that the kernel gave.
    if metadata != 0 && unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), metadata as i32) } != 0 {
        return None;
    }
    // The first byte of the destination: each server's differs from the template's.
    let left = Head::<14>::of(ctx)?.load::<0, u8>();
    tally.readdressed += u64::from(left != feed.template[0]);
    let grown = (ctx.data_end() - ctx.data()) as i64 - i64::from(feed.length);
    if grown != 0 {
        // SAFETY: as above. Pointers into the packet are taken anew afterwards.
        if unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), grown as i32) } != 0 {
            return None;
        }
        tally.grown += grown as u64;
    }
    next(feed, tally)
}

#[inline(always)]
fn next(feed: &Feed, tally: &mut Tally) -> Option<u64> {
    match feed.order {
        Order::RANDOM => {
            let mut x = tally.random;
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            tally.random = x;
            Some((x >> 11) & feed.mask)
        }
        Order::SEQUENTIAL => {
            let flow = tally.next;
            tally.next = flow + 1;
            Some(flow & feed.mask)
        }
        Order::FRESH => {
            let flow = FIRST_FRESH + tally.fresh;
            tally.fresh += 1;
            // Starting over would bring back flows that are known.
            if flow < FLOWS { Some(flow) } else { None }
        }
        _ => None,
    }
}

/// The flow's source and destination.
#[inline(always)]
fn ends(feed: &Feed, flow: u64) -> (End, End) {
    let flow = flow as u32;
    let client = end(0x0a00_0000 | (flow >> 4), 32768 + (flow & 15) * 211);
    let scattered = u64::from(flow.wrapping_mul(0x9E37_79B1));
    let service = (scattered * u64::from(feed.services)) >> 32;
    let peer = end(feed.peer + service as u32, feed.peer_port);
    if feed.reply == 0 {
        (client, peer)
    } else {
        (peer, client)
    }
}

#[inline(always)]
fn end(address: u32, port: u32) -> End {
    (address.to_be(), (port as u16).to_be())
}

#[inline(always)]
fn template<const OFFSET: usize>(feed: &Feed) -> u64 {
    const { assert!(OFFSET + 8 <= crate::layout::TEMPLATE) };
    // SAFETY: within the template; BPF loads need no alignment.
    unsafe { *feed.template.as_ptr().add(OFFSET).cast::<u64>() }
}
