//! Answers as JSON: one document, which names its schema and the schema's version.
//!
//! The types here are what scripts see. They are apart from the control API's, so that neither
//! ties the other down; each is made by taking all of the other apart.

pub mod connection;
pub mod extras;
pub mod schema;
pub mod table;

use crate::output::daemons::role_name;
use lb_common::api::{DaemonRole, Daemons, SyncDaemon, Timeouts};
use schema::Schema;
use serde::Serialize;
use std::io::{self, Write};
use std::net::IpAddr;

#[derive(Serialize)]
struct Document<T> {
    schema: String,
    #[serde(flatten)]
    body: T,
}

/// Prints a document.
///
/// # Errors
/// Writing fails.
pub fn document(
    schema: &Schema,
    body: impl Serialize,
    out: &mut dyn Write,
) -> Result<(), serde_json::Error> {
    let document = Document {
        schema: schema.id(),
        body,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out).map_err(serde_json::Error::io)
}

/// [`Timeouts`] as a document.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TimeoutsBody {
    tcp: u32,
    tcp_fin: u32,
    udp: u32,
}

impl From<Timeouts> for TimeoutsBody {
    fn from(timeouts: Timeouts) -> Self {
        let Timeouts { tcp, tcp_fin, udp } = timeouts;
        Self { tcp, tcp_fin, udp }
    }
}

/// [`Daemons`] as a document.
#[derive(Clone, Debug, Serialize)]
pub struct DaemonsBody {
    daemons: Vec<Daemon>,
    served: bool,
}

/// A sync daemon.
#[derive(Clone, Debug, Serialize)]
pub struct Daemon {
    role: &'static str,
    interface: String,
    sync_id: u8,
    max_length: u16,
    group: IpAddr,
    port: u16,
    ttl: u8,
}

impl From<Daemons> for DaemonsBody {
    fn from(Daemons { daemons, served }: Daemons) -> Self {
        let daemons = daemons.into_iter();
        Self {
            daemons: daemons
                .map(|(role, daemon)| Daemon::new(role, daemon))
                .collect(),
            served,
        }
    }
}

impl Daemon {
    /// A daemon and its role.
    #[must_use]
    pub fn new(role: DaemonRole, daemon: SyncDaemon) -> Self {
        let SyncDaemon {
            interface,
            sync_id,
            max_length,
            group,
            port,
            ttl,
        } = daemon;
        Self {
            role: role_name(role),
            interface,
            sync_id,
            max_length,
            group,
            port,
            ttl,
        }
    }
}

/// Prints connections as they come, each on a line of its own within one document.
#[derive(Debug, Default)]
pub struct Connections {
    begun: bool,
}

impl Connections {
    /// Prints one connection, the JSON object `line` of the control API.
    ///
    /// # Errors
    /// The line is no connection, or writing fails.
    pub fn print(&mut self, line: &[u8], out: &mut dyn Write) -> Result<(), serde_json::Error> {
        let connection = connection::Connection::read(line)?;
        let start = if self.begun { ",\n" } else { "" };
        self.begin(out)
            .and_then(|()| out.write_all(start.as_bytes()))
            .map_err(serde_json::Error::io)?;
        serde_json::to_writer(&mut *out, &connection)
    }

    /// Ends the document.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.begin(out)?;
        out.write_all(b"\n]}\n")
    }

    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let id = schema::CONNECTIONS.id();
        out.write_all(format!("{{\"schema\":\"{id}\",\"connections\":[\n").as_bytes())
    }
}
