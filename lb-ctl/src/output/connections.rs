//! `-L -c`: the connections, as they come.

use super::address;
use crate::args::request::{Columns, Format};
use crate::control::ControlError;
use crate::names::Names;
use lb_common::api::Protocol;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

const TITLE: &str = "IPVS connection entries
pro expire state       source             virtual            destination";

/// Prints rows below one title, from lines of the agent's answer.
pub struct Rows<'a> {
    format: Format,
    names: &'a dyn Names,
    titled: bool,
}

/// [`lb_common::api::Connection`], without owning its text: a listing may have millions.
#[derive(Debug, Deserialize)]
struct Row<'a> {
    protocol: Option<Protocol>,
    expires: u32,
    state: &'a str,
    client: &'a str,
    client_port: u16,
    address: &'a str,
    port: u16,
    #[serde(borrow)]
    server: RowServer<'a>,
    #[serde(borrow, default)]
    engine: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Debug, Deserialize)]
struct RowServer<'a> {
    address: &'a str,
    port: u16,
}

impl<'a> Rows<'a> {
    /// Prepares a listing.
    #[must_use]
    pub const fn new(format: Format, names: &'a dyn Names) -> Self {
        Self {
            format,
            names,
            titled: false,
        }
    }

    /// Prints the title, once.
    ///
    /// # Errors
    /// Writing fails.
    pub fn title(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.titled, true) {
            return Ok(());
        }
        out.write_all(TITLE.as_bytes())?;
        if self.with_engine() {
            out.write_all(b"        pe name          pe_data")?;
        }
        out.write_all(b"\n")
    }

    /// Prints one connection, the JSON object `line`.
    ///
    /// # Errors
    /// The line is no connection, or writing fails.
    pub fn print(&mut self, line: &[u8], out: &mut dyn Write) -> Result<(), ControlError> {
        self.title(out)?;
        let unreadable = |source| ControlError::Answer {
            request: "GET /v1/connections".to_owned(),
            source,
        };
        let row: Row<'_> = serde_json::from_slice(line).map_err(unreadable)?;
        let (protocol, name) = match row.protocol {
            Some(Protocol::Tcp) => (row.protocol, "TCP"),
            Some(Protocol::Udp) => (row.protocol, "UDP"),
            Some(Protocol::Sctp) => (row.protocol, "SCTP"),
            None => (None, "IP"),
        };
        let client = self
            .endpoint(row.client, row.client_port, protocol)
            .map_err(unreadable)?;
        let service = self
            .endpoint(row.address, row.port, protocol)
            .map_err(unreadable)?;
        let server = self
            .endpoint(row.server.address, row.server.port, protocol)
            .map_err(unreadable)?;
        let (minutes, seconds) = (row.expires / 60, row.expires % 60);
        let expires = format!("{minutes:02}:{seconds:02}");
        let state = row.state;
        write!(
            out,
            "{name:<3} {expires:<6} {state:<11} {client:<18} {service:<18} "
        )?;
        match row.engine {
            Some((engine, data)) if self.with_engine() => {
                writeln!(out, "{server:<16} {engine:<18} {data}")?;
            }
            Some(_) | None => writeln!(out, "{server}")?,
        }
        Ok(())
    }

    fn with_engine(&self) -> bool {
        self.format.columns == Columns::Persistent
    }

    fn endpoint(
        &self,
        address: &str,
        port: u16,
        protocol: Option<Protocol>,
    ) -> Result<String, serde_json::Error> {
        // Numeric IPv4 text is the agent's own.
        if self.format.numeric && !address.contains(':') && address.parse::<Ipv4Addr>().is_ok() {
            return Ok(format!("{address}:{port}"));
        }
        let address: IpAddr = address.parse().map_err(serde::de::Error::custom)?;
        Ok(address::endpoint(
            address,
            port,
            protocol,
            self.format.numeric,
            self.names,
        ))
    }
}
