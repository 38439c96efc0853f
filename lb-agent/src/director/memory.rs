//! A datapath in memory, written by changes alone as one over maps is.

use crate::model::seam::{About, Datapath, Flow, Limits, Outlet, Reading};
use crate::model::{Change, Model, ServerId, ServerPort, ServiceId, Standing};
use crate::net::NextHop;
use lb_common::api::{Interface, ServerAddress, ServiceAddress, Timeouts};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Tables that outlive the agent, as pinned maps do; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Tables>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) owner: u64,
    pub(crate) services: BTreeMap<ServiceId, ServiceEntry>,
    pub(crate) servers: BTreeMap<ServerId, ServerEntry>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) settings: Option<u32>,
    pub(crate) limits: Option<Limits>,
    /// Where the program is attached.
    pub(crate) interfaces: Vec<Interface>,
    /// Every write fails while it is set.
    pub(crate) broken: bool,
    /// How many writes there were.
    pub(crate) writes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceEntry {
    pub(crate) address: ServiceAddress,
    pub(crate) scheduler: String,
    /// Server and weight, newest first.
    pub(crate) servers: Vec<(ServerId, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerEntry {
    pub(crate) address: ServerAddress,
    pub(crate) live: bool,
    pub(crate) hop: Option<NextHop>,
    /// Packets go to the director's own stack.
    pub(crate) here: bool,
    pub(crate) reading: Reading,
}

impl Memory {
    /// The tables, to look at and to play the traffic.
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no test panicked with the lock held")
    }

    /// Lets a client's connection reach a server.
    pub(crate) fn connect(&self, server: ServerId, client_port: u16, bytes: u64) {
        let mut tables = self.tables();
        let service = tables
            .services
            .values()
            .find(|entry| entry.servers.iter().any(|(id, _)| *id == server))
            .map(|entry| entry.address)
            .expect("a service has the server");
        let ServiceAddress::Address {
            protocol,
            address,
            port,
        } = service
        else {
            panic!("no traffic for marks");
        };
        tables.flows.push(Flow {
            protocol: Some(protocol),
            client: [192, 0, 2, 1].into(),
            client_port,
            address,
            port,
            server,
            server_port: ServerPort::Own,
            state: "ESTABLISHED",
            expires: 900,
            engine: None,
        });
        let reading = &mut tables.servers.get_mut(&server).expect("entry").reading;
        reading.active += 1;
        reading.counters.connections += 1;
        reading.counters.in_packets += 1;
        reading.counters.in_bytes += bytes;
    }

    /// Lets a server send a packet to a client.
    pub(crate) fn answer(&self, server: ServerId) {
        let mut tables = self.tables();
        let entry = tables.servers.get_mut(&server).expect("entry");
        entry.reading.counters.out_packets += 1;
    }

    /// Ends every connection.
    pub(crate) fn disconnect(&self) {
        let mut tables = self.tables();
        tables.flows.clear();
        for entry in tables.servers.values_mut() {
            entry.reading.active = 0;
        }
    }
}

impl Tables {
    /// What tables that were written at once for `model` would hold of services and servers,
    /// without readings and next hops.
    pub(crate) fn expected(model: &Model) -> Self {
        let mut tables = Self::default();
        tables.everything(model);
        tables
    }

    fn everything(&mut self, model: &Model) {
        self.services.retain(|id, _| model.service(*id).is_some());
        let kept: BTreeSet<_> = model
            .servers()
            .map(|s| s.id)
            .chain(model.reserved())
            .collect();
        self.servers.retain(|id, _| kept.contains(id));
        for service in model.services() {
            self.service(model, service.id);
        }
        for server in model.servers() {
            self.server(model, server.id);
        }
    }

    fn service(&mut self, model: &Model, id: ServiceId) {
        let service = model.service(id).expect("changes name what exists");
        let entry = ServiceEntry {
            address: service.address,
            scheduler: service.options.scheduler.clone(),
            servers: model
                .servers_of(id)
                .map(|server| (server.id, server.options.weight))
                .collect(),
        };
        self.services.insert(id, entry);
    }

    fn server(&mut self, model: &Model, id: ServerId) {
        let server = model.server(id).expect("changes name what exists");
        let live = matches!(server.standing, Standing::Live { .. });
        let entry = self.servers.entry(id).or_insert_with(|| ServerEntry {
            address: server.address,
            live,
            hop: None,
            here: false,
            reading: Reading::default(),
        });
        assert_eq!(
            entry.address, server.address,
            "an id in use got another address"
        );
        entry.live = live;
    }
}

impl Datapath for Memory {
    fn limits(&self) -> Limits {
        self.tables().limits.unwrap_or(Limits::NONE)
    }

    fn about(&self) -> About {
        About {
            layout: 1,
            flows: 1024,
            slots: 4096,
            interfaces: self.tables().interfaces.clone(),
            missing: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn claim(&mut self, state: u64) -> anyhow::Result<bool> {
        let mut tables = self.tables();
        let same = tables.owner == state;
        if !same {
            tables.services.clear();
            tables.servers.clear();
            tables.flows.clear();
            tables.owner = state;
        }
        Ok(same)
    }

    fn write(&mut self, model: &Model, changes: &[Change]) -> anyhow::Result<()> {
        let mut tables = self.tables();
        anyhow::ensure!(!tables.broken, "broken for the test");
        tables.writes += 1;
        for change in changes {
            match *change {
                Change::Everything => tables.everything(model),
                Change::ServiceRemoved(id, _) => {
                    tables.services.remove(&id);
                }
                Change::ServiceAdded(id)
                | Change::ServiceChanged(id)
                | Change::ServersChanged(id) => tables.service(model, id),
                Change::ServerAdded(id) | Change::ServerRetired(id) | Change::ServerChanged(id) => {
                    tables.server(model, id)
                }
                Change::ServerAdopted(_)
                | Change::ServiceZeroed(_)
                | Change::TimeoutsChanged
                | Change::DaemonsChanged
                | Change::MarksChanged
                | Change::SettingsChanged => {}
            }
        }
        Ok(())
    }

    fn set_outlet(&mut self, server: ServerId, outlet: Outlet<'_>) -> anyhow::Result<()> {
        let mut tables = self.tables();
        let entry = tables.servers.get_mut(&server);
        let entry = entry.expect("outlets are set for known servers");
        entry.here = outlet == Outlet::Here;
        entry.hop = match outlet {
            Outlet::Hop(hop) => Some(hop.clone()),
            Outlet::Here | Outlet::Nowhere => None,
        };
        Ok(())
    }

    fn set_settings(&mut self, bits: u32) -> anyhow::Result<()> {
        let mut tables = self.tables();
        anyhow::ensure!(!tables.broken, "broken for the test");
        tables.settings = Some(bits);
        Ok(())
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) -> anyhow::Result<()> {
        let mut tables = self.tables();
        anyhow::ensure!(!tables.broken, "broken for the test");
        tables.timeouts = Some(*timeouts);
        Ok(())
    }

    fn reading(&self, server: ServerId) -> Reading {
        let tables = self.tables();
        let entry = tables.servers.get(&server);
        entry.map(|entry| entry.reading).unwrap_or_default()
    }

    fn connections(&self) -> Box<dyn Iterator<Item = Flow> + Send> {
        Box::new(self.tables().flows.clone().into_iter())
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        vec![("not-ours", 7)]
    }

    fn sweep(&mut self) -> Vec<ServerId> {
        let tables = self.tables();
        let used: BTreeSet<_> = tables.flows.iter().map(|flow| flow.server).collect();
        tables
            .servers
            .iter()
            .filter(|(id, entry)| !entry.live && !used.contains(id))
            .map(|(id, _)| *id)
            .collect()
    }

    fn clear_server(&mut self, server: ServerId) -> anyhow::Result<()> {
        self.tables().servers.remove(&server);
        Ok(())
    }
}
