//! `-L` without a column option.

use lb_common::api::{Forwarding, ServerStatus};
use std::io::{self, Write};

pub(super) const TITLE: &str = "Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
";

pub(super) fn server(status: &ServerStatus, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        " {:<7} {:<6} {:<10} {:<10}",
        forwarding(status.options.forwarding),
        status.options.weight,
        status.active,
        status.inactive,
    )
}

/// A forwarding method's name in listings.
pub(super) const fn forwarding(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Route => "Route",
        Forwarding::Tunnel(_) => "Tunnel",
        Forwarding::Masquerade => "Masq",
        Forwarding::Local => "Local",
    }
}
