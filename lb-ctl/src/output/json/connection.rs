//! A connection, without owning its text: a listing may have millions.

use lb_common::api::Protocol;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What the control API's line says.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    protocol: Option<Protocol>,
    expires: u32,
    state: &'a str,
    client: &'a str,
    client_port: u16,
    address: &'a str,
    port: u16,
    #[serde(borrow)]
    server: LineServer<'a>,
    #[serde(borrow, default)]
    engine: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Debug, Deserialize)]
struct LineServer<'a> {
    address: &'a str,
    port: u16,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Connection<'a> {
    protocol: Option<Protocol>,
    state: &'a str,
    expires: u32,
    client: Endpoint<'a>,
    service: Endpoint<'a>,
    server: Endpoint<'a>,
    engine: Option<Engine<'a>>,
}

#[derive(Debug, Serialize)]
struct Endpoint<'a> {
    address: &'a str,
    port: u16,
}

#[derive(Debug, Serialize)]
struct Engine<'a> {
    name: Cow<'a, str>,
    data: Cow<'a, str>,
}

impl<'a> Connection<'a> {
    /// Reads a line of the control API.
    ///
    /// # Errors
    /// It is no connection.
    pub fn read(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Line {
            protocol,
            expires,
            state,
            client,
            client_port,
            address,
            port,
            server,
            engine,
        } = serde_json::from_slice(line)?;
        let endpoint = |address, port| Endpoint { address, port };
        Ok(Self {
            protocol,
            state,
            expires,
            client: endpoint(client, client_port),
            service: endpoint(address, port),
            server: endpoint(server.address, server.port),
            engine: engine.map(|(name, data)| Engine { name, data }),
        })
    }
}
