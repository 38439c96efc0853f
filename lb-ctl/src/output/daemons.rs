//! `-L --daemon`.

use lb_common::api::{DaemonRole, Daemons, SyncDaemon};
use std::io::{self, Write};

/// One line a running sync daemon.
///
/// # Errors
/// Writing fails.
pub fn daemons(daemons: &Daemons, out: &mut dyn Write) -> io::Result<()> {
    for (role, daemon) in &daemons.daemons {
        let role = role_name(*role);
        let SyncDaemon {
            interface,
            sync_id,
            max_length,
            group,
            port,
            ttl,
        } = daemon;
        writeln!(
            out,
            "{role} sync daemon (mcast={interface}, syncid={sync_id}, maxlen={max_length}, \
             group={group}, port={port}, ttl={ttl})"
        )?;
    }
    Ok(())
}

/// A role's word.
#[must_use]
pub const fn role_name(role: DaemonRole) -> &'static str {
    match role {
        DaemonRole::Master => "master",
        DaemonRole::Backup => "backup",
    }
}

/// What ipvsadm's listing does not say: daemons that serve no peer.
///
/// # Errors
/// Writing fails.
pub fn unserved(daemons: &Daemons, out: &mut dyn Write) -> io::Result<()> {
    if daemons.served {
        return Ok(());
    }
    for (role, daemon) in &daemons.daemons {
        writeln!(
            out,
            "the {} sync daemon on {} serves no peer: this version of lb-agent only keeps it",
            role_name(*role),
            daemon.interface
        )?;
    }
    Ok(())
}
