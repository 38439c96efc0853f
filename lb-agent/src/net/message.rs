//! Netlink messages to plain values, and back.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::decide::{Hop, Keeper, Link, Neighbour, Route, State};
use super::duplicates::Place;
use super::prefix;
use super::way::Unresolved;

/// lb's number in the `protocol` field of neighbour entries (`ip neighbour show` prints it as
/// `proto 108`). iproute2 and the kernel assign it to nobody.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Link(u32, Link),
    LinkGone(u32),
    Neighbour(Hop, Neighbour),
    NeighbourGone(Hop),
    /// Routes to these addresses may have changed.
    Routes(RangeInclusive<IpAddr>),
    /// This host lost an address of its own; routes that prefer it as source vanish silently.
    AddressGone(IpAddr),
}

/// The event in a notification; none where it says nothing that matters here.
pub(super) fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum of everything rtnetlink can say"
    )]
    match message {
        RouteNetlinkMessage::NewLink(m) => link(m).map(|(index, link)| Event::Link(index, link)),
        // A bridge port that leaves its bridge is announced as a deleted link of family bridge.
        RouteNetlinkMessage::DelLink(m) if m.header.interface_family == AddressFamily::Unspec => {
            Some(Event::LinkGone(m.header.index))
        }
        RouteNetlinkMessage::NewNeighbour(m) => {
            neighbour(m).map(|(hop, neighbour)| Event::Neighbour(hop, neighbour))
        }
        RouteNetlinkMessage::DelNeighbour(m) => {
            neighbour(m).map(|(hop, _)| Event::NeighbourGone(hop))
        }
        RouteNetlinkMessage::NewRoute(m) | RouteNetlinkMessage::DelRoute(m) => {
            let unspecified = unspecified(m.header.address_family)?;
            let destination = m.attributes.iter().find_map(|a| match a {
                RouteAttribute::Destination(address) => ip(address),
                _ => None,
            });
            Some(Event::Routes(prefix::range(
                destination.unwrap_or(unspecified),
                m.header.destination_prefix_length,
            )))
        }
        RouteNetlinkMessage::NewRule(m) | RouteNetlinkMessage::DelRule(m) => {
            Some(Event::Routes(prefix::family(unspecified(m.header.family)?)))
        }
        RouteNetlinkMessage::DelAddress(m) => local_address(m).map(Event::AddressGone),
        _ => None,
    }
}

/// Index and description of an interface.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut address, mut mtu) = (None, None, None);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            LinkAttribute::IfName(n) => name = Some(n.as_str().into()),
            LinkAttribute::Address(a) => address = <[u8; 6]>::try_from(a.as_slice()).ok(),
            LinkAttribute::Mtu(m) => mtu = Some(*m),
            _ => {}
        }
    }
    let running = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
    let link = Link {
        name: name?,
        ethernet: address.filter(|_| message.header.link_layer_type == LinkLayerType::Ether),
        running: message.header.flags.contains(running),
        mtu: mtu?,
    };
    Some((message.header.index, link))
}

/// Place and description of a neighbour entry; none for bridge and proxy entries.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(Hop, Neighbour)> {
    let header = &message.header;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut ethernet, mut protocol, mut managed) = (None, None, None, false);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                ethernet = <[u8; 6]>::try_from(bytes.as_slice())
                    .ok()
                    .filter(|a| *a != [0; 6]);
            }
            NeighbourAttribute::Protocol(p) => protocol = Some(*p),
            NeighbourAttribute::ExtFlags(f) => managed = f.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    let fixed = matches!(
        header.state,
        NeighbourState::Permanent | NeighbourState::Noarp
    );
    let keeper = if managed && protocol == Some(PROTOCOL) {
        Keeper::Lb
    } else if fixed || managed || header.flags.contains(NeighbourFlags::ExtLearned) {
        Keeper::Other
    } else {
        Keeper::Nobody
    };
    let state = match header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => ethernet.map_or(State::Incomplete, State::Usable),
        NeighbourState::Failed => State::Failed,
        NeighbourState::Incomplete | NeighbourState::None | NeighbourState::Other(_) | _ => {
            State::Incomplete
        }
    };
    Some((
        Hop {
            ifindex: header.ifindex,
            address: address?,
        },
        Neighbour { state, keeper },
    ))
}

