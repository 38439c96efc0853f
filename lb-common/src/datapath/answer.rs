//! Answers to senders whose packets cannot go on.
//!
//! | reason | answer | from |
//! |---|---|---|
//! | no server | port unreachable | the virtual address |
//! | no server for TCP, and the service resets | TCP reset | the virtual address |
//! | the TTL ends here | time exceeded | the interface |
//! | too long for the way to the server | fragmentation needed, packet too big | the interface |
//!
//! An interface without an address of the packet's family lends the virtual one. The frame goes back
//! where it came from, with its VLAN tags, and quotes as much of the packet as the standards wish:
//! 576 bytes in all for IPv4 (RFC 1812, section 4.3.2.3), 1280 for IPv6 (RFC 4443, section 2.4).
//!
//! Nobody gets an answer to an ICMP error or a reset, to a fragment other than the first, or to a
//! packet that was not sent from one host to one host (RFC 1122, section 3.2.2). And there is a
//! limit ([`crate::layout::Answers`]): senders can be forged.

use super::forward::move_link;
use super::{Packet, Tables, Verdict, kind};
use crate::addr::{Addr, protocol};
use crate::layout::{Hint, features, port_index};
use crate::reason::Reason;
use crate::wire::checksum::{self, Span};
use crate::wire::tcp_flags::{ACK, FIN, RST, SYN};
use crate::wire::{Ethernet, Frame, Icmp, Ipv4, Ipv6, Tcp, ethertype, icmp, ipv4};

/// Makes an answer of the frame, all but [`checksum_of`] it, or leaves the frame as it was.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    reason: Reason,
) -> Result<Verdict, Reason> {
    let is_tcp = packet.tuple.protocol == protocol::TCP;
    // This reason is TCP's own.
    let resets = reason as u8 == Reason::NoServerReset as u8;
    if packet.kind > kind::FIRST
        || is_tcp && packet.flags & RST != 0
        || !is_unicast(packet.tuple.client)
        || !is_unicast(packet.tuple.address)
    {
        return Err(reason);
    }
    let Some(source) = source(tables, packet, reason) else {
        return Err(reason);
    };
    if !tables.may_answer(tables.now()) {
        tables.count_event(Reason::AnswersLimited);
        return Err(reason);
    }
    let done = if resets {
        reset(frame, packet)
    } else {
        error(frame, tables, packet, source, reason)
    };
    done.map_or(Err(reason), |()| Ok(Verdict::Answer(reason)))
}

/// Whether an address can be one host's.
#[inline(always)]
const fn is_unicast(address: Addr) -> bool {
    if address.is_v4() {
        let first = address.v4_number() >> 24;
        return first != 0 && first < 224;
    }
    let [a, b, c, d] = address.words();
    u32::from_be(a) >> 24 != 0xff && (a | b | c | d) != 0
}

/// Whom the answer comes from.
#[inline(always)]
fn source<T: Tables>(tables: &T, packet: &Packet, reason: Reason) -> Option<Addr> {
    let address = packet.tuple.address;
    let unreachable = 1_u64 << Reason::NoServer as u8 | 1_u64 << Reason::NoServerReset as u8;
    if unreachable >> reason as u8 & 1 != 0 {
        return Some(address);
    }
    if let Some(interface) = tables.interface(port_index(tables.ingress())) {
        if address.is_v4() && interface.v4 != 0 {
            return Some(Addr::from_v4_word(interface.v4));
        }
        let [a, b, c, d] = interface.v6.words();
        if !address.is_v4() && (a | b | c | d) != 0 {
            return Some(interface.v6);
        }
    }
    // A masqueraded server's packet was sent to a client, in whose name nobody may speak.
    let from_server = tables.features() & features::MASQUERADE != 0
        && tables.hint(Hint::Masqueraded, packet.tuple.client);
    (!from_server).then_some(address)
}

/// Type and code of an ICMP error, and the four bytes behind its checksum.
struct Error {
    kind: u8,
    code: u8,
    rest: u32,
}

impl Error {
    #[inline(always)]
    fn of<T: Tables>(tables: &T, packet: &Packet, reason: Reason) -> Self {
        /// What every link carries: RFC 791, section 3.2; RFC 8200, section 5.
        const LEAST_V4: u32 = 68;
        const LEAST_V6: u32 = 1280;

        let v4 = packet.tuple.client.is_v4();
        let number = reason as u8;
        let (kind, code, rest) = if number == Reason::TtlExceeded as u8 {
            let kind = if v4 {
                icmp::TIME_EXCEEDED
            } else {
                icmp::TIME_EXCEEDED_V6
            };
            (kind, 0, 0)
        } else if number == Reason::TooBig as u8 {
            let mtu = u32::from(tables.mtu());
            if v4 {
                let code = icmp::FRAGMENTATION_NEEDED;
                (icmp::UNREACHABLE, code, mtu.max(LEAST_V4))
            } else {
                (icmp::TOO_BIG_V6, 0, mtu.max(LEAST_V6))
            }
        } else if v4 {
            (icmp::UNREACHABLE, icmp::PORT_UNREACHABLE, 0)
        } else {
            (icmp::UNREACHABLE_V6, icmp::PORT_UNREACHABLE_V6, 0)
        };
        Self { kind, code, rest }
    }
}

