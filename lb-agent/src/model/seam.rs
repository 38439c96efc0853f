//! The seam to what forwards packets.

use super::{Change, Model, ServerId};
use crate::datapath::Punts;
use crate::net::NextHop;
use lb_common::api::{Counters, Interface, Protocol, Timeouts, Warning};
use std::net::IpAddr;

/// How much fits into the datapath's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most services.
    pub(crate) services: u32,
    /// The most servers of all services together, retired ones included.
    pub(crate) servers: u32,
    /// The most servers of one service.
    pub(crate) servers_per_service: u32,
}

impl Limits {
    /// No limit but the numbers' own.
    pub(crate) const NONE: Self = Self {
        services: u32::MAX,
        servers: u32::MAX,
        servers_per_service: u32::MAX,
    };
}

/// What the datapath says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// The layout number of its maps.
    pub(crate) layout: u32,
    /// How many flows the flow table was sized for.
    pub(crate) flows: u32,
    /// How many flow-table entries exist.
    pub(crate) slots: u32,
    /// Where the program is attached.
    pub(crate) interfaces: Vec<Interface>,
    /// The configured interfaces that are gone at present.
    pub(crate) missing: Vec<String>,
    /// What its interfaces may do to packets.
    pub(crate) warnings: Vec<Warning>,
}

/// What the datapath counted for one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Connections in an active state.
    pub(crate) active: u32,
    /// Connections in any other state.
    pub(crate) inactive: u32,
    /// Persistence templates.
    pub(crate) persistent: u32,
    /// Counters since the server's entry was last cleared; they never fall.
    pub(crate) counters: Counters,
}

/// Where packets for a server go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlet<'a> {
    /// To another machine.
    Hop(&'a NextHop),
    /// To the director's own network stack.
    Here,
    /// Nowhere at present: they are held back.
    Nowhere,
}

/// The port of a flow at its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerPort {
    /// The server's own, or without one the virtual one.
    Own,
    /// The one below the server's own.
    Below,
    /// Another one; 0 for a template of all ports.
    Other(u16),
}

/// One entry of the flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The protocol; none for the template of a mark service.
    pub(crate) protocol: Option<Protocol>,
    /// The client's address.
    pub(crate) client: IpAddr,
    /// The client's port.
    pub(crate) client_port: u16,
    /// The virtual address.
    pub(crate) address: IpAddr,
    /// The virtual port.
    pub(crate) port: u16,
    /// The server.
    pub(crate) server: ServerId,
    /// The port at the server.
    pub(crate) server_port: ServerPort,
    /// The state's ipvs name.
    pub(crate) state: &'static str,
    /// Seconds until it expires.
    pub(crate) expires: u32,
    /// The persistence engine of a template, and its data.
    pub(crate) engine: Option<(&'static str, String)>,
}

/// What forwards packets, as the director sees it. The director calls it from one thread at a
/// time and holds its lock meanwhile: no call may wait for packets, peers or people.
pub(crate) trait Datapath: Send {
    /// How much fits.
    fn limits(&self) -> Limits;

    /// What it says about itself.
    fn about(&self) -> About;

    /// Makes the tables those of the state called `state` (never 0), emptying tables that belong
    /// to another one: their server ids mean other servers. Returns whether they were this
    /// state's already, so that ids, flows and counters go on. Called once, before all else.
    ///
    /// # Errors
    /// When the tables cannot be written.
    fn claim(&mut self, state: u64) -> anyhow::Result<bool>;

    /// Brings the tables in line with `model` for the objects that `changes` names.
    ///
    /// # Errors
    /// When a table cannot be written; then packets are forwarded as before the call.
    fn write(&mut self, model: &Model, changes: &[Change]) -> anyhow::Result<()>;

    /// The way to a server became known, changed, or is lost. A new server has none.
    ///
    /// # Errors
    /// When the table cannot be written.
    fn set_outlet(&mut self, server: ServerId, outlet: Outlet<'_>) -> anyhow::Result<()>;

    /// Sets the session timeouts, in seconds, none of them 0.
    ///
    /// # Errors
    /// When the table cannot be written; then the timeouts are as before.
    fn set_timeouts(&mut self, timeouts: &Timeouts) -> anyhow::Result<()>;

    /// Sets the settings, as bits of [`lb_common::layout::settings`].
    ///
    /// # Errors
    /// When the table cannot be written; then the settings are as before.
    fn set_settings(&mut self, bits: u32) -> anyhow::Result<()>;

    /// What was counted for a server; zeroes for one without entry.
    fn reading(&self, server: ServerId) -> Reading;

    /// Walks the flow table as it changes. The walk owns what it needs, so that a long listing
    /// does not hold up the director.
    fn connections(&self) -> Box<dyn Iterator<Item = Flow> + Send>;

    /// Every reason for which packets took another way than to a server, with its count.
    fn reasons(&self) -> Vec<(&'static str, u64)>;

    /// Reclaims expired flows and corrects counts; called every second, and may do a part of the
    /// table a call. Returns retired and unknown servers to which no flow refers any more; the
    /// same one may be returned again.
    fn sweep(&mut self) -> Vec<ServerId>;

    /// The packets that the program hands to the agent; none when there are none to come, or when
    /// they were asked for before.
    ///
    /// # Errors
    /// When they cannot be read.
    fn punts(&mut self) -> anyhow::Result<Option<Punts>> {
        Ok(None)
    }

    /// Zeroes the entry of a freed server, counters included, before its id is used again.
    ///
    /// # Errors
    /// When the table cannot be written; the id then stays in use and the call is repeated.
    fn clear_server(&mut self, server: ServerId) -> anyhow::Result<()>;
}
