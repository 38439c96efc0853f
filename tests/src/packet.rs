//! Frames by builder.

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader,
    UdpHeader,
};
use std::net::SocketAddrV4;

/// The client's Ethernet address, or that of the router before it.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The Ethernet address of the director's interface.
pub const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// A valid frame with TCP or UDP over IPv4, to be changed field by field.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The Ethernet header.
    pub ethernet: Ethernet2Header,
    /// The IPv4 header; its length and checksum are worked out by [`Packet::bytes`].
    pub ip: Ipv4Header,
    /// The TCP header; none for UDP.
    pub tcp: Option<TcpHeader>,
    client: SocketAddrV4,
    to: SocketAddrV4,
    payload: Vec<u8>,
    padding: usize,
}

/// TCP control bits.
pub mod flags {
    pub use lb_common::wire::tcp_flags::{ACK, FIN, RST, SYN};
    /// Hand the data on.
    pub const PSH: u8 = 0x08;
    /// None of them.
    pub const NULL: u8 = 0;
}

/// A TCP segment from `client` to `to` with these control bits.
///
/// # Panics
///
/// When either is no address and port.
#[must_use]
pub fn tcp(client: &str, to: &str, flags: u8) -> Packet {
    let bit = |flag| flags & flag != 0;
    let mut packet = Packet::new(client, to, IpNumber::TCP);
    packet.tcp = Some(TcpHeader {
        source_port: packet.client.port(),
        destination_port: packet.to.port(),
        sequence_number: 0x0102_0304,
        window_size: 64_000,
        fin: bit(flags::FIN),
        syn: bit(flags::SYN),
        rst: bit(flags::RST),
        psh: bit(flags::PSH),
        ack: bit(flags::ACK),
        ..TcpHeader::default()
    });
    packet
}

/// A UDP datagram from `client` to `to`.
///
/// # Panics
///
/// When either is no address and port.
#[must_use]
pub fn udp(client: &str, to: &str) -> Packet {
    Packet::new(client, to, IpNumber::UDP).payload(b"datagram")
}

impl Packet {
    fn new(client: &str, to: &str, protocol: IpNumber) -> Self {
        let address = |text: &str| -> SocketAddrV4 { text.parse().expect("an address and port") };
        let (client, to) = (address(client), address(to));
        Self {
            ethernet: Ethernet2Header {
                source: CLIENT_MAC,
                destination: DIRECTOR_MAC,
                ether_type: EtherType::IPV4,
            },
            ip: Ipv4Header {
                time_to_live: 64,
                protocol,
                source: client.ip().octets(),
                destination: to.ip().octets(),
                identification: 0x4c42,
                dont_fragment: true,
                ..Ipv4Header::default()
            },
            tcp: None,
            client,
            to,
            payload: Vec::new(),
            padding: 0,
        }
    }

    /// The same with data.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The same with another time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.time_to_live = ttl;
        self
    }

    /// The same with so many words of IP options, at most 10: a router alert (RFC 2113) and
    /// then no-operations.
    ///
    /// # Panics
    ///
    /// When it is more than 10.
    #[must_use]
    pub fn options(mut self, words: usize) -> Self {
        let mut options = vec![1; words * 4];
        if let Some(alert) = options.first_chunk_mut::<4>() {
            *alert = [0x94, 4, 0, 0];
        }
        self.ip.options = Ipv4Options::try_from(&options[..]).expect("at most 10 words");
        self
    }

    /// The same as a fragment at `offset`, in units of 8 bytes; `more` when others follow.
    ///
    /// # Panics
    ///
    /// When the offset has more than 13 bits.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.ip.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
        self.ip.more_fragments = more;
        self.ip.dont_fragment = false;
        self
    }

    /// The same to another Ethernet address.
    #[must_use]
    pub fn to_mac(mut self, mac: [u8; 6]) -> Self {
        self.ethernet.destination = mac;
        self
    }

    /// The same with bytes behind the IP packet, as Ethernet pads short frames.
    #[must_use]
    pub fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The frame: lengths and checksums are right.
    ///
    /// # Panics
    ///
    /// When it is longer than an IP packet can be.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        const FITS: &str = "the packet fits";
        let transport = match self.tcp.clone() {
            Some(mut tcp) => {
                tcp.checksum = tcp.calc_checksum_ipv4(&self.ip, &self.payload).expect(FITS);
                tcp.to_bytes().to_vec()
            }
            None => {
                let (from, to) = (self.client.port(), self.to.port());
                let udp = UdpHeader::with_ipv4_checksum(from, to, &self.ip, &self.payload);
                udp.expect(FITS).to_bytes().to_vec()
            }
        };
        let mut ip = self.ip.clone();
        ip.set_payload_len(transport.len() + self.payload.len())
            .expect(FITS);
        ip.header_checksum = ip.calc_header_checksum();
        let padding = vec![0xee; self.padding];
        [
            &self.ethernet.to_bytes()[..],
            &ip.to_bytes(),
            &transport,
            &self.payload,
            &padding,
        ]
        .concat()
    }
}