/// Makes an ICMP error of a frame: the packet, or its beginning, is what it quotes.
#[inline(always)]
fn error<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    source: Addr,
    reason: Reason,
) -> Option<()> {
    const LONGEST_V4: usize = 576;
    const LONGEST_V6: usize = 1280;

    let v4 = packet.tuple.client.is_v4();
    let (ip_len, longest, kind) = if v4 {
        (Ipv4::LEN, LONGEST_V4, ethertype::IPV4)
    } else {
        (Ipv6::LEN, LONGEST_V6, ethertype::IPV6)
    };
    let error = Error::of(tables, packet, reason);
    let sender = Ethernet::at(frame, 0)?.source();
    let (network, by) = (packet.network(), ip_len + Icmp::LEN);
    let quoted = usize::from(packet.bytes).min(longest - by);

    frame.grow(by)?;
    frame.truncate(network + by + quoted)?;
    move_link(frame, network, by, kind)?;
    Ethernet::at(frame, 0)?.set_addresses(sender, packet.destination);
    let len = Icmp::LEN + quoted;
    header(frame, packet, source, icmp_of(v4), len as u16)?;

    let at = network + ip_len;
    let mut icmp = Icmp::at(frame, at)?;
    icmp.set_kind_and_code(error.kind, error.code);
    icmp.set_rest(error.rest);
    if !v4 {
        let client = packet.tuple.client;
        let pseudo = checksum::pseudo(source, client, protocol::ICMPV6, len as u16);
        icmp.set_checksum_word(Span::begin(pseudo));
    }
    Some(())
}

/// The checksum of an answer to `packet` that is still to be made: of an ICMP error; none of a reset.
#[inline(always)]
pub(super) fn checksum_of<F: Frame>(frame: &mut F, packet: &Packet, reason: u32) -> Option<Span> {
    if reason == Reason::NoServerReset as u32 {
        return None;
    }
    let network = packet.network();
    let (at, len) = if packet.tuple.client.is_v4() {
        let ip = Ipv4::at(frame, network)?;
        let len = ip.total_length().wrapping_sub(Ipv4::LEN as u16);
        (network + Ipv4::LEN, len)
    } else {
        let ip = Ipv6::at(frame, network)?;
        (network + Ipv6::LEN, ip.payload_length())
    };
    Some(Span::new(at, len, at + 2))
}

#[inline(always)]
const fn icmp_of(v4: bool) -> u8 {
    if v4 { protocol::ICMP } else { protocol::ICMPV6 }
}

/// Makes a TCP reset of a frame (RFC 9293, section 3.5.2, group 1): what stands in the packet
/// behind its addresses goes, options and extension headers as well.
#[inline(always)]
fn reset<F: Frame>(frame: &mut F, packet: &Packet) -> Option<()> {
    let ip_len = if packet.tuple.client.is_v4() {
        Ipv4::LEN
    } else {
        Ipv6::LEN
    };
    let tcp = Tcp::at(frame, packet.transport())?;
    let (sequence, acknowledgement, flags) = if packet.flags & ACK != 0 {
        (tcp.acknowledgement(), 0, RST)
    } else {
        let header = u32::from(packet.header) + tcp.header_len() as u32;
        let data = u32::from(packet.bytes).wrapping_sub(header);
        let len = data + u32::from(packet.flags & SYN != 0) + u32::from(packet.flags & FIN != 0);
        (0, tcp.sequence().wrapping_add(len), RST | ACK)
    };
    let sender = Ethernet::at(frame, 0)?.source();
    let network = packet.network();

    frame.truncate(network + ip_len + Tcp::LEN)?;
    Ethernet::at(frame, 0)?.set_addresses(sender, packet.destination);
    let len = Tcp::LEN as u16;
    let source = packet.tuple.address;
    header(frame, packet, source, protocol::TCP, len)?;
    let mut tcp = Tcp::at(frame, network + ip_len)?;
    tcp.reset(packet.tuple.ports, sequence, acknowledgement, flags);
    let pseudo = checksum::pseudo(source, packet.tuple.client, protocol::TCP, len);
    let sum = checksum::field(tcp.words_sum() + pseudo);
    tcp.set_checksum_word(sum);
    Some(())
}

/// Writes the answer's network header, before `len` bytes of this protocol.
#[inline(always)]
fn header<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    source: Addr,
    protocol: u8,
    len: u16,
) -> Option<()> {
    const HOPS: u8 = 64;
    /// Of an ICMP error (RFC 1812, section 4.3.2.5): internetwork control.
    const PRECEDENCE: u8 = 0xc0;

    let (network, client) = (packet.network(), packet.tuple.client);
    if client.is_v4() {
        let is_icmp = protocol == protocol::ICMP;
        Ipv4::at(frame, network)?.write(&ipv4::Header {
            type_of_service: if is_icmp { PRECEDENCE } else { 0 },
            bytes: Ipv4::LEN as u16 + len,
            identification: 0,
            dont_fragment: true,
            ttl: HOPS,
            protocol,
            source_word: source.v4_word(),
            destination_word: client.v4_word(),
        });
    } else {
        let mut ip = Ipv6::at(frame, network)?;
        ip.set_traffic_class_and_flow_label(0, 0);
        ip.set_payload_length(len);
        ip.set_next_header(protocol);
        ip.set_hop_limit(HOPS);
        ip.set_source(source);
        ip.set_destination(client);
    }
    Some(())
}
