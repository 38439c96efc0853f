//! Taking packets out of tunnels, for real servers whose kernel does not: IPIP, GRE, GUE.
//!
//! A packet is taken out of its tunnel when it was sent to this host and the inner destination is
//! one of the virtual addresses; any other packet stays as it is. So a tunnel that the kernel
//! itself ends on the same host goes on working, and nobody gets packets past a firewall that a
//! plain packet to the virtual address would not have passed.
//!
//! What becomes of the headers:
//!
//! * Ethernet addresses and VLAN tags stay.
//! * The inner packet stays as it is, TTL included. Only a mark of congestion on the outer header
//!   goes over to it ([`ecn`]).
//! * The checksum of the outer IPv4 header must be right. Those of GRE and of the outer UDP header
//!   are not looked at: where the kernel joined several packets to one before the program saw
//!   them (GRO), or the sender left sums to hardware that does not exist (virtual interfaces),
//!   they are wrong on good packets. The inner packet has checksums of its own.
//!
//! | tunnel | outer | inner |
//! |---|---|---|
//! | IPIP (RFC 2003, RFC 4213, RFC 2473) | IPv4, IPv6 | IPv4, IPv6 |
//! | GRE (RFC 2784) without key and sequence number | IPv4, IPv6 | IPv4, IPv6 |
//! | GUE (draft-ietf-intarea-gue-09) variants 0 and 1, no flags | IPv4, IPv6 | IPv4, IPv6 |

pub mod ecn;
mod inner;
mod outer;
mod refusal;
mod settings;
mod tunnel;

pub use refusal::{Action, Refusal};
pub use settings::{Settings, Tunnel, Tunnels};

use crate::addr::Addr;
use crate::wire::Frame;
use inner::Inner;
use outer::Outer;

/// Names of the maps, as the object has them.
pub mod maps {
    /// The virtual addresses: [`Addr`](crate::addr::Addr) to `u32`, which means nothing.
    /// The agent writes.
    pub const VIRTUAL: &str = "VIRTUAL";
    /// What was counted on each CPU, `u64`, by [`super::event_index`]. The program writes.
    pub const EVENTS: &str = "DECAPSULATION_EVENTS";
}

/// The object's constant that holds [`Settings::encode`].
pub const SETTINGS: &str = "DECAPSULATION";

/// The number of this program's maps and settings. Apart from [`crate::layout::LAYOUT`]: the
/// director's tables may change without taking real servers out of service.
pub const LAYOUT: u32 = 1;

/// Most virtual addresses on one real server.
pub const MAX_VIRTUAL: u32 = 4096;

/// How many kinds of events are counted.
pub const EVENTS: u32 = Tunnel::ALL.len() as u32 + Refusal::ALL.len() as u32;

/// Where an outcome is counted.
#[inline(always)]
#[must_use]
pub const fn event_index(outcome: Result<Tunnel, Refusal>) -> u32 {
    match outcome {
        Ok(tunnel) => tunnel as u32,
        Err(refusal) => Tunnel::ALL.len() as u32 + refusal as u32,
    }
}

/// What is known of the host that the packet came to.
pub trait Host {
    /// What is taken off, and where.
    fn settings(&self) -> Settings;
    /// Whether an address is one of the virtual addresses.
    fn is_virtual(&self, address: &Addr) -> bool;
    /// Whether a packet ends at this host, rather than being forwarded. A host that does not
    /// forward need not know: it would drop what is not its own.
    fn is_own(&self, source: &Addr, destination: &Addr) -> bool;
}

/// Takes a packet out of its tunnel.
///
/// # Errors
///
/// Why it was not; the frame is as it was.
#[inline(always)]
pub fn decapsulate<F: Frame + ?Sized, H: Host>(frame: &mut F, host: &H) -> Result<Tunnel, Refusal> {
    let settings = host.settings();
    let outer = Outer::parse(frame, settings.tunnels)?;
    let shim = tunnel::parse(frame, &outer, &settings)?;
    let inner = Inner::parse(frame, &shim)?;
    // Asked in this order because of what each costs.
    if !host.is_virtual(&inner.destination) {
        return Err(Refusal::NotVirtual);
    }
    if outer.mac != settings.mac || !host.is_own(&outer.source, &outer.destination) {
        return Err(Refusal::OtherHost);
    }
    // From here on the packet is ours, and what is wrong with it is not the stack's to see.
    if inner.end > shim.end {
        return Err(Refusal::Inner);
    }
    let ecn = ecn::merge(inner.ecn, outer.ecn).ok_or(Refusal::Congestion)?;
    outer::take_off(frame, &outer, shim.inner, shim.ethertype).ok_or(Refusal::NoHead)?;
    if ecn != inner.ecn {
        inner::set_ecn(frame, outer.link_len, shim.ethertype, ecn);
    }
    Ok(tunnel::kind(&outer))
}

#[cfg(all(test, feature = "std"))]
mod tests;
