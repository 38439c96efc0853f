//! The packets that a measurement feeds.

use super::layout::{Feed, Order, TEMPLATE};
use super::ruler::Flows;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first byte of every fed packet's destination MAC address. A program that forwards a
/// packet must address it to somebody whose MAC begins with another byte, so that the feeder
/// can tell.
pub(super) const DIRECTOR: u8 = 0x02;

/// The shortest Ethernet frame, without its check sequence.
const SHORTEST: usize = 60;

/// TCP flags, for [`Transport::Tcp`].
pub(super) const SYN: u8 = 0x02;
/// TCP flags, likewise.
pub(super) const ACK: u8 = 0x10;

/// What is fed: one packet, of as many flows as a measurement wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// The protocol above IP.
    pub(super) transport: Transport,
    /// The first service, or the server that replies.
    pub(super) peer: IpAddr,
    /// Its port.
    pub(super) port: u16,
    /// How many services there are, at consecutive addresses.
    pub(super) services: u32,
    /// Whether the packets come from the peer and go to the clients, which a server's replies
    /// do.
    pub(super) reply: bool,
}

/// A transport protocol and what its packets carry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    /// TCP with these flags. The checksum is not a right one.
    Tcp(u8),
    /// UDP with 12 bytes of payload and no checksum.
    Udp,
}

impl Traffic {
    /// Established TCP to one IPv4 service.
    pub(super) const TCP: Self = Self {
        transport: Transport::Tcp(ACK),
        peer: IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)),
        port: 80,
        services: 1,
        reply: false,
    };

    /// UDP to one IPv4 service.
    pub(super) const UDP: Self = Self {
        transport: Transport::Udp,
        port: 53,
        ..Self::TCP
    };

    /// Established TCP to one IPv6 service.
    pub(super) const TCP6: Self = Self {
        peer: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0xac10, 1)),
        ..Self::TCP
    };

    /// The packet of flow 0, complete.
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut packet = vec![DIRECTOR, 0, 0, 0, 0, 1, 0x0a, 0, 0, 0, 0, 2];
        let (protocol, transport) = self.transport();
        let length = u16::try_from(transport.len()).expect("a few bytes");
        match self.peer {
            IpAddr::V4(peer) => {
                packet.extend([0x08, 0x00, 0x45, 0]);
                packet.extend((20 + length).to_be_bytes());
                packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                let client = Ipv4Addr::new(10, 0, 0, 0).octets();
                packet.extend(self.directed(client, peer.octets()).concat());
                let checksum = !fold(sum(&packet[14..34]));
                packet[24..26].copy_from_slice(&checksum.to_ne_bytes());
            }
            IpAddr::V6(peer) => {
                packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                packet.extend(length.to_be_bytes());
                packet.extend([protocol, 64]);
                let client = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0x0a00, 0).octets();
                packet.extend(self.directed(client, peer.octets()).concat());
            }
        }
        packet.extend(transport);
        packet.resize(packet.len().max(SHORTEST), 0);
        packet
    }

    /// The feeder's settings for these packets.
    pub(super) fn feed(&self, flows: Flows, order: Visit) -> Feed {
        let packet = self.packet();
        let mut template = [0; TEMPLATE];
        let known = packet.len().min(TEMPLATE);
        template[..known].copy_from_slice(&packet[..known]);
        let (order, mask) = match (flows, order) {
            (Flows::New, _) => (Order::FRESH, 0),
            (Flows::Known(flows), Visit::InTurn) => (Order::SEQUENTIAL, u64::from(flows) - 1),
            (Flows::Known(flows), Visit::AtRandom) => (Order::RANDOM, u64::from(flows) - 1),
        };
        let peer = match self.peer {
            IpAddr::V4(peer) => peer.to_bits(),
            IpAddr::V6(peer) => u32::try_from(peer.to_bits() & 0xffff_ffff).expect("32 bits"),
        };
        Feed {
            template,
            mask,
            peer,
            peer_port: u32::from(self.port),
            services: self.services,
            length: u32::try_from(packet.len()).expect("a few bytes"),
            order,
            reply: u32::from(self.reply),
            header_sum: sum(&packet[14..24]),
            zero: [0],
        }
    }

    fn transport(&self) -> (u8, Vec<u8>) {
        let ports = self.directed(32768_u16.to_be_bytes(), self.port.to_be_bytes());
        let mut bytes = ports.concat();
        match self.transport {
            Transport::Tcp(flags) => {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (6, bytes)
            }
            Transport::Udp => {
                bytes.extend([0, 20, 0, 0]);
                bytes.extend([0; 12]);
                (17, bytes)
            }
        }
    }

    fn directed<T>(&self, client: T, peer: T) -> [T; 2] {
        if self.reply {
            [peer, client]
        } else {
            [client, peer]
        }
    }
}

/// In which order known flows are visited; new ones have but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// One after the other, so that none is missed: to fill and to warm.
    InTurn,
    /// Uniformly at random: to measure.
    AtRandom,
}

/// The sum of 16-bit words as they are in memory, as the eBPF programs compute it.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.as_chunks::<2>().0;
    words
        .iter()
        .map(|word| u32::from(u16::from_ne_bytes(*word)))
        .sum()
}

/// Whether an IPv4 header without options carries the right checksum.
pub(super) fn sound(header: &[u8]) -> bool {
    fold(sum(header)) == 0xffff
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two halves were added twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_part_of_the_datagram() {
        let packet = Traffic::TCP.packet();
        assert_eq!(packet.len(), SHORTEST);
        assert_eq!(packet[16..18], 40_u16.to_be_bytes());
        let udp = Traffic::UDP.packet();
        assert_eq!(udp[16..18], 40_u16.to_be_bytes());
        assert_eq!(udp[38..40], 20_u16.to_be_bytes());
    }

    #[test]
    fn checksums_are_judged() {
        // A header whose checksum, b861, is right.
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(sound(&header));
        header[8] -= 1;
        assert!(!sound(&header));
    }

    #[test]
    fn replies_leave_the_peer() {
        let reply = Traffic {
            reply: true,
            ..Traffic::TCP
        };
        let (there, back) = (Traffic::TCP.packet(), reply.packet());
        assert_eq!(there[26..30], back[30..34]);
        assert_eq!(there[34..36], back[36..38]);
    }
}
