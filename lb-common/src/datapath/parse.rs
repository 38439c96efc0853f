//! Bytes to a [`Packet`].

use crate::addr::{Addr, protocol};
use crate::flow::{Role, Tuple};
use crate::reason::Reason;
use crate::state::sctp;
use crate::wire::tcp_flags::{RST, SYN};
use crate::wire::{
    Ethernet, Frame, Icmp, Ipv4, Ipv6, MacAddr, Sctp, Tcp, Udp, Vlan, ethertype, icmp,
};

/// What parsing learned of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The Ethernet address it was sent to.
    pub destination: MacAddr,
    /// Addresses, ports, protocol. A later fragment and an ICMP error have no ports.
    pub tuple: Tuple,
    /// Of a fragment: what all fragments of the packet have in common, as it lies.
    pub fragment: u32,
    /// Its length in bytes from the network header on.
    pub bytes: u16,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TCP's control bits; for SCTP the first chunk's [`sctp::Event`]; else 0.
    pub flags: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Where its network header begins: 14, and 4 more for each VLAN tag.
    pub network: u8,
    /// The length of its network header, extension headers included.
    pub header: u8,
}

/// How a packet relates to a flow: values of [`Packet::kind`].
pub mod kind {
    /// It is of one, and whole.
    pub const WHOLE: u8 = 0;
    /// It is the first fragment of one.
    pub const FIRST: u8 = 1;
    /// It is a later fragment: the first one tells of which flow.
    pub const LATER: u8 = 2;
    /// It is an ICMP error: what it quotes tells about which flow.
    pub const ERROR: u8 = 3;
}

impl Packet {
    /// Whether this is a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.tuple.protocol == protocol::TCP
    }

    /// Whether this is a TCP segment that opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.is_tcp() && self.flags & (SYN | RST) == SYN
    }

    /// Whether the packet may begin a flow: a SYN that is no reset, an INIT, or any datagram
    /// (net/netfilter/ipvs/ip_vs_proto_tcp.c: `tcp_conn_schedule`).
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        match self.tuple.protocol {
            protocol::TCP => self.flags & (SYN | RST) == SYN,
            protocol::SCTP => self.flags == sctp::Event::Init as u8,
            _ => true,
        }
    }

    #[inline(always)]
    const fn plain(
        destination: MacAddr,
        tuple: Tuple,
        ports: u32,
        flags: u8,
        bytes: u16,
        ttl: u8,
        header: u8,
    ) -> Self {
        Self {
            destination,
            tuple: Tuple { ports, ..tuple },
            fragment: 0,
            bytes,
            ttl,
            flags,
            kind: kind::WHOLE,
            network: Ethernet::LEN as u8,
            header,
        }
    }

    /// Where its transport header begins.
    #[inline(always)]
    #[must_use]
    pub const fn transport(&self) -> usize {
        self.network() + self.header as usize
    }

    /// Where its network header begins.
    #[inline(always)]
    #[must_use]
    pub const fn network(&self) -> usize {
        // It is never more than 22, which the verifier cannot know.
        self.network as usize & 0x1f
    }
}

/// Reads the headers of what nearly every packet is: whole, TCP or UDP, untagged, without IPv4
/// options or IPv6 extension headers. None for anything else, which [`parse`] then reads.
///
/// One function for each family: on the way of each nothing is left to ask about it.
#[inline(always)]
pub(super) fn plain_v4<F: Frame + ?Sized>(frame: &mut F) -> Option<Packet> {
    const AT: usize = Ethernet::LEN + Ipv4::LEN;

    let room = frame.len().wrapping_sub(Ethernet::LEN);
    let ethernet = Ethernet::at(frame, 0)?;
    if ethernet.ethertype() != ethertype::IPV4 {
        return None;
    }
    let destination = ethernet.destination();
    let ip = Ipv4::at(frame, Ethernet::LEN)?;
    let bytes = ip.total_length();
    if !ip.is_plain() || usize::from(bytes) > room {
        return None;
    }
    let tuple = Tuple {
        client: Addr::from_v4_word(ip.source_word()),
        address: Addr::from_v4_word(ip.destination_word()),
        ports: 0,
        protocol: ip.protocol(),
        role: Role::Connection,
    };
    let ttl = ip.ttl();
    let len = usize::from(bytes).checked_sub(Ipv4::LEN)?;
    let (ports, flags) = plain_transport::<F, AT>(frame, tuple.protocol, len)?;
    let header = Ipv4::LEN as u8;
    Some(Packet::plain(
        destination,
        tuple,
        ports,
        flags,
        bytes,
        ttl,
        header,
    ))
}

