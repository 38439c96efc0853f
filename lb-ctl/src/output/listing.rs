//! `-L`: titles, services and their servers.

use super::{address, counters, order, persistent, plain, service, thresholds, tunnel};
use crate::args::request::{Columns, Format};
use crate::names::Names;
use lb_common::api::{Protocol, ServerStatus, ServiceAddress, ServiceStatus};
use std::io::{self, Write};

/// The first line of a full listing; `size` is the number of flow-table entries.
///
/// # Errors
/// Writing fails.
pub fn version(size: u32, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "IP Virtual Server version 1.2.1 (size={size})")
}

/// The titles, and every service with its servers.
///
/// # Errors
/// Writing fails.
pub fn services(
    mut services: Vec<ServiceStatus>,
    format: Format,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(title(format.columns).as_bytes())?;
    if !format.nosort {
        services = order::services(services);
    }
    for mut status in services {
        service_row(&status, format, names, out)?;
        let servers = std::mem::take(&mut status.servers);
        let servers = if format.nosort {
            servers
        } else {
            order::servers(servers)
        };
        for server in &servers {
            server_row(&status.service, server, format, names, out)?;
        }
    }
    Ok(())
}

const fn title(columns: Columns) -> &'static str {
    match columns {
        Columns::Plain => plain::TITLE,
        Columns::Tunnels => tunnel::TITLE,
        Columns::Thresholds => thresholds::TITLE,
        Columns::Persistent => persistent::TITLE,
        Columns::Stats => counters::STATS_TITLE,
        Columns::Rate => counters::RATE_TITLE,
    }
}

fn service_row(
    status: &ServiceStatus,
    format: Format,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = service::name(&status.service, format.numeric, names);
    match format.columns {
        Columns::Plain | Columns::Tunnels | Columns::Thresholds | Columns::Persistent => {
            writeln!(out, "{name} {}", service::scheduling(&status.options))
        }
        Columns::Stats => {
            write!(out, "{name:<33}")?;
            counters::stats(&status.counters, format.exact, out)
        }
        Columns::Rate => {
            write!(out, "{name:<33}")?;
            counters::rates(&status.rates, format.exact, out)
        }
    }
}

fn server_row(
    service: &ServiceAddress,
    status: &ServerStatus,
    format: Format,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    let server = status.server;
    let protocol = protocol(service);
    let text = address::endpoint(server.address, server.port, protocol, format.numeric, names);
    let name = address::column(server.address, &text);
    write!(out, "  -> {name:<width$}", width = address::COLUMN)?;
    match format.columns {
        Columns::Plain => plain::server(status, out),
        Columns::Tunnels => tunnel::server(status, out),
        Columns::Thresholds => thresholds::server(status, out),
        Columns::Persistent => persistent::server(status, out),
        Columns::Stats => counters::stats(&status.counters, format.exact, out),
        Columns::Rate => counters::rates(&status.rates, format.exact, out),
    }
}

/// The protocol that names a service's ports; a mark service has none.
pub(super) const fn protocol(service: &ServiceAddress) -> Option<Protocol> {
    match service {
        ServiceAddress::Address { protocol, .. } => Some(*protocol),
        ServiceAddress::Mark { .. } => None,
    }
}
