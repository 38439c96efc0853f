//! [`LowArgs`] to a [`Request`]: every rule that needs the whole line.

use super::flags::Command;
use super::legality::{Given, Opt, Rule};
use super::low::{FULL_MASK, FULL_PREFIX, LowArgs, LowService, Method, TunnelType};
use super::{Refused, check, parse};
use crate::names::Names;
use lb_common::api::{
    Edit, Family, Forwarding, Protocol, ServerAddress, ServerOptions, ServiceAddress,
    ServiceOptions, SyncDaemon, Tunnel, TunnelChecksum,
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change something.
    Edit(Edit),
    /// `-L`, of one service or of all.
    List {
        /// Which service; none means all.
        service: Option<ServiceAddress>,
        /// How to print it.
        format: Format,
    },
    /// `-L -c`.
    Connections(Format),
    /// `-L --timeout`.
    Timeouts,
    /// `-L --daemon`.
    Daemons,
    /// `-S`.
    Save(Format),
    /// `-R`.
    Restore,
    /// `-h`.
    Help,
    /// `-v`.
    Version,
}

/// How a listing looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// `-n`: numbers instead of names.
    pub numeric: bool,
    /// `--exact`: full numbers.
    pub exact: bool,
    /// `--nosort`: the agent's order.
    pub nosort: bool,
    /// Which columns.
    pub columns: Columns,
}

/// The columns of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// Forwarding method, weight, active and inactive connections.
    #[default]
    Plain,
    /// `--tun-info`: the plain ones and the tunnel.
    Tunnels,
    /// `--thresholds`.
    Thresholds,
    /// `--persistent-conn`.
    Persistent,
    /// `--stats`.
    Stats,
    /// `--rate`.
    Rate,
}

/// Reads a command line.
///
/// # Errors
/// The first rule it breaks.
pub fn request(words: &[String], names: &dyn Names) -> Result<Request, Refused> {
    from_low(&parse::parse(words, names)?)
}

fn from_low(low: &LowArgs) -> Result<Request, Refused> {
    let edit = match low.command {
        Command::Help => return Ok(Request::Help),
        Command::Version => return Ok(Request::Version),
        Command::Restore => return Ok(Request::Restore),
        Command::Save => return Ok(Request::Save(format(low.given))),
        Command::List => return list(low),
        Command::AddService => {
            let (service, options) = service(low)?;
            Edit::AddService { service, options }
        }
        Command::EditService => {
            let (service, options) = service(low)?;
            Edit::EditService { service, options }
        }
        Command::DeleteService => Edit::DeleteService {
            service: service_address(&low.service)?,
        },
        Command::Clear => Edit::Clear,
        Command::AddServer => {
            let (service, server, options) = server(low)?;
            Edit::AddServer {
                service,
                server,
                options,
            }
        }
        Command::EditServer => {
            let (service, server, options) = server(low)?;
            Edit::EditServer {
                service,
                server,
                options,
            }
        }
        Command::DeleteServer => Edit::DeleteServer {
            service: service_address(&low.service)?,
            server: server_address(low),
        },
        Command::Zero => Edit::Zero {
            service: optional_service(low)?,
        },
        Command::Set => Edit::SetTimeouts {
            timeouts: low.timeouts,
        },
        Command::StartDaemon => Edit::StartDaemon {
            role: low.role,
            daemon: SyncDaemon {
                interface: or_default(&low.daemon.interface, "eth0"),
                ..low.daemon.clone()
            },
        },
        Command::StopDaemon => Edit::StopDaemon { role: low.role },
    };
    Ok(Request::Edit(edit))
}

fn list(low: &LowArgs) -> Result<Request, Refused> {
    let given = low.given;
    let counters = [Opt::Stats, Opt::Rate, Opt::Thresholds];
    let conflict = given.any(&[Opt::Connection, Opt::Timeout, Opt::Daemon]) && given.any(&counters)
        || given.any(&[Opt::Timeout, Opt::Daemon]) && given.has(Opt::PersistentConn);
    if conflict {
        return Err(check("options conflicts in the list command"));
    }
    let format = format(given);
    Ok(if given.has(Opt::Connection) {
        Request::Connections(format)
    } else if given.has(Opt::Timeout) {
        Request::Timeouts
    } else if given.has(Opt::Daemon) {
        Request::Daemons
    } else {
        Request::List {
            service: optional_service(low)?,
            format,
        }
    })
}

fn format(given: Given) -> Format {
    let columns = [
        (Opt::Stats, Columns::Stats),
        (Opt::Rate, Columns::Rate),
        (Opt::Thresholds, Columns::Thresholds),
        (Opt::PersistentConn, Columns::Persistent),
        (Opt::TunInfo, Columns::Tunnels),
    ];
    Format {
        numeric: given.has(Opt::Numeric),
        exact: given.has(Opt::Exact),
        nosort: given.has(Opt::Nosort),
        columns: columns
            .into_iter()
            .find(|(opt, _)| given.has(*opt))
            .map_or(Columns::Plain, |(_, columns)| columns),
    }
}

