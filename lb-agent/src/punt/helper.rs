//! Whose packets application helpers see, and from where.
//!
//! A helper sees every packet of its services' connections as it comes in, before any address is
//! translated. The connections that it expects are ordinary entries of the flow table.

use crate::datapath::{Punt, Punts};
use lb_common::datapath::Packet;
use lb_common::time::Tick;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the client, to the virtual address.
    Client,
    /// From the server, to the client.
    Server,
}

/// The ends of a connection. IPv6 addresses have neither scope nor flow label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) client: SocketAddr,
    /// The virtual one, which the client connected to.
    pub(crate) address: SocketAddr,
    /// The server's.
    pub(crate) server: SocketAddr,
}

/// A packet that is to be helped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    /// Where it comes from.
    pub(super) side: Side,
    /// Its service's id.
    pub(super) service: u32,
    /// It.
    pub(super) punt: &'a Punt,
    /// What it is.
    pub(super) packet: &'a Packet,
    /// The present.
    pub(super) now: Tick,
}

impl Case<'_> {
    /// Sends a frame on in the packet's place.
    pub(super) fn send(&self, punts: &Punts, frame: &[u8]) {
        if let Err(error) = punts.send(self.punt.ifindex, frame) {
            tracing::warn!("{error:#}");
        }
    }
}
