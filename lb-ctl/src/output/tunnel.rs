//! `-L --tun-info`.

use super::plain;
use lb_common::api::{Forwarding, ServerStatus, Tunnel, TunnelChecksum};
use std::io::{self, Write};

pub(super) const TITLE: &str = "Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
";

pub(super) fn server(status: &ServerStatus, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        " {:<7} {:<13} {:<6} {:<10} {:<10}",
        plain::forwarding(status.options.forwarding),
        tunnel(status.options.forwarding),
        status.options.weight,
        status.active,
        status.inactive,
    )
}

fn tunnel(forwarding: Forwarding) -> String {
    match forwarding {
        Forwarding::Route | Forwarding::Masquerade | Forwarding::Local => "n/a".to_owned(),
        Forwarding::Tunnel(Tunnel::Ipip) => "ipip".to_owned(),
        Forwarding::Tunnel(Tunnel::Gue {
            port,
            checksum: kind,
        }) => format!("gue:{port}:{}", checksum(kind)),
        Forwarding::Tunnel(Tunnel::Gre { checksum: kind }) => format!("gre:{}", checksum(kind)),
    }
}

const fn checksum(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Full => "+c",
        TunnelChecksum::Remote => "r+c",
    }
}
