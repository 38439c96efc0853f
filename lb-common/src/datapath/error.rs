//! ICMP errors about flows (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_in_icmp`, `ip_vs_out_icmp`).
//!
//! An error quotes the packet that could not go on, and is sent to the quoted packet's source:
//!
//! | quoted | whose source is | goes to |
//! |---|---|---|
//! | virtual address to client | the virtual address | the connection's server, by its method |
//! | client to masqueraded server | the client | the client, as from the virtual address |
//! | director to tunnelled server | the director | the agent, if a packet was too big, and the host |
//!
//! What a masqueraded flow's error quotes is translated as well: addresses, ports and checksums.
//! Errors change no flow's state or timer. All others are the host's.
//!
//! deviates: errors other than too big from tunnels are not told to the client; errors about no
//! known connection are not scheduled (`schedule_icmp`).

use super::{Packet, Tables, Verdict, forward, kind};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{Role, Tuple, Word};
use crate::layout::{Hint, features, punt, server_flags};
use crate::reason::Reason;
use crate::wire::{Frame, Icmp, Ipv4, Ipv6, checksum, icmp};

/// An ICMP error.
#[inline(always)]
pub fn error<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
) -> Result<Verdict, Reason> {
    let quote = quote(frame, packet).ok_or(Reason::NoQuotedFlow)?;
    // Errors about errors are never sent (RFC 1122, section 3.2.2): the host gets it to drop.
    if quote.tuple.client != packet.tuple.address || packet.ttl <= 1 {
        return Err(Reason::NoQuotedFlow);
    }
    if quote.has_ports() {
        let connection = quote.tuple.reversed(Role::Connection);
        let key = connection.key(tables.flow_seed());
        if let Some((_, word)) = tables.find_flow(&key, &connection, tables.now()) {
            return to_server(frame, tables, packet, &quote, word);
        }
        let features = tables.features();
        if features & features::MASQUERADE != 0
            && tables.hint(Hint::Masqueraded, quote.tuple.address)
        {
            return to_client(frame, tables, packet, &quote);
        }
    }
    if tables.features() & features::TUNNEL != 0
        && quote.is_tunnel()
        && tables.hint(Hint::Tunnelled, quote.tuple.address)
        && is_too_big(frame, packet)
    {
        tables.punt(punt::Why::TunnelError, 0);
        return Ok(Verdict::Pass);
    }
    Err(Reason::NoQuotedFlow)
}

/// What an error quotes.
struct Quote {
    /// The quoted packet's: source, destination, ports or what stands in their place, protocol.
    tuple: Tuple,
    /// Where its network header begins in the frame.
    network: u16,
    /// Where its transport header begins.
    transport: u16,
    /// Where the part of it that is quoted ends.
    end: u16,
}

impl Quote {
    /// Bytes of a transport header that every error quotes (RFC 792).
    const LEAST: usize = 8;

    #[inline(always)]
    const fn has_ports(&self) -> bool {
        matches!(
            self.tuple.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP
        )
    }

    /// Whether it may be a packet of lb's own tunnels.
    #[inline(always)]
    const fn is_tunnel(&self) -> bool {
        matches!(
            self.tuple.protocol,
            protocol::IPIP | protocol::IPV6 | protocol::GRE | protocol::UDP
        )
    }

    // None of these is as much as 512, which the verifier cannot know.

    #[inline(always)]
    const fn network(&self) -> usize {
        self.network as usize & 0x1ff
    }

    #[inline(always)]
    const fn transport(&self) -> usize {
        self.transport as usize & 0x1ff
    }
}

/// Reads the quoted packet's headers; none when it is cut before its ports, or is no packet, or a
/// later fragment of one.
#[inline(always)]
fn quote<F: Frame>(frame: &mut F, packet: &Packet) -> Option<Quote> {
    let network = packet.transport() + Icmp::LEN;
    let (client, address, protocol, len) = if packet.tuple.client.is_v4() {
        let ip = Ipv4::at(frame, network)?;
        let len = ip.header_len();
        if ip.version() != 4 || len < Ipv4::LEN || ip.fragment_offset() != 0 {
            return None;
        }
        let (client, address) = (ip.source_word(), ip.destination_word());
        let (client, address) = (Addr::from_v4_word(client), Addr::from_v4_word(address));
        (client, address, ip.protocol(), len)
    } else {
        let ip = Ipv6::at(frame, network)?;
        if ip.version() != 6 {
            return None;
        }
        let (client, address) = (ip.source(), ip.destination());
        let (next, len) = match ip.next_header() {
            FRAGMENT_HEADER => fragment_header(frame, network)?,
            next => (next, Ipv6::LEN),
        };
        (client, address, next, len)
    };
    let transport = network + len;
    let end = packet.network() + usize::from(packet.bytes);
    if transport + Quote::LEAST > end {
        return None;
    }
    let ports = u32::from_ne_bytes(*frame.window::<4>(transport)?);
    Some(Quote {
        tuple: Tuple {
            client,
            address,
            ports,
            protocol,
            role: Role::Reply,
        },
        network: network as u16,
        transport: transport as u16,
        end: end as u16,
    })
}

/// The number of IPv6's fragment header (RFC 8200, section 4.5).
const FRAGMENT_HEADER: u8 = 44;

