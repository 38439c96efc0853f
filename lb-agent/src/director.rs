//! The one owner of the desired state and the datapath.
//!
//! A batch of edits runs through four steps: the model takes each edit or refuses it; the journal
//! records what was taken; the datapath is written once; the books (counters, next hops, rates)
//! follow. When the datapath cannot be written, journal and model go back to before the batch.
//!
//! It sits behind one mutex ([`Shared`]): every operation is short, and a listing of connections
//! only starts under it.

mod accounts;
mod listing;
#[cfg(test)]
pub(crate) mod memory;
mod narrow;
mod silence;
#[cfg(test)]
mod tests;
mod warnings;
mod ways;

pub(crate) use accounts::{Account, Accounts};
pub(crate) use listing::Connections;
pub(crate) use ways::Reach;

use crate::datapath::Punts;
use crate::model::{
    Change, Datapath, Model, Outlet, ServerId, ServiceId, Standing, service_supported, settle,
};
use crate::net::{Changes, Duplicate, NextHop, NextHops, Unresolved, Way, own_address};
use crate::punt::TooBig;
use crate::rates::Estimator;
use crate::state::{Record, State, Store};
use anyhow::Context;
use lb_common::addr::{Port, protocol};
use lb_common::api::{Counters, Edit, Family, Forwarding, Refusal, RefusalKind, Setting, Tunnel};
use narrow::Narrow;
use silence::Silence;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use ways::Ways;

/// Desired state, its record on disk, the datapath, and the books between them.
pub(crate) struct Director {
    model: Model,
    accounts: Accounts,
    store: Store,
    datapath: Box<dyn Datapath>,
    ways: Ways,
    /// The settings that the configuration gives a value.
    configured: BTreeMap<Setting, u32>,
    narrow: Narrow,
    silence: Silence,
    /// The own addresses that another machine has.
    duplicates: BTreeSet<Duplicate>,
    service_rates: BTreeMap<ServiceId, Estimator>,
    server_rates: BTreeMap<ServerId, Estimator>,
}

impl Director {
    /// Takes up the stored state: brings the datapath in line with it, and writes it anew.
    ///
    /// Where the datapath's maps are another state's or new, ids and counters start afresh;
    /// where they are this state's, flows go on, and ids that only flows know are kept apart.
    ///
    /// # Errors
    /// When the state holds what this version's datapath does not do or has no room for, or the
    /// datapath cannot be written.
    pub(crate) fn start(
        store: Store,
        state: State,
        mut datapath: Box<dyn Datapath>,
        configured: BTreeMap<Setting, u32>,
    ) -> anyhow::Result<Self> {
        let State {
            mut model,
            mut accounts,
            identity,
        } = state;
        model.set_limits(datapath.limits());
        if datapath
            .claim(identity)
            .context("cannot take over the maps")?
        {
            reserve_unknown(&mut model, datapath.as_ref());
        } else {
            model.free_all();
            accounts = Accounts::default();
        }
        model.commit();
        let mut director = Self {
            model,
            accounts,
            store,
            datapath,
            ways: Ways::default(),
            configured,
            narrow: Narrow::default(),
            silence: Silence::default(),
            duplicates: BTreeSet::new(),
            service_rates: BTreeMap::new(),
            server_rates: BTreeMap::new(),
        };
        director.set_timeouts()?;
        director.set_settings()?;
        director.write(&[Change::Everything])?;
        for server in director.model.servers() {
            director.ways.want(server.address.address, server.id);
        }
        director.start_rates();
        director.compact();
        Ok(director)
    }

    /// Carries out edits in order; one that is refused changes nothing and the others still run.
    ///
    /// Returns for each edit none, or why it was refused.
    pub(crate) fn edit(&mut self, edits: &[Edit]) -> Vec<Option<Refusal>> {
        let mut changes = Vec::new();
        let mut taken = Vec::new();
        let mut outcomes: Vec<Option<Refusal>> = edits
            .iter()
            .map(|edit| match self.model.apply(edit) {
                Ok(change) => {
                    changes.extend(change);
                    taken.push(edit);
                    None
                }
                Err(refusal) => Some(refusal),
            })
            .collect();
        if taken.is_empty() {
            return outcomes;
        }
        let changes = settle(&self.model, &changes);
        let mark = self.store.mark();
        self.store.append(taken.into_iter().map(Record::edit));
        if let Err(error) = self.write(&changes) {
            tracing::error!("{error:#}");
            self.store.rewind(mark);
            self.model.rollback(); // when it was the timeouts that failed
            let refusal = Refusal {
                kind: RefusalKind::Failed,
                message: format!("{error:#}; nothing was changed, see the agent's log"),
            };
            outcomes
                .iter_mut()
                .filter(|outcome| outcome.is_none())
                .for_each(|outcome| *outcome = Some(refusal.clone()));
            return outcomes;
        }
        self.model.commit();
        self.keep_books(&changes);
        outcomes
    }

