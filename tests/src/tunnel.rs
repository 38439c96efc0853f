//! Packets in tunnels, by hand: nothing here is lb's.

use crate::packet::{CLIENT_MAC, DIRECTOR_MAC};
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, UdpHeader};
use std::net::{IpAddr, SocketAddr};

/// Ethernet types.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// What stands between the outer and the inner header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shim {
    /// Nothing.
    Ipip,
    /// GRE, with or without checksum.
    Gre {
        /// Whether there is one.
        checksum: bool,
    },
    /// A GUE header behind a UDP header to this port.
    Gue {
        /// The UDP port.
        port: u16,
        /// The extension fields, a multiple of 4 bytes.
        extensions: Vec<u8>,
        /// Whether the UDP header has a checksum.
        checksum: bool,
    },
    /// The inner packet right behind a UDP header to this port.
    GueDirect {
        /// The UDP port.
        port: u16,
        /// Whether the UDP header has a checksum.
        checksum: bool,
    },
}

/// A frame with a packet in a tunnel, to be changed field by field.
#[derive(Clone, Debug)]
pub struct Tunnelled {
    /// The Ethernet source address.
    pub source_mac: [u8; 6],
    /// The Ethernet destination address.
    pub destination_mac: [u8; 6],
    /// VLAN tags, the outer one first: type and control information.
    pub tags: Vec<(u16, u16)>,
    /// The outer source address.
    pub from: IpAddr,
    /// The outer destination address, of the same family.
    pub to: IpAddr,
    /// The outer header's type of service, or traffic class.
    pub traffic_class: u8,
    /// The outer header's TTL, or hop limit.
    pub ttl: u8,
    /// Of an outer IPv6 header: 20 bits.
    pub flow_label: u32,
    /// Of an outer IPv4 header: whether it must not be fragmented.
    pub dont_fragment: bool,
    /// Of an outer IPv4 header.
    pub identification: u16,
    /// Of a UDP header.
    pub source_port: u16,
    /// Of an outer IPv6 header: bytes of a destination options header without its first, which
    /// says what follows.
    pub options: Option<Vec<u8>>,
    /// What stands between the headers.
    pub shim: Shim,
    /// The inner packet.
    pub inner: Vec<u8>,
    /// Bytes behind the packet.
    pub padding: usize,
}

/// `inner` in a tunnel between two addresses.
///
/// # Panics
///
/// When they are no addresses.
#[must_use]
pub fn tunnelled(from: &str, to: &str, shim: Shim, inner: &[u8]) -> Tunnelled {
    Tunnelled {
        source_mac: CLIENT_MAC,
        destination_mac: DIRECTOR_MAC,
        tags: Vec::new(),
        from: from.parse().expect("an address"),
        to: to.parse().expect("an address"),
        traffic_class: 0,
        ttl: 63,
        flow_label: 0x5_4321,
        dont_fragment: true,
        identification: 0,
        source_port: 50_000,
        options: None,
        shim,
        inner: inner.to_vec(),
        padding: 0,
    }
}

/// An IP packet with a TCP SYN or a datagram.
///
/// # Panics
///
/// When `from` and `to` are no addresses with ports, of one family.
#[must_use]
pub fn inner(from: &str, to: &str, is_tcp: bool, traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (
        from.parse().expect("an address and port"),
        to.parse().expect("an address and port"),
    );
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = Ipv4Header::new(0, 63, IpNumber::TCP, from.octets(), to.octets())
                .expect("an empty payload");
            ip.dscp = (traffic_class >> 2).try_into().expect("six bits");
            ip.ecn = (traffic_class & 3).try_into().expect("two bits");
            ip.identification = 0x4c42;
            PacketBuilder::ip(etherparse::IpHeaders::Ipv4(
                ip,
                etherparse::Ipv4Extensions::default(),
            ))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ip(etherparse::IpHeaders::Ipv6(
            ipv6(traffic_class, 0, IpNumber::TCP, from.octets(), to.octets()),
            etherparse::Ipv6Extensions::default(),
        )),
        _ => panic!("two families"),
    };
    let mut bytes = Vec::new();
    let written = if is_tcp {
        ip.tcp(from.port(), to.port(), 0x0102_0304, 64_000)
            .syn()
            .write(&mut bytes, payload)
    } else {
        ip.udp(from.port(), to.port()).write(&mut bytes, payload)
    };
    written.expect("the packet fits");
    bytes
}

fn ipv6(
    traffic_class: u8,
    len: usize,
    next_header: IpNumber,
    source: [u8; 16],
    destination: [u8; 16],
) -> Ipv6Header {
    Ipv6Header {
        traffic_class,
        flow_label: Ipv6FlowLabel::try_new(0x5_4321).expect("20 bits"),
        payload_length: u16::try_from(len).expect("the packet fits"),
        next_header,
        hop_limit: 63,
        source,
        destination,
    }
}

