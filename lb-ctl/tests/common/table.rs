//! A table that takes and refuses edits as the kernel's ipvs does (`ip_vs_ctl.c`).

use lb_common::api::{
    Agent, AttachMode, Counters, DaemonRole, Daemons, Edit, Interface, Marks, Next, NoServer,
    Origin, Rates, Refusal, RefusalKind, ServerAddress, ServerOptions, ServerStatus,
    ServiceAddress, ServiceOptions, ServiceStatus, Services, Setting, SettingStatus, Settings,
    SyncDaemon, Timeouts, Warning,
};
use lb_ctl::control::{Control, ControlError};
use std::net::IpAddr;

const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "none",
];

/// The table, and how often it was written.
#[derive(Debug)]
pub struct Table {
    pub services: Services,
    pub timeouts: Timeouts,
    pub daemons: Daemons,
    pub marks: Marks,
    /// The settings that were given a value.
    pub set: Vec<(Setting, u32)>,
    /// Lines of `GET /v1/connections`.
    pub connections: String,
    /// Configured interfaces that are gone.
    pub missing: Vec<String>,
    /// What the agent warns of.
    pub warnings: Vec<Warning>,
    /// How many `POST /v1/edits` there were.
    pub posts: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            services: Services {
                slots: 4096,
                services: Vec::new(),
            },
            timeouts: Timeouts {
                tcp: 900,
                tcp_fin: 120,
                udp: 300,
            },
            daemons: Daemons::default(),
            marks: Marks::default(),
            set: Vec::new(),
            connections: String::new(),
            missing: Vec::new(),
            warnings: Vec::new(),
            posts: 0,
        }
    }
}

impl Table {
    pub fn apply(&mut self, edits: &[Edit]) -> Vec<Option<Refusal>> {
        self.posts += 1;
        edits
            .iter()
            .map(|edit| {
                self.one(edit).err().map(|kind| Refusal {
                    kind,
                    message: format!("refused: {kind:?}"),
                })
            })
            .collect()
    }

    pub fn about(&self) -> Agent {
        Agent {
            version: "0.1.0".into(),
            pid: 4711,
            layout: 1,
            flows: 2048,
            slots: self.services.slots,
            interfaces: vec![Interface {
                name: "eth0".into(),
                mode: AttachMode::Native,
            }],
            missing: self.missing.clone(),
            warnings: self.warnings.clone(),
            reasons: vec![("no service".into(), 7), ("never".into(), 0)],
        }
    }

    fn one(&mut self, edit: &Edit) -> Result<(), RefusalKind> {
        match edit {
            Edit::AddService { service, options } => {
                if self.service(service).is_ok() {
                    return Err(RefusalKind::Exists);
                }
                check_service(options)?;
                self.services.services.push(ServiceStatus {
                    service: *service,
                    options: options.clone(),
                    no_server: NoServer::default(),
                    counters: Counters::default(),
                    rates: Rates::default(),
                    servers: Vec::new(),
                });
            }
            Edit::EditService { service, options } => {
                let status = self.service(service)?;
                check_service(options)?;
                status.options = options.clone();
            }
            Edit::DeleteService { service } => {
                self.service(service)?;
                self.services
                    .services
                    .retain(|status| status.service != *service);
            }
            Edit::Clear => self.services.services.clear(),
            Edit::AddServer {
                service,
                server,
                options,
            } => {
                let status = self.service(service)?;
                check_server(options)?;
                if status.servers.iter().any(|known| known.server == *server) {
                    return Err(RefusalKind::Exists);
                }
                if !unicast(server.address) {
                    return Err(RefusalKind::Invalid);
                }
                status
                    .servers
                    .insert(0, new_server(*server, options.clone()));
            }
            Edit::EditServer {
                service,
                server,
                options,
            } => {
                let status = self.service(service)?;
                check_server(options)?;
                status
                    .servers
                    .iter_mut()
                    .find(|known| known.server == *server)
                    .ok_or(RefusalKind::NoServer)?
                    .options = options.clone();
            }
            Edit::DeleteServer { service, server } => {
                let servers = &mut self.service(service)?.servers;
                let at = servers
                    .iter()
                    .position(|known| known.server == *server)
                    .ok_or(RefusalKind::NoServer)?;
                servers.remove(at);
            }
            Edit::Zero { service } => {
                if let Some(service) = service {
                    self.service(service)?;
                }
            }
            Edit::SetTimeouts { timeouts } => {
                let keep = |new, old| if new == 0 { old } else { new };
                self.timeouts = Timeouts {
                    tcp: keep(timeouts.tcp, self.timeouts.tcp),
                    tcp_fin: keep(timeouts.tcp_fin, self.timeouts.tcp_fin),
                    udp: keep(timeouts.udp, self.timeouts.udp),
                };
            }
            Edit::StartDaemon { role, daemon } => return self.start(*role, daemon),
            Edit::StopDaemon { role } => {
                let before = self.daemons.daemons.len();
                self.daemons.daemons.retain(|(running, _)| running != role);
                if self.daemons.daemons.len() == before {
                    return Err(RefusalKind::NoService);
                }
            }
            Edit::SetNoServer { service, answer } => self.service(service)?.no_server = *answer,
            Edit::AddMarkRule { rule } => self.marks.rules.push(rule.clone()),
            Edit::DeleteMarkRule { rule } => self.marks.rules.retain(|other| other != rule),
            Edit::Set { name, value } => {
                let setting = Setting::check(name, *value).map_err(|refusal| refusal.kind)?;
                self.set.retain(|(other, _)| *other != setting);
                self.set.extend(value.map(|value| (setting, value)));
            }
        }
        Ok(())
    }

