//! Frames for the tests, built and judged by etherparse.

use etherparse::{
    EtherType, Ethernet2Header, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options,
    Ipv6Extensions, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TcpHeaderSlice,
    TcpOptionElement, TransportSlice,
};
use std::net::SocketAddr;

/// A TCP segment between two ends, to be changed field by field.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Its ports and checksum do not count.
    pub(super) tcp: TcpHeader,
    pub(super) data: Vec<u8>,
    /// VLAN identifiers, the outermost first.
    pub(super) vlans: Vec<u16>,
    /// 32-bit words of IPv4 options.
    pub(super) ip_options: usize,
    /// IPv6 extension headers of 8 bytes each, by their numbers.
    pub(super) extensions: Vec<u8>,
    /// Bytes behind the IP packet.
    pub(super) padding: usize,
}

impl Frame {
    /// A segment with ACK.
    pub(super) fn new(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, data: &[u8]) -> Self {
        let tcp = TcpHeader {
            sequence_number: seq,
            acknowledgment_number: ack,
            ack: true,
            window_size: 64_000,
            ..TcpHeader::default()
        };
        Self {
            from,
            to,
            tcp,
            data: data.to_vec(),
            vlans: Vec::new(),
            ip_options: 0,
            extensions: Vec::new(),
            padding: 0,
        }
    }

    /// The same with these TCP options.
    pub(super) fn options(mut self, options: &[TcpOptionElement]) -> Self {
        self.tcp.set_options(options).unwrap();
        self
    }

    /// The frame.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut tcp = self.tcp.clone();
        tcp.source_port = self.from.port();
        tcp.destination_port = self.to.port();
        let ethernet = Ethernet2Header {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
            ether_type: EtherType::IPV4,
        };
        let builder = PacketBuilder::ethernet2(ethernet.source, ethernet.destination);
        let builder = builder.ip(self.ip()).tcp_header(tcp);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &self.data).unwrap();
        self.extend(&mut bytes);
        for (n, vlan) in self.vlans.iter().enumerate().rev() {
            // The outer of two tags is a service tag.
            let tag = if n + 1 < self.vlans.len() {
                [0x88, 0xa8]
            } else {
                [0x81, 0x00]
            };
            let [high, low] = vlan.to_be_bytes();
            bytes.splice(12..12, [tag[0], tag[1], high, low]);
        }
        bytes.resize(bytes.len() + self.padding, 0xee);
        bytes
    }

    fn ip(&self) -> IpHeaders {
        match (self.from, self.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let header = Ipv4Header {
                    source: from.ip().octets(),
                    destination: to.ip().octets(),
                    protocol: IpNumber::TCP,
                    time_to_live: 64,
                    options: Ipv4Options::try_from(&vec![1; self.ip_options * 4][..]).unwrap(),
                    ..Ipv4Header::default()
                };
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let header = Ipv6Header {
                    source: from.ip().octets(),
                    destination: to.ip().octets(),
                    hop_limit: 64,
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, Ipv6Extensions::default())
            }
            ends => panic!("two families: {ends:?}"),
        }
    }

    /// Puts extension headers in, which TCP's checksum does not cover.
    fn extend(&self, bytes: &mut Vec<u8>) {
        const NEXT: usize = 14 + 6;
        for number in self.extensions.iter().rev() {
            let next = std::mem::replace(&mut bytes[NEXT], *number);
            bytes.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
            let len = (bytes.len() - 54) as u16;
            bytes[18..20].copy_from_slice(&len.to_be_bytes());
        }
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) fin: bool,
    pub(super) sack: Vec<(u32, u32)>,
    pub(super) data: Vec<u8>,
}

/// Reads a frame that must be right in lengths and checksums.
pub(super) fn read(frame: &[u8]) -> Said {
    let packet = SlicedPacket::from_ethernet(frame).expect("a valid frame");
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("no TCP")
    };
    let sum = match packet.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let right = header.calc_header_checksum();
            assert_eq!(header.header_checksum, right, "checksum of IPv4");
            tcp.calc_checksum_ipv4(header.source, header.destination)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source_addr(), header.destination_addr());
            tcp.calc_checksum_ipv6(source.octets(), destination.octets())
        }
        NetSlice::Arp(_) => panic!("no IP"),
    };
    assert_eq!(tcp.checksum(), sum.unwrap(), "checksum of TCP");
    Said {
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        fin: tcp.fin(),
        sack: sack(tcp.header_slice()),
        data: tcp.payload().to_vec(),
    }
}

fn sack(header: &[u8]) -> Vec<(u32, u32)> {
    let header = TcpHeaderSlice::from_slice(header).unwrap();
    let mut blocks = Vec::new();
    for option in header.options_iterator().flatten() {
        if let TcpOptionElement::SelectiveAcknowledgement(first, rest) = option {
            blocks.push(first);
            blocks.extend(rest.into_iter().flatten());
        }
    }
    blocks
}
