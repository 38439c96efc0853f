//! `lb-ctl status`.

use super::VerbError;
use crate::command::World;
use crate::exit::Exit;
use lb_common::api::{Agent, AttachMode, Next, Services};
use std::io::{self, Write};

/// Shows the agent and how many services and servers it has; the exit code tells whether every
/// server can be reached.
pub(super) fn status(words: &[String], world: &mut World<'_>) -> Result<Exit, VerbError> {
    let json = match words {
        [] => false,
        [option, form] if option == "-o" && form == "json" => true,
        [option] if option == "-ojson" => true,
        [.., word] => {
            return Err(VerbError::Usage {
                verb: "status",
                word: word.clone(),
                usage: "lb-ctl status [-o json]",
            });
        }
    };
    let agent = world.control.agent()?;
    let services = world.control.services()?;
    let unresolved = unresolved(&services);
    if json {
        let answer = serde_json::json!({
            "agent": agent,
            "services": services.services.len(),
            "servers": server_count(&services),
            "unresolved": unresolved
                .iter()
                .map(|(service, server, why)| {
                    serde_json::json!({"service": service, "server": server, "why": why})
                })
                .collect::<Vec<_>>(),
        });
        serde_json::to_writer_pretty(&mut *world.out, &answer)?;
        writeln!(world.out)?;
    } else {
        print(&agent, &services, &unresolved, world.out)?;
    }
    Ok(if unresolved.is_empty() {
        Exit::Success
    } else {
        Exit::Negative
    })
}

fn print(
    agent: &Agent,
    services: &Services,
    unresolved: &[(String, String, &str)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let Agent {
        version,
        pid,
        layout,
        flows,
        slots,
        interfaces,
        reasons,
    } = agent;
    writeln!(out, "lb-agent {version}, pid {pid}, map layout {layout}")?;
    writeln!(out, "flow table for {flows} flows, {slots} entries")?;
    if interfaces.is_empty() {
        writeln!(out, "attached to no interface")?;
    }
    for interface in interfaces {
        let mode = match interface.mode {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        };
        writeln!(out, "attached to {} ({mode})", interface.name)?;
    }
    writeln!(
        out,
        "{} services, {} servers",
        services.services.len(),
        server_count(services)
    )?;
    for (service, server, why) in unresolved {
        writeln!(out, "unreachable: {server} of {service}: {why}")?;
    }
    for (reason, count) in reasons.iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "{count:>12} {reason}")?;
    }
    Ok(())
}

fn server_count(services: &Services) -> usize {
    services
        .services
        .iter()
        .map(|status| status.servers.len())
        .sum()
}

fn unresolved(services: &Services) -> Vec<(String, String, &str)> {
    let mut found = Vec::new();
    for status in &services.services {
        for server in &status.servers {
            if let Next::Unresolved { why } = &server.next {
                let names = (status.service.to_string(), server.server.to_string());
                found.push((names.0, names.1, why.as_str()));
            }
        }
    }
    found
}
