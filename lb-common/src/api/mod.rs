//! The control API between `lb-agent` and its clients: HTTP/1.1 with JSON on a Unix socket.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/agent` | | [`Agent`] |
//! | `POST /v1/edits` | [`Edits`] | [`Outcomes`], one for each edit, in order |
//! | `GET /v1/services` | | [`Services`] |
//! | `GET /v1/connections` | | one [`Connection`] a line (`application/x-ndjson`) |
//! | `GET /v1/timeouts` | | [`Timeouts`] |
//! | `GET /v1/daemons` | | [`Daemons`] |
//! | `GET /v1/marks` | | [`Marks`] |
//! | `GET /v1/settings` | | [`Settings`] |
//! | `POST /v1/settings` | [`SettingValues`] | [`Outcomes`], one for each value, by name |
//!
//! Every edit stands alone: one that is refused changes nothing and the others still run, as
//! lines of `ipvsadm -R` do. Addresses and ports are in their usual text and number form,
//! times in seconds, bytes counted from the network header on (as ipvs counts them).

mod edit;
mod listing;
mod mark;
mod setting;

pub use edit::{Edit, Edits, Outcomes, Refusal, RefusalKind};
pub use listing::{
    Agent, AttachMode, Connection, Counters, DaemonRole, Daemons, Interface, Next, Rates,
    ServerStatus, ServiceStatus, Services, SyncDaemon, Warning, WarningKind,
};

pub use mark::{MarkRule, Marks, NotAPrefix, Prefix};
pub use setting::{Origin, Setting, SettingStatus, SettingValues, Settings};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// A transport protocol that services balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol, IP protocol 6.
    Tcp,
    /// User Datagram Protocol, IP protocol 17.
    Udp,
    /// Stream Control Transmission Protocol, IP protocol 132.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// An address family, where no address tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// What tells one virtual service from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ServiceAddress {
    /// A virtual address; port 0 means every port (persistent services only).
    Address {
        /// The transport protocol.
        protocol: Protocol,
        /// The virtual address.
        address: IpAddr,
        /// The virtual port.
        port: u16,
    },
    /// A firewall mark, of one family.
    Mark {
        /// The mark, not 0.
        mark: u32,
        /// The family of the packets that carry it.
        family: Family,
    },
}

impl ServiceAddress {
    /// The family of the service's packets.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(*address),
            Self::Mark { family, .. } => *family,
        }
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                protocol,
                address,
                port,
            } => {
                write!(
                    f,
                    "{protocol} {}",
                    std::net::SocketAddr::new(*address, *port)
                )
            }
            Self::Mark {
                mark,
                family: Family::Ipv4,
            } => write!(f, "mark {mark}"),
            Self::Mark {
                mark,
                family: Family::Ipv6,
            } => write!(f, "mark {mark} (IPv6)"),
        }
    }
}

/// How a service schedules: everything `-A` and `-E` set. An edit replaces all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceOptions {
    /// The scheduler's ipvs name: `rr`, `wrr`, ...
    pub scheduler: String,
    /// The scheduler's flags: bit 0 is `flag-1` (`sh-fallback`, `mh-fallback`), bit 1 `flag-2`
    /// (`sh-port`, `mh-port`), bit 2 `flag-3`.
    #[serde(default)]
    pub flags: u8,
    /// Persistence timeout in seconds; none for a service that is not persistent.
    #[serde(default)]
    pub persistent: Option<u32>,
    /// Persistence granularity: for IPv4 the mask itself as an address (any bit pattern), for
    /// IPv6 the prefix length. None means the full mask.
    #[serde(default)]
    pub netmask: Option<Netmask>,
    /// One-packet scheduling.
    #[serde(default)]
    pub one_packet: bool,
    /// The persistence engine, `sip` or none.
    #[serde(default)]
    pub persistence_engine: Option<String>,
}

/// What clients of a service hear while no server of it may take their connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoServer {
    /// ICMP port unreachable, as ipvs answers.
    #[default]
    Icmp,
    /// A TCP reset; for other protocols port unreachable.
    Reset,
    /// Nothing.
    Silent,
}

impl NoServer {
    /// Every answer.
    pub const ALL: [Self; 3] = [Self::Icmp, Self::Reset, Self::Silent];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Reset => "reset",
            Self::Silent => "silent",
        }
    }
}

/// The part of a client's address that persistence looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Netmask {
    /// An IPv4 mask, any bit pattern.
    Mask(std::net::Ipv4Addr),
    /// An IPv6 prefix length, 1 to 128.
    Prefix(u8),
}

/// A real server within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAddress {
    /// The server's own address.
    pub address: IpAddr,
    /// The server's port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How a real server is used: everything `-a` and `-e` set. An edit replaces all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOptions {
    /// The forwarding method.
    pub forwarding: Forwarding,
    /// The weight; 0 quiesces the server.
    pub weight: u32,
    /// Upper connection threshold; 0 for none.
    #[serde(default)]
    pub upper_threshold: u32,
    /// Lower connection threshold; 0 for three quarters of the upper one.
    #[serde(default)]
    pub lower_threshold: u32,
}

/// How packets reach a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Forwarding {
    /// Direct routing (`-g`): only the Ethernet addresses change.
    Route,
    /// Tunnelling (`-i`).
    Tunnel(Tunnel),
    /// Address translation (`-m`).
    Masquerade,
    /// To the director itself.
    Local,
}

/// The encapsulation of a tunnelled server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Tunnel {
    /// IP in IP, any mix of families.
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// UDP destination port, not 0.
        port: u16,
        /// The outer checksum.
        checksum: TunnelChecksum,
    },
    /// Generic routing encapsulation.
    Gre {
        /// The GRE checksum.
        checksum: TunnelChecksum,
    },
}

/// Whether a tunnel header carries a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelChecksum {
    /// `--tun-nocsum`.
    None,
    /// `--tun-csum`.
    Full,
    /// `--tun-remcsum` (GUE only).
    Remote,
}

/// `--set`: session timeouts in seconds. In an edit 0 leaves a value as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// TCP sessions in ESTABLISHED.
    pub tcp: u32,
    /// TCP sessions in FIN_WAIT.
    pub tcp_fin: u32,
    /// UDP sessions.
    pub udp: u32,
}