/// The kernel's answer to a lookup of `address`.
pub(super) fn route(address: IpAddr, message: &RouteMessage) -> Route {
    let (mut ifindex, mut gateway, mut mtu, mut source) = (None, None, None, None);
    let mut encapsulated = false;
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(a) => gateway = ip(a),
            RouteAttribute::Via(RouteVia::Inet(v4)) => gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = Some(IpAddr::V6(*v6)),
            RouteAttribute::PrefSource(a) => source = ip(a),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => encapsulated = true,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum"
    )]
    match message.header.kind {
        RouteType::Unicast => match ifindex {
            None => Route::None(Unresolved::NoRoute),
            Some(ifindex) if encapsulated => Route::Encapsulated { ifindex },
            Some(ifindex) => Route::Via {
                hop: Hop {
                    ifindex,
                    address: gateway.unwrap_or(address),
                },
                mtu,
                preferred_source: source,
            },
        },
        RouteType::Local => Route::None(Unresolved::Local),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
            Route::None(Unresolved::NotUnicast)
        }
        RouteType::BlackHole => Route::None(Unresolved::RouteRefuses { kind: "blackhole" }),
        RouteType::Unreachable => Route::None(Unresolved::RouteRefuses {
            kind: "unreachable",
        }),
        RouteType::Prohibit => Route::None(Unresolved::RouteRefuses { kind: "prohibit" }),
        _ => Route::None(Unresolved::NoRoute),
    }
}

/// The meaning of an error in answer to a lookup: route types that refuse packets answer with
/// the `errno` a sender would get (Linux: `net/ipv4/fib_semantics.c:fib_props`).
pub(super) fn refused_route(errno: i32) -> Route {
    Route::None(match errno {
        libc::ENETUNREACH => Unresolved::NoRoute,
        libc::EHOSTUNREACH => Unresolved::RouteRefuses {
            kind: "unreachable",
        },
        libc::EACCES => Unresolved::RouteRefuses { kind: "prohibit" },
        libc::EINVAL => Unresolved::RouteRefuses { kind: "blackhole" },
        errno => Unresolved::LookupFailed { errno },
    })
}

/// How the kernel is asked to keep a neighbour fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// The kernel resolves and probes the entry for good, exempt from garbage collection.
    Managed,
    /// The kernel resolves the entry once; for kernels that refuse managed entries.
    Once,
}

/// Turns a bare request for a neighbour entry into one for a kept entry.
pub(super) fn keep(message: &mut NeighbourMessage, upkeep: Upkeep) {
    message.header.state = NeighbourState::None;
    message
        .attributes
        .push(NeighbourAttribute::Protocol(PROTOCOL));
    match upkeep {
        Upkeep::Managed => {
            message.header.flags = NeighbourFlags::ExtLearned;
            message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        Upkeep::Once => message.header.flags = NeighbourFlags::Use,
    }
}

/// A message that names one neighbour entry and nothing else.
pub(super) fn name(hop: Hop) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = hop.ifindex;
    let (family, address) = match hop.address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address));
    message
}

/// The interface's own end of an address message.
pub(crate) fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut own = None;
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => own = Some(*address),
            _ => {}
        }
    }
    own
}

/// The IPv6 address that a notification is about, and whether it is a duplicate now.
pub(super) fn detected(message: &RouteNetlinkMessage) -> Option<(Place, bool)> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum of everything rtnetlink can say"
    )]
    match message {
        RouteNetlinkMessage::NewAddress(m) => duplicate(m),
        RouteNetlinkMessage::DelAddress(m) => duplicate(m).map(|(place, _)| (place, false)),
        _ => None,
    }
}

/// The IPv6 address of an address message, and whether duplicate address detection found it
/// elsewhere (linux/if_addr.h: `IFA_F_DADFAILED`).
pub(super) fn duplicate(message: &AddressMessage) -> Option<(Place, bool)> {
    let IpAddr::V6(address) = local_address(message)? else {
        return None;
    };
    let place = Place {
        ifindex: message.header.index,
        address,
        length: message.header.prefix_len,
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum"
    )]
    let flags = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(flags.contains(AddressFlags::Dadfailed)),
            _ => None,
        });
    let header = message.header.flags;
    let is_duplicate = flags.unwrap_or(header.contains(AddressHeaderFlags::Dadfailed));
    Some((place, is_duplicate))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum"
    )]
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign, non-exhaustive enum"
    )]
    match family {
        AddressFamily::Inet => Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
