//! Tunnels: IP in IP, GRE, GUE (net/netfilter/ipvs/ip_vs_xmit.c: `ip_vs_tunnel_xmit`,
//! `ip_vs_tunnel_xmit_v6`).
//!
//! The frame's head grows by the outer headers; Ethernet header and VLAN tags move to its front, so
//! that the packet keeps its tags. The inner packet has one hop less to live, nothing else of it
//! changes.
//!
//! | of the outer header | |
//! |---|---|
//! | TTL, hop limit | the inner packet's |
//! | DSCP | the inner packet's |
//! | ECN | the inner packet's, but ECT(0) for CE (RFC 6040, appendix A: full functionality) |
//! | DF | the inner packet's, with `pmtu_disc`; 0 without, and for IPv6 packets |
//! | identification | 0 with DF (RFC 6864, section 4.1), else [`identification`] |
//! | flow label | 0 |
//! | UDP source port, for GUE | [`source_port`]: the same for all packets of a flow |
//!
//! GRE and GUE have a checksum if the server asks for one. It is made by reading every byte of the
//! packet. What the inner packet's own checksum says could be had for nothing; but datagrams without
//! one, SCTP, fragments, and packets whose checksum is wrong, need a real sum, and then there would
//! be two ways to be right.
//!
//! deviates: identifications that ipvs counts for each destination are hashes here; an outer packet
//! that is too long for its way is never fragmented, see `fits`; the remote checksum offload of GUE
//! needs packets whose checksum is not made yet, which an XDP program never sees.

use super::super::{Packet, Stages, Tables, Tunnel, Way, kind};
use super::route;
use crate::addr::{Addr, Port, protocol};
use crate::hash::{below, finish, fold};
use crate::layout::{server_flags, settings};
use crate::reason::Reason;
use crate::wire::checksum::{self, Span};
use crate::wire::{
    Ethernet, Frame, Gre, GreChecksum, Gue, Ipv4, Ipv6, Udp, Vlan, ethertype, gre_flags, ipv4,
};

/// Puts a packet into the tunnel to its server.
#[inline(always)]
pub(super) fn stage<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    way: &Way,
    server: u32,
    flags: u32,
) -> Result<(), Reason> {
    let inner = Inner::of(packet);
    let done = tables.encapsulate(frame, inner, server, flags, way.mtu);
    if done != 0 {
        if done <= Reason::COUNT.into() {
            return Err(Reason::from_one_more(done));
        }
        if !tables.fill_checksum(frame, Span::from_bits(done)) {
            return Err(Reason::Inconsistent);
        }
    }
    route::address(frame, way.destination, way.source)
}

/// The same, in place if the tunnel has no checksum.
#[inline(always)]
pub(super) fn here<F: Frame, T: Stages>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    way: &Way,
    server: u32,
    flags: u32,
) -> Result<(), Reason> {
    if flags & server_flags::CHECKSUM != 0 {
        return stage(frame, tables, packet, way, server, flags);
    }
    let inner = Inner::of(packet);
    let tunnel = tables.tunnel(server).ok_or(Reason::Inconsistent)?;
    let is_v4 = tunnel.destination.is_v4();
    // What most tunnels are, with all numbers known beforehand.
    if flags & server_flags::METHOD == server_flags::IPIP && is_v4 {
        const IPIP: u32 = server_flags::IPIP;
        put(frame, tables, inner, &tunnel, true, IPIP, way.mtu, 0)?;
    } else {
        let blur = tables.blur();
        put(frame, tables, inner, &tunnel, is_v4, flags, way.mtu, blur)?;
    }
    route::address(frame, way.destination, way.source)
}

/// What a tunnel has to know of the packet that it takes, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner(u64);

impl Inner {
    #[inline(always)]
    const fn of(packet: &Packet) -> Self {
        Self(
            packet.bytes as u64
                | (packet.network as u64) << 16
                | (packet.header as u64) << 24
                | (packet.ttl as u64) << 32
                | (packet.tuple.client.is_v4() as u64) << 40
                | ((packet.kind == kind::WHOLE) as u64) << 41,
        )
    }

    /// The word with these bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word's bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Its length in bytes.
    #[inline(always)]
    const fn bytes(self) -> u16 {
        self.0 as u16
    }

    /// Where its network header begins.
    #[inline(always)]
    const fn network(self) -> usize {
        // It is never more than 22, which the verifier cannot know.
        (self.0 >> 16) as usize & 0x1f
    }

