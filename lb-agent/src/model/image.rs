//! A model as it is stored.

use super::{Model, Server, ServerId, Service, Standing};
use lb_common::api::{DaemonRole, MarkRule, Setting, SyncDaemon, Timeouts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a model holds, without what can be derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    services: Vec<Service>,
    servers: Vec<Server>,
    reserved: Vec<ServerId>,
    timeouts: Timeouts,
    daemons: Vec<(DaemonRole, SyncDaemon)>,
    #[serde(default)]
    marks: Vec<MarkRule>,
    #[serde(default)]
    settings: BTreeMap<Setting, u32>,
    next: u64,
}

impl Model {
    /// What is to be stored of the model.
    pub(crate) fn image(&self) -> Image {
        Image {
            services: self.services().cloned().collect(),
            servers: self.servers().cloned().collect(),
            reserved: self.reserved.iter().copied().collect(),
            timeouts: self.timeouts,
            daemons: self.daemons.clone().into_iter().collect(),
            marks: self.marks.clone(),
            settings: self.settings.clone(),
            next: self.next,
        }
    }

    /// The model that was stored.
    ///
    /// # Errors
    /// When the parts contradict each other; says which.
    pub(crate) fn from_image(image: Image) -> Result<Self, String> {
        let Image {
            services,
            servers,
            reserved,
            timeouts,
            daemons,
            marks,
            settings,
            next,
        } = image;
        let mut model = Self::new(super::Limits::NONE);
        model.next = next;
        model.timeouts = timeouts;
        model.daemons = daemons.into_iter().collect();
        model.marks = marks;
        model.settings = settings;
        for service in services {
            model.restore_service(service)?;
        }
        for server in servers {
            model.restore_server(server)?;
        }
        for id in reserved {
            if !model.reserve(id) {
                return Err(format!("server id {} is there twice", id.0));
            }
        }
        model.commit();
        Ok(model)
    }

    fn restore_service(&mut self, service: Service) -> Result<(), String> {
        let Service {
            id, address, added, ..
        } = &service;
        if self.service_at(address).is_some() {
            return Err(format!("service {address} is there twice"));
        }
        if self.service(*id).is_some() {
            return Err(format!("service id {} is there twice", id.0));
        }
        if *added >= self.next || self.index.order.contains_key(added) {
            return Err(format!("service {address} has no place of its own"));
        }
        self.set_service(*id, Some(service));
        Ok(())
    }

    fn restore_server(&mut self, mut server: Server) -> Result<(), String> {
        // Older agents did not keep it.
        server.last_weight = server.last_weight.max(server.options.weight);
        let named = format!("server {} of service {}", server.address, server.service);
        if self.server(server.id).is_some() {
            return Err(format!("server id {} is there twice", server.id.0));
        }
        let key = (server.service, server.address);
        if self.index.server.contains_key(&key) {
            return Err(format!("{named} is there twice"));
        }
        let owner = match server.standing {
            Standing::Live { service, added } => {
                let taken = self.servers_of(service).any(
                    |other| matches!(other.standing, Standing::Live { added: a, .. } if a == added),
                );
                if taken || added >= self.next {
                    return Err(format!("{named} has no place of its own"));
                }
                Some(service)
            }
            Standing::Retired { service } => service,
        };
        let fits = |id| self.service(id).map(|s| s.address) == Some(server.service);
        if owner.is_some_and(|id| !fits(id)) {
            return Err(format!("{named} is in another service's list"));
        }
        self.set_server(server.id, Some(server));
        Ok(())
    }
}