/// The same of IPv6.
#[inline(always)]
pub(super) fn plain_v6<F: Frame + ?Sized>(frame: &mut F) -> Option<Packet> {
    const AT: usize = Ethernet::LEN + Ipv6::LEN;

    let room = frame.len().wrapping_sub(Ethernet::LEN);
    let ethernet = Ethernet::at(frame, 0)?;
    if ethernet.ethertype() != ethertype::IPV6 {
        return None;
    }
    let destination = ethernet.destination();
    let ip = Ipv6::at(frame, Ethernet::LEN)?;
    let len = usize::from(ip.payload_length());
    let tuple = Tuple {
        client: ip.source(),
        address: ip.destination(),
        ports: 0,
        protocol: ip.next_header(),
        role: Role::Connection,
    };
    if ip.version() != 6 || len + Ipv6::LEN > room || is_mapped(tuple.client, tuple.address) {
        return None;
    }
    let ttl = ip.hop_limit();
    let bytes = (len + Ipv6::LEN) as u16;
    let (ports, flags) = plain_transport::<F, AT>(frame, tuple.protocol, len)?;
    let header = Ipv6::LEN as u8;
    Some(Packet::plain(
        destination,
        tuple,
        ports,
        flags,
        bytes,
        ttl,
        header,
    ))
}

/// Whether an IPv6 packet has an IPv4 address in its v4-mapped form, which no packet on a wire may
/// have (net/ipv6/ip6_input.c: `ip6_rcv_core`), and which would be taken for IPv4's.
#[inline(always)]
const fn is_mapped(client: Addr, address: Addr) -> bool {
    client.is_v4() || address.is_v4()
}

/// Ports and TCP flags of the header at `AT`, in a packet that has `len` bytes from there on.
#[inline(always)]
fn plain_transport<F: Frame + ?Sized, const AT: usize>(
    frame: &mut F,
    protocol: u8,
    len: usize,
) -> Option<(u32, u8)> {
    match protocol {
        protocol::TCP => {
            let tcp = Tcp::at(frame, AT)?;
            let header_len = tcp.header_len();
            (header_len >= Tcp::LEN && header_len <= len).then(|| (tcp.ports_word(), tcp.flags()))
        }
        protocol::UDP => {
            let udp = Udp::at(frame, AT)?;
            let said = usize::from(udp.length());
            (said >= Udp::LEN && said <= len).then(|| (udp.ports_word(), 0))
        }
        _ => None,
    }
}

/// Reads a packet's headers, all lengths checked against the frame's.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &mut F) -> Result<Packet, Reason> {
    parse_with(frame, walk)
}