/// What follows the fragment header of a quoted first fragment, and where from its network header
/// on.
#[inline(always)]
fn fragment_header<F: Frame>(frame: &mut F, network: usize) -> Option<(u8, usize)> {
    let header = frame.window::<8>(network + Ipv6::LEN)?;
    let later = header[2] != 0 || header[3] & 0xf8 != 0;
    (!later).then_some((header[0], Ipv6::LEN + 8))
}

/// An error about a packet to a client goes to the server that sent it.
#[inline(always)]
fn to_server<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    quote: &Quote,
    word: Word,
) -> Result<Verdict, Reason> {
    let (flags, way) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
    if flags & server_flags::AVAILABLE == 0 {
        return Err(Reason::NoQuotedFlow);
    }
    if flags & server_flags::METHOD != server_flags::MASQUERADE {
        return forward::forward(frame, tables, packet, word, flags, way);
    }
    let (address, port) = tables
        .server_end(word.server())
        .ok_or(Reason::Inconsistent)?;
    let connection = quote.tuple.reversed(Role::Connection);
    let port = forward::server_port(&connection, word, port);
    let verdict = forward::forward(frame, tables, &portless(packet), word, flags, way)?;
    translate(frame, packet, quote, End::Source, address, port)?;
    Ok(verdict)
}

/// An error about a client's packet to a masqueraded server goes to the client.
#[inline(always)]
fn to_client<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    quote: &Quote,
) -> Result<Verdict, Reason> {
    let key = quote.tuple.key(tables.flow_seed());
    let (entry, word) = tables
        .find_flow(&key, &quote.tuple, tables.now())
        .ok_or(Reason::NoQuotedFlow)?;
    let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
    let connection = Tuple {
        client: details.client,
        address: details.address,
        ports: details.ports,
        ..quote.tuple
    };
    // The entry may have become another flow's since it was found.
    if connection.client != quote.tuple.client
        || connection.client_port() != quote.tuple.client_port()
    {
        return Err(Reason::NoQuotedFlow);
    }
    let (server, address, port) = (word.server(), connection.address, connection.port());
    let packet = &portless(packet);
    let verdict = forward::to_client(frame, tables, packet, server, address, port, details.back)?;
    translate(frame, packet, quote, End::Destination, address, port)?;
    Ok(verdict)
}

/// The packet as one that has no ports to translate, as later fragments have none.
#[inline(always)]
const fn portless(packet: &Packet) -> Packet {
    Packet {
        kind: kind::LATER,
        ..*packet
    }
}

/// Which end of the quoted packet is translated: the server's or the virtual one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sets one end of the quoted packet, and mends its checksums as far as they are quoted, and the
/// error's own; the other end of the packet that carries it has the same new address already.
#[inline(always)]
fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    quote: &Quote,
    end: End,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    let tuple = &quote.tuple;
    let (old, old_port, outer, at) = match end {
        End::Source => (tuple.client, tuple.client_port(), packet.tuple.address, 0),
        End::Destination => (tuple.address, tuple.port(), packet.tuple.client, 2),
    };
    let addresses = checksum::change(old.words(), address.words());
    let ports = checksum::change_of_word(old_port.word(), port.word());
    // What changes in the error's own checksum.
    let mut change = addresses + ports;

    if address.is_v4() {
        let mut ip = Ipv4::at(frame, quote.network()).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source_word(address.v4_word()),
            End::Destination => ip.set_destination_word(address.v4_word()),
        }
        let before = ip.checksum_word();
        let after = checksum::mend(before, addresses);
        ip.set_checksum_word(after);
        change += checksum::change_of_word(before, after);
    } else {
        let mut ip = Ipv6::at(frame, quote.network()).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source(address),
            End::Destination => ip.set_destination(address),
        }
        // ICMPv6 covers the addresses of the packet that carries it (RFC 4443, section 2.3).
        change += checksum::change(outer.words(), address.words());
    }

    let transport = quote.transport();
    let field = frame.window::<2>(transport + at);
    *field.ok_or(Reason::Malformed)? = port.word().to_ne_bytes();

    // SCTP's is over data that the quote does not have.
    let field = match tuple.protocol {
        protocol::TCP => transport + 16,
        protocol::UDP => transport + 6,
        _ => usize::from(u16::MAX),
    };
    if field + 2 <= usize::from(quote.end)
        && let Some(bytes) = frame.window::<2>(field)
    {
        let before = u16::from_ne_bytes(*bytes);
        let udp = tuple.protocol == protocol::UDP;
        if !udp || before != 0 {
            let after = checksum::mend(before, addresses + ports);
            let after = if udp && after == 0 { 0xffff } else { after };
            *bytes = after.to_ne_bytes();
            change += checksum::change_of_word(before, after);
        }
    }

    let mut icmp = Icmp::at(frame, packet.transport()).ok_or(Reason::Malformed)?;
    let sum = checksum::mend(icmp.checksum_word(), change);
    icmp.set_checksum_word(sum);
    Ok(())
}

/// Whether the error says that a packet was too big for a link.
#[inline(always)]
fn is_too_big<F: Frame>(frame: &mut F, packet: &Packet) -> bool {
    let v4 = packet.tuple.client.is_v4();
    Icmp::at(frame, packet.transport()).is_some_and(|icmp| {
        if v4 {
            icmp.kind() == icmp::UNREACHABLE && icmp.code() == icmp::FRAGMENTATION_NEEDED
        } else {
            icmp.kind() == icmp::TOO_BIG_V6
        }
    })
}