    /// Where its transport header begins.
    #[inline(always)]
    const fn transport(self) -> usize {
        self.network() + ((self.0 >> 24) as usize & 0xff)
    }

    /// Where the last eight bytes before its transport header begin.
    #[inline(always)]
    const fn before_transport(self) -> usize {
        // No network header is as short, which the verifier cannot know.
        self.network() + (((self.0 >> 24) as usize).wrapping_sub(8) & 0xff)
    }

    /// Time to live, or hop limit.
    #[inline(always)]
    const fn ttl(self) -> u8 {
        (self.0 >> 32) as u8
    }

    #[inline(always)]
    const fn is_v4(self) -> bool {
        self.0 >> 40 & 1 != 0
    }

    /// Whether its ports are there, and are those of all packets of its flow.
    #[inline(always)]
    const fn has_ports(self) -> bool {
        self.0 >> 41 & 1 != 0
    }

    #[inline(always)]
    const fn ethertype(self) -> u16 {
        if self.is_v4() {
            ethertype::IPV4
        } else {
            ethertype::IPV6
        }
    }

    /// The protocol number that means it.
    #[inline(always)]
    const fn protocol(self) -> u8 {
        if self.is_v4() {
            protocol::IPIP
        } else {
            protocol::IPV6
        }
    }
}

/// Puts a packet into the tunnel to a server with these flags, over a way with this MTU. What the
/// Ethernet addresses are afterwards is undefined. Gives the tunnel's checksum that is still to be
/// made, if it has one. An error leaves the frame as it was.
#[inline(always)]
pub fn encapsulate<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    inner: Inner,
    server: u32,
    flags: u32,
    mtu: u16,
) -> Result<Option<Span>, Reason> {
    let tunnel = tables.tunnel(server).ok_or(Reason::Inconsistent)?;
    let (is_v4, blur) = (tunnel.destination.is_v4(), tables.blur());
    put(frame, tables, inner, &tunnel, is_v4, flags, mtu, blur)
}

/// The same, of a tunnel whose ends are `is_v4` or not. A `blur`, which is 0, makes numbers of what
/// is chosen by `is_v4` and `flags`, for which the verifier else would see all that follows by each.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "numbers, of which some calls know most"
)]
fn put<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    inner: Inner,
    tunnel: &Tunnel,
    is_v4: bool,
    flags: u32,
    mtu: u16,
    blur: u8,
) -> Result<Option<Span>, Reason> {
    let shim = shim_len(flags);
    // A director without an address of the server's family has no source.
    if shim == UNKNOWN || tunnel.source.is_unset() {
        return Err(Reason::Inconsistent);
    }
    let outer_len = if is_v4 { Ipv4::LEN } else { Ipv6::LEN };
    // Added, the compiler cannot do without the masks, in which older verifiers see the bounds.
    let outer_len = (outer_len + usize::from(blur)) & 0x3f;
    let shim = (shim + usize::from(blur)) & 0xf;
    let flags = flags ^ u32::from(blur);
    let overhead = outer_len + shim;
    let room = mtu.saturating_sub(overhead as u16);
    if inner.bytes() > room {
        tables.set_mtu(room);
        return Err(Reason::TooBig);
    }

    let (traffic_class, dont_fragment) = inner_fields(frame, inner)?;
    let dont_fragment = dont_fragment && tables.settings() & settings::PMTU_DISC != 0;
    let identification = if !is_v4 || dont_fragment {
        0
    } else {
        identification(frame, inner)
    };
    let source_port = if flags & server_flags::METHOD == server_flags::GUE {
        source_port(frame, inner, tables.flow_seed())?
    } else {
        Port::default()
    };

    let protocol = outer_protocol(flags, inner) ^ blur;
    let dont_fragment = (u8::from(dont_fragment) ^ blur) & 1 != 0;
    let identification = identification ^ u16::from(blur);
    let source_port = Port::from_word(source_port.word() ^ u16::from(blur));
    frame.grow(overhead).ok_or(Reason::NoHeadroom)?;
    // What is written from here on has been read, or is what the frame has grown by.
    let network = inner.network();
    let kind = if is_v4 {
        ethertype::IPV4
    } else {
        ethertype::IPV6
    };
    move_link(frame, network, overhead, kind).ok_or(Reason::Inconsistent)?;
    route::hop_at(frame, network + overhead, inner.is_v4())?;
    let outer = Outer {
        source: tunnel.source,
        destination: tunnel.destination,
        bytes: inner.bytes() + overhead as u16,
        traffic_class: outer_class(traffic_class),
        ttl: inner.ttl().wrapping_sub(1),
        protocol,
        dont_fragment,
        identification,
    };
    outer
        .write(frame, network, is_v4)
        .ok_or(Reason::Inconsistent)?;
    let at = network + outer_len;
    let written = match flags & server_flags::METHOD {
        server_flags::GRE => gre(frame, inner, flags, at),
        server_flags::GUE => gue(frame, inner, flags, at, tunnel, source_port),
        _ => return Ok(None),
    };
    written.ok_or(Reason::Inconsistent)?;
    Ok(if flags & server_flags::CHECKSUM == 0 {
        None
    } else if flags & server_flags::METHOD == server_flags::GRE {
        let len = shim as u16 + inner.bytes();
        Some(Span::new(at, len, at + Gre::LEN))
    } else {
        let len = shim as u16 + inner.bytes();
        Some(Span::new(at, len, at + 6).udp())
    })
}

