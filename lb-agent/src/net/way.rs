//! What is known about reaching one address.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The way to one address: where a packet for it leaves, and between which Ethernet addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextHop {
    /// Index of the egress interface.
    pub(crate) ifindex: u32,
    /// Name of the egress interface.
    pub(crate) interface: Arc<str>,
    /// Ethernet address of the egress interface.
    pub(crate) source: [u8; 6],
    /// Ethernet address of the real server, or of the gateway to it.
    pub(crate) destination: [u8; 6],
    /// Largest IP packet that may be sent this way, in bytes: the smaller of route and interface.
    pub(crate) mtu: u32,
    /// Source address the kernel would choose for packets of its own.
    pub(crate) preferred_source: Option<IpAddr>,
}

/// Whether and how an address can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// Packets can be sent.
    Resolved(NextHop),
    /// Packets cannot be sent, and why.
    Unresolved(Unresolved),
}

impl Way {
    /// Whether the answer is there, good or bad; false while the kernel is still asking.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        !matches!(
            self,
            Self::Unresolved(Unresolved::Pending | Unresolved::Incomplete { .. })
        )
    }
}

/// Why an address cannot be reached. `Display` gives the reason and the cure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unresolved {
    /// The kernel has not been asked yet, or has not answered yet.
    Pending,
    /// The address is one of this host's own.
    Local,
    /// The address is a broadcast, multicast or anycast address.
    NotUnicast,
    /// The address is link-local: it names another host on every interface.
    LinkLocal,
    /// No route covers the address.
    NoRoute,
    /// The route to the address refuses packets.
    RouteRefuses {
        /// The route's type as `ip route` spells it.
        kind: &'static str,
    },
    /// The kernel answered the route lookup with an unexpected error.
    LookupFailed {
        /// `errno` of the answer.
        errno: i32,
    },
    /// The egress interface has no Ethernet addresses, or the route encapsulates packets.
    NotEthernet {
        /// Name of the egress interface.
        interface: Arc<str>,
    },
    /// The egress interface is down or has no carrier.
    LinkDown {
        /// Name of the egress interface.
        interface: Arc<str>,
    },
    /// The egress interface does not exist any more.
    LinkGone {
        /// Index of the egress interface.
        ifindex: u32,
    },
    /// ARP or neighbour discovery has been asked and has not answered yet.
    Incomplete {
        /// The address asked for: the real server's own, or its gateway's.
        neighbour: IpAddr,
        /// Name of the egress interface.
        interface: Arc<str>,
    },
    /// ARP or neighbour discovery got no answer.
    Failed {
        /// The address asked for: the real server's own, or its gateway's.
        neighbour: IpAddr,
        /// Name of the egress interface.
        interface: Arc<str>,
    },
    /// The kernel refused to keep the neighbour.
    Refused {
        /// The address asked for: the real server's own, or its gateway's.
        neighbour: IpAddr,
        /// Name of the egress interface.
        interface: Arc<str>,
        /// `errno` of the refusal.
        errno: i32,
    },
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => write!(f, "route lookup is under way"),
            Self::Local => write!(
                f,
                "address is this host's own; use another address or forward locally"
            ),
            Self::NotUnicast => {
                write!(
                    f,
                    "address is not a unicast address; use a real server's own address"
                )
            }
            Self::LinkLocal => write!(
                f,
                "link-local address is ambiguous without an interface; use a global address"
            ),
            Self::NoRoute => write!(f, "no route to the address; add one with `ip route add`"),
            Self::RouteRefuses { kind } => write!(
                f,
                "route to the address is of type {kind}; see `ip route get` and replace it"
            ),
            Self::LookupFailed { errno } => write!(
                f,
                "route lookup failed: {}; see `ip route get`",
                std::io::Error::from_raw_os_error(*errno)
            ),
            Self::NotEthernet { interface } => write!(
                f,
                "interface {interface} does not send Ethernet frames; route through one that does"
            ),
            Self::LinkDown { interface } => write!(
                f,
                "interface {interface} is down or without carrier; check the cable, then \
                 `ip link set {interface} up`"
            ),
            Self::LinkGone { ifindex } => {
                write!(
                    f,
                    "interface with index {ifindex} is gone; see `ip route get`"
                )
            }
            Self::Incomplete {
                neighbour,
                interface,
            } => {
                write!(
                    f,
                    "neighbour {neighbour} on {interface} has not answered yet"
                )
            }
            Self::Failed {
                neighbour,
                interface,
            } => write!(
                f,
                "neighbour {neighbour} on {interface} does not answer; check that it is up and \
                 on that link: `ip neighbour show {neighbour}`"
            ),
            Self::Refused {
                neighbour,
                interface,
                errno,
            } => write!(
                f,
                "kernel refused to keep neighbour {neighbour} on {interface}: {}; check \
                 CAP_NET_ADMIN and `sysctl net.ipv4.neigh.default.gc_thresh3`",
                std::io::Error::from_raw_os_error(*errno)
            ),
        }
    }
}