    fn start(&mut self, role: DaemonRole, daemon: &SyncDaemon) -> Result<(), RefusalKind> {
        if daemon.interface != "dummy0" {
            return Err(RefusalKind::NoDevice);
        }
        if self
            .daemons
            .daemons
            .iter()
            .any(|(running, _)| *running == role)
        {
            return Err(RefusalKind::Exists);
        }
        let mut daemon = daemon.clone();
        if daemon.max_length == 0 {
            // An Ethernet frame less the IP and UDP headers.
            daemon.max_length = if daemon.group.is_ipv6() { 1452 } else { 1472 };
        }
        self.daemons.daemons.push((role, daemon));
        self.daemons.daemons.sort_by_key(|(role, _)| *role);
        Ok(())
    }

    fn service(&mut self, wanted: &ServiceAddress) -> Result<&mut ServiceStatus, RefusalKind> {
        self.services
            .services
            .iter_mut()
            .find(|status| status.service == *wanted)
            .ok_or(RefusalKind::NoService)
    }
}

/// A server without traffic.
pub fn new_server(server: ServerAddress, options: ServerOptions) -> ServerStatus {
    ServerStatus {
        server,
        options,
        active: 0,
        inactive: 0,
        persistent: 0,
        counters: Counters::default(),
        rates: Rates::default(),
        next: Next::Resolved {
            interface: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
        },
    }
}

fn check_service(options: &ServiceOptions) -> Result<(), RefusalKind> {
    let engine = options.persistence_engine.as_deref().unwrap_or("sip");
    if engine == "sip" && SCHEDULERS.contains(&options.scheduler.as_str()) {
        Ok(())
    } else {
        Err(RefusalKind::NoScheduler)
    }
}

fn check_server(options: &ServerOptions) -> Result<(), RefusalKind> {
    if options.lower_threshold > options.upper_threshold {
        return Err(RefusalKind::Range);
    }
    Ok(())
}

fn unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
        }
        IpAddr::V6(address) => {
            !address.is_multicast() && !address.is_unspecified() && !address.is_unicast_link_local()
        }
    }
}

impl Control for Table {
    fn edit(&mut self, edits: Vec<Edit>) -> Result<Vec<Option<Refusal>>, ControlError> {
        Ok(self.apply(&edits))
    }

    fn services(&mut self) -> Result<Services, ControlError> {
        Ok(self.services.clone())
    }

    fn connections(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        self.connections
            .lines()
            .try_for_each(|line| each(line.as_bytes()))
    }

    fn timeouts(&mut self) -> Result<Timeouts, ControlError> {
        Ok(self.timeouts)
    }

    fn daemons(&mut self) -> Result<Daemons, ControlError> {
        Ok(self.daemons.clone())
    }

    fn marks(&mut self) -> Result<Marks, ControlError> {
        Ok(self.marks.clone())
    }

    fn settings(&mut self) -> Result<Settings, ControlError> {
        let status = |name: Setting| {
            let set = self.set.iter().find(|(setting, _)| *setting == name);
            SettingStatus {
                name,
                value: set.map_or(name.default(), |(_, value)| *value),
                origin: if set.is_some() {
                    Origin::Edit
                } else {
                    Origin::Default
                },
            }
        };
        Ok(Settings {
            settings: Setting::ALL.map(status).to_vec(),
        })
    }

    fn agent(&mut self) -> Result<Agent, ControlError> {
        Ok(self.about())
    }
}