/// [`shim_len`] of a method that is no tunnel.
const UNKNOWN: usize = usize::MAX;

/// The length in bytes of what stands between the outer and the inner IP header.
#[inline(always)]
const fn shim_len(flags: u32) -> usize {
    match flags & server_flags::METHOD {
        server_flags::IPIP => 0,
        server_flags::GRE if flags & server_flags::CHECKSUM != 0 => Gre::LEN + GreChecksum::LEN,
        server_flags::GRE => Gre::LEN,
        server_flags::GUE => Udp::LEN + Gue::LEN,
        _ => UNKNOWN,
    }
}

#[inline(always)]
const fn outer_protocol(flags: u32, inner: Inner) -> u8 {
    match flags & server_flags::METHOD {
        server_flags::GRE => protocol::GRE,
        server_flags::GUE => protocol::UDP,
        _ => inner.protocol(),
    }
}

/// The inner packet's type of service or traffic class, and whether routers must not fragment it.
#[inline(always)]
fn inner_fields<F: Frame>(frame: &mut F, inner: Inner) -> Result<(u8, bool), Reason> {
    if inner.is_v4() {
        let ip = Ipv4::at(frame, inner.network()).ok_or(Reason::Malformed)?;
        Ok((ip.type_of_service(), ip.dont_fragment()))
    } else {
        let ip = Ipv6::at(frame, inner.network()).ok_or(Reason::Malformed)?;
        Ok((ip.traffic_class(), false))
    }
}

/// The outer traffic class for an inner one (include/net/inet_ecn.h: `INET_ECN_encapsulate`).
#[inline(always)]
const fn outer_class(inner: u8) -> u8 {
    // CE is both bits, ECT(0) the upper one.
    let both = inner >> 1 & inner & 1;
    inner ^ both
}

/// The identification of an outer packet that may be fragmented: a hash of what tells the inner
/// packet from others, because there is no counter that all CPUs share. Packets that are equal in
/// all that have equal ones, and no others more often than by chance.
#[inline(always)]
fn identification<F: Frame>(frame: &mut F, inner: Inner) -> u16 {
    let (network, transport) = (inner.network(), inner.transport());
    // Lengths, IPv4's identification and offset; IPv6's are in the extension header before the
    // transport header, where IPv4 has addresses; ports, numbers and checksums.
    let hash = mix(frame, 0, network + 4);
    let hash = mix(frame, hash, inner.before_transport());
    let hash = mix(frame, hash, transport);
    let hash = mix(frame, hash, transport + 8);
    finish(hash) as u16
}

/// Folds the eight bytes at `offset` into a hash, if they are there.
#[inline(always)]
fn mix<F: Frame>(frame: &mut F, hash: u64, offset: usize) -> u64 {
    let bytes = frame
        .window::<8>(offset)
        .map_or(0, |b| u64::from_le_bytes(*b));
    fold(hash, bytes)
}

