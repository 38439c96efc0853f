//! Bytes to a [`Packet`].

use crate::addr::{Addr, protocol};
use crate::flow::Tuple;
use crate::reason::Reason;
use crate::wire::tcp_flags::{RST, SYN};
use crate::wire::{Ethernet, Frame, Ipv4, MacAddr, Tcp, Udp, ethertype};

/// What parsing learned of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The Ethernet address it was sent to.
    pub destination: MacAddr,
    /// Addresses, ports, protocol.
    pub tuple: Tuple,
    /// Its length in bytes from the network header on.
    pub bytes: u16,
    /// Time to live.
    pub ttl: u8,
    /// TCP's control bits; 0 for other protocols.
    pub flags: u8,
}

impl Packet {
    /// Whether this is a TCP segment that opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & (SYN | RST) == SYN
    }

    /// Whether the packet may begin a flow: a SYN that is no reset, or any datagram
    /// (net/netfilter/ipvs/ip_vs_proto_tcp.c: `tcp_conn_schedule`).
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.tuple.protocol != protocol::TCP || self.is_syn()
    }
}

/// Reads a packet's headers, all lengths checked against the frame's.
#[inline(always)]
pub(super) fn parse<F: Frame + ?Sized>(frame: &mut F) -> Result<Packet, Reason> {
    let ethernet = Ethernet::at(frame, 0).ok_or(Reason::Malformed)?;
    let destination = ethernet.destination();
    match ethernet.ethertype() {
        ethertype::IPV4 => ipv4(frame, destination),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &mut F, destination: MacAddr) -> Result<Packet, Reason> {
    let room = frame.len() - Ethernet::LEN.min(frame.len());
    let ip = Ipv4::at(frame, Ethernet::LEN).ok_or(Reason::Malformed)?;
    let header_len = ip.header_len();
    let bytes = ip.total_length();
    if ip.version() != 4
        || header_len < Ipv4::LEN
        || header_len > usize::from(bytes)
        || usize::from(bytes) > room
    {
        return Err(Reason::Malformed);
    }
    if ip.is_fragment() {
        return Err(Reason::Fragment);
    }
    let client = Addr::from_v4_word(ip.source_word());
    let address = Addr::from_v4_word(ip.destination_word());
    let (protocol, ttl) = (ip.protocol(), ip.ttl());
    let (ports, flags) = transport(frame, protocol, header_len, usize::from(bytes) - header_len)?;
    Ok(Packet {
        destination,
        tuple: Tuple {
            client,
            address,
            ports,
            protocol,
        },
        bytes,
        ttl,
        flags,
    })
}

/// Ports and TCP flags of the transport header behind an IPv4 header of `header_len` bytes, in a
/// packet that has `len` bytes from the transport header on.
#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &mut F,
    protocol: u8,
    header_len: usize,
    len: usize,
) -> Result<(u32, u8), Reason> {
    let offset = Ethernet::LEN + header_len;
    match protocol {
        protocol::TCP => {
            let tcp = Tcp::at(frame, offset).ok_or(Reason::Malformed)?;
            if tcp.header_len() < Tcp::LEN || tcp.header_len() > len {
                return Err(Reason::Malformed);
            }
            Ok((tcp.ports_word(), tcp.flags()))
        }
        protocol::UDP => {
            let udp = Udp::at(frame, offset).ok_or(Reason::Malformed)?;
            if usize::from(udp.length()) < Udp::LEN || usize::from(udp.length()) > len {
                return Err(Reason::Malformed);
            }
            Ok((udp.ports_word(), 0))
        }
        _ => Err(Reason::Protocol),
    }
}