/// The same, where `walk` is a stage of [`walk`]: what a stage gives, the verifier takes for any
/// number, and forgets by which way it came.
#[inline(always)]
pub fn parse_with<F: Frame + ?Sized>(
    frame: &mut F,
    walk: impl Fn(&mut F, usize, u8) -> u64,
) -> Result<Packet, Reason> {
    let ethernet = Ethernet::at(frame, 0).ok_or(Reason::Malformed)?;
    let destination = ethernet.destination();
    let (mut ethertype, mut network) = (ethernet.ethertype(), Ethernet::LEN);
    if is_tag(ethertype) {
        (ethertype, network) = tags(frame).ok_or(Reason::Malformed)?;
    }
    match ethertype {
        ethertype::IPV4 => ipv4(frame, destination, network),
        ethertype::IPV6 => ipv6(frame, destination, network, walk),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ethertype::VLAN || ethertype == ethertype::QINQ
}

/// What follows one or two VLAN tags, and where. A third tag is none of ours.
#[inline(always)]
fn tags<F: Frame + ?Sized>(frame: &mut F) -> Option<(u16, usize)> {
    let first = Vlan::at(frame, Ethernet::LEN)?.ethertype();
    if !is_tag(first) {
        return Some((first, Ethernet::LEN + Vlan::LEN));
    }
    let second = Vlan::at(frame, Ethernet::LEN + Vlan::LEN)?.ethertype();
    Some((second, Ethernet::LEN + 2 * Vlan::LEN))
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(
    frame: &mut F,
    destination: MacAddr,
    network: usize,
) -> Result<Packet, Reason> {
    let room = frame.len().wrapping_sub(network);
    let ip = Ipv4::at(frame, network).ok_or(Reason::Malformed)?;
    let header_len = ip.header_len();
    let bytes = ip.total_length();
    if ip.version() != 4 || header_len < Ipv4::LEN || header_len > usize::from(bytes) {
        return Err(Reason::Malformed);
    }
    let client = Addr::from_v4_word(ip.source_word());
    let address = Addr::from_v4_word(ip.destination_word());
    let (protocol, ttl) = (ip.protocol(), ip.ttl());
    let (kind, fragment) = if ip.is_fragment() {
        (kind_of(ip.fragment_offset()), ip.identification_word())
    } else {
        (kind::WHOLE, 0)
    };
    if usize::from(bytes) > room && usize::from(bytes) + network > frame.total() {
        return Err(Reason::Malformed);
    }
    let packet = Packet {
        destination,
        tuple: Tuple {
            client,
            address,
            ports: 0,
            protocol,
            role: Role::Connection,
        },
        fragment: fragment.into(),
        bytes,
        ttl,
        flags: 0,
        kind,
        network: network as u8,
        header: header_len as u8,
    };
    let len = usize::from(bytes) - header_len;
    transport(frame, packet, network + header_len, len)
}

#[inline(always)]
const fn kind_of(offset: u16) -> u8 {
    if offset == 0 {
        kind::FIRST
    } else {
        kind::LATER
    }
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(
    frame: &mut F,
    destination: MacAddr,
    network: usize,
    walk: impl Fn(&mut F, usize, u8) -> u64,
) -> Result<Packet, Reason> {
    let room = frame.len().wrapping_sub(network);
    let ip = Ipv6::at(frame, network).ok_or(Reason::Malformed)?;
    let payload = usize::from(ip.payload_length());
    let bytes = payload + Ipv6::LEN;
    if ip.version() != 6 || bytes > usize::from(u16::MAX) {
        return Err(Reason::Malformed);
    }
    let (client, address, ttl) = (ip.source(), ip.destination(), ip.hop_limit());
    let mut protocol = ip.next_header();
    let (mut extensions, mut kind, mut fragment) = (0, kind::WHOLE, 0);
    if bytes > room && bytes + network > frame.total() {
        return Err(Reason::Malformed);
    }
    if is_mapped(client, address) {
        return Err(Reason::Malformed);
    }
    if is_extension(protocol) {
        let walked = walk(frame, network, protocol);
        if walked == BAD {
            return Err(Reason::Malformed);
        }
        protocol = walked as u8;
        extensions = (walked >> 8) as usize & 0xff;
        fragment = (walked >> 32) as u32;
        kind = (walked >> 16) as u8 & 3;
        if extensions > payload {
            return Err(Reason::Malformed);
        }
    }
    let packet = Packet {
        destination,
        tuple: Tuple {
            client,
            address,
            ports: 0,
            protocol,
            role: Role::Connection,
        },
        fragment,
        bytes: bytes as u16,
        ttl,
        flags: 0,
        kind,
        network: network as u8,
        header: (Ipv6::LEN + extensions) as u8,
    };
    let at = network + Ipv6::LEN + extensions;
    transport(frame, packet, at, payload - extensions)
}

/// IPv6 extension headers that stand before a transport header (RFC 8200, section 4; RFC 4302).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    const ALL: u64 = 1 << extension::HOP_BY_HOP
        | 1 << extension::ROUTING
        | 1 << extension::FRAGMENT
        | 1 << extension::AUTHENTICATION
        | 1 << extension::DESTINATION;
    next < 64 && ALL >> next & 1 != 0
}

/// What [`walk`] says of a chain that it does not follow to its end.
const BAD: u64 = u64::MAX;

/// Walks at most six extension headers of at most 160 bytes together, behind the IPv6 header at
/// `network`, which says that `first` is next. Returns, from the low end: the header behind them (8
/// bits), their length (8), the packet's [`kind`] (2), the fragment's identification as it lies
/// (upper 32).
#[inline(always)]
pub fn walk<F: Frame + ?Sized>(frame: &mut F, network: usize, first: u8) -> u64 {
    const MOST: usize = 160;

    let (mut next, mut len, mut fragment) = (first, 0_usize, 0_u64);
    let (mut headers, mut is_later) = (0, false);
    while headers < 6 && is_extension(next) {
        let at = network + Ipv6::LEN + len;
        let Some(bytes) = frame.window::<8>(at) else {
            return BAD;
        };
        let header = *bytes;
        let units = usize::from(header[1]);
        len += match next {
            extension::FRAGMENT => {
                let offset = u16::from_be_bytes([header[2], header[3]]);
                // An atomic fragment is a whole packet (RFC 6946).
                let kind = match (offset & 0xfff8, offset & 1) {
                    (0, 0) => kind::WHOLE,
                    (0, _) => kind::FIRST,
                    _ => kind::LATER,
                };
                let id = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
                fragment = u64::from(kind) << 16 | u64::from(id) << 32;
                8
            }
            extension::AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if len > MOST {
            return BAD;
        }
        next = header[0];
        is_later = fragment >> 16 & 3 == u64::from(kind::LATER);
        if is_later {
            break;
        }
        headers += 1;
    }
    if is_extension(next) && !is_later {
        return BAD;
    }
    fragment | (len as u64) << 8 | u64::from(next)
}

/// Adds what the transport header says, which begins at `at` in a packet that has `len` bytes
/// from there on.
#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &mut F,
    mut packet: Packet,
    at: usize,
    len: usize,
) -> Result<Packet, Reason> {
    if packet.kind == kind::LATER {
        return Ok(packet);
    }
    match packet.tuple.protocol {
        protocol::TCP => {
            let tcp = Tcp::at(frame, at).ok_or(Reason::Malformed)?;
            if tcp.header_len() < Tcp::LEN || tcp.header_len() > len {
                return Err(Reason::Malformed);
            }
            packet.tuple.ports = tcp.ports_word();
            packet.flags = tcp.flags();
            Ok(packet)
        }
        protocol::UDP => {
            let udp = Udp::at(frame, at).ok_or(Reason::Malformed)?;
            let said = usize::from(udp.length());
            let cut = said > len && packet.kind != kind::FIRST;
            if said < Udp::LEN || cut {
                return Err(Reason::Malformed);
            }
            packet.tuple.ports = udp.ports_word();
            Ok(packet)
        }
        protocol::SCTP => {
            let sctp = Sctp::at(frame, at).ok_or(Reason::Malformed)?;
            if len < Sctp::LEN {
                return Err(Reason::Malformed);
            }
            packet.tuple.ports = sctp.ports_word();
            packet.flags = sctp::Event::of_chunk(sctp.first_chunk()) as u8;
            Ok(packet)
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let icmp = Icmp::at(frame, at).ok_or(Reason::Malformed)?;
            let v4 = packet.tuple.client.is_v4();
            if v4 != (packet.tuple.protocol == protocol::ICMP) || len < Icmp::LEN {
                return Err(Reason::Malformed);
            }
            let is_error = if v4 {
                icmp::is_error(icmp.kind())
            } else {
                icmp::is_error_v6(icmp.kind())
            };
            if !is_error || packet.kind != kind::WHOLE {
                return Err(Reason::Protocol);
            }
            packet.kind = kind::ERROR;
            Ok(packet)
        }
        _ => Err(Reason::Protocol),
    }
}
