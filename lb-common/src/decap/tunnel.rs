//! What stands between the outer and the inner IP header.

use super::outer::Outer;
use super::{Refusal, Settings, Tunnel};
use crate::addr::{Port, protocol};
use crate::wire::{Frame, Gre, GreChecksum, Gue, Udp, ethertype, gre_flags};

/// What the tunnel's own headers say.
#[derive(Clone, Copy)]
pub(super) struct Shim {
    /// Where the inner packet begins, from the frame's first byte.
    pub(super) inner: usize,
    /// Its Ethernet type: IPv4's or IPv6's.
    pub(super) ethertype: u16,
    /// Where it has to end at the latest.
    pub(super) end: usize,
}

/// The kind of tunnel that a protocol number of [`Outer`] stands for.
#[inline(always)]
pub(super) const fn kind(outer: &Outer) -> Tunnel {
    match outer.protocol {
        protocol::GRE => Tunnel::Gre,
        protocol::UDP => Tunnel::Gue,
        _ => Tunnel::Ipip,
    }
}

/// Reads the headers between outer and inner packet, if there are any.
#[inline(always)]
pub(super) fn parse<F: Frame + ?Sized>(
    frame: &mut F,
    outer: &Outer,
    settings: &Settings,
) -> Result<Shim, Refusal> {
    match outer.protocol {
        protocol::GRE => gre(frame, outer),
        protocol::UDP => gue(frame, outer, settings.gue_port),
        other => Ok(Shim {
            inner: outer.payload,
            ethertype: ethertype_of(other)?,
            end: outer.end,
        }),
    }
}

/// The Ethernet type of what follows an IP header with this protocol number.
#[inline(always)]
fn ethertype_of(protocol: u8) -> Result<u16, Refusal> {
    match protocol {
        protocol::IPIP => Ok(ethertype::IPV4),
        protocol::IPV6 => Ok(ethertype::IPV6),
        _ => Err(Refusal::Unsupported),
    }
}

#[inline(always)]
fn gre<F: Frame + ?Sized>(frame: &mut F, outer: &Outer) -> Result<Shim, Refusal> {
    let gre = Gre::at(frame, outer.payload).ok_or(Refusal::Malformed)?;
    let (flags, kind) = (gre.flags(), gre.protocol_type());
    // A key or sequence numbers make it another tunnel than ipvs's.
    if flags & gre_flags::MUST_BE_ZERO != 0 || !matches!(kind, ethertype::IPV4 | ethertype::IPV6) {
        return Err(Refusal::Unsupported);
    }
    let checksum = if flags & gre_flags::CHECKSUM != 0 {
        GreChecksum::LEN
    } else {
        0
    };
    Ok(Shim {
        inner: outer.payload + Gre::LEN + checksum,
        ethertype: kind,
        end: outer.end,
    })
}

#[inline(always)]
fn gue<F: Frame + ?Sized>(frame: &mut F, outer: &Outer, port: Port) -> Result<Shim, Refusal> {
    let udp = Udp::at(frame, outer.payload).ok_or(Refusal::Malformed)?;
    if udp.destination() != port {
        return Err(Refusal::Plain);
    }
    let end = outer.payload + usize::from(udp.length());
    let offset = outer.payload + Udp::LEN;
    if end < offset || end > outer.end {
        return Err(Refusal::Malformed);
    }
    let gue = Gue::at(frame, offset).ok_or(Refusal::Malformed)?;
    let (variant, flags, extensions) = (gue.variant(), gue.flags(), gue.extensions_len());
    let (inner, protocol) = match variant {
        // What the length of the extensions has beyond the flags' fields is private data, and no
        // flag means that all of it is.
        0 if !gue.is_control() && flags == 0 => (offset + Gue::LEN + extensions, gue.proto_ctype()),
        // The first four bits are the inner packet's version.
        1 if gue.first_nibble() == 4 => (offset, protocol::IPIP),
        1 if gue.first_nibble() == 6 => (offset, protocol::IPV6),
        _ => return Err(Refusal::Unsupported),
    };
    Ok(Shim {
        inner,
        ethertype: ethertype_of(protocol)?,
        end,
    })
}
