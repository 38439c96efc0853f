//! TCP segments in Ethernet frames, read and written anew.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// Bits of [`Segment::flags`].
pub(super) use lb_common::wire::tcp_flags as flags;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
/// Tags of IEEE 802.1Q and 802.1ad.
const VLANS: [u16; 2] = [0x8100, 0x88a8];
/// Most VLAN tags looked behind, and most IPv6 extension headers.
const TAGS: usize = 2;
const EXTENSIONS: usize = 8;

/// Why a frame is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It carries something else, or TCP in a way that is not looked at.
    Foreign,
    /// It carries a part of an IP packet.
    Fragment,
    /// It is shorter than it says, or its lengths contradict each other.
    Malformed,
    /// A checksum is wrong.
    Checksum,
}

/// Where in the frame the headers and the data begin, and where the data end.
#[derive(Clone, Copy, Debug)]
struct Layout {
    ip: usize,
    tcp: usize,
    data: usize,
    end: usize,
    v6: bool,
}

/// A TCP segment whose lengths and checksums are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    frame: &'a [u8],
    at: Layout,
}

impl<'a> Segment<'a> {
    /// Finds the segment in a frame: Ethernet, up to two VLAN tags, IPv4 with any options or IPv6
    /// with hop-by-hop and destination options, TCP. What lies behind the IP packet is padding.
    pub(super) fn parse(frame: &'a [u8]) -> Result<Self, Unfit> {
        let mut ip = ETHERNET;
        let mut ethertype = word16(frame, ip - 2).ok_or(Unfit::Malformed)?;
        for _ in 0..TAGS {
            if VLANS.contains(&ethertype) {
                ip += 4;
                ethertype = word16(frame, ip - 2).ok_or(Unfit::Malformed)?;
            }
        }
        let packet = &frame[ip..];
        let (header, len, v6) = match ethertype {
            0x0800 => ipv4(packet).map(|(header, len)| (header, len, false))?,
            0x86dd => ipv6(packet).map(|(header, len)| (header, len, true))?,
            _ => return Err(Unfit::Foreign),
        };
        let (tcp, end) = (ip + header, ip + len);
        let segment = frame[..end].get(tcp..).ok_or(Unfit::Malformed)?;
        let offset = usize::from(*segment.get(12).ok_or(Unfit::Malformed)? >> 4) * 4;
        if offset < TCP || offset > segment.len() {
            return Err(Unfit::Malformed);
        }
        let at = Layout {
            ip,
            tcp,
            data: tcp + offset,
            end,
            v6,
        };
        if at.checksum(frame) == 0 {
            Ok(Self { frame, at })
        } else {
            Err(Unfit::Checksum)
        }
    }

    /// Source address and port.
    pub(super) fn source(&self) -> SocketAddr {
        self.socket(0)
    }

    /// Destination address and port.
    pub(super) fn destination(&self) -> SocketAddr {
        self.socket(1)
    }

    fn socket(&self, which: usize) -> SocketAddr {
        let ip = &self.frame[self.at.ip..];
        let address = if self.at.v6 {
            IpAddr::from(Ipv6Addr::from(array::<16>(ip, 8 + which * 16)))
        } else {
            IpAddr::from(Ipv4Addr::from(array::<4>(ip, 12 + which * 4)))
        };
        let port = u16::from_be_bytes(array(self.frame, self.at.tcp + which * 2));
        SocketAddr::new(address, port)
    }

    /// The sequence number.
    pub(super) fn seq(&self) -> u32 {
        u32::from_be_bytes(array(self.frame, self.at.tcp + 4))
    }

    /// The acknowledgement number; means something with [`flags::ACK`].
    pub(super) fn ack(&self) -> u32 {
        u32::from_be_bytes(array(self.frame, self.at.tcp + 8))
    }

    /// The control bits.
    pub(super) fn flags(&self) -> u8 {
        self.frame[self.at.tcp + 13]
    }

    /// The data.
    pub(super) fn data(&self) -> &'a [u8] {
        &self.frame[self.at.data..self.at.end]
    }

    /// Length of the IP packet in bytes.
    pub(super) fn packet_len(&self) -> usize {
        self.at.end - self.at.ip
    }

    /// A copy to change.
    pub(super) fn draft(&self) -> Draft {
        Draft {
            bytes: self.frame[..self.at.end].to_vec(),
            at: self.at,
        }
    }
}

/// A segment that is being changed. Lengths and checksums are made right by [`Self::finish`].
#[derive(Clone, Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    at: Layout,
}

impl Draft {
    /// Sets the sequence number.
    pub(super) fn set_seq(&mut self, seq: u32) {
        self.put(self.at.tcp + 4, seq);
    }

    /// Sets the acknowledgement number.
    pub(super) fn set_ack(&mut self, ack: u32) {
        self.put(self.at.tcp + 8, ack);
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }

    /// Clears control bits.
    pub(super) fn clear(&mut self, flags: u8) {
        self.bytes[self.at.tcp + 13] &= !flags;
    }

    /// Sets the data.
    pub(super) fn set_data(&mut self, data: &[u8]) {
        self.bytes.truncate(self.at.data);
        self.bytes.extend_from_slice(data);
        self.at.end = self.bytes.len();
    }

