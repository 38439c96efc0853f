//! Links on the way to tunnelled servers that turned out to be smaller than was thought.
//!
//! A router that cannot send a packet of a tunnel on tells the director, and quotes the outer
//! header. The way to that server is shorter then for a while, and clients are told in turn, by the
//! program, when their packets do not fit (net/netfilter/ipvs/ip_vs_core.c: `ip_vs_in_icmp`).

use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::{Packet, kind, stages};
use lb_common::wire::{Frame as _, Icmp, Ipv4, Ipv6, Udp, icmp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A router says that a packet was too big. That it was one of a tunnel's is for the reader to
/// judge: anybody can send such an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TooBig {
    /// Where the packet was going.
    pub(crate) server: IpAddr,
    /// Where it came from.
    pub(crate) source: IpAddr,
    /// The protocol in it: of IP in IP, 4 or 41; GRE; UDP.
    pub(crate) protocol: u8,
    /// For UDP, the destination port.
    pub(crate) port: Option<Port>,
    /// The longest packet that the next link takes, in bytes.
    pub(crate) mtu: u32,
}

impl TooBig {
    /// Reads an error, a frame with an ICMP error that the program took for one of a tunnel's.
    /// None when it is another error, or says what cannot be.
    pub(crate) fn read(frame: &mut [u8]) -> Option<Self> {
        let packet: Packet = stages::parse(frame).ok()?;
        if packet.kind != kind::ERROR {
            return None;
        }
        let at = packet.transport();
        let error = Icmp::at(frame, at)?;
        let (kind, code) = (error.kind(), error.code());
        let rest = u32::from_be_bytes(*frame.window::<4>(at + 4)?);
        let quote = at + Icmp::LEN;
        if packet.tuple.client.is_v4() {
            let said = rest & 0xffff;
            (kind == icmp::UNREACHABLE && code == icmp::FRAGMENTATION_NEEDED)
                .then(|| Self::quoted_v4(frame, quote, said))?
        } else {
            (kind == icmp::TOO_BIG_V6).then(|| Self::quoted_v6(frame, quote, rest))?
        }
    }

    fn quoted_v4(frame: &mut [u8], at: usize, said: u32) -> Option<Self> {
        /// The kernel's `ip_rt_min_pmtu`: less is an attack and not a link.
        const LEAST: u32 = 552;

        let ip = Ipv4::at(frame, at)?;
        if ip.version() != 4 || ip.fragment_offset() != 0 {
            return None;
        }
        let length = u32::from(ip.total_length());
        let mtu = if said == 0 { plateau(length) } else { said };
        let (source, server) = (ip.source_word(), ip.destination_word());
        let (protocol, header) = (ip.protocol(), ip.header_len());
        (mtu < length).then_some(())?;
        Some(Self {
            server: Addr::from_v4_word(server).into(),
            source: Addr::from_v4_word(source).into(),
            protocol,
            port: port(frame, protocol, at + header)?,
            mtu: mtu.max(LEAST),
        })
    }

    fn quoted_v6(frame: &mut [u8], at: usize, said: u32) -> Option<Self> {
        /// What every IPv6 link takes (RFC 8200, section 5).
        const LEAST: u32 = 1280;

        let ip = Ipv6::at(frame, at)?;
        if ip.version() != 6 {
            return None;
        }
        let length = u32::from(ip.payload_length()) + Ipv6::LEN as u32;
        let (source, server, protocol) = (ip.source(), ip.destination(), ip.next_header());
        (said < length).then_some(())?;
        Some(Self {
            server: server.into(),
            source: source.into(),
            protocol,
            port: port(frame, protocol, at + Ipv6::LEN)?,
            mtu: said.max(LEAST),
        })
    }
}

/// The destination port of UDP, none of others; no answer when it is cut off.
fn port(frame: &mut [u8], protocol: u8, at: usize) -> Option<Option<Port>> {
    if protocol == protocol::UDP {
        Some(Some(Udp::at(frame, at)?.destination()))
    } else {
        Some(None)
    }
}

/// The next smaller MTU that links commonly have, for routers that say none (RFC 1191, section 7).
fn plateau(length: u32) -> u32 {
    const PLATEAUS: [u32; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    let smaller = PLATEAUS.into_iter().find(|plateau| *plateau < length);
    smaller.unwrap_or(68)
}

/// Which errors were heard lately: the same again is no news, and neither are too many.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    lately: HashMap<TooBig, Instant>,
}

impl Heard {
    /// How long an error is the same one.
    const SAME: Duration = Duration::from_secs(1);
    /// Most different ones in that time.
    const MOST: usize = 256;

    /// Whether an error is to be acted upon.
    pub(crate) fn is_news(&mut self, error: TooBig, now: Instant) -> bool {
        let fresh = |then: &Instant| now.saturating_duration_since(*then) < Self::SAME;
        if self.lately.get(&error).is_some_and(fresh) {
            return false;
        }
        if self.lately.len() >= Self::MOST {
            self.lately.retain(|_, then| fresh(then));
        }
        if self.lately.len() >= Self::MOST {
            return false;
        }
        self.lately.insert(error, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: &[u8]) -> [u8; 2] {
        let sum: u32 = bytes
            .chunks(2)
            .map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        (!(((sum & 0xffff) + (sum >> 16)) as u16)).to_be_bytes()
    }

    fn ipv4(protocol: u8, length: u16, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip.extend(from.into_iter().chain(to));
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum);
        ip
    }

