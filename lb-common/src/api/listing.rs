//! What the agent tells about itself and its tables.

use super::{NoServer, Protocol, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The answer to `GET /v1/agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The layout number of its maps, as in the pin path's `v<LAYOUT>`.
    pub layout: u32,
    /// How many flows the flow table was sized for.
    pub flows: u32,
    /// How many flow-table entries exist; listings print it as `size=`.
    pub slots: u32,
    /// Where the program is attached.
    pub interfaces: Vec<Interface>,
    /// The configured interfaces that are gone at present.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What keeps packets or answers from arriving, or may.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Every reason for which packets took another way than to a server, with its count.
    pub reasons: Vec<(String, u64)>,
}

/// Something in the network around the director that its operator has to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// What is wrong, where, and what mends it.
    pub message: String,
}

/// What a [`Warning`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// Packets go to a masqueraded server, and none comes back.
    NoReplies,
    /// Another machine on the link has an IPv6 address of the director's.
    DuplicateAddress,
    /// A virtual address is link-local.
    LinkLocal,
    /// Packets may come in that lack their checksum.
    PartialChecksums,
}

impl WarningKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::NoReplies,
        Self::DuplicateAddress,
        Self::LinkLocal,
        Self::PartialChecksums,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoReplies => "no_replies",
            Self::DuplicateAddress => "duplicate_address",
            Self::LinkLocal => "link_local",
            Self::PartialChecksums => "partial_checksums",
        }
    }

    /// Whether something was seen to go wrong; else it may, and the director cannot see whether.
    #[must_use]
    pub const fn is_seen(self) -> bool {
        match self {
            Self::NoReplies | Self::DuplicateAddress | Self::LinkLocal => true,
            Self::PartialChecksums => false,
        }
    }
}

/// An interface that carries the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How the program is attached.
    pub mode: AttachMode,
}

/// How a program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's receive path, after a packet was allocated.
    Generic,
}

/// The answer to `GET /v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// How many flow-table entries exist; listings print it as `size=`.
    pub slots: u32,
    /// The services, in the order they were added.
    pub services: Vec<ServiceStatus>,
}

/// One service and its servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Which service.
    pub service: ServiceAddress,
    /// How it schedules.
    pub options: ServiceOptions,
    /// What clients hear while no server may take their connections.
    #[serde(default)]
    pub no_server: NoServer,
    /// Its counters since the last zeroing.
    pub counters: Counters,
    /// Its rates.
    pub rates: Rates,
    /// Its servers, newest first, as ipvs keeps them.
    pub servers: Vec<ServerStatus>,
}

/// One real server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Which server.
    pub server: ServerAddress,
    /// How it is used.
    pub options: ServerOptions,
    /// Connections in an active state.
    pub active: u32,
    /// Connections in any other state.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Its counters since the last zeroing.
    pub counters: Counters,
    /// Its rates.
    pub rates: Rates,
    /// Whether its next hop is known.
    pub next: Next,
}

/// What is known of the way to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// Interface and Ethernet address are known.
    Resolved {
        /// The egress interface.
        interface: String,
        /// The next hop's Ethernet address, `aa:bb:cc:dd:ee:ff`.
        mac: String,
    },
    /// The server is the director itself: packets for it go to its own network stack.
    Local,
    /// Not yet, or no more; packets for the server are held back meanwhile.
    Unresolved {
        /// Why, and what is missing.
        why: String,
    },
}

/// Counters of a service or server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients, from the network header on.
    pub in_bytes: u64,
    /// Bytes to clients, from the network header on.
    pub out_bytes: u64,
}

/// Rates of a service or server over the last seconds, as ipvs estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Connections a second.
    pub connections: u64,
    /// Packets from clients a second.
    pub in_packets: u64,
    /// Packets to clients a second.
    pub out_packets: u64,
    /// Bytes from clients a second.
    pub in_bytes: u64,
    /// Bytes to clients a second.
    pub out_bytes: u64,
}

/// One line of `GET /v1/connections`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The protocol; none for the template of a mark service.
    pub protocol: Option<Protocol>,
    /// Seconds until it expires.
    pub expires: u32,
    /// The state's ipvs name, e.g. `ESTABLISHED`.
    pub state: String,
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The virtual address.
    pub address: IpAddr,
    /// The virtual port.
    pub port: u16,
    /// The server.
    pub server: ServerAddress,
    /// The persistence engine and its data, for templates that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<(String, String)>,
}

/// The answer to `GET /v1/daemons`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemons {
    /// The sync daemons that run, master first.
    pub daemons: Vec<(DaemonRole, SyncDaemon)>,
    /// Whether they exchange connections with peers.
    #[serde(default)]
    pub served: bool,
}

/// What a sync daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonRole {
    /// Sends connections.
    Master,
    /// Receives connections.
    Backup,
}

/// A sync daemon's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncDaemon {
    /// The interface it sends and listens on.
    pub interface: String,
    /// Tells groups of directors apart, 0 to 255.
    pub sync_id: u8,
    /// The longest message in bytes; 0 for the default.
    pub max_length: u16,
    /// The multicast group.
    pub group: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The TTL of what it sends.
    pub ttl: u8,
}
