//! `lb-ctl status`.

use super::words::{Grammar, OUTPUT, Tail, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::exit::Exit;
use crate::output::daemons::unserved;
use crate::output::json::{DaemonsBody, document, schema};
use lb_common::api::{Agent, AttachMode, Daemons, Interface, Next, Services, Warning};
use serde::Serialize;
use std::io::{self, Write};

pub(super) const STATUS: Verb = Verb {
    grammar: Grammar {
        name: "status",
        operands: &[],
        options: &[&OUTPUT],
        tail: Tail::None,
    },
    about: "show the agent, its interfaces, and how many services and servers it has",
    details: &[
        "It ends with 0 if the program is attached to every configured interface, every server can \
         be reached and no warning is shown, else with 1, so that scripts can ask it. Of what lb \
         cannot see it shows notes, which do not count.",
    ],
    run: status,
};

/// What is told, as text and as JSON.
#[derive(Debug, Serialize)]
struct Status {
    agent: About,
    services: usize,
    servers: usize,
    active: u64,
    inactive: u64,
    unresolved: Vec<Unresolved>,
    sync: DaemonsBody,
}

#[derive(Debug, Serialize)]
struct About {
    version: String,
    pid: u32,
    layout: u32,
    flows: u32,
    slots: u32,
    interfaces: Vec<Attached>,
    missing: Vec<String>,
    warnings: Vec<Warned>,
    reasons: Vec<Counted>,
}

#[derive(Debug, Serialize)]
struct Attached {
    name: String,
    mode: &'static str,
}

#[derive(Debug, Serialize)]
struct Warned {
    kind: &'static str,
    /// Whether something was seen to go wrong.
    seen: bool,
    message: String,
}

#[derive(Debug, Serialize)]
struct Counted {
    reason: String,
    packets: u64,
}

#[derive(Debug, Serialize)]
struct Unresolved {
    service: String,
    server: String,
    why: String,
}

fn status(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let agent = world.control.agent()?;
    let services = world.control.services()?;
    let daemons = world.control.daemons()?;
    let status = Status::new(agent, &services, daemons.clone());
    let About {
        interfaces,
        missing,
        warnings,
        ..
    } = &status.agent;
    let attached = !interfaces.is_empty() && missing.is_empty();
    let warned = warnings.iter().any(|warning| warning.seen);
    let good = attached && status.unresolved.is_empty() && !warned;
    if words.json() {
        document(&schema::STATUS, status, world.out)?;
    } else {
        status.print(&daemons, world.out)?;
    }
    Ok(if good { Exit::Success } else { Exit::Negative })
}

impl Status {
    fn new(agent: Agent, services: &Services, daemons: Daemons) -> Self {
        let mut status = Self {
            agent: About::new(agent),
            services: services.services.len(),
            servers: 0,
            active: 0,
            inactive: 0,
            unresolved: Vec::new(),
            sync: daemons.into(),
        };
        for service in &services.services {
            for server in &service.servers {
                status.servers += 1;
                status.active += u64::from(server.active);
                status.inactive += u64::from(server.inactive);
                if let Next::Unresolved { why } = &server.next {
                    status.unresolved.push(Unresolved {
                        service: service.service.to_string(),
                        server: server.server.to_string(),
                        why: why.clone(),
                    });
                }
            }
        }
        status
    }

    fn print(&self, daemons: &Daemons, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            agent,
            services,
            servers,
            active,
            inactive,
            unresolved,
            sync: _,
        } = self;
        let About {
            version,
            pid,
            layout,
            flows,
            slots,
            interfaces,
            missing,
            warnings,
            reasons,
        } = agent;
        writeln!(out, "lb-agent {version}, pid {pid}, map layout {layout}")?;
        if interfaces.is_empty() {
            writeln!(out, "attached to no interface: no packet is balanced")?;
        }
        for Attached { name, mode } in interfaces {
            writeln!(out, "attached to {name} ({mode})")?;
        }
        for name in missing {
            writeln!(
                out,
                "no interface {name}: its packets are not balanced until it is back"
            )?;
        }
        writeln!(out, "flow table for {flows} flows, {slots} entries")?;
        writeln!(
            out,
            "{}, {}; connections: {active} active, {inactive} inactive",
            counted(*services, "service"),
            counted(*servers, "server")
        )?;
        for Unresolved {
            service,
            server,
            why,
        } in unresolved
        {
            writeln!(out, "unreachable: {server} of {service}: {why}")?;
        }
        for alike in warnings.chunk_by(|one, next| one.kind == next.kind) {
            for Warned { seen, message, .. } in alike.iter().take(LISTED) {
                let title = title(*seen);
                writeln!(out, "{title}: {message}")?;
            }
            if let [Warned { kind, seen, .. }, ..] = alike.get(LISTED..).unwrap_or_default() {
                let (title, more) = (title(*seen), alike.len() - LISTED);
                writeln!(
                    out,
                    "{title}: and {more} more ({kind}): `-o json` lists them"
                )?;
            }
        }
        unserved(daemons, out)?;
        let mut title = "packets that did not go to a server:\n";
        for Counted { reason, packets } in reasons.iter().filter(|reason| reason.packets > 0) {
            writeln!(out, "{title}{packets:>12} {reason}")?;
            title = "";
        }
        Ok(())
    }
}

/// How many warnings of a kind are printed; a failed network may cause very many.
const LISTED: usize = 10;

const fn title(seen: bool) -> &'static str {
    if seen { "warning" } else { "note" }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

impl About {
    fn new(agent: Agent) -> Self {
        let Agent {
            version,
            pid,
            layout,
            flows,
            slots,
            interfaces,
            missing,
            warnings,
            reasons,
        } = agent;
        let attached = |Interface { name, mode }| Attached {
            name,
            mode: match mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            },
        };
        let warned = |Warning { kind, message }| Warned {
            kind: kind.name(),
            seen: kind.is_seen(),
            message,
        };
        let counted = |(reason, packets)| Counted { reason, packets };
        Self {
            version,
            pid,
            layout,
            flows,
            slots,
            interfaces: interfaces.into_iter().map(attached).collect(),
            missing,
            warnings: warnings.into_iter().map(warned).collect(),
            reasons: reasons.into_iter().map(counted).collect(),
        }
    }
}