    /// An error about a packet from 10.0.0.2 to 10.0.0.11.
    fn error(kind: u8, code: u8, mtu: u16, protocol: u8, length: u16) -> Vec<u8> {
        let mut quote = ipv4(protocol, length, [10, 0, 0, 2], [10, 0, 0, 11]);
        quote.extend([0x12, 0x34, 0x17, 0xc0, 0, 100, 0, 0]);
        let mut icmp = vec![kind, code, 0, 0, 0, 0];
        icmp.extend(mtu.to_be_bytes());
        icmp.extend(quote);
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum);
        let mut frame = vec![2; 12];
        frame.extend([0x08, 0]);
        frame.extend(ipv4(
            1,
            20 + icmp.len() as u16,
            [192, 0, 2, 9],
            [10, 0, 0, 2],
        ));
        frame.extend(icmp);
        frame
    }

    fn mtu(mut frame: Vec<u8>) -> Option<u32> {
        TooBig::read(&mut frame).map(|error| error.mtu)
    }

    #[test]
    fn what_a_router_says_is_read() {
        let read = TooBig::read(&mut error(3, 4, 1400, 4, 1500)).expect("an error");
        assert_eq!(
            read,
            TooBig {
                server: [10, 0, 0, 11].into(),
                source: [10, 0, 0, 2].into(),
                protocol: 4,
                port: None,
                mtu: 1400,
            }
        );
        let gue = TooBig::read(&mut error(3, 4, 1400, 17, 1500)).expect("an error");
        assert_eq!(gue.port, Some(Port::new(6080)));
    }

    #[test]
    fn what_cannot_be_is_no_error() {
        assert_eq!(mtu(error(3, 4, 1500, 4, 1500)), None);
        assert_eq!(mtu(error(3, 3, 1400, 4, 1500)), None);
        assert_eq!(mtu(error(11, 0, 1400, 4, 1500)), None);
        let cut = error(3, 4, 1400, 17, 1500);
        for len in 0..cut.len() {
            assert_eq!(mtu(cut[..len].to_vec()), None, "{len} bytes");
        }
    }

    #[test]
    fn no_link_is_as_small_as_some_say() {
        assert_eq!(mtu(error(3, 4, 68, 4, 1500)), Some(552));
        // Routers of before RFC 1191 say nothing.
        assert_eq!(mtu(error(3, 4, 0, 4, 1500)), Some(1492));
        assert_eq!(mtu(error(3, 4, 0, 4, 1492)), Some(1006));
        assert_eq!(mtu(error(3, 4, 0, 4, 100)), Some(552));
        assert_eq!(mtu(error(3, 4, 0, 4, 60)), None);
    }

    #[test]
    fn ipv6_says_it_in_four_bytes() {
        let address = |last: u8| {
            let mut octets = [0; 16];
            (octets[0], octets[15]) = (0xfd, last);
            octets
        };
        let header = |next: u8, length: u16, from: u8, to: u8| {
            let mut ip = vec![0x60, 0, 0, 0, 0, 0, next, 64];
            ip[4..6].copy_from_slice(&length.to_be_bytes());
            ip.extend(address(from).into_iter().chain(address(to)));
            ip
        };
        let frame = |mtu: u32| {
            let mut frame = vec![2; 12];
            frame.extend([0x86, 0xdd]);
            frame.extend(header(58, 56, 9, 2));
            frame.extend([2, 0, 0, 0]);
            frame.extend(mtu.to_be_bytes());
            frame.extend(header(41, 1460, 2, 11));
            frame.extend([0; 8]);
            frame
        };
        let read = TooBig::read(&mut frame(1400)).expect("an error");
        assert_eq!((read.mtu, read.protocol), (1400, 41));
        assert_eq!(read.server, IpAddr::from(address(11)));
        assert_eq!(mtu(frame(600)), Some(1280));
        assert_eq!(mtu(frame(1500)), None);
    }

    #[test]
    fn the_same_error_is_no_news_for_a_second() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let error = TooBig::read(&mut error(3, 4, 1400, 4, 1500)).expect("an error");
        assert!(heard.is_news(error, start));
        assert!(!heard.is_news(error, start + Duration::from_millis(999)));
        assert!(heard.is_news(TooBig { mtu: 1300, ..error }, start));
        assert!(heard.is_news(error, start + Heard::SAME));
        for mtu in 0..1000 {
            heard.is_news(TooBig { mtu, ..error }, start + Heard::SAME);
        }
        assert_eq!(heard.lately.len(), Heard::MOST);
        assert!(heard.is_news(error, start + 2 * Heard::SAME));
        assert!(heard.lately.len() < Heard::MOST);
    }
}