    /// Lets the datapath reclaim expired flows, and frees the servers that no flow refers to. Tunnels
    /// that took shorter packets for a while are what they were before. Servers that do not answer
    /// are told of.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        for address in self.narrow.forget(now) {
            self.write_outlets(address);
        }
        self.watch_for_silence(now);
        for id in self.datapath.sweep() {
            match self.model.server(id).map(|server| server.standing) {
                Some(Standing::Live { .. }) => {}
                Some(Standing::Retired { .. }) => self.free(id),
                None if self.model.reserved().any(|reserved| reserved == id) => self.free(id),
                None => {}
            }
        }
    }

    /// Takes in two seconds' growth of all counters.
    pub(crate) fn tick_rates(&mut self) {
        let (datapath, model, accounts) = (&self.datapath, &self.model, &self.accounts);
        let read = |id| datapath.reading(id).counters;
        self.service_rates.retain(|id, estimator| {
            let known = model.service(*id).is_some();
            if known {
                estimator.tick(accounts.service(model, *id, read));
            }
            known
        });
        self.server_rates.retain(|id, estimator| {
            let known = model.server(*id).is_some();
            if known {
                estimator.tick(accounts.server(*id, read(*id)));
            }
            known
        });
    }

    /// Writes the state anew when the journal has grown long or records could not be written.
    pub(crate) fn compact_if_due(&mut self) {
        if self.store.is_due() {
            self.compact();
        }
    }

    /// Writes the state anew and empties the journal.
    pub(crate) fn compact(&mut self) {
        self.store.compact(&self.model, &self.accounts);
    }

    /// What has to reach the disk for the journal to survive a power cut.
    pub(crate) fn unsynced(&mut self) -> Option<std::fs::File> {
        self.store.unsynced()
    }

    /// Brings the datapath in line; on an error model and datapath are as before the batch.
    fn write(&mut self, changes: &[Change]) -> anyhow::Result<()> {
        let timeouts = changes.contains(&Change::TimeoutsChanged);
        let settings = changes.contains(&Change::SettingsChanged);
        if timeouts {
            self.set_timeouts()?;
        }
        if settings {
            self.set_settings()?;
        }
        let written = self.datapath.write(&self.model, changes);
        if written.is_err() {
            self.model.rollback();
            if timeouts {
                self.set_timeouts()?;
            }
            if settings {
                self.set_settings()?;
            }
        }
        written.context("cannot write the datapath's maps")
    }

    fn set_settings(&mut self) -> anyhow::Result<()> {
        let bits = |bits, setting: &Setting| bits | setting.bits(self.setting(*setting).0);
        let bits = Setting::ALL.iter().fold(0, bits);
        self.datapath
            .set_settings(bits)
            .context("cannot set the settings")
    }

    fn set_timeouts(&mut self) -> anyhow::Result<()> {
        self.datapath
            .set_timeouts(&self.model.timeouts())
            .context("cannot set the session timeouts")
    }

    /// Brings counters, next hops and rates in line with changes that are done.
    fn keep_books(&mut self, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::ServiceRemoved(id, _) => {
                    self.accounts.services.remove(&id);
                    self.service_rates.remove(&id);
                }
                Change::ServiceAdded(id) => {
                    self.service_rates.insert(id, Estimator::default());
                    self.tell_of_service(id);
                }
                Change::ServerAdded(id) => self.enter(id),
                Change::ServerAdopted(id) => self.adopt(id),
                Change::ServiceZeroed(id) => self.zero(id),
                // It may be forwarded to otherwise.
                Change::ServerChanged(id) => {
                    self.write_outlet(id);
                    self.expect_answers(id);
                }
                Change::Everything
                | Change::ServerRetired(_)
                | Change::ServiceChanged(_)
                | Change::ServersChanged(_)
                | Change::TimeoutsChanged
                | Change::DaemonsChanged
                | Change::MarksChanged
                | Change::SettingsChanged => {}
            }
        }
    }

    /// Wants a way and rates for a server that is live now.
    fn enter(&mut self, id: ServerId) {
        let Some(address) = self.model.server(id).map(|server| server.address.address) else {
            return;
        };
        self.server_rates.entry(id).or_default();
        self.expect_answers(id);
        if self.ways.want(address, id) {
            self.write_outlet(id);
        }
    }

    /// Writes where packets for a server go. An outlet that cannot be written leaves the server
    /// with none: packets are held back, not sent to a wrong place.
    fn write_outlet(&mut self, id: ServerId) {
        let Some(server) = self.model.server(id) else {
            return;
        };
        let outlet = self.ways.outlet(server).unwrap_or(Outlet::Nowhere);
        let shorter = match (outlet, server.options.forwarding) {
            (Outlet::Hop(hop), Forwarding::Tunnel(_)) => {
                let address = server.address.address;
                self.narrow.mtu(address).map(|mtu| NextHop {
                    mtu: mtu.min(hop.mtu),
                    ..hop.clone()
                })
            }
            _ => None,
        };
        let outlet = shorter.as_ref().map_or(outlet, Outlet::Hop);
        if let Err(error) = self.datapath.set_outlet(id, outlet) {
            let address = server.address;
            tracing::error!("cannot write the way to server {address}: {error:#}");
        }
    }

    fn adopt(&mut self, id: ServerId) {
        if let Some(Standing::Live { service, .. }) = self.model.server(id).map(|s| s.standing) {
            let counted = self.datapath.reading(id).counters;
            self.accounts.adopt(service, id, counted);
            self.server_rates.insert(id, Estimator::default());
            self.record_accounts(service);
        }
    }

    fn zero(&mut self, id: ServiceId) {
        let datapath = &self.datapath;
        self.accounts
            .zero(&self.model, id, |server| datapath.reading(server).counters);
        self.service_rates.insert(id, Estimator::default());
        for server in self.model.servers_of(id) {
            self.server_rates.insert(server.id, Estimator::default());
        }
        self.record_accounts(id);
    }

    /// Ends a retired server. What it counted goes to its service, by one write to the journal and
    /// before its entry is cleared: an agent killed here loses no count.
    fn free(&mut self, id: ServerId) {
        let counted = self.datapath.reading(id).counters;
        let mut records = vec![Record::Free(id)];
        if let Some(server) = self.model.free(id) {
            self.server_rates.remove(&id);
            self.silence.forget(id);
            self.ways.drop_server(server.address.address, id);
            if let Standing::Retired { service } = server.standing {
                self.accounts.free(service, id, counted);
                records.extend(service.map(|service| self.accounts_of(service)));
            }
        }
        self.store.append(records);
        if let Err(error) = self.datapath.clear_server(id) {
            tracing::warn!("server {} stays in its table: {error:#}", id.0);
        }
    }

    fn record_accounts(&mut self, id: ServiceId) {
        let record = self.accounts_of(id);
        self.store.append([record]);
    }

    fn accounts_of(&self, id: ServiceId) -> Record {
        let servers = self
            .model
            .servers_of(id)
            .filter_map(|server| Some((server.id, *self.accounts.servers.get(&server.id)?)))
            .collect();
        let account = self.accounts.services.get(&id).copied().unwrap_or_default();
        Record::Accounts {
            service: id,
            account,
            servers,
        }
    }

    /// Starts rates at zero, whatever was counted before.
    fn start_rates(&mut self) {
        let read = |id| -> Counters { self.datapath.reading(id).counters };
        self.service_rates = self
            .model
            .services()
            .map(|service| {
                let counters = self.accounts.service(&self.model, service.id, read);
                (service.id, Estimator::starting_at(counters))
            })
            .collect();
        self.server_rates = self
            .model
            .servers()
            .map(|server| {
                let counters = self.accounts.server(server.id, read(server.id));
                (server.id, Estimator::starting_at(counters))
            })
            .collect();
    }
}

