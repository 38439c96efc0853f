//! Frames of both families, with VLAN tags, extension headers, and every transport.
//!
//! What lb should have made of a frame is the frame that the same builder makes for it: every length
//! and checksum is worked out anew by etherparse, and nothing here is lb's.

use crate::packet::{CLIENT_MAC, DIRECTOR_MAC};
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use std::net::{IpAddr, SocketAddr};

const FITS: &str = "the packet fits";

/// A valid frame, to be changed field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The Ethernet destination address.
    pub destination_mac: [u8; 6],
    /// The Ethernet source address.
    pub source_mac: [u8; 6],
    /// VLAN tags, the outer one first: type and control information.
    pub tags: Vec<(u16, u16)>,
    /// Source address and port.
    pub from: SocketAddr,
    /// Destination address and port, of the same family.
    pub to: SocketAddr,
    /// Type of service, or traffic class.
    pub traffic_class: u8,
    /// TTL, or hop limit.
    pub ttl: u8,
    /// For IPv6: 20 bits.
    pub flow_label: u32,
    /// For IPv4, whether it must not be fragmented.
    pub dont_fragment: bool,
    /// For IPv4.
    pub identification: u16,
    /// For IPv4, options: whole words.
    pub options: Vec<u8>,
    /// For IPv6, extension headers: number and bytes behind the first, which says what follows.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The transport header.
    pub transport: Transport,
    /// What the packet carries.
    pub payload: Vec<u8>,
    /// Bytes behind the packet.
    pub padding: usize,
}

/// A transport header, without ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with these control bits.
    Tcp {
        /// As they lie.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// Whole words.
        options: Vec<u8>,
    },
    /// UDP, with or without checksum.
    Udp {
        /// Whether there is one.
        checksum: bool,
    },
    /// SCTP, with a first chunk of this type.
    Sctp {
        /// The chunk's type.
        chunk: u8,
    },
}

fn frame(from: &str, to: &str, transport: Transport) -> Frame {
    let end = |text: &str| -> SocketAddr { text.parse().expect("an address and port") };
    Frame {
        destination_mac: DIRECTOR_MAC,
        source_mac: CLIENT_MAC,
        tags: Vec::new(),
        from: end(from),
        to: end(to),
        traffic_class: 0,
        ttl: 64,
        flow_label: 0x5_4321,
        dont_fragment: true,
        identification: 0x4c42,
        options: Vec::new(),
        extensions: Vec::new(),
        transport,
        payload: b"as much as a letter".to_vec(),
        padding: 0,
    }
}

/// A TCP segment with these control bits.
///
/// # Panics
///
/// When either end is no address and port.
#[must_use]
pub fn tcp(from: &str, to: &str, flags: u8) -> Frame {
    let transport = Transport::Tcp {
        flags,
        sequence: 0x0102_0304,
        acknowledgement: 0x0506_0708,
        options: Vec::new(),
    };
    frame(from, to, transport)
}

/// A datagram.
///
/// # Panics
///
/// When either end is no address and port.
#[must_use]
pub fn udp(from: &str, to: &str) -> Frame {
    frame(from, to, Transport::Udp { checksum: true })
}

/// An SCTP packet whose first chunk is of this type.
///
/// # Panics
///
/// When either end is no address and port.
#[must_use]
pub fn sctp(from: &str, to: &str, chunk: u8) -> Frame {
    frame(from, to, Transport::Sctp { chunk })
}

/// SCTP's INIT chunk.
pub const INIT: u8 = 1;
/// SCTP's DATA chunk.
pub const DATA: u8 = 0;

impl Frame {
    /// The same with some fields changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same with VLAN tags, the outer one first: type and control information.
    #[must_use]
    pub fn tags(self, tags: &[(u16, u16)]) -> Self {
        let tags = tags.to_vec();
        self.with(|frame| frame.tags = tags)
    }

