//! The outer headers: Ethernet with up to two tags, and IPv4 or IPv6.

use super::{Refusal, Tunnel, Tunnels};
use crate::addr::{Addr, protocol};
use crate::wire::{Ethernet, Frame, Ipv4, Ipv6, MacAddr, Vlan, ethertype};

/// What the outer headers say. Offsets count from the frame's first byte.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    /// The Ethernet address it was sent to.
    pub(super) mac: MacAddr,
    /// The length of the Ethernet header with its tags: 14, 18 or 22.
    pub(super) link_len: usize,
    pub(super) source: Addr,
    pub(super) destination: Addr,
    /// The ECN field.
    pub(super) ecn: u8,
    /// The protocol of what follows.
    pub(super) protocol: u8,
    /// Where that begins.
    pub(super) payload: usize,
    /// Where the packet ends; Ethernet may have padded the frame beyond.
    pub(super) end: usize,
}

/// IPv6 extension headers (IANA) that can stand before a tunnel's.
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

impl Outer {
    /// Reads the headers of a packet whose protocol may be one of `tunnels`; its length is
    /// checked against the frame's.
    #[inline(always)]
    pub(super) fn parse<F: Frame + ?Sized>(
        frame: &mut F,
        tunnels: Tunnels,
    ) -> Result<Self, Refusal> {
        let ethernet = Ethernet::at(frame, 0).ok_or(Refusal::Malformed)?;
        let mac = ethernet.destination();
        let mut kind = ethernet.ethertype();
        let mut link_len = Ethernet::LEN;
        // Written out: two turns are no loop to the verifier either.
        if is_tag(kind) {
            kind = tag(frame, link_len)?;
            link_len += Vlan::LEN;
            if is_tag(kind) {
                kind = tag(frame, link_len)?;
                link_len += Vlan::LEN;
            }
        }
        match kind {
            ethertype::IPV4 => ipv4(frame, mac, link_len, tunnels),
            ethertype::IPV6 => ipv6(frame, mac, link_len, tunnels),
            _ => Err(Refusal::Plain),
        }
    }
}

#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    matches!(kind, ethertype::VLAN | ethertype::QINQ)
}

#[inline(always)]
fn tag<F: Frame + ?Sized>(frame: &mut F, offset: usize) -> Result<u16, Refusal> {
    let tag = Vlan::at(frame, offset).ok_or(Refusal::Malformed)?;
    Ok(tag.ethertype())
}

/// Whether packets of this protocol may be of a tunnel that ends here.
#[inline(always)]
const fn may_be(protocol: u8, tunnels: Tunnels) -> bool {
    match protocol {
        protocol::IPIP | protocol::IPV6 => tunnels.has(Tunnel::Ipip),
        protocol::GRE => tunnels.has(Tunnel::Gre),
        protocol::UDP => tunnels.has(Tunnel::Gue),
        _ => false,
    }
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(
    frame: &mut F,
    mac: MacAddr,
    link_len: usize,
    tunnels: Tunnels,
) -> Result<Outer, Refusal> {
    let len = frame.total();
    let ip = Ipv4::at(frame, link_len).ok_or(Refusal::Malformed)?;
    if !may_be(ip.protocol(), tunnels) {
        return Err(Refusal::Plain);
    }
    let (header_len, bytes) = (ip.header_len(), usize::from(ip.total_length()));
    let (version, is_fragment, sum) = (ip.version(), ip.is_fragment(), ip.words_sum());
    let outer = Outer {
        mac,
        link_len,
        source: Addr::from_v4_word(ip.source_word()),
        destination: Addr::from_v4_word(ip.destination_word()),
        ecn: ip.ecn(),
        protocol: ip.protocol(),
        payload: link_len + Ipv4::LEN,
        end: link_len + bytes,
    };
    if version != 4 || header_len < Ipv4::LEN || header_len > bytes || outer.end > len {
        return Err(Refusal::Malformed);
    }
    if is_fragment {
        return Err(Refusal::Fragment);
    }
    if header_len != Ipv4::LEN {
        return Err(Refusal::Unsupported);
    }
    if !is_all_ones(sum) {
        return Err(Refusal::Malformed);
    }
    Ok(outer)
}

/// Whether a sum of a few 32-bit words folds to all ones in 16 bits.
#[inline(always)]
const fn is_all_ones(sum: u64) -> bool {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum == 0xffff
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(
    frame: &mut F,
    mac: MacAddr,
    link_len: usize,
    tunnels: Tunnels,
) -> Result<Outer, Refusal> {
    let len = frame.total();
    let ip = Ipv6::at(frame, link_len).ok_or(Refusal::Malformed)?;
    let mut outer = Outer {
        mac,
        link_len,
        source: ip.source(),
        destination: ip.destination(),
        ecn: ip.traffic_class() & 0b11,
        protocol: ip.next_header(),
        payload: link_len + Ipv6::LEN,
        end: link_len + Ipv6::LEN + usize::from(ip.payload_length()),
    };
    let version = ip.version();
    if outer.protocol == DESTINATION_OPTIONS {
        // Linux writes its limit of encapsulations there (RFC 2473, section 5.1).
        let options = frame.window::<2>(outer.payload).ok_or(Refusal::Malformed)?;
        outer.protocol = options[0];
        outer.payload += (usize::from(options[1]) + 1) * 8;
    }
    let is_fragment = outer.protocol == FRAGMENT;
    if is_fragment {
        let fragment = frame.window::<2>(outer.payload).ok_or(Refusal::Malformed)?;
        outer.protocol = fragment[0];
    }
    if !may_be(outer.protocol, tunnels) {
        return Err(Refusal::Plain);
    }
    if version != 6 || outer.payload > outer.end || outer.end > len {
        return Err(Refusal::Malformed);
    }
    if is_fragment {
        return Err(Refusal::Fragment);
    }
    Ok(outer)
}

/// Takes everything between the link header and `inner` out of the frame. None, with the frame
/// as it was, when its head does not move.
#[inline(always)]
pub(super) fn take_off<F: Frame + ?Sized>(
    frame: &mut F,
    outer: &Outer,
    inner: usize,
    ethertype: u16,
) -> Option<()> {
    let bytes = inner - outer.link_len;
    match outer.link_len {
        14 => move_link::<14, F>(frame, bytes, ethertype),
        18 => move_link::<18, F>(frame, bytes, ethertype),
        _ => move_link::<22, F>(frame, bytes, ethertype),
    }
}

/// Moves a link header of `N` bytes ahead, over `bytes` that go; its last two bytes are the type
/// of what follows.
#[inline(always)]
fn move_link<const N: usize, F: Frame + ?Sized>(
    frame: &mut F,
    bytes: usize,
    ethertype: u16,
) -> Option<()> {
    let mut link = *frame.window::<N>(0)?;
    link[N - 2..].copy_from_slice(&ethertype.to_be_bytes());
    frame.shrink(bytes)?;
    *frame.window::<N>(0)? = link;
    Some(())
}