/// The ways to servers.
impl Director {
    /// From now on `hops` looks for the ways to servers.
    pub(crate) fn follow(&mut self, hops: NextHops) {
        self.ways.follow(hops);
    }

    /// The addresses for which next hops are wanted.
    #[cfg(test)]
    pub(crate) fn wanted(&self) -> BTreeSet<IpAddr> {
        self.ways.addresses().collect()
    }

    /// Whether the way to an address is looked for already.
    pub(crate) fn is_wanted(&self, address: IpAddr) -> bool {
        self.ways.contains(address)
    }

    /// Takes over what was found out about ways and own addresses since the last call.
    pub(crate) fn take_ways(&mut self, changes: &Changes) {
        if let Some(duplicates) = changes.take_duplicates() {
            self.set_duplicates(duplicates);
        }
        for (address, way) in changes.take() {
            match way {
                Way::Resolved(hop) => {
                    self.set_reach(address, Reach::Hop(with_source(address, hop)))
                }
                Way::Unresolved(Unresolved::Local) => self.set_reach(address, Reach::Here),
                // Not asked yet: until then an older way, known from before a restart, holds.
                Way::Unresolved(Unresolved::Pending) => {}
                Way::Unresolved(why) => self.set_reach(address, Reach::Nowhere(why.to_string())),
            }
        }
    }

