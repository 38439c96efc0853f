//! From the kernel's answers to a way: pure functions over plain values.

use std::net::IpAddr;
use std::sync::Arc;

use super::way::{NextHop, Unresolved, Way};

/// The kernel's answer to "how would you forward a packet to this address".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through an interface.
    Via {
        /// Interface and address whose Ethernet address is needed.
        hop: Hop,
        /// MTU of the route itself; the interface's counts where it is absent.
        mtu: Option<u32>,
        /// Source address the kernel would choose.
        preferred_source: Option<IpAddr>,
    },
    /// Through an interface, inside an encapsulation added by the route.
    Encapsulated { ifindex: u32 },
    /// Nowhere.
    None(Unresolved),
}

/// One neighbour that packets are handed to: the real server itself or its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// What matters of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: Arc<str>,
    /// Absent where the interface is not Ethernet.
    pub(super) ethernet: Option<[u8; 6]>,
    /// Administratively up, with carrier, and operational.
    pub(super) running: bool,
    /// In bytes.
    pub(super) mtu: u32,
}

/// What matters of a neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) state: State,
    pub(super) keeper: Keeper,
}

/// Whether a neighbour's Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Known and usable: reachable, stale, delay, probe, permanent and noarp.
    Usable([u8; 6]),
    /// Asked for, or not even that: incomplete and none.
    Incomplete,
    /// Asked for in vain.
    Failed,
}

/// Who looks after a neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// lb made it managed: it carries lb's protocol number.
    Lb,
    /// An administrator or another daemon: permanent, noarp, managed or externally learned.
    Other,
    /// Nobody: the kernel learned it and will forget it.
    Nobody,
}

/// How the neighbour of a next hop stands: its Ethernet address, or why there is none.
pub(super) fn reach(
    hop: Hop,
    link: Option<&Link>,
    neighbour: Option<&Neighbour>,
    refusal: Option<i32>,
) -> Result<[u8; 6], Unresolved> {
    let Some(link) = link else {
        return Err(Unresolved::LinkGone {
            ifindex: hop.ifindex,
        });
    };
    let interface = || Arc::clone(&link.name);
    if link.ethernet.is_none() {
        return Err(Unresolved::NotEthernet {
            interface: interface(),
        });
    }
    if !link.running {
        return Err(Unresolved::LinkDown {
            interface: interface(),
        });
    }
    match (neighbour.map(|n| n.state), refusal) {
        (Some(State::Usable(address)), _) => Ok(address),
        (Some(State::Failed), _) => Err(Unresolved::Failed {
            neighbour: hop.address,
            interface: interface(),
        }),
        (Some(State::Incomplete) | None, Some(errno)) => Err(Unresolved::Refused {
            neighbour: hop.address,
            interface: interface(),
            errno,
        }),
        (Some(State::Incomplete) | None, None) => Err(Unresolved::Incomplete {
            neighbour: hop.address,
            interface: interface(),
        }),
    }
}

/// The way an address is reached, given the route to it, the link it names and how the next hop
/// stands (see [`reach`]).
pub(super) fn way(
    route: &Route,
    link: Option<&Link>,
    reach: Option<&Result<[u8; 6], Unresolved>>,
) -> Way {
    let (hop, route_mtu, preferred_source) = match route {
        Route::None(why) => return Way::Unresolved(why.clone()),
        Route::Encapsulated { ifindex } => {
            return Way::Unresolved(match link {
                Some(link) => Unresolved::NotEthernet {
                    interface: Arc::clone(&link.name),
                },
                None => Unresolved::LinkGone { ifindex: *ifindex },
            });
        }
        Route::Via {
            hop,
            mtu,
            preferred_source,
        } => (hop, mtu, preferred_source),
    };
    let destination = match reach {
        Some(Ok(destination)) => *destination,
        Some(Err(why)) => return Way::Unresolved(why.clone()),
        None => return Way::Unresolved(Unresolved::Pending),
    };
    match link {
        Some(Link {
            name,
            ethernet: Some(source),
            running: true,
            mtu,
        }) => Way::Resolved(NextHop {
            ifindex: hop.ifindex,
            interface: Arc::clone(name),
            source: *source,
            destination,
            mtu: route_mtu.map_or(*mtu, |route| route.min(*mtu)),
            preferred_source: *preferred_source,
        }),
        Some(Link {
            name,
            ethernet: None,
            ..
        }) => Way::Unresolved(Unresolved::NotEthernet {
            interface: Arc::clone(name),
        }),
        Some(Link {
            name,
            running: false,
            ..
        }) => Way::Unresolved(Unresolved::LinkDown {
            interface: Arc::clone(name),
        }),
        None => Way::Unresolved(Unresolved::LinkGone {
            ifindex: hop.ifindex,
        }),
    }
}

/// What can be said of an address without asking the kernel.
pub(super) fn objection(address: IpAddr) -> Option<Unresolved> {
    let (unspecified, multicast, link_local) = match address {
        IpAddr::V4(v4) => (
            v4.is_unspecified(),
            v4.is_multicast() || v4.is_broadcast(),
            false,
        ),
        IpAddr::V6(v6) => (
            v6.is_unspecified(),
            v6.is_multicast(),
            v6.is_unicast_link_local(),
        ),
    };
    if unspecified || multicast {
        Some(Unresolved::NotUnicast)
    } else if link_local {
        Some(Unresolved::LinkLocal)
    } else {
        None
    }
}
