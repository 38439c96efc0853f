//! What the operator wants: services, their servers, timeouts and daemons.
//!
//! Pure: no I/O and no clock. [`Model::apply`] changes it by the kernel's rules and says what a
//! datapath has to write; [`Model::rollback`] takes back everything since [`Model::commit`].
//!
//! - Services are kept in the order they were added, the servers of a service newest first, as
//!   ipvs keeps them: schedulers walk that order.
//! - A [`ServerId`] stands for one server address within one service address and is what flows
//!   refer to. A removed server is *retired*: it keeps its id until no flow refers to it any more
//!   ([`Model::free`]), and adding it again revives the same id.
//! - All mutation goes through `set_service` and `set_server`, which keep the indices and the
//!   undo list; no other code touches the tables.

mod apply;
mod change;
mod check;
mod ids;
mod image;
pub(crate) mod seam;
mod supported;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use change::{Change, settle};
pub(crate) use image::Image;
pub(crate) use seam::{About, Datapath, Flow, Limits, Outlet, Reading, ServerPort};
pub(crate) use supported::{NO_SCHEDULER, service_supported};

use ids::Ids;
use lb_common::api::{
    DaemonRole, MarkRule, NoServer, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions,
    Setting, SyncDaemon, Timeouts,
};
use lb_common::state::{UDP_TIMEOUT, tcp::State};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The number of a service; the lowest free one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ServiceId(pub(crate) u32);

/// The number of a server within its service; the lowest free one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ServerId(pub(crate) u32);

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Its number.
    pub(crate) id: ServiceId,
    /// What tells it from others.
    pub(crate) address: ServiceAddress,
    /// How it schedules.
    pub(crate) options: ServiceOptions,
    /// What clients hear without a server.
    #[serde(default)]
    pub(crate) no_server: NoServer,
    /// Its place in the order of addition.
    pub(crate) added: u64,
}

/// A real server of one service, live or retired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// Its number.
    pub(crate) id: ServerId,
    /// The service it was added to; that service may be gone.
    pub(crate) service: ServiceAddress,
    /// Its own address.
    pub(crate) address: ServerAddress,
    /// How it is used.
    pub(crate) options: ServerOptions,
    /// Its weight before it was quiesced, if it is; mh goes by that.
    #[serde(default)]
    pub(crate) last_weight: u32,
    /// Whether it may get new connections.
    pub(crate) standing: Standing,
}

/// Whether a server is in its service's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Standing {
    /// In the list.
    Live {
        /// The service.
        service: ServiceId,
        /// Its place in the order of addition.
        added: u64,
    },
    /// Removed; flows may refer to it.
    Retired {
        /// The service that counts its packets; none when that one was deleted.
        service: Option<ServiceId>,
    },
}

/// The timeouts at start, in seconds.
const TIMEOUTS: Timeouts = Timeouts {
    tcp: State::Established.default_timeout(),
    tcp_fin: State::FinWait.default_timeout(),
    udp: UDP_TIMEOUT,
};

/// Everything that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    services: BTreeMap<ServiceId, Service>,
    servers: BTreeMap<ServerId, Server>,
    /// Ids that flows refer to and of which nothing else is known.
    reserved: BTreeSet<ServerId>,
    timeouts: Timeouts,
    daemons: BTreeMap<DaemonRole, SyncDaemon>,
    marks: Vec<MarkRule>,
    /// The settings that edits gave a value.
    settings: BTreeMap<Setting, u32>,
    /// The `added` of what is added next.
    next: u64,
    limits: Limits,
    index: Index,
    undo: Vec<Undo>,
    /// What schedulers have to go through for the edits since the last commit, in order.
    steps: HashMap<ServiceId, Vec<Step>>,
}

/// What an edit means to a service's scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The service is new.
    Begin,
    /// It has this scheduler; perhaps it had it before.
    Schedule(String),
    /// A server came to the front of the list.
    Add(ServerId, u32),
    /// A server has this weight; perhaps it had it before.
    Weigh(ServerId, u32),
    /// A server is gone.
    Remove(ServerId),
}

/// What can be derived from the tables, kept beside them for speed.
#[derive(Clone, Debug, Default)]
struct Index {
    service_ids: Ids,
    server_ids: Ids,
    /// Services by `added`.
    order: BTreeMap<u64, ServiceId>,
    service: HashMap<ServiceAddress, ServiceId>,
    server: HashMap<(ServiceAddress, ServerAddress), ServerId>,
    /// Live servers, newest first within their service.
    live: BTreeMap<(ServiceId, Reverse<u64>), ServerId>,
    /// Retired servers that a service still counts.
    retired: BTreeSet<(ServiceId, ServerId)>,
}

/// The value a table entry had before a change.
#[derive(Clone, Debug)]
enum Undo {
    Service(ServiceId, Option<Service>),
    Server(ServerId, Option<Server>),
    Timeouts(Timeouts),
    Daemon(DaemonRole, Option<SyncDaemon>),
    Marks(Vec<MarkRule>),
    Settings(BTreeMap<Setting, u32>),
}

