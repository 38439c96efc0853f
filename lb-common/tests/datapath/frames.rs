//! Frames byte by byte, services, and where a frame went: without lb's own parser.

use lb_common::addr::{Addr, Port};
use lb_common::datapath::{Tables as _, Verdict, Way, process};
use lb_common::layout::Sizes;
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::reason::Reason;
use lb_common::sched::Kind;
use lb_common::service::Key;
use lb_common::wire::{Buffer, MacAddr};
use std::net::{IpAddr, Ipv4Addr};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const INGRESS: u32 = 1;
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
pub(crate) const PORT: u16 = 80;

/// What a frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Flow {
    pub(crate) client: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) to: Ipv4Addr,
    pub(crate) to_port: u16,
    pub(crate) protocol: u8,
}

impl Flow {
    /// A flow to the service at [`VIP`].
    pub(crate) fn new(client: u32, port: u16, protocol: u8) -> Self {
        Self {
            client: Ipv4Addr::from(client),
            port,
            to: VIP,
            to_port: PORT,
            protocol,
        }
    }

    /// A valid frame of it; `flags` are TCP's.
    pub(crate) fn frame(&self, flags: u8) -> Vec<u8> {
        self.frame_with(flags, 5, 64, 0)
    }

    /// A valid frame with a header of so many words, this TTL, and data.
    pub(crate) fn frame_with(&self, flags: u8, words: u8, ttl: u8, data: u16) -> Vec<u8> {
        let header = u16::from(words) * 4;
        let transport = if self.protocol == TCP { 20 } else { 8 };
        let total = header + transport + data;
        let mut frame = vec![0; 14 + usize::from(total)];
        frame[..6].copy_from_slice(&DIRECTOR);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
        frame[12] = 8;
        let ip = &mut frame[14..];
        ip[0] = 0x40 | words;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[8] = ttl;
        ip[9] = self.protocol;
        ip[12..16].copy_from_slice(&self.client.octets());
        ip[16..20].copy_from_slice(&self.to.octets());
        let sum = !sum(&ip[..usize::from(header)]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let next = &mut ip[usize::from(header)..];
        next[..2].copy_from_slice(&self.port.to_be_bytes());
        next[2..4].copy_from_slice(&self.to_port.to_be_bytes());
        if self.protocol == TCP {
            next[12] = 0x50;
            next[13] = flags;
        } else {
            next[4..6].copy_from_slice(&(8 + data).to_be_bytes());
        }
        frame
    }
}

/// The one's-complement sum of a header (RFC 1071).
pub(crate) fn sum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|b| u32::from(b[0]) << 8 | u32::from(b[1]));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Tables with services at [`VIP`]: TCP with servers of these weights, and UDP likewise, all
/// reached through [`INGRESS`].
pub(crate) fn tables(sizes: Sizes, weights: &[u32]) -> Memory {
    let servers = |first: usize| {
        let server = |(n, weight): (usize, &u32)| NewServer {
            addr: Addr::from(IpAddr::V4(Ipv4Addr::new(10, 1, 0, n as u8))),
            weight: *weight,
            way: Some(Way {
                destination: next_hop((first + n) as u32),
                source: MacAddr::new(DIRECTOR),
                ifindex: INGRESS,
                mtu: 1500,
            }),
        };
        weights.iter().enumerate().map(server).collect()
    };
    let service = |protocol, first| NewService {
        key: Key::new(IpAddr::V4(VIP).into(), Port::new(PORT), protocol),
        scheduler: Kind::Rr,
        servers: servers(first),
    };
    Memory::new(sizes)
        .with_services(&[service(TCP, 0), service(UDP, weights.len())])
        .with_ingress(INGRESS, MacAddr::new(DIRECTOR))
}

/// The Ethernet address of a server.
fn next_hop(server: u32) -> MacAddr {
    let [_, _, high, low] = server.to_be_bytes();
    MacAddr::new([2, 0, 0, 1, high, low])
}

/// Sends a frame; gives the server that it went to. What its sender is told instead must be for that
/// sender; then the frame stays as it is.
pub(crate) fn send(memory: &Memory, frame: &mut [u8]) -> Result<u32, Reason> {
    let mut buffer = Buffer::new(frame);
    let verdict = process(&mut buffer, memory)
        .result()
        .inspect_err(|reason| memory.count_event(*reason))?;
    if let Verdict::Answer(reason) = verdict {
        let answer = buffer.frame();
        assert_eq!(answer[..6], frame[6..12], "the sender's Ethernet address");
        if frame[12..14] == [8, 0] {
            assert_eq!(answer[30..34], frame[26..30], "the sender's address");
        }
        return Err(reason);
    }
    frame.copy_from_slice(buffer.frame());
    assert_eq!(verdict, Verdict::Transmit);
    assert_eq!(frame[..4], [2, 0, 0, 1], "the next hop is a server");
    Ok(u32::from(frame[4]) << 8 | u32::from(frame[5]))
}