impl Tunnelled {
    /// The same with VLAN tags, the outer one first: type and control information.
    #[must_use]
    pub fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// The same with another outer type of service, or traffic class.
    #[must_use]
    pub fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// The same with bytes behind the packet, as Ethernet pads short frames.
    #[must_use]
    pub fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The Ethernet header and tags before a packet of this type.
    #[must_use]
    pub fn link(&self, ethertype: u16) -> Vec<u8> {
        let mut link = [self.destination_mac, self.source_mac].concat();
        for (kind, tci) in &self.tags {
            link.extend(kind.to_be_bytes());
            link.extend(tci.to_be_bytes());
        }
        link.extend(ethertype.to_be_bytes());
        link
    }

    /// The frame with which the inner packet would have come without a tunnel.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        let padding = vec![0xee; self.padding];
        [&self.link(self.inner_type())[..], &self.inner, &padding].concat()
    }

    /// The frame: lengths and checksums are right.
    ///
    /// # Panics
    ///
    /// When it is longer than an IP packet can be, or the outer addresses are of two families.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (ethertype, outer) = self.outer();
        let padding = vec![0xee; self.padding];
        [&self.link(ethertype)[..], &outer, &padding].concat()
    }

    fn inner_type(&self) -> u16 {
        if self.inner.first().is_some_and(|byte| byte >> 4 == 6) {
            IPV6
        } else {
            IPV4
        }
    }

    /// The protocol number that means the inner packet.
    fn inner_protocol(&self) -> u8 {
        if self.inner_type() == IPV6 { 41 } else { 4 }
    }

    /// The Ethernet type of the outer packet, and the packet.
    #[must_use]
    pub fn outer(&self) -> (u16, Vec<u8>) {
        let (protocol, payload) = self.payload();
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let len = u16::try_from(payload.len()).expect("the packet fits");
                let (from, to) = (from.octets(), to.octets());
                let mut ip = Ipv4Header::new(len, self.ttl, protocol.into(), from, to)
                    .expect("the packet fits");
                ip.dont_fragment = self.dont_fragment;
                ip.identification = self.identification;
                ip.dscp = (self.traffic_class >> 2).try_into().expect("six bits");
                ip.ecn = (self.traffic_class & 3).try_into().expect("two bits");
                ip.header_checksum = ip.calc_header_checksum();
                (IPV4, [&ip.to_bytes()[..], &payload].concat())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (protocol, payload) = match &self.options {
                    Some(options) => (60, [&[protocol], &options[..], &payload].concat()),
                    None => (protocol, payload),
                };
                let (from, to) = (from.octets(), to.octets());
                let len = payload.len();
                let mut ip = ipv6(self.traffic_class, len, protocol.into(), from, to);
                ip.hop_limit = self.ttl;
                ip.flow_label = Ipv6FlowLabel::try_new(self.flow_label).expect("20 bits");
                (IPV6, [&ip.to_bytes()[..], &payload].concat())
            }
            _ => panic!("two families"),
        }
    }

    /// What follows the outer header, and its protocol number.
    fn payload(&self) -> (u8, Vec<u8>) {
        match &self.shim {
            Shim::Ipip => (self.inner_protocol(), self.inner.clone()),
            Shim::Gre { checksum } => {
                let mut header = vec![u8::from(*checksum) << 7, 0];
                header.extend(self.inner_type().to_be_bytes());
                if *checksum {
                    header.extend([0; 4]);
                }
                let mut bytes = [header, self.inner.clone()].concat();
                if *checksum {
                    let sum = internet_checksum(&bytes);
                    bytes[4..6].copy_from_slice(&sum.to_be_bytes());
                }
                (47, bytes)
            }
            Shim::Gue {
                port,
                extensions,
                checksum,
            } => {
                let words = u8::try_from(extensions.len() / 4).expect("few extensions");
                let header = [words, self.inner_protocol(), 0, 0];
                let payload = [&header[..], extensions, &self.inner].concat();
                (17, self.udp(*port, *checksum, &payload))
            }
            Shim::GueDirect { port, checksum } => (17, self.udp(*port, *checksum, &self.inner)),
        }
    }

    fn udp(&self, port: u16, checksum: bool, payload: &[u8]) -> Vec<u8> {
        const FITS: &str = "the packet fits";
        let mut header =
            UdpHeader::without_ipv4_checksum(self.source_port, port, payload.len()).expect(FITS);
        if checksum {
            header.checksum = match (self.from, self.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => header
                    .calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
                    .expect(FITS),
                (IpAddr::V6(from), IpAddr::V6(to)) => header
                    .calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
                    .expect(FITS),
                _ => panic!("two families"),
            };
        }
        [&header.to_bytes()[..], payload].concat()
    }
}

/// The Internet checksum (RFC 1071).
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|chunk| match *chunk {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
