//! `-S`: the table as `-A` and `-a` lines.

use super::{address, listing, order, service};
use crate::args::request::Format;
use crate::names::Names;
use lb_common::api::{
    Family, Forwarding, Protocol, ServerStatus, ServiceAddress, ServiceOptions, ServiceStatus,
    Tunnel, TunnelChecksum,
};
use std::fmt::Write as _;
use std::io::{self, Write};

/// One line a service and one a server. Thresholds are not saved, as ipvsadm saves none.
///
/// # Errors
/// Writing fails.
pub fn rules(
    mut services: Vec<ServiceStatus>,
    format: Format,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    if !format.nosort {
        services = order::services(services);
    }
    for mut status in services {
        let service = selector(&status.service, format.numeric, names);
        writeln!(out, "-A {service} {}", service_options(&status.options))?;
        let servers = std::mem::take(&mut status.servers);
        for server in order::servers(servers) {
            let protocol = listing::protocol(&status.service);
            let rule = server_options(&server, protocol, format.numeric, names);
            writeln!(out, "-a {service} {rule}")?;
        }
    }
    Ok(())
}

fn selector(service: &ServiceAddress, numeric: bool, names: &dyn Names) -> String {
    match *service {
        ServiceAddress::Address {
            protocol,
            address,
            port,
        } => {
            let option = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            let endpoint = address::endpoint(address, port, Some(protocol), numeric, names);
            format!("{option} {endpoint}")
        }
        ServiceAddress::Mark { mark, family } => format!(
            "-f {}{}",
            service::signed(mark),
            match family {
                Family::Ipv4 => "",
                Family::Ipv6 => " -6",
            }
        ),
    }
}

fn service_options(options: &ServiceOptions) -> String {
    let mut text = format!("-s {}", options.scheduler);
    if let Some(seconds) = options.persistent {
        let _ = write!(text, " -p {seconds}");
        if let Some(mask) = options.netmask {
            let _ = write!(text, " -M {}", service::netmask(mask));
        }
    }
    if let Some(engine) = &options.persistence_engine {
        let _ = write!(text, " --pe {engine}");
    }
    if options.one_packet {
        text.push_str(" -o");
    }
    if options.flags != 0 {
        let _ = write!(text, " -b {}", service::flags(options));
    }
    text
}

fn server_options(
    status: &ServerStatus,
    protocol: Option<Protocol>,
    numeric: bool,
    names: &dyn Names,
) -> String {
    let server = status.server;
    let endpoint = address::endpoint(server.address, server.port, protocol, numeric, names);
    let method = match status.options.forwarding {
        Forwarding::Route | Forwarding::Local => "-g",
        Forwarding::Tunnel(_) => "-i",
        Forwarding::Masquerade => "-m",
    };
    let mut text = format!("-r {endpoint} {method} -w {}", status.options.weight);
    if let Forwarding::Tunnel(tunnel) = status.options.forwarding {
        let _ = match tunnel {
            Tunnel::Ipip => write!(text, " --tun-type ipip"),
            Tunnel::Gue {
                port,
                checksum: kind,
            } => write!(text, " --tun-type gue --tun-port {port} {}", checksum(kind)),
            Tunnel::Gre { checksum: kind } => write!(text, " --tun-type gre {}", checksum(kind)),
        };
    }
    text
}

const fn checksum(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::None => "--tun-nocsum",
        TunnelChecksum::Full => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    }
}