impl Model {
    /// An empty model that refuses to grow past `limits`.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            services: BTreeMap::new(),
            servers: BTreeMap::new(),
            reserved: BTreeSet::new(),
            timeouts: TIMEOUTS,
            daemons: BTreeMap::new(),
            marks: Vec::new(),
            settings: BTreeMap::new(),
            next: 0,
            limits,
            index: Index::default(),
            undo: Vec::new(),
            steps: HashMap::new(),
        }
    }

    /// Replaces the limits; what exists beyond them stays.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The services in the order they were added.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.index.order.values().map(|id| &self.services[id])
    }

    /// The service of that number.
    pub(crate) fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(&id)
    }

    /// The service of that address.
    pub(crate) fn service_at(&self, address: &ServiceAddress) -> Option<&Service> {
        let id = self.index.service.get(address)?;
        self.services.get(id)
    }

    /// The live servers of a service, newest first.
    pub(crate) fn servers_of(&self, service: ServiceId) -> impl Iterator<Item = &Server> {
        self.index
            .live
            .range((service, Reverse(u64::MAX))..=(service, Reverse(0)))
            .map(|(_, id)| &self.servers[id])
    }

    /// The retired servers whose packets a service still counts.
    pub(crate) fn retired_of(&self, service: ServiceId) -> impl Iterator<Item = &Server> {
        self.index
            .retired
            .range((service, ServerId(0))..=(service, ServerId(u32::MAX)))
            .map(|(_, id)| &self.servers[id])
    }

    /// Every server, live or retired, by number.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }

    /// The server of that number, live or retired.
    pub(crate) fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(&id)
    }

    /// What a service's scheduler has to go through for the edits since the last commit.
    pub(crate) fn steps_of(&self, service: ServiceId) -> &[Step] {
        self.steps.get(&service).map_or(&[], Vec::as_slice)
    }

    /// The session timeouts, in seconds.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The sync daemons, master first.
    pub(crate) fn daemons(&self) -> impl Iterator<Item = (DaemonRole, &SyncDaemon)> {
        self.daemons.iter().map(|(role, daemon)| (*role, daemon))
    }

    /// The mark rules, in the order in which packets meet them.
    pub(crate) fn marks(&self) -> &[MarkRule] {
        &self.marks
    }

    /// The settings that edits gave a value.
    pub(crate) fn settings(&self) -> &BTreeMap<Setting, u32> {
        &self.settings
    }

    /// Gives the id of a retired server, or a reserved one, to be used again; returns the server.
    ///
    /// A live server stays: it may have been revived after it was seen to be without flows.
    pub(crate) fn free(&mut self, id: ServerId) -> Option<Server> {
        if self.reserved.remove(&id) {
            self.index.server_ids.give(id.0);
            return None;
        }
        let server = self.servers.get(&id)?;
        if matches!(server.standing, Standing::Live { .. }) {
            return None;
        }
        let server = server.clone();
        self.set_server(id, None);
        self.undo.clear();
        Some(server)
    }

    /// Keeps an id from being given to a new server until it is freed; returns whether nothing
    /// was known of it.
    pub(crate) fn reserve(&mut self, id: ServerId) -> bool {
        if self.servers.contains_key(&id) || !self.reserved.insert(id) {
            return false;
        }
        self.index.server_ids.take(id.0);
        true
    }

    /// The ids that flows refer to and of which nothing else is known.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = ServerId> {
        self.reserved.iter().copied()
    }

    /// Frees every retired and reserved id at once, for maps that hold no flow.
    pub(crate) fn free_all(&mut self) {
        let retired = |server: &&Server| matches!(server.standing, Standing::Retired { .. });
        let ids: Vec<_> = self.servers().filter(retired).map(|s| s.id).collect();
        for id in ids.into_iter().chain(self.reserved.clone()) {
            self.free(id);
        }
    }

    /// Makes everything applied so far final.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
        self.steps.clear();
    }

    /// Takes back everything applied since the last commit.
    pub(crate) fn rollback(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Service(id, before) => self.set_service(id, before),
                Undo::Server(id, before) => self.set_server(id, before),
                Undo::Timeouts(before) => self.timeouts = before,
                Undo::Daemon(role, before) => self.set_daemon(role, before),
                Undo::Marks(before) => self.marks = before,
                Undo::Settings(before) => self.settings = before,
            }
        }
        self.undo.clear();
        self.steps.clear();
    }

    fn step(&mut self, service: ServiceId, step: Step) {
        self.steps.entry(service).or_default().push(step);
    }

    fn set_service(&mut self, id: ServiceId, service: Option<Service>) {
        let before = self.services.remove(&id);
        let index = &mut self.index;
        if let Some(before) = &before {
            index.service_ids.give(id.0);
            index.order.remove(&before.added);
            index.service.remove(&before.address);
        }
        if let Some(service) = service {
            index.service_ids.take(id.0);
            index.order.insert(service.added, id);
            index.service.insert(service.address, id);
            self.services.insert(id, service);
        }
        self.undo.push(Undo::Service(id, before));
    }

    fn set_server(&mut self, id: ServerId, server: Option<Server>) {
        let before = self.servers.remove(&id);
        let index = &mut self.index;
        if let Some(before) = &before {
            index.server_ids.give(id.0);
            index.server.remove(&(before.service, before.address));
            match before.standing {
                Standing::Live { service, added } => {
                    index.live.remove(&(service, Reverse(added)));
                }
                Standing::Retired { service } => {
                    service.map(|service| index.retired.remove(&(service, id)));
                }
            }
        }
        if let Some(server) = server {
            index.server_ids.take(id.0);
            index.server.insert((server.service, server.address), id);
            match server.standing {
                Standing::Live { service, added } => {
                    index.live.insert((service, Reverse(added)), id);
                }
                Standing::Retired { service } => {
                    service.map(|service| index.retired.insert((service, id)));
                }
            }
            self.servers.insert(id, server);
        }
        self.undo.push(Undo::Server(id, before));
    }

    fn set_daemon(&mut self, role: DaemonRole, daemon: Option<SyncDaemon>) {
        let before = match daemon {
            Some(daemon) => self.daemons.insert(role, daemon),
            None => self.daemons.remove(&role),
        };
        self.undo.push(Undo::Daemon(role, before));
    }
}
