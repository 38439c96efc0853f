//! `-S`: the table as `-A` and `-a` lines.

use super::order;
use super::rule::{Manner, Writer};
use crate::args::request::Format;
use crate::names::Names;
use lb_common::api::ServiceStatus;
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
    let writer = Writer {
        manner: Manner::Saved,
        numeric: format.numeric,
        names,
    };
    for mut status in services {
        writeln!(out, "{}", writer.service(&status.service, &status.options))?;
        let servers = std::mem::take(&mut status.servers);
        for server in order::servers(servers) {
            let rule = writer.server(&status.service, server.server, &server.options);
            writeln!(out, "{rule}")?;
        }
    }
    Ok(())
}
