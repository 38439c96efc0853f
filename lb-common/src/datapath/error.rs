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
//! In steps: [`quote`] -> [`find`] -> [`super::forward`] or [`mod@super::related`] -> [`translate`].
//!
//! deviates: errors other than too big from tunnels are not told to the client; errors about no
//! known connection are not scheduled (`schedule_icmp`).

use super::{Packet, Tables, forward};
use crate::addr::{Addr, Port, protocol};
use crate::flow::{Role, Tuple, Word};
use crate::layout::{Hint, features, punt, server_flags};
use crate::reason::Reason;
use crate::wire::{Frame, Icmp, Ipv4, Ipv6, checksum, icmp};

/// Where the parts of a quoted packet are in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places(u64);

impl Places {
    /// Bytes of a transport header that every error quotes (RFC 792).
    const LEAST: usize = 8;

    #[inline(always)]
    const fn new(network: usize, transport: usize, end: usize) -> Self {
        Self(network as u64 | (transport as u64) << 16 | (end as u64) << 32)
    }

    // Neither of these two is as much as 512, which the verifier cannot know.

    /// Where the quoted network header begins.
    #[inline(always)]
    const fn network(self) -> usize {
        self.0 as usize & 0x1ff
    }

    /// Where the quoted transport header begins.
    #[inline(always)]
    const fn transport(self) -> usize {
        (self.0 >> 16) as usize & 0x1ff
    }

    /// Where the quote ends.
    #[inline(always)]
    const fn end(self) -> usize {
        (self.0 >> 32) as usize & 0xffff
    }
}

/// Reads the quoted packet's headers. Gives its source, destination, protocol and ports, or what
/// stands in their place, as the client's half of a flow, and where they are. None when it is cut
/// before its ports, or is no packet, or a later fragment of one.
#[inline(always)]
pub fn quote<F: Frame>(frame: &mut F, packet: &Packet) -> Option<(Tuple, Places)> {
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
    if transport + Places::LEAST > end {
        return None;
    }
    let ports = u32::from_ne_bytes(*frame.window::<4>(transport)?);
    let tuple = Tuple {
        client,
        address,
        ports,
        protocol,
        role: Role::Reply,
    };
    Some((tuple, Places::new(network, transport, end)))
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

/// The flow that an error is about, of which the quoted packet has this tuple: the connection of a
/// packet to a client, or the server's half of one to a masqueraded server.
#[inline(always)]
pub fn find<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    quoted: &Tuple,
) -> Result<Word, Reason> {
    // Errors about errors are never sent (RFC 1122, section 3.2.2): what ends here, ends silently.
    if quoted.client != packet.tuple.address || packet.ttl <= 1 {
        return Err(Reason::NoQuotedFlow);
    }
    // Of IPv6 packets no address may be a mapped one, of which it would be an IPv4 flow.
    if quoted.address.is_v4() != quoted.client.is_v4() {
        return Err(Reason::NoQuotedFlow);
    }
    let (seed, now) = (tables.flow_seed(), tables.now());
    let has_ports = matches!(
        quoted.protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP
    );
    if has_ports {
        let connection = quoted.reversed(Role::Connection);
        if let Some((_, word)) = tables.find_flow(&connection.key(seed), &connection, now) {
            let (flags, _) = tables.server(word.server()).ok_or(Reason::Inconsistent)?;
            return if flags & server_flags::AVAILABLE == 0 {
                Err(Reason::NoQuotedFlow)
            } else {
                Ok(word)
            };
        }
    }
    let features = tables.features();
    if has_ports
        && features & features::MASQUERADE != 0
        && tables.hint(Hint::Masqueraded, quoted.address)
    {
        let found = tables.find_flow(&quoted.key(seed), quoted, now);
        let (_, word) = found.ok_or(Reason::NoQuotedFlow)?;
        return Ok(word);
    }
    let is_tunnel = matches!(
        quoted.protocol,
        protocol::IPIP | protocol::IPV6 | protocol::GRE | protocol::UDP
    );
    if is_tunnel
        && features & features::TUNNEL != 0
        && tables.hint(Hint::Tunnelled, quoted.address)
        && is_too_big(frame, packet)
    {
        tables.punt(punt::Why::TunnelError, 0);
    }
    Err(Reason::NoQuotedFlow)
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

/// Gives the packet that a forwarded error of a masqueraded flow quotes the end that the other side
/// knows. The packet that carries it has it already. `word` is the flow's.
#[inline(always)]
pub fn translate<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    word: Word,
) -> Result<(), Reason> {
    let server = word.server();
    let (flags, _) = tables.server(server).ok_or(Reason::Inconsistent)?;
    if !word.has(Word::REPLY) && flags & server_flags::METHOD != server_flags::MASQUERADE {
        return Ok(());
    }
    let (quoted, places) = quote(frame, packet).ok_or(Reason::NoQuotedFlow)?;
    let (end, address, port) = if word.has(Word::REPLY) {
        let (key, now) = (quoted.key(tables.flow_seed()), tables.now());
        let found = tables.find_flow(&key, &quoted, now);
        let (entry, _) = found.ok_or(Reason::Inconsistent)?;
        let details = tables.flow_details(entry).ok_or(Reason::Inconsistent)?;
        let connection = Tuple {
            ports: details.ports,
            ..quoted
        };
        (End::Destination, details.address, connection.port())
    } else {
        let (address, port) = tables.server_end(server).ok_or(Reason::Inconsistent)?;
        let connection = quoted.reversed(Role::Connection);
        let port = forward::server_port(&connection, word, port);
        (End::Source, address, port)
    };
    set_end(frame, packet, &quoted, places, end, address, port)
}

/// Which end of the quoted packet is translated: the server's or the virtual one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sets one end of the quoted packet, and mends its checksums as far as they are quoted, and the
/// error's own.
#[inline(always)]
fn set_end<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    quoted: &Tuple,
    places: Places,
    end: End,
    address: Addr,
    port: Port,
) -> Result<(), Reason> {
    let (old, old_port, outer, at) = match end {
        End::Source => (quoted.client, quoted.client_port(), packet.tuple.address, 0),
        End::Destination => (quoted.address, quoted.port(), packet.tuple.client, 2),
    };
    let addresses = checksum::change(old.words(), address.words());
    let ports = checksum::change_of_word(old_port.word(), port.word());
    // What changes in the error's own checksum.
    let mut change = addresses + ports;

    let network = places.network();
    if address.is_v4() {
        let mut ip = Ipv4::at(frame, network).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source_word(address.v4_word()),
            End::Destination => ip.set_destination_word(address.v4_word()),
        }
        let before = ip.checksum_word();
        let after = checksum::mend(before, addresses);
        ip.set_checksum_word(after);
        change += checksum::change_of_word(before, after);
    } else {
        let mut ip = Ipv6::at(frame, network).ok_or(Reason::Malformed)?;
        match end {
            End::Source => ip.set_source(address),
            End::Destination => ip.set_destination(address),
        }
        // ICMPv6 covers the addresses of the packet that carries it (RFC 4443, section 2.3).
        change += checksum::change(outer.words(), address.words());
    }

    let transport = places.transport();
    let field = frame.window::<2>(transport + at);
    *field.ok_or(Reason::Malformed)? = port.word().to_ne_bytes();

    // SCTP's is over data that the quote does not have.
    let field = match quoted.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => 0,
    };
    if field != 0
        && transport + field + 2 <= places.end()
        && let Some(bytes) = frame.window::<2>(transport + field)
    {
        let before = u16::from_ne_bytes(*bytes);
        let udp = quoted.protocol == protocol::UDP;
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