fn optional_service(low: &LowArgs) -> Result<Option<ServiceAddress>, Refused> {
    low.given
        .has(Opt::ServiceAddress)
        .then(|| service_address(&low.service))
        .transpose()
}

fn service_address(low: &LowService) -> Result<ServiceAddress, Refused> {
    match low.protocol {
        Some(protocol) => Ok(ServiceAddress::Address {
            protocol,
            address: low.address,
            port: low.port,
        }),
        None if low.mark != 0 => Ok(ServiceAddress::Mark {
            mark: low.mark,
            family: Family::of(low.address),
        }),
        None => Err(check("no service is named")),
    }
}

fn service(low: &LowArgs) -> Result<(ServiceAddress, ServiceOptions), Refused> {
    let scheduler = or_default(&low.scheduler, "wlc");
    let address = service_address(&low.service)?;
    if let ServiceAddress::Address { protocol, port, .. } = address {
        if port == 0 && low.persistent.is_none() {
            return Err(check("Zero port specified for non-persistent service"));
        }
        if low.one_packet && protocol != Protocol::Udp {
            return Err(check(
                "One-Packet Scheduling is only for UDP virtual services",
            ));
        }
    }
    let full = [FULL_MASK, FULL_PREFIX].contains(&low.netmask);
    let options = ServiceOptions {
        scheduler,
        flags: low.scheduler_flags,
        persistent: low.persistent,
        netmask: (!full).then_some(low.netmask),
        one_packet: low.one_packet,
        persistence_engine: Some(low.persistence_engine.clone()).filter(|name| !name.is_empty()),
    };
    Ok((address, options))
}

fn server_address(low: &LowArgs) -> ServerAddress {
    let (address, port) = low.server;
    ServerAddress { address, port }
}

fn server(low: &LowArgs) -> Result<(ServiceAddress, ServerAddress, ServerOptions), Refused> {
    let service = service_address(&low.service)?;
    let mut server = server_address(low);
    // Routed and tunnelled packets keep their port.
    if let ServiceAddress::Address { port, .. } = service
        && low.method != Method::Masquerade
    {
        server.port = port;
    }
    if low.method != Method::Tunnel && Family::of(server.address) != service.family() {
        return Err(check(
            "Different address family is allowed only for tunneling servers",
        ));
    }
    let options = ServerOptions {
        forwarding: forwarding(low)?,
        weight: low.weight,
        upper_threshold: low.upper_threshold,
        lower_threshold: low.lower_threshold,
    };
    Ok((service, server, options))
}

const TUNNEL_OPTIONS: &[Opt] = &[
    Opt::TunType,
    Opt::TunPort,
    Opt::TunNocsum,
    Opt::TunCsum,
    Opt::TunRemcsum,
];

fn forwarding(low: &LowArgs) -> Result<Forwarding, Refused> {
    let given = low.given;
    if low.method != Method::Tunnel && given.any(TUNNEL_OPTIONS) {
        return Err(check("Tunnel options conflict with forward method"));
    }
    Ok(match low.method {
        Method::Route => Forwarding::Route,
        Method::Masquerade => Forwarding::Masquerade,
        Method::Tunnel => {
            tunnel_rule(low.tunnel).check(
                given,
                |opt| opt != Opt::TunType && TUNNEL_OPTIONS.contains(&opt),
                &format!("'{}' tunnel type", low.tunnel.name()),
            )?;
            let checksum = if given.has(Opt::TunCsum) {
                TunnelChecksum::Full
            } else if given.has(Opt::TunRemcsum) {
                TunnelChecksum::Remote
            } else {
                TunnelChecksum::None
            };
            Forwarding::Tunnel(match low.tunnel {
                TunnelType::Ipip => Tunnel::Ipip,
                TunnelType::Gue => Tunnel::Gue {
                    port: low.tunnel_port,
                    checksum,
                },
                TunnelType::Gre => Tunnel::Gre { checksum },
            })
        }
    })
}

const fn tunnel_rule(tunnel: TunnelType) -> Rule {
    let (must, one_of): (&[Opt], &[Opt]) = match tunnel {
        TunnelType::Ipip => (&[], &[]),
        TunnelType::Gue => (
            &[Opt::TunPort],
            &[Opt::TunNocsum, Opt::TunCsum, Opt::TunRemcsum],
        ),
        TunnelType::Gre => (&[], &[Opt::TunNocsum, Opt::TunCsum]),
    };
    Rule {
        must,
        may: &[],
        one_of,
    }
}

fn or_default(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}