    /// The same with data.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        self.with(|frame| frame.payload = payload)
    }

    /// The same with another TTL or hop limit.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        self.with(|frame| frame.ttl = ttl)
    }

    /// The same a hop further on, between these Ethernet addresses.
    #[must_use]
    pub fn sent(self, destination_mac: [u8; 6], source_mac: [u8; 6]) -> Self {
        self.with(|frame| {
            frame.ttl -= 1;
            frame.destination_mac = destination_mac;
            frame.source_mac = source_mac;
        })
    }

    /// The same to another end.
    ///
    /// # Panics
    ///
    /// When it is no address and port.
    #[must_use]
    pub fn to(self, to: &str) -> Self {
        let to = to.parse().expect("an address and port");
        self.with(|frame| frame.to = to)
    }

    /// The same from another end.
    ///
    /// # Panics
    ///
    /// When it is no address and port.
    #[must_use]
    pub fn from(self, from: &str) -> Self {
        let from = from.parse().expect("an address and port");
        self.with(|frame| frame.from = from)
    }

    /// The frame: lengths and checksums are right.
    ///
    /// # Panics
    ///
    /// When it is longer than an IP packet can be, or its ends are of two families.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let kind = if self.from.is_ipv4() { 0x0800 } else { 0x86dd };
        let padding = vec![0xee; self.padding];
        [&self.link(kind)[..], &self.packet(), &padding].concat()
    }

    /// The Ethernet header and tags, before something of this type.
    #[must_use]
    pub fn link(&self, kind: u16) -> Vec<u8> {
        let mut link = [self.destination_mac, self.source_mac].concat();
        for (kind, tci) in &self.tags {
            link.extend(kind.to_be_bytes());
            link.extend(tci.to_be_bytes());
        }
        link.extend(kind.to_be_bytes());
        link
    }

    /// The packet in the frame.
    ///
    /// # Panics
    ///
    /// As [`Frame::bytes`].
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let segment = self.segment();
        network(self, self.protocol(), &segment)
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
            Transport::Sctp { .. } => 132,
        }
    }

    /// The transport header and what it carries.
    fn segment(&self) -> Vec<u8> {
        let (from, to) = (self.from.port(), self.to.port());
        let payload = &self.payload;
        match &self.transport {
            Transport::Tcp {
                flags,
                sequence,
                acknowledgement,
                options,
            } => {
                let mut tcp = TcpHeader::new(from, to, *sequence, 64_000);
                tcp.acknowledgment_number = *acknowledgement;
                tcp.set_options_raw(options).expect("whole words");
                tcp.fin = flags & 1 != 0;
                tcp.syn = flags & 2 != 0;
                tcp.rst = flags & 4 != 0;
                tcp.psh = flags & 8 != 0;
                tcp.ack = flags & 16 != 0;
                tcp.urg = flags & 32 != 0;
                tcp.ece = flags & 64 != 0;
                tcp.cwr = flags & 128 != 0;
                tcp.checksum = match self.addresses() {
                    Addresses::V4(from, to) => tcp.calc_checksum_ipv4_raw(from, to, payload),
                    Addresses::V6(from, to) => tcp.calc_checksum_ipv6_raw(from, to, payload),
                }
                .expect(FITS);
                [&tcp.to_bytes()[..], payload].concat()
            }
            Transport::Udp { checksum } => {
                let len = payload.len();
                let mut udp = UdpHeader::without_ipv4_checksum(from, to, len).expect(FITS);
                if *checksum {
                    udp.checksum = match self.addresses() {
                        Addresses::V4(from, to) => udp.calc_checksum_ipv4_raw(from, to, payload),
                        Addresses::V6(from, to) => udp.calc_checksum_ipv6_raw(from, to, payload),
                    }
                    .expect(FITS);
                }
                [&udp.to_bytes()[..], payload].concat()
            }
            Transport::Sctp { chunk } => {
                let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
                bytes.extend([0x5c, 0x79, 0x0a, 0x6c, 0, 0, 0, 0]);
                let len = u16::try_from(4 + payload.len()).expect(FITS);
                bytes.extend([*chunk, 0]);
                bytes.extend(len.to_be_bytes());
                bytes.extend(payload);
                let sum = crc32c(&bytes).to_le_bytes();
                bytes[8..12].copy_from_slice(&sum);
                bytes
            }
        }
    }

    /// Both addresses.
    ///
    /// # Panics
    ///
    /// When they are of two families.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Addresses::V4(from.octets(), to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => Addresses::V6(from.octets(), to.octets()),
            _ => panic!("two families"),
        }
    }
}

/// Source and destination address.
#[derive(Clone, Copy, Debug)]
pub enum Addresses {
    /// Of IPv4.
    V4([u8; 4], [u8; 4]),
    /// Of IPv6.
    V6([u8; 16], [u8; 16]),
}

/// A packet with the network header of `frame` around `payload`.
///
/// # Panics
///
/// When the packet is longer than one can be.
#[must_use]
pub fn network(frame: &Frame, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match frame.addresses() {
        Addresses::V4(from, to) => {
            let mut ip = Ipv4Header::new(0, frame.ttl, IpNumber(protocol), from, to).expect(FITS);
            ip.options = frame.options[..].try_into().expect("at most 10 words");
            ip.set_payload_len(payload.len()).expect(FITS);
            ip.dscp = (frame.traffic_class >> 2).try_into().expect("six bits");
            ip.ecn = (frame.traffic_class & 3).try_into().expect("two bits");
            ip.dont_fragment = frame.dont_fragment;
            ip.identification = frame.identification;
            ip.header_checksum = ip.calc_header_checksum();
            [&ip.to_bytes()[..], payload].concat()
        }
        Addresses::V6(source, destination) => {
            let mut next = protocol;
            let mut bytes = payload.to_vec();
            for (number, body) in frame.extensions.iter().rev() {
                bytes = [&[next], &body[..], &bytes].concat();
                next = *number;
            }
            let ip = Ipv6Header {
                traffic_class: frame.traffic_class,
                flow_label: Ipv6FlowLabel::try_new(frame.flow_label).expect("20 bits"),
                payload_length: u16::try_from(bytes.len()).expect(FITS),
                next_header: IpNumber(next),
                hop_limit: frame.ttl,
                source,
                destination,
            };
            [&ip.to_bytes()[..], &bytes].concat()
        }
    }
}

/// CRC32c (RFC 9260, appendix A), a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = register & 1 != 0;
            register >>= 1;
            if carry {
                register ^= 0x82f6_3b78;
            }
        }
    }
    !register
}
