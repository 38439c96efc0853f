//! Carrying an edit out.

use super::supported::supported;
use super::{Change, Model, Server, ServerId, Service, ServiceId, Standing, Step};
use lb_common::api::{
    Edit, MarkRule, NoServer, Refusal, ServerAddress, ServerOptions, ServiceAddress,
    ServiceOptions, Setting, Timeouts,
};

impl Model {
    /// Carries out one edit and returns what changed.
    ///
    /// # Errors
    /// When the kernel would refuse it, or this version's datapath does not do it; the model is
    /// as before.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<Vec<Change>, Refusal> {
        self.check(edit)?;
        supported(edit)?;
        Ok(self.carry_out(edit))
    }

    /// Carries out an edit that was found good.
    fn carry_out(&mut self, edit: &Edit) -> Vec<Change> {
        match edit {
            Edit::AddService { service, options } => self.add_service(service, options),
            Edit::EditService { service, options } => self.edit_service(service, options),
            Edit::DeleteService { service } => self
                .service_at(service)
                .map(|service| service.id)
                .map_or_else(Vec::new, |id| self.delete_service(id)),
            Edit::Clear => {
                let ids: Vec<_> = self.services().map(|service| service.id).collect();
                ids.into_iter()
                    .flat_map(|id| self.delete_service(id))
                    .collect()
            }
            Edit::AddServer {
                service,
                server,
                options,
            } => self.add_server(service, server, options),
            Edit::EditServer {
                service,
                server,
                options,
            } => self.edit_server(service, server, options),
            Edit::DeleteServer { service, server } => self.delete_server(service, server),
            Edit::Zero { service } => match service {
                Some(address) => self
                    .service_at(address)
                    .map(|service| Change::ServiceZeroed(service.id))
                    .into_iter()
                    .collect(),
                None => self
                    .services()
                    .map(|service| Change::ServiceZeroed(service.id))
                    .collect(),
            },
            Edit::SetTimeouts { timeouts } => self.set_timeouts(timeouts),
            Edit::StartDaemon { role, daemon } => {
                self.set_daemon(*role, Some(daemon.clone()));
                vec![Change::DaemonsChanged]
            }
            Edit::StopDaemon { role } => {
                self.set_daemon(*role, None);
                vec![Change::DaemonsChanged]
            }
            Edit::SetNoServer { service, answer } => self.set_no_server(service, *answer),
            Edit::AddMarkRule { rule } => self.set_marks(|marks| marks.push(rule.clone())),
            Edit::DeleteMarkRule { rule } => {
                self.set_marks(|marks| marks.retain(|other| other != rule))
            }
            Edit::Set { name, value } => Setting::from_name(name)
                .map_or_else(Vec::new, |setting| self.set_setting(setting, *value)),
        }
    }

    /// The live server of that address in the service of that address.
    pub(super) fn live_server(
        &self,
        service: &ServiceAddress,
        server: &ServerAddress,
    ) -> Option<(&Server, ServiceId)> {
        let id = self.index.server.get(&(*service, *server))?;
        let server = self.servers.get(id)?;
        match server.standing {
            Standing::Live { service, .. } => Some((server, service)),
            Standing::Retired { .. } => None,
        }
    }

    fn add_service(&mut self, address: &ServiceAddress, options: &ServiceOptions) -> Vec<Change> {
        let id = ServiceId(self.index.service_ids.lowest());
        let service = Service {
            id,
            address: *address,
            options: options.clone(),
            no_server: NoServer::default(),
            added: self.place(),
        };
        self.set_service(id, Some(service));
        // What another service went through that had the id in this batch, counts no more.
        let scheduler = options.scheduler.clone();
        self.steps
            .insert(id, vec![Step::Begin, Step::Schedule(scheduler)]);
        vec![Change::ServiceAdded(id)]
    }

    fn edit_service(&mut self, address: &ServiceAddress, options: &ServiceOptions) -> Vec<Change> {
        let Some(mut service) = self.service_at(address).cloned() else {
            return Vec::new();
        };
        let id = service.id;
        service.options = options.clone();
        self.set_service(id, Some(service));
        self.step(id, Step::Schedule(options.scheduler.clone()));
        vec![Change::ServiceChanged(id)]
    }

    fn set_no_server(&mut self, address: &ServiceAddress, answer: NoServer) -> Vec<Change> {
        let Some(mut service) = self.service_at(address).cloned() else {
            return Vec::new();
        };
        let id = service.id;
        service.no_server = answer;
        self.set_service(id, Some(service));
        vec![Change::ServiceChanged(id)]
    }

    fn set_marks(&mut self, change: impl FnOnce(&mut Vec<MarkRule>)) -> Vec<Change> {
        self.undo.push(super::Undo::Marks(self.marks.clone()));
        change(&mut self.marks);
        vec![Change::MarksChanged]
    }

    fn set_setting(&mut self, setting: Setting, value: Option<u32>) -> Vec<Change> {
        self.undo.push(super::Undo::Settings(self.settings.clone()));
        match value {
            Some(value) => self.settings.insert(setting, value),
            None => self.settings.remove(&setting),
        };
        vec![Change::SettingsChanged]
    }

    fn delete_service(&mut self, id: ServiceId) -> Vec<Change> {
        let Some(address) = self.service(id).map(|service| service.address) else {
            return Vec::new();
        };
        let mut changes = vec![Change::ServiceRemoved(id, address)];
        let live: Vec<_> = self.servers_of(id).cloned().collect();
        changes.extend(live.iter().map(|server| Change::ServerRetired(server.id)));
        let retired: Vec<_> = self.retired_of(id).cloned().collect();
        for mut server in live.into_iter().chain(retired) {
            server.standing = Standing::Retired { service: None };
            self.set_server(server.id, Some(server));
        }
        self.set_service(id, None);
        changes
    }

    /// Puts a server at the head of its service's list, as ipvs does; a retired one comes back
    /// with its id, and with its counters when its service is still the same.
    ///
    /// ipvs: net/netfilter/ipvs/ip_vs_ctl.c:ip_vs_add_dest, __ip_vs_update_dest
    fn add_server(
        &mut self,
        service: &ServiceAddress,
        address: &ServerAddress,
        options: &ServerOptions,
    ) -> Vec<Change> {
        let Some(service_id) = self.service_at(service).map(|service| service.id) else {
            return Vec::new();
        };
        let known = self.index.server.get(&(*service, *address)).copied();
        let id = known.unwrap_or(ServerId(self.index.server_ids.lowest()));
        let mut changes = vec![Change::ServerAdded(id)];
        if let Some(Standing::Retired { service: None }) = self.server(id).map(|s| s.standing) {
            changes.push(Change::ServerAdopted(id));
        }
        changes.push(Change::ServersChanged(service_id));
        let standing = Standing::Live {
            service: service_id,
            added: self.place(),
        };
        let server = Server {
            id,
            service: *service,
            address: *address,
            options: options.clone(),
            last_weight: options.weight,
            standing,
        };
        self.set_server(id, Some(server));
        self.step(service_id, Step::Add(id, options.weight));
        changes
    }

    fn edit_server(
        &mut self,
        service: &ServiceAddress,
        address: &ServerAddress,
        options: &ServerOptions,
    ) -> Vec<Change> {
        let Some((server, service)) = self.live_server(service, address) else {
            return Vec::new();
        };
        let mut server = server.clone();
        let id = server.id;
        server.options = options.clone();
        if options.weight != 0 {
            server.last_weight = options.weight;
        }
        self.set_server(id, Some(server));
        self.step(service, Step::Weigh(id, options.weight));
        vec![Change::ServerChanged(id), Change::ServersChanged(service)]
    }

    fn delete_server(&mut self, service: &ServiceAddress, address: &ServerAddress) -> Vec<Change> {
        let Some((server, service)) = self.live_server(service, address) else {
            return Vec::new();
        };
        let mut server = server.clone();
        let id = server.id;
        server.standing = Standing::Retired {
            service: Some(service),
        };
        self.set_server(id, Some(server));
        self.step(service, Step::Remove(id));
        vec![Change::ServerRetired(id), Change::ServersChanged(service)]
    }

    fn set_timeouts(&mut self, wanted: &Timeouts) -> Vec<Change> {
        let Timeouts { tcp, tcp_fin, udp } = *wanted;
        let before = self.timeouts;
        let given = |new: u32, old: u32| if new == 0 { old } else { new };
        self.timeouts = Timeouts {
            tcp: given(tcp, before.tcp),
            tcp_fin: given(tcp_fin, before.tcp_fin),
            udp: given(udp, before.udp),
        };
        self.undo.push(super::Undo::Timeouts(before));
        vec![Change::TimeoutsChanged]
    }

    fn place(&mut self) -> u64 {
        let place = self.next;
        self.next += 1;
        place
    }
}
