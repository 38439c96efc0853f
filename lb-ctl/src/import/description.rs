//! What a configuration says, whatever language it was written in.

use super::ordered::{Keyed, Ordered};
use lb_common::api::{
    DaemonRole, Edit, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions, SyncDaemon,
    Timeouts,
};
use std::fmt;
use std::rc::Rc;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Rc<str>,
    /// The line, from 1 on.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A configuration: the table it makes, in the order it makes it, and the rest of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The services.
    pub services: Ordered<Service>,
    /// The session timeouts, where it sets them; 0 leaves one as it is.
    pub timeouts: Option<Timeouts>,
    /// The sync daemons it starts.
    pub daemons: Vec<(DaemonRole, SyncDaemon)>,
    /// Lines about no service.
    pub extras: Vec<Extra>,
}

/// A service of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it begins.
    pub place: Place,
    /// Which service.
    pub address: ServiceAddress,
    /// How it schedules.
    pub options: ServiceOptions,
    /// Its servers, in the order they are added.
    pub servers: Ordered<Server>,
    /// The server that takes the place of all others while none of them is up.
    pub fallback: Option<Server>,
    /// Lines that ipvs has no word for.
    pub extras: Vec<Extra>,
}

/// A real server of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it begins.
    pub place: Place,
    /// Which server.
    pub address: ServerAddress,
    /// How it is used.
    pub options: ServerOptions,
    /// Lines that ipvs has no word for.
    pub extras: Vec<Extra>,
}

/// A line that ipvs has no word for, with the lines of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Where it stands.
    pub place: Place,
    /// What it says, blanks and comments apart.
    pub text: String,
    /// What it is about.
    pub topic: Topic,
    /// The lines of its block.
    pub inside: Vec<Extra>,
}

/// What a line is about that ipvs has no word for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Whether a server is up, and what happens when it is not.
    Check,
    /// A program to be run.
    Script,
    /// Mail, SNMP, D-Bus.
    Alert,
    /// Which director is active: VRRP, BFD, addresses and routes that move.
    Failover,
    /// How much of a pool has to be up.
    Quorum,
    /// How the program itself runs.
    Program,
    /// The program that the file was written for does not do it either; the reason.
    Ignored(String),
    /// It is about the table, and cannot be said again; the reason and the way out.
    Unsaid(String),
}

impl Extra {
    /// A line without a block.
    #[must_use]
    pub fn new(place: &Place, text: impl Into<String>, topic: Topic) -> Self {
        Self {
            place: place.clone(),
            text: text.into(),
            topic,
            inside: Vec::new(),
        }
    }
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and the cure.
    pub what: String,
}

impl Problem {
    /// A mistake at a place.
    #[must_use]
    pub fn new(place: &Place, what: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            what: what.into(),
        }
    }
}

/// The mistakes for which a file is refused: at least one, in the order they stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Keyed for Service {
    type Key = ServiceAddress;

    fn key(&self) -> ServiceAddress {
        self.address
    }
}

impl Keyed for Server {
    type Key = ServerAddress;

    fn key(&self) -> ServerAddress {
        self.address
    }
}

impl Description {
    /// Does to the description what an edit does to ipvs's table.
    ///
    /// # Errors
    /// ipvsadm's words for what the table does not allow; nothing has changed then.
    pub fn apply(&mut self, edit: Edit, place: &Place) -> Result<(), &'static str> {
        let services = &mut self.services;
        match edit {
            Edit::AddService { service, options } => {
                let service = Service {
                    place: place.clone(),
                    address: service,
                    options,
                    servers: Ordered::default(),
                    fallback: None,
                    extras: Vec::new(),
                };
                let added = services.push(service);
                added.map_err(|_| "Service already exists")?;
            }
            Edit::EditService { service, options } => {
                services.get_mut(&service).ok_or(NO_SERVICE)?.options = options;
            }
            Edit::DeleteService { service } => {
                services.remove(&service).then_some(()).ok_or(NO_SERVICE)?;
            }
            Edit::Clear => services.clear(),
            Edit::AddServer {
                service,
                server,
                options,
            } => {
                let service = services.get_mut(&service).ok_or(UNDEFINED)?;
                let server = Server {
                    place: place.clone(),
                    address: server,
                    options,
                    extras: Vec::new(),
                };
                let added = service.servers.push(server);
                added.map_err(|_| "Destination already exists")?;
            }
            Edit::EditServer {
                service,
                server,
                options,
            } => {
                let service = services.get_mut(&service).ok_or(UNDEFINED)?;
                service.servers.get_mut(&server).ok_or(NO_SERVER)?.options = options;
            }
            Edit::DeleteServer { service, server } => {
                let service = services.get_mut(&service).ok_or(UNDEFINED)?;
                let removed = service.servers.remove(&server);
                removed.then_some(()).ok_or(NO_SERVER)?;
            }
            Edit::Zero { service } => {
                if let Some(service) = service {
                    services.get_mut(&service).ok_or(NO_SERVICE)?;
                }
            }
            Edit::SetTimeouts { timeouts } => self.set_timeouts(timeouts),
            Edit::StartDaemon { role, daemon } => {
                if self.daemons.iter().any(|(known, _)| *known == role) {
                    return Err("Daemon has already run");
                }
                self.daemons.push((role, daemon));
            }
            Edit::StopDaemon { role } => {
                let before = self.daemons.len();
                self.daemons.retain(|(known, _)| *known != role);
                if self.daemons.len() == before {
                    return Err("No daemon is running");
                }
            }
            Edit::SetNoServer { .. }
            | Edit::AddMarkRule { .. }
            | Edit::DeleteMarkRule { .. }
            | Edit::Set { .. } => return Err("ipvs's table has no place for it"),
        }
        Ok(())
    }

    fn set_timeouts(&mut self, new: Timeouts) {
        let old = self.timeouts.unwrap_or(Timeouts {
            tcp: 0,
            tcp_fin: 0,
            udp: 0,
        });
        let or_old = |new, old| if new == 0 { old } else { new };
        self.timeouts = Some(Timeouts {
            tcp: or_old(new.tcp, old.tcp),
            tcp_fin: or_old(new.tcp_fin, old.tcp_fin),
            udp: or_old(new.udp, old.udp),
        });
    }
}

const NO_SERVICE: &str = "No such service";
const UNDEFINED: &str = "Service not defined";
const NO_SERVER: &str = "No such destination";