    /// Changes both edges of every block of the SACK option (RFC 2018, section 3). What follows an
    /// option of impossible length is left alone.
    pub(super) fn change_sack(&mut self, mut change: impl FnMut(u32, u32) -> (u32, u32)) {
        const END: u8 = 0;
        const NOP: u8 = 1;
        const SACK: u8 = 5;
        let mut at = self.at.tcp + TCP;
        while at < self.at.data {
            let len = match self.bytes[at] {
                END => return,
                NOP => 1,
                kind => {
                    let options = &self.bytes[at..self.at.data];
                    let len = options.get(1).map_or(0, |len| usize::from(*len));
                    if len < 2 || len > options.len() {
                        return;
                    }
                    if kind == SACK && len % 8 == 2 {
                        for block in (at + 2..at + len).step_by(8) {
                            let left = u32::from_be_bytes(array(&self.bytes, block));
                            let right = u32::from_be_bytes(array(&self.bytes, block + 4));
                            let (left, right) = change(left, right);
                            self.put(block, left);
                            self.put(block + 4, right);
                        }
                    }
                    len
                }
            };
            at += len;
        }
    }

    /// The frame. Its IP packet must be no longer than 65,535 bytes, or than it was.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let at = self.at;
        if at.v6 {
            let len = (at.end - at.ip - IPV6) as u16;
            self.bytes[at.ip + 4..at.ip + 6].copy_from_slice(&len.to_be_bytes());
        } else {
            let len = (at.end - at.ip) as u16;
            self.bytes[at.ip + 2..at.ip + 4].copy_from_slice(&len.to_be_bytes());
            self.bytes[at.ip + 10..at.ip + 12].fill(0);
            let sum = !folded(sum(&self.bytes[at.ipv4_header(&self.bytes)]));
            self.bytes[at.ip + 10..at.ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        self.bytes[at.tcp + 16..at.tcp + 18].fill(0);
        let sum = at.checksum(&self.bytes);
        self.bytes[at.tcp + 16..at.tcp + 18].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

impl Layout {
    /// The checksum of a segment whose checksum field is zero; zero if the field is right
    /// (RFC 9293, section 3.1).
    fn checksum(&self, frame: &[u8]) -> u16 {
        let addresses = if self.v6 {
            self.ip + 8..self.ip + 40
        } else {
            self.ip + 12..self.ip + 20
        };
        let len = (self.end - self.tcp) as u64;
        let pseudo = sum(&frame[addresses]) + len + u64::from(lb_common::addr::protocol::TCP);
        !folded(pseudo + sum(&frame[self.tcp..self.end]))
    }

    fn ipv4_header(&self, frame: &[u8]) -> Range<usize> {
        self.ip..self.ip + usize::from(frame[self.ip] & 0x0f) * 4
    }
}

/// Lengths of an IPv4 packet that carries TCP: of its header, and of all of it.
fn ipv4(packet: &[u8]) -> Result<(usize, usize), Unfit> {
    if packet.len() < IPV4 || packet[0] >> 4 != 4 {
        return Err(Unfit::Malformed);
    }
    let header = usize::from(packet[0] & 0x0f) * 4;
    let len = usize::from(u16::from_be_bytes(array(packet, 2)));
    if header < IPV4 || len < header || len > packet.len() {
        return Err(Unfit::Malformed);
    }
    if folded(sum(&packet[..header])) != 0xffff {
        return Err(Unfit::Checksum);
    }
    if packet[9] != lb_common::addr::protocol::TCP {
        return Err(Unfit::Foreign);
    }
    if u16::from_be_bytes(array(packet, 6)) & 0x3fff != 0 {
        return Err(Unfit::Fragment);
    }
    Ok((header, len))
}

/// Lengths of an IPv6 packet that carries TCP: up to TCP, and of all of it.
fn ipv6(packet: &[u8]) -> Result<(usize, usize), Unfit> {
    const HOP_BY_HOP: u8 = 0;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    if packet.len() < IPV6 || packet[0] >> 4 != 6 {
        return Err(Unfit::Malformed);
    }
    let len = IPV6 + usize::from(u16::from_be_bytes(array(packet, 4)));
    let Some(packet) = packet.get(..len) else {
        return Err(Unfit::Malformed);
    };
    let (mut next, mut at) = (packet[6], IPV6);
    for _ in 0..EXTENSIONS {
        match next {
            lb_common::addr::protocol::TCP => return Ok((at, len)),
            FRAGMENT => return Err(Unfit::Fragment),
            HOP_BY_HOP | DESTINATION => {
                let header = packet.get(at..at + 2).ok_or(Unfit::Malformed)?;
                next = header[0];
                at += (usize::from(header[1]) + 1) * 8;
            }
            // Behind a routing header the address that the checksum covers is another one.
            _ => return Err(Unfit::Foreign),
        }
    }
    Err(Unfit::Foreign)
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*word))
}

/// The `N` bytes at a place that was found to have them.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// The sum of 16-bit words, the last byte filled up with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let pairs = pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)));
    let rest = rest.iter().map(|byte| u64::from(*byte) << 8);
    pairs.chain(rest).sum()
}

/// A sum with its carries added back in.
fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