    /// The way to an address became known or changed, or there is none, and why.
    pub(crate) fn set_reach(&mut self, address: IpAddr, reach: Reach) {
        for server in self.ways.set(address, reach) {
            self.write_outlet(server);
        }
    }

    /// Writes the way to every server of an address.
    fn write_outlets(&mut self, address: IpAddr) {
        for server in self.ways.servers(address) {
            self.write_outlet(server);
        }
    }

    /// A router says that a packet to a tunnelled server was too big: if it can be true, the tunnels
    /// there take no longer ones for a while. Servers that are reached otherwise are on the link, and
    /// no router stands between.
    pub(crate) fn shorten_way(&mut self, error: &TooBig, now: Instant) {
        let (address, mtu) = (error.server, error.mtu);
        let Some(hop) = self.ways.hop(address) else {
            return;
        };
        let is_ours = hop.preferred_source == Some(error.source)
            && self.model.servers().any(|server| {
                server.address.address == address && is_of_tunnel(error, server.options.forwarding)
            });
        if is_ours && self.narrow.note(address, mtu, hop.mtu, now) {
            tracing::info!("tunnels to server {address} take no packet longer than {mtu} bytes");
            self.write_outlets(address);
        }
    }

    /// The packets that the program hands over; none when they were taken before.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn take_punts(&mut self) -> anyhow::Result<Option<Punts>> {
        self.datapath.punts()
    }
}

/// The next hop with a source address even where the route has none: that of an interface with
/// only the other family's addresses.
fn with_source(address: IpAddr, hop: NextHop) -> NextHop {
    let family = Family::of(address);
    let source = |hop: &NextHop| hop.preferred_source.filter(|s| Family::of(*s) == family);
    NextHop {
        preferred_source: source(&hop).or_else(|| own_address(&hop.interface, family)),
        ..hop
    }
}

/// A director that tasks share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Director>>);

impl Shared {
    /// Shares a director.
    pub(crate) fn new(director: Director) -> Self {
        Self(Arc::new(Mutex::new(director)))
    }

    /// Waits for the director and runs `f` on a thread that may block.
    ///
    /// `f` runs to its end even when the caller goes away.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Director) -> T + Send + 'static,
    ) -> T {
        let shared = self.clone();
        let task = tokio::task::spawn_blocking(move || f(&mut shared.lock()));
        match task.await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Director> {
        // A panic under the lock ends the process (see main), so no one sees a poisoned one.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether a packet that was too big can have been of a server's tunnel.
fn is_of_tunnel(error: &TooBig, forwarding: Forwarding) -> bool {
    match forwarding {
        Forwarding::Tunnel(Tunnel::Ipip) => {
            matches!(error.protocol, protocol::IPIP | protocol::IPV6)
        }
        Forwarding::Tunnel(Tunnel::Gre { .. }) => error.protocol == protocol::GRE,
        Forwarding::Tunnel(Tunnel::Gue { port, .. }) => {
            error.protocol == protocol::UDP && error.port == Some(Port::new(port))
        }
        Forwarding::Route | Forwarding::Masquerade | Forwarding::Local => false,
    }
}

/// Says what the stored state holds that this version's datapath does not do, if so: to be asked
/// before a datapath is touched.
///
/// # Errors
/// Names the object and what of it is not supported.
pub(crate) fn check_supported(model: &Model) -> anyhow::Result<()> {
    let refused = model
        .services()
        .map(|service| service_supported(&service.address, &service.options))
        .find_map(Result::err);
    match refused {
        None => Ok(()),
        Some(refusal) => Err(anyhow::anyhow!(
            "the stored state needs a newer agent: {}",
            refusal.message
        )),
    }
}

fn reserve_unknown(model: &mut Model, datapath: &dyn Datapath) {
    let servers: BTreeSet<_> = datapath.connections().map(|flow| flow.server).collect();
    for id in servers {
        if model.server(id).is_none() && model.reserve(id) {
            tracing::warn!(
                "flows refer to server {}, which the stored state does not know; they go on, and \
                 the number is not used again before they end",
                id.0
            );
        }
    }
}
