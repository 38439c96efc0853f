//! `-L --daemon`.

use lb_common::api::{DaemonRole, Daemons, SyncDaemon};
use std::io::{self, Write};

/// One line a running sync daemon.
///
/// # Errors
/// Writing fails.
pub fn daemons(daemons: &Daemons, out: &mut dyn Write) -> io::Result<()> {
    for (role, daemon) in &daemons.daemons {
        let role = match role {
            DaemonRole::Master => "master",
            DaemonRole::Backup => "backup",
        };
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
