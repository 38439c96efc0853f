//! The services that have a helper, for those who look at them packet by packet.

use crate::model::{Model, ServerId, Service, ServiceId};
use lb_common::addr::protocol;
use lb_common::api::{Forwarding, ServerAddress, ServiceAddress, ServiceOptions};
use lb_common::flow::Tuple;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who helps a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Help {
    /// The helper for FTP.
    Ftp,
    /// The persistence engine `sip`.
    Sip,
}

impl Help {
    /// Who helps a service, when FTP is spoken on `ftp_ports`; `masquerades` says whether some of
    /// its servers are masqueraded.
    pub(super) fn of(service: &Service, masquerades: bool, ftp_ports: &[u16]) -> Option<Self> {
        if service.options.persistence_engine.is_some() {
            // Without persistence ipvs asks it only for connections that servers open.
            let asked = service.options.persistent.is_some() || masquerades;
            return asked.then_some(Self::Sip);
        }
        match service.address {
            ServiceAddress::Address { protocol, port, .. }
                if protocol.number() == protocol::TCP && ftp_ports.contains(&port) =>
            {
                masquerades.then_some(Self::Ftp)
            }
            ServiceAddress::Address { .. } | ServiceAddress::Mark { .. } => None,
        }
    }
}

/// A service with a helper.
#[derive(Clone, Debug)]
pub(crate) struct HelpedService {
    /// Its id.
    pub(crate) id: u32,
    /// Who helps.
    pub(crate) help: Help,
    /// Its address.
    pub(crate) address: ServiceAddress,
    /// How it schedules.
    pub(crate) options: ServiceOptions,
    /// Its masqueraded servers, if they may open connections by themselves.
    callers: Vec<(SocketAddr, ServerId)>,
}

/// The services that have a helper, and the calls of them that go on.
#[derive(Debug, Default)]
pub(crate) struct Helped {
    services: Mutex<Services>,
    /// What names the calls whose templates are in the flow table; of those that an earlier agent
    /// met, only what was seen since.
    calls: Mutex<HashMap<Tuple, Box<[u8]>>>,
}

#[derive(Debug, Default)]
struct Services {
    by_id: HashMap<u32, Arc<HelpedService>>,
    by_caller: HashMap<SocketAddr, (u32, ServerId)>,
}

impl Helped {
    /// The service with this id, if it has a helper.
    pub(crate) fn service(&self, id: u32) -> Option<Arc<HelpedService>> {
        lock(&self.services).by_id.get(&id).cloned()
    }

    /// The service and the server that may open connections from this end.
    pub(crate) fn caller(&self, server: SocketAddr) -> Option<(Arc<HelpedService>, ServerId)> {
        let services = lock(&self.services);
        let (service, id) = services.by_caller.get(&server)?;
        Some((services.by_id.get(service)?.clone(), *id))
    }

    /// Brings services in line with the model.
    pub(super) fn update(
        &self,
        model: &Model,
        changed: impl Iterator<Item = ServiceId>,
        ftp_ports: &[u16],
    ) {
        let mut services = lock(&self.services);
        let mut calls = false;
        for id in changed {
            let now = model.service(id).and_then(|service| {
                let masqueraded: Vec<_> = model
                    .servers_of(id)
                    .filter(|server| server.options.forwarding == Forwarding::Masquerade)
                    .collect();
                let help = Help::of(service, !masqueraded.is_empty(), ftp_ports)?;
                let may_call = is_called_by_address(service);
                Some(Arc::new(HelpedService {
                    id: id.0,
                    help,
                    address: service.address,
                    options: service.options.clone(),
                    callers: masqueraded
                        .into_iter()
                        .filter(|_| may_call)
                        .map(|server| {
                            let ServerAddress { address, port } = server.address;
                            (SocketAddr::new(address, port), server.id)
                        })
                        .collect(),
                }))
            });
            let before = match now.clone() {
                Some(now) => services.by_id.insert(id.0, now),
                None => services.by_id.remove(&id.0),
            };
            let has_callers = |service: &Arc<HelpedService>| !service.callers.is_empty();
            calls |= before.is_some_and(|it| has_callers(&it));
            calls |= now.is_some_and(|it| has_callers(&it));
        }
        if calls {
            let Services { by_id, by_caller } = &mut *services;
            by_caller.clear();
            for service in by_id.values() {
                for (end, server) in &service.callers {
                    by_caller.insert(*end, (service.id, *server));
                }
            }
        }
    }

    /// Notes what names the call of this template.
    pub(super) fn name_call(&self, template: &Tuple, name: &[u8]) {
        let mut calls = lock(&self.calls);
        if !calls.contains_key(template) {
            calls.insert(*template, name.into());
        }
    }

    /// What names the call of this template, if it is known.
    pub(super) fn call(&self, template: &Tuple) -> Option<String> {
        let calls = lock(&self.calls);
        let name = calls.get(template)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Forgets the names of calls that are over.
    pub(super) fn sweep(&self, is_live: impl Fn(&Tuple) -> bool) {
        lock(&self.calls).retain(|template, _| is_live(template));
    }
}

/// Whether servers of a service may open connections by themselves: then clients see its address
/// and port as theirs.
fn is_called_by_address(service: &Service) -> bool {
    let address = match service.address {
        ServiceAddress::Address { protocol, port, .. } => {
            protocol.number() == protocol::UDP && port != 0
        }
        ServiceAddress::Mark { .. } => false,
    };
    address && service.options.persistence_engine.is_some()
}

/// Nothing that holds these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