/// The UDP source port of a flow's outer packets: a hash of the flow, in Linux's range of local
/// ports (Documentation/networking/ip-sysctl.rst: `ip_local_port_range`). Fragments have none of
/// their flow's ports, so that all of a packet get the same.
#[inline(always)]
fn source_port<F: Frame>(frame: &mut F, inner: Inner, seed: [u64; 2]) -> Result<Port, Reason> {
    const FIRST: u16 = 32_768;
    const LAST: u16 = 60_999;

    let network = inner.network();
    let mut hash = seed[0];
    if inner.is_v4() {
        hash = mix(frame, hash, network + 12);
    } else {
        hash = mix(frame, hash, network + 8);
        hash = mix(frame, hash, network + 16);
        hash = mix(frame, hash, network + 24);
        hash = mix(frame, hash, network + 32);
    }
    if inner.has_ports() {
        let ports = frame
            .window::<4>(inner.transport())
            .ok_or(Reason::Malformed)?;
        hash = fold(hash, u32::from_le_bytes(*ports).into());
    }
    let above = below(finish(hash) as u32, u32::from(LAST - FIRST) + 1);
    Ok(Port::new(FIRST + above as u16))
}

/// Moves VLAN tags to the front of a frame that has grown by `by` bytes, and sets the type of what
/// follows them at `network`. The Ethernet addresses are left to the caller.
#[inline(always)]
pub(in super::super) fn move_link<F: Frame>(
    frame: &mut F,
    network: usize,
    by: usize,
    ethertype: u16,
) -> Option<()> {
    const TYPE: usize = Ethernet::LEN - 2;

    let mut at = TYPE;
    if network > Ethernet::LEN {
        let tag = *frame.window::<4>(by + at)?;
        *frame.window::<4>(at)? = tag;
        at += Vlan::LEN;
    }
    if network > Ethernet::LEN + Vlan::LEN {
        let tag = *frame.window::<4>(by + at)?;
        *frame.window::<4>(at)? = tag;
        at += Vlan::LEN;
    }
    *frame.window::<2>(at)? = ethertype.to_be_bytes();
    Some(())
}

/// An outer header's fields.
struct Outer {
    source: Addr,
    destination: Addr,
    /// The length in bytes of the outer packet.
    bytes: u16,
    traffic_class: u8,
    ttl: u8,
    protocol: u8,
    dont_fragment: bool,
    identification: u16,
}

impl Outer {
    #[inline(always)]
    fn write<F: Frame>(&self, frame: &mut F, at: usize, is_v4: bool) -> Option<()> {
        let (source, destination) = (self.source, self.destination);
        if is_v4 {
            Ipv4::at(frame, at)?.write(&ipv4::Header {
                type_of_service: self.traffic_class,
                bytes: self.bytes,
                identification: self.identification,
                dont_fragment: self.dont_fragment,
                ttl: self.ttl,
                protocol: self.protocol,
                source_word: source.v4_word(),
                destination_word: destination.v4_word(),
            });
        } else {
            let mut ip = Ipv6::at(frame, at)?;
            ip.set_traffic_class_and_flow_label(self.traffic_class, 0);
            ip.set_payload_length(self.bytes - Ipv6::LEN as u16);
            ip.set_next_header(self.protocol);
            ip.set_hop_limit(self.ttl);
            ip.set_source(source);
            ip.set_destination(destination);
        }
        Some(())
    }
}

/// Writes a GRE header at `at`, without checksum.
#[inline(always)]
fn gre<F: Frame>(frame: &mut F, inner: Inner, flags: u32, at: usize) -> Option<()> {
    let has_checksum = flags & server_flags::CHECKSUM != 0;
    let mut gre = Gre::at(frame, at)?;
    gre.set_flags(if has_checksum { gre_flags::CHECKSUM } else { 0 });
    gre.set_protocol_type(inner.ethertype());
    if has_checksum {
        GreChecksum::at(frame, at + Gre::LEN)?.set_checksum_word(0);
    }
    Some(())
}

/// Writes a UDP and a GUE header at `at`, in the place of the checksum what it begins with.
#[inline(always)]
fn gue<F: Frame>(
    frame: &mut F,
    inner: Inner,
    flags: u32,
    at: usize,
    tunnel: &Tunnel,
    source_port: Port,
) -> Option<()> {
    let len = (Udp::LEN + Gue::LEN) as u16 + inner.bytes();
    let mut udp = Udp::at(frame, at)?;
    udp.set(source_port, Port::new(tunnel.port), len);
    if flags & server_flags::CHECKSUM != 0 {
        let pseudo = checksum::pseudo(tunnel.source, tunnel.destination, protocol::UDP, len);
        udp.set_checksum_word(Span::begin(pseudo));
    }
    let mut gue = Gue::at(frame, at + Udp::LEN)?;
    gue.set_extensions_len(0);
    gue.set_proto_ctype(inner.protocol());
    gue.set_flags(0);
    Some(())
}
