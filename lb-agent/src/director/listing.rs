//! What the director tells.

use super::Director;
use crate::model::{Flow, Server, ServerId, ServerPort, Service};
use lb_common::api::{
    Agent, Connection, Daemons, Marks, Origin, ServerAddress, ServerStatus, ServiceStatus,
    Services, Setting, SettingStatus, Settings, Timeouts,
};
use std::collections::BTreeMap;

/// Whether sync daemons exchange connections with peers: they are kept and listed so far.
const DAEMONS_SERVED: bool = false;

/// Connections, walked without holding the director up.
pub(crate) struct Connections {
    flows: Box<dyn Iterator<Item = Flow> + Send>,
    servers: BTreeMap<ServerId, ServerAddress>,
}

impl Iterator for Connections {
    type Item = Connection;

    /// The next connection whose server was known when the listing began.
    fn next(&mut self) -> Option<Connection> {
        self.flows.find_map(|flow| {
            let Flow {
                protocol,
                client,
                client_port,
                address,
                port,
                server,
                server_port,
                state,
                expires,
                engine,
            } = flow;
            let known = *self.servers.get(&server)?;
            let server_port = match (server_port, known.port) {
                (ServerPort::Other(port), _) => port,
                (ServerPort::Own | ServerPort::Below, 0) => port,
                (ServerPort::Own, own) => own,
                (ServerPort::Below, own) => own.wrapping_sub(1),
            };
            Some(Connection {
                protocol,
                expires,
                state: state.to_owned(),
                client,
                client_port,
                address,
                port,
                server: ServerAddress {
                    port: server_port,
                    ..known
                },
                engine: engine.map(|(name, data)| (name.to_owned(), data)),
            })
        })
    }
}

impl Director {
    /// The agent itself.
    pub(crate) fn agent(&self) -> Agent {
        let about = self.datapath.about();
        Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            layout: about.layout,
            flows: about.flows,
            slots: about.slots,
            interfaces: about.interfaces,
            missing: about.missing,
            warnings: [about.warnings, self.warnings()].concat(),
            reasons: self
                .datapath
                .reasons()
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
        }
    }

    /// The services and their servers.
    pub(crate) fn services(&self) -> Services {
        Services {
            slots: self.datapath.about().slots,
            services: self
                .model
                .services()
                .map(|service| self.service_status(service))
                .collect(),
        }
    }

    /// The flow table.
    pub(crate) fn connections(&self) -> Connections {
        Connections {
            flows: self.datapath.connections(),
            servers: self
                .model
                .servers()
                .map(|server| (server.id, server.address))
                .collect(),
        }
    }

    /// The session timeouts.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.model.timeouts()
    }

    /// The sync daemons.
    pub(crate) fn daemons(&self) -> Daemons {
        Daemons {
            daemons: self
                .model
                .daemons()
                .map(|(role, daemon)| (role, daemon.clone()))
                .collect(),
            served: DAEMONS_SERVED,
        }
    }

    /// The mark rules.
    pub(crate) fn marks(&self) -> Marks {
        Marks {
            rules: self.model.marks().to_vec(),
        }
    }

    /// The settings.
    pub(crate) fn settings(&self) -> Settings {
        let status = |name: Setting| {
            let (value, origin) = self.setting(name);
            SettingStatus {
                name,
                value,
                origin,
            }
        };
        Settings {
            settings: Setting::ALL.map(status).to_vec(),
        }
    }

    /// A setting's value, and who chose it.
    pub(super) fn setting(&self, setting: Setting) -> (u32, Origin) {
        if let Some(value) = self.model.settings().get(&setting) {
            (*value, Origin::Edit)
        } else if let Some(value) = self.configured.get(&setting) {
            (*value, Origin::Configuration)
        } else {
            (setting.default(), Origin::Default)
        }
    }

    fn service_status(&self, service: &Service) -> ServiceStatus {
        let read = |id| self.datapath.reading(id).counters;
        ServiceStatus {
            service: service.address,
            options: service.options.clone(),
            no_server: service.no_server,
            counters: self.accounts.service(&self.model, service.id, read),
            rates: self
                .service_rates
                .get(&service.id)
                .map(|estimator| estimator.rates())
                .unwrap_or_default(),
            servers: self
                .model
                .servers_of(service.id)
                .map(|server| self.server_status(server))
                .collect(),
        }
    }

    fn server_status(&self, server: &Server) -> ServerStatus {
        let reading = self.datapath.reading(server.id);
        ServerStatus {
            server: server.address,
            options: server.options.clone(),
            active: reading.active,
            inactive: reading.inactive,
            persistent: reading.persistent,
            counters: self.accounts.server(server.id, reading.counters),
            rates: self
                .server_rates
                .get(&server.id)
                .map(|estimator| estimator.rates())
                .unwrap_or_default(),
            next: self.ways.next(server),
        }
    }
}
