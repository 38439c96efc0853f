//! What the words said, before it is known whether they go together.

use super::flags::Command;
use super::legality::Given;
use lb_common::api::{DaemonRole, Netmask, Protocol, SyncDaemon, Timeouts};
use std::net::{IpAddr, Ipv4Addr};

/// Everything a command line can say, with ipvsadm's defaults for what it did not.
#[derive(Clone, Debug)]
pub struct LowArgs {
    /// The first option.
    pub command: Command,
    /// Which options there were, by the names messages call them.
    pub given: Given,
    /// The service.
    pub service: LowService,
    /// The server's address and port.
    pub server: (IpAddr, u16),
    /// `-s`; empty for the default.
    pub scheduler: String,
    /// `-b`.
    pub scheduler_flags: u8,
    /// `-p`.
    pub persistent: Option<u32>,
    /// `-M`, or the full mask of the service's family.
    pub netmask: Netmask,
    /// `-o`.
    pub one_packet: bool,
    /// `--pe`; empty for none.
    pub persistence_engine: String,
    /// `-g`, `-i` or `-m`.
    pub method: Method,
    /// `-w`.
    pub weight: u32,
    /// `-x`.
    pub upper_threshold: u32,
    /// `-y`.
    pub lower_threshold: u32,
    /// `--tun-type`.
    pub tunnel: TunnelType,
    /// `--tun-port`.
    pub tunnel_port: u16,
    /// `--set`.
    pub timeouts: Timeouts,
    /// `--start-daemon`, `--stop-daemon`.
    pub role: DaemonRole,
    /// The daemon options.
    pub daemon: SyncDaemon,
}

/// `-t`, `-u`, `--sctp-service` or `-f`.
#[derive(Clone, Copy, Debug)]
pub struct LowService {
    /// The protocol; none before the option, and for a mark.
    pub protocol: Option<Protocol>,
    /// The mark, 0 for none.
    pub mark: u32,
    /// The address; for a mark an unspecified one of its family.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A forwarding method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `-g`.
    Route,
    /// `-i`.
    Tunnel,
    /// `-m`.
    Masquerade,
}

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelType {
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation.
    Gre,
}

impl TunnelType {
    /// Its name in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Gre => "gre",
        }
    }
}

/// The mask that looks at all of an IPv4 address.
pub const FULL_MASK: Netmask = Netmask::Mask(Ipv4Addr::BROADCAST);
/// The prefix that looks at all of an IPv6 address.
pub const FULL_PREFIX: Netmask = Netmask::Prefix(128);

impl LowArgs {
    /// A line that says nothing but its command.
    #[must_use]
    pub fn new(command: Command) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            command,
            given: Given::default(),
            service: LowService {
                protocol: None,
                mark: 0,
                address: nowhere,
                port: 0,
            },
            server: (nowhere, 0),
            scheduler: String::new(),
            scheduler_flags: 0,
            persistent: None,
            netmask: FULL_MASK,
            one_packet: false,
            persistence_engine: String::new(),
            method: Method::Route,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: TunnelType::Ipip,
            tunnel_port: 0,
            timeouts: Timeouts {
                tcp: 0,
                tcp_fin: 0,
                udp: 0,
            },
            role: DaemonRole::Master,
            daemon: SyncDaemon {
                interface: String::new(),
                sync_id: 0,
                max_length: 0,
                group: IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81)),
                port: 8848,
                ttl: 1,
            },
        }
    }
}
