//! A description as lines for `ipvsadm -R`, and what they leave out.

use super::{Description, Extra, Place, Server, Service, Topic};
use crate::names::Names;
use crate::output::rule::{Manner, Writer};
use lb_common::api::{DaemonRole, SyncDaemon, Timeouts};
use std::collections::HashSet;
use std::io::{self, Write};

/// A line of a file that a printer leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Omission {
    /// Where it stands: file and line.
    pub place: (String, usize),
    /// What it says.
    pub text: String,
    /// Why it is left out.
    pub why: String,
}

/// Prints the lines that make the description's table in an empty one.
///
/// # Errors
/// Writing fails.
pub fn print(description: &Description, names: &dyn Names, out: &mut dyn Write) -> io::Result<()> {
    let Description {
        services,
        timeouts,
        daemons,
        extras: _,
    } = description;
    let writer = Writer {
        manner: Manner::Whole,
        numeric: true,
        names,
    };
    for service in services {
        let Service {
            place: _,
            address,
            options,
            servers,
            fallback: _,
            extras: _,
        } = service;
        writeln!(out, "{}", writer.service(address, options))?;
        for server in servers {
            let rule = writer.server(address, server.address, &server.options);
            writeln!(out, "{rule}")?;
        }
    }
    if let Some(Timeouts { tcp, tcp_fin, udp }) = timeouts {
        writeln!(out, "--set {tcp} {tcp_fin} {udp}")?;
    }
    daemons
        .iter()
        .try_for_each(|(role, daemon)| writeln!(out, "{}", start_daemon(*role, daemon)))
}

fn start_daemon(role: DaemonRole, daemon: &SyncDaemon) -> String {
    let SyncDaemon {
        interface,
        sync_id,
        max_length,
        group,
        port,
        ttl,
    } = daemon;
    let role = match role {
        DaemonRole::Master => "master",
        DaemonRole::Backup => "backup",
    };
    let length = match max_length {
        0 => String::new(),
        length => format!(" --sync-maxlen {length}"),
    };
    format!(
        "--start-daemon {role} --mcast-interface {interface} --syncid {sync_id}{length} \
         --mcast-group {group} --mcast-port {port} --mcast-ttl {ttl}"
    )
}

/// What [`print()`] leaves out, in the order of the lines.
#[must_use]
pub fn omissions(description: &Description) -> Vec<Omission> {
    let mut found = Vec::new();
    for extra in &description.extras {
        leave_out(extra, &mut found);
    }
    for service in &description.services {
        let mut extras: Vec<&Extra> = service.extras.iter().collect();
        extras.extend(
            service
                .servers
                .as_slice()
                .iter()
                .flat_map(|server| &server.extras),
        );
        if let Some(server) = &service.fallback {
            found.push(fallback(server));
            extras.extend(&server.extras);
        }
        extras
            .into_iter()
            .for_each(|extra| leave_out(extra, &mut found));
    }
    // A line that is used more than once is left out once.
    let mut known = HashSet::new();
    found.retain(|omission| known.insert(omission.clone()));
    found.sort_by(|a, b| a.place.cmp(&b.place));
    found
}

fn leave_out(extra: &Extra, found: &mut Vec<Omission>) {
    found.push(omission(&extra.place, &extra.text, &why(&extra.topic)));
    extra
        .inside
        .iter()
        .for_each(|extra| leave_out(extra, found));
}

fn fallback(server: &Server) -> Omission {
    omission(
        &server.place,
        &format!("{} as fallback", server.address),
        "ipvs has no fallback: add the server by hand while no other is up",
    )
}

fn omission(place: &Place, text: &str, why: &str) -> Omission {
    Omission {
        place: (place.file.to_string(), place.line),
        text: text.to_owned(),
        why: why.to_owned(),
    }
}

fn why(topic: &Topic) -> String {
    match topic {
        Topic::Check => "ipvs checks no servers".to_owned(),
        Topic::Script => "ipvs runs no programs".to_owned(),
        Topic::Alert => "ipvs sends no messages".to_owned(),
        Topic::Failover => "ipvs does not decide which director is active".to_owned(),
        Topic::Quorum => "ipvs knows no quorum".to_owned(),
        Topic::Program => "it is about the program, not about ipvs".to_owned(),
        Topic::Ignored(why) | Topic::Unsaid(why) => why.clone(),
    }
}
