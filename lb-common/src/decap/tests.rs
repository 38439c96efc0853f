use super::*;
use crate::addr::Port;
use crate::wire::{Buffer, Ipv4, MacAddr};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

struct Server;

impl Host for Server {
    fn settings(&self) -> Settings {
        Settings {
            tunnels: Tunnel::ALL
                .into_iter()
                .fold(Tunnels::default(), Tunnels::with),
            gue_port: Port::new(6080),
            mac: MacAddr::new(MAC),
        }
    }

    fn is_virtual(&self, address: &Addr) -> bool {
        IpAddr::from(*address) == VIP
    }

    fn is_own(&self, _source: &Addr, destination: &Addr) -> bool {
        IpAddr::from(*destination) != OTHER
    }
}

/// An IPv4 header for `protocol` and so many bytes of payload, checksum included.
fn ipv4(protocol: u8, payload: u8, to: [u8; 4]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 20 + payload, 0, 0, 0, 0, 64, protocol, 0, 0];
    ip.extend([10, 0, 0, 2]);
    ip.extend(to);
    let sum: u32 = ip
        .chunks(2)
        .map(|b| u32::from(u16::from_be_bytes([b[0], b[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

fn ipip() -> Vec<u8> {
    let mut frame = MAC.to_vec();
    frame.extend([6, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend(ipv4(4, 24, [10, 0, 0, 11]));
    frame.extend(ipv4(253, 4, [10, 0, 0, 100]));
    frame.extend([1, 2, 3, 4]);
    frame
}

#[test]
fn a_packet_comes_out_with_its_ethernet_header() {
    let frame = ipip();
    let mut buffer = Buffer::new(&frame);
    assert_eq!(decapsulate(&mut buffer, &Server), Ok(Tunnel::Ipip));
    let right = [&frame[..14], &frame[34..]].concat();
    assert_eq!(buffer.frame(), right);
}

#[test]
fn what_cannot_shrink_stays() {
    let mut frame = ipip();
    let result = decapsulate(frame.as_mut_slice(), &Server);
    assert_eq!(result, Err(Refusal::NoHead));
    assert_eq!(frame, ipip());
}

proptest! {
    #[test]
    fn a_refused_frame_is_as_it_was(
        changes in prop::collection::vec((0usize..60, any::<u8>()), 0..4),
        len in 0usize..70,
    ) {
        let mut frame = ipip();
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(len);
        let mut buffer = Buffer::new(&frame);
        match decapsulate(&mut buffer, &Server) {
            Ok(_) => {
                prop_assert!(buffer.frame().len() >= 14 + Ipv4::LEN);
                prop_assert_eq!(&buffer.frame()[..12], &frame[..12]);
            }
            Err(_) => prop_assert_eq!(buffer.frame(), frame),
        }
    }
}
