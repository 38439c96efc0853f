//! Services and servers, of the running table and of imported ones.

use super::super::service::{flag_names, netmask};
use crate::import::{Description, Omission};
use lb_common::api::{
    Counters, Family, Forwarding, Next, Protocol, Rates, ServerAddress, ServerOptions,
    ServerStatus, ServiceAddress, ServiceOptions, ServiceStatus, Services, Tunnel, TunnelChecksum,
};
use serde::Serialize;
use std::net::IpAddr;

/// The running table.
#[derive(Clone, Debug, Serialize)]
pub struct ServicesBody {
    slots: u32,
    services: Vec<RunningService>,
}

#[derive(Clone, Debug, Serialize)]
struct RunningService {
    #[serde(flatten)]
    service: Service,
    no_server: &'static str,
    counters: Numbers,
    rates: Numbers,
    servers: Vec<RunningServer>,
}

#[derive(Clone, Debug, Serialize)]
struct RunningServer {
    #[serde(flatten)]
    server: Server,
    active: u32,
    inactive: u32,
    persistent: u32,
    counters: Numbers,
    rates: Numbers,
    next: NextHop,
}

#[derive(Clone, Debug, Serialize)]
struct NextHop {
    local: bool,
    interface: Option<String>,
    mac: Option<String>,
    missing: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Service {
    protocol: Option<Protocol>,
    address: Option<IpAddr>,
    port: Option<u16>,
    mark: Option<u32>,
    family: Family,
    scheduler: String,
    flags: Vec<&'static str>,
    persistent: Option<u32>,
    netmask: Option<String>,
    one_packet: bool,
    persistence_engine: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Server {
    address: IpAddr,
    port: u16,
    forwarding: &'static str,
    tunnel: Option<TunnelHeader>,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
}

#[derive(Clone, Debug, Serialize)]
struct TunnelHeader {
    r#type: &'static str,
    port: Option<u16>,
    checksum: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Numbers {
    connections: u64,
    in_packets: u64,
    out_packets: u64,
    in_bytes: u64,
    out_bytes: u64,
}

/// What an import came to.
#[derive(Clone, Debug, Serialize)]
pub struct ImportBody {
    services: Vec<ImportedService>,
    timeouts: Option<super::TimeoutsBody>,
    daemons: Vec<super::Daemon>,
    omitted: Vec<OmittedLine>,
}

#[derive(Clone, Debug, Serialize)]
struct ImportedService {
    #[serde(flatten)]
    service: Service,
    servers: Vec<Server>,
    fallback: Option<Server>,
}

#[derive(Clone, Debug, Serialize)]
struct OmittedLine {
    file: String,
    line: usize,
    text: String,
    why: String,
}

impl From<Services> for ServicesBody {
    fn from(Services { slots, services }: Services) -> Self {
        Self {
            slots,
            services: services.into_iter().map(RunningService::new).collect(),
        }
    }
}

impl RunningService {
    fn new(status: ServiceStatus) -> Self {
        let ServiceStatus {
            service,
            options,
            no_server,
            counters,
            rates,
            servers,
        } = status;
        Self {
            service: Service::new(service, &options),
            no_server: no_server.name(),
            counters: counters.into(),
            rates: rates.into(),
            servers: servers.into_iter().map(RunningServer::new).collect(),
        }
    }
}

impl RunningServer {
    fn new(status: ServerStatus) -> Self {
        let ServerStatus {
            server,
            options,
            active,
            inactive,
            persistent,
            counters,
            rates,
            next,
        } = status;
        Self {
            server: Server::new(server, &options),
            active,
            inactive,
            persistent,
            counters: counters.into(),
            rates: rates.into(),
            next: match next {
                Next::Resolved { interface, mac } => NextHop {
                    local: false,
                    interface: Some(interface),
                    mac: Some(mac),
                    missing: None,
                },
                Next::Local => NextHop {
                    local: true,
                    interface: None,
                    mac: None,
                    missing: None,
                },
                Next::Unresolved { why } => NextHop {
                    local: false,
                    interface: None,
                    mac: None,
                    missing: Some(why),
                },
            },
        }
    }
}

impl Service {
    fn new(service: ServiceAddress, options: &ServiceOptions) -> Self {
        let ServiceOptions {
            scheduler,
            flags: _,
            persistent,
            netmask: mask,
            one_packet,
            persistence_engine,
        } = options;
        let family = service.family();
        let (protocol, address, port, mark) = match service {
            ServiceAddress::Address {
                protocol,
                address,
                port,
            } => (Some(protocol), Some(address), Some(port), None),
            ServiceAddress::Mark { mark, family: _ } => (None, None, None, Some(mark)),
        };
        Self {
            protocol,
            address,
            port,
            mark,
            family,
            scheduler: scheduler.clone(),
            flags: flag_names(options, 3),
            persistent: *persistent,
            netmask: mask.map(netmask),
            one_packet: *one_packet,
            persistence_engine: persistence_engine.clone(),
        }
    }
}

impl Server {
    fn new(server: ServerAddress, options: &ServerOptions) -> Self {
        let ServerAddress { address, port } = server;
        let ServerOptions {
            forwarding,
            weight,
            upper_threshold,
            lower_threshold,
        } = *options;
        let (forwarding, tunnel) = match forwarding {
            Forwarding::Route => ("route", None),
            Forwarding::Masquerade => ("masquerade", None),
            Forwarding::Local => ("local", None),
            Forwarding::Tunnel(tunnel) => ("tunnel", Some(TunnelHeader::new(tunnel))),
        };
        Self {
            address,
            port,
            forwarding,
            tunnel,
            weight,
            upper_threshold,
            lower_threshold,
        }
    }
}

impl TunnelHeader {
    const fn new(tunnel: Tunnel) -> Self {
        let (r#type, port, checksum) = match tunnel {
            Tunnel::Ipip => ("ipip", None, None),
            Tunnel::Gue { port, checksum } => ("gue", Some(port), Some(checksum)),
            Tunnel::Gre { checksum } => ("gre", None, Some(checksum)),
        };
        let checksum = match checksum {
            Some(TunnelChecksum::None) => Some("none"),
            Some(TunnelChecksum::Full) => Some("full"),
            Some(TunnelChecksum::Remote) => Some("remote"),
            None => None,
        };
        Self {
            r#type,
            port,
            checksum,
        }
    }
}

impl From<Counters> for Numbers {
    fn from(counters: Counters) -> Self {
        let Counters {
            connections,
            in_packets,
            out_packets,
            in_bytes,
            out_bytes,
        } = counters;
        Self {
            connections,
            in_packets,
            out_packets,
            in_bytes,
            out_bytes,
        }
    }
}

impl From<Rates> for Numbers {
    fn from(rates: Rates) -> Self {
        let Rates {
            connections,
            in_packets,
            out_packets,
            in_bytes,
            out_bytes,
        } = rates;
        Self {
            connections,
            in_packets,
            out_packets,
            in_bytes,
            out_bytes,
        }
    }
}

impl ImportBody {
    /// A description, and what a printer of rules leaves out of it.
    #[must_use]
    pub fn new(description: &Description, omissions: &[Omission]) -> Self {
        let Description {
            services,
            timeouts,
            daemons,
            // They are what the omissions tell.
            extras: _,
        } = description;
        let daemons = daemons.iter().cloned();
        Self {
            services: services.into_iter().map(ImportedService::new).collect(),
            timeouts: timeouts.map(Into::into),
            daemons: daemons
                .map(|(role, daemon)| super::Daemon::new(role, daemon))
                .collect(),
            omitted: omissions.iter().map(OmittedLine::new).collect(),
        }
    }
}

impl ImportedService {
    fn new(service: &crate::import::Service) -> Self {
        let crate::import::Service {
            place: _,
            address,
            options,
            servers,
            fallback,
            extras: _,
        } = service;
        let server = |server: &crate::import::Server| Server::new(server.address, &server.options);
        Self {
            service: Service::new(*address, options),
            servers: servers.into_iter().map(server).collect(),
            fallback: fallback.as_ref().map(server),
        }
    }
}

impl OmittedLine {
    fn new(omission: &Omission) -> Self {
        let Omission {
            place: (file, line),
            text,
            why,
        } = omission;
        Self {
            file: file.clone(),
            line: *line,
            text: text.clone(),
            why: why.clone(),
        }
    }
}
