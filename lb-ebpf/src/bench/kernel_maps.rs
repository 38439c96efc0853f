//! Balancing over the kernel's own hash maps: the yardsticks of lb's flow table.
//!
//! They know flows and servers, and nothing of services, states, times and counters: what a
//! real balancer adds to that is part of its figure.

use crate::layout::{CAPACITY, IPIP, SERVERS, Server};
use crate::packet::{Head, checksum, halves};
use crate::tuple::{Plain, Tuple};
use aya_ebpf::{
    EbpfContext,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    btf_maps::{Array, HashMap, LruHashMap},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

/// What a flow is mapped to.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Conn {
    server: u32,
    zero: u32,
}

#[btf_map]
static HASH: HashMap<Tuple, Conn, { CAPACITY as usize }> = HashMap::new();

#[btf_map]
static LRU: LruHashMap<Tuple, Conn, { CAPACITY as usize }> = LruHashMap::new();

#[btf_map]
static SERVER: Array<Server, { SERVERS as usize }> = Array::new();

/// The yardstick H: look the flow up in a hash map, then its server, then tunnel.
#[xdp(frags)]
pub(crate) fn h(ctx: XdpContext) -> u32 {
    let Some((tuple, packet)) = Tuple::of(&ctx) else {
        return XDP_PASS;
    };
    let Some(conn) = HASH.get_ptr(tuple) else {
        return XDP_DROP;
    };
    // SAFETY: nothing deletes from the map, so the entry stays this flow's.
    let server = unsafe { (*conn).server };
    tunnel(&ctx, &tuple, packet, server).unwrap_or(XDP_ABORTED)
}

/// Makes a flow known to [`h`].
#[xdp(frags)]
pub(crate) fn h_fill(ctx: XdpContext) -> u32 {
    let Some((tuple, _)) = Tuple::of(&ctx) else {
        return XDP_PASS;
    };
    match HASH.insert(tuple, assign(&tuple), 0) {
        Ok(()) => XDP_TX,
        Err(_) => XDP_DROP,
    }
}

/// Look the flow up in an LRU map; a new one gets a server and is inserted; tunnel.
#[xdp(frags)]
pub(crate) fn lru_insert(ctx: XdpContext) -> u32 {
    let Some((tuple, packet)) = Tuple::of(&ctx) else {
        return XDP_PASS;
    };
    let server = match LRU.get_ptr(tuple) {
        // SAFETY: one CPU uses the map, so the entry stays this flow's until the next insert.
        Some(conn) => unsafe { (*conn).server },
        None => {
            let conn = assign(&tuple);
            if LRU.insert(tuple, conn, 0).is_err() {
                return XDP_DROP;
            }
            conn.server
        }
    };
    tunnel(&ctx, &tuple, packet, server).unwrap_or(XDP_ABORTED)
}

#[inline(always)]
fn assign(tuple: &Tuple) -> Conn {
    let scattered = (tuple.source() ^ tuple.ports()).wrapping_mul(0x9E37_79B1);
    Conn {
        server: scattered >> (32 - SERVERS.ilog2()),
        zero: 0,
    }
}

/// Wraps the packet in an IPv4 header to the server, its checksum by arithmetic: the server's
/// constant sum, the length and the source.
#[inline(always)]
fn tunnel(ctx: &XdpContext, tuple: &Tuple, packet: Plain, server: u32) -> Option<u32> {
    let length = u16::from_be(packet.load::<16, _>());
    let source = tuple.source() & 0xffff_u32.to_be() | 0xac10_0000_u32.to_be();
    let server = SERVER.get(server)?;
    // SAFETY: `ctx` is the context that the kernel gave; the old pointer is not used any more.
    if unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), -i32::from(IPIP)) } != 0 {
        return Some(XDP_DROP);
    }
    let packet = Head::<54>::of(ctx)?;
    let length = (length + IPIP).to_be();
    packet.store::<0, u64>(server.ethernet);
    packet.store::<8, u32>(server.ethernet_rest);
    packet.store::<12, u32>(0x0800_4500_u32.to_be());
    packet.store::<16, u32>(u32::from(length));
    packet.store::<20, u32>(0x4000_4004_u32.to_be());
    packet.store::<24, u16>(checksum(server.sum + u32::from(length) + halves(source)));
    packet.store::<26, u64>(u64::from(server.address) << 32 | u64::from(source));
    Some(XDP_TX)
}
