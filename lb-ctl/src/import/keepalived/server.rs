//! `virtual_server` and `real_server`.

use super::block::Statement;
use super::group::{Group, Groups, port};
use super::method;
use super::number::{LONGEST_TIMEOUT, leading, read};
use super::topic;
use crate::args::SCHEDULERS;
use crate::import::{Description, Extra, Server, Topic};
use lb_common::api::{
    Edit, Family, Forwarding, Netmask, Protocol, ServerAddress, ServerOptions, ServiceAddress,
    ServiceOptions,
};
use std::net::{IpAddr, Ipv4Addr};

/// How long a service is persistent unless it says for how long, in seconds.
const PERSISTENT: u32 = 360;
/// The largest weight keepalived takes.
const WEIGHT: u32 = 65535;

/// The largest threshold ipvs takes.
const THRESHOLD: u32 = i32::MAX as u32;

/// What a virtual server says, and what its real servers inherit from it.
struct Pool<'a> {
    statement: &'a Statement,
    target: Target<'a>,
    family: Option<Family>,
    scheduler: Option<&'static str>,
    flags: u8,
    one_packet: bool,
    method: Option<Forwarding>,
    protocol: Option<Protocol>,
    persistent: Option<u32>,
    granularity: Option<Netmask>,
    engine: Option<String>,
    weight: u32,
    members: Vec<Member>,
    sorry: Option<Sorry>,
    extras: Vec<Extra>,
}

/// What a virtual server stands for.
enum Target<'a> {
    Address(IpAddr, u16),
    Mark(u32),
    Group(&'a Group),
}

/// A real server.
struct Member {
    /// With its own address and port, and whatever else is its own.
    server: Server,
    method: Option<Forwarding>,
    weight: Option<u32>,
}

/// The server of last resort.
struct Sorry {
    member: Member,
    /// It stays in the table, with weight 0, while others are up.
    inhibit: bool,
}

/// Adds the services of a virtual server to a description.
pub(super) fn virtual_server(
    statement: &Statement,
    groups: &Groups,
    description: &mut Description,
) {
    let refused = match Pool::new(statement, groups) {
        Ok(mut pool) => {
            for inner in statement.block() {
                pool.take(inner);
            }
            pool.finish(description)
        }
        Err(why) => Err(why),
    };
    if let Err(why) = refused {
        description.extras.push(statement.ignored(why));
    }
}

impl<'a> Pool<'a> {
    fn new(statement: &'a Statement, groups: &'a Groups) -> Result<Self, String> {
        let target = match (statement.word(1), statement.word(2)) {
            (Some("group"), Some(name)) => Target::Group(
                groups
                    .get(name)
                    .ok_or_else(|| format!("there is no group `{name}'"))?,
            ),
            (Some("fwmark"), mark) => Target::Mark(leading(mark, 1, u32::MAX)?.value),
            (Some(address), word) => {
                let address = address
                    .parse()
                    .map_err(|_| format!("`{address}' is no address"))?;
                Target::Address(address, port(word)?)
            }
            (None, _) => return Err("it has no address".to_owned()),
        };
        let family = match target {
            Target::Address(address, _) => Some(Family::of(address)),
            Target::Mark(_) | Target::Group(_) => None,
        };
        Ok(Self {
            statement,
            target,
            family,
            scheduler: None,
            flags: 0,
            one_packet: false,
            method: None,
            protocol: None,
            persistent: None,
            granularity: None,
            engine: None,
            weight: 1,
            members: Vec::new(),
            sorry: None,
            extras: Vec::new(),
        })
    }

    fn take(&mut self, statement: &Statement) {
        // How many words the statement has besides its keyword.
        let words = match statement.keyword() {
            "real_server" => return self.real_server(statement),
            "sorry_server" => 2,
            "lvs_method" | "lb_kind" | "sorry_server_lvs_method" => usize::MAX,
            "ops"
            | "hashed"
            | "flag-1"
            | "flag-2"
            | "flag-3"
            | "sh-port"
            | "sh-fallback"
            | "mh-port"
            | "mh-fallback"
            | "sorry_server_inhibit" => 0,
            "ip_family"
            | "lvs_sched"
            | "lb_algo"
            | "persistence_engine"
            | "persistence_timeout"
            | "persistence_granularity"
            | "protocol"
            | "weight" => 1,
            keyword => {
                let topic = topic::of_virtual_server(keyword);
                self.extras.push(statement.extra(&topic));
                return;
            }
        };
        let result = self.keyword(statement);
        match result.and_then(|()| nothing_behind(statement, words)) {
            Ok(()) => {}
            Err(why) => self.extras.push(statement.ignored(why)),
        }
    }

    /// Takes a statement of the table; the error is why keepalived ignores it, or part of it.
    fn keyword(&mut self, statement: &Statement) -> Result<(), String> {
        let value = statement.word(1);
        match statement.keyword() {
            "ip_family" => {
                let family = match value {
                    Some("inet") => Family::Ipv4,
                    Some("inet6") => Family::Ipv6,
                    Some(_) | None => return Err("the family is neither inet nor inet6".into()),
                };
                if self.family.is_some_and(|known| known != family) {
                    return Err("the virtual server has another family".into());
                }
                self.family = Some(family);
            }
            "lvs_sched" | "lb_algo" => {
                let name = value.unwrap_or_default();
                let known = SCHEDULERS.iter().find(|known| **known == name);
                self.scheduler = Some(known.ok_or_else(|| format!("no scheduler `{name}'"))?);
            }
            "ops" => self.one_packet = true,
            // It has no meaning any more.
            "hashed" => {}
            "flag-1" => self.flags |= 1,
            "flag-2" => self.flags |= 2,
            "flag-3" => self.flags |= 4,
            "sh-fallback" => self.flag("sh", 1)?,
            "sh-port" => self.flag("sh", 2)?,
            "mh-fallback" => self.flag("mh", 1)?,
            "mh-port" => self.flag("mh", 2)?,
            "lvs_method" | "lb_kind" => {
                let read = method::read(statement, self.method);
                self.method = read.method;
                read.complaint.map_or(Ok(()), Err)?;
            }
            "persistence_engine" => match value {
                Some("sip") => self.engine = Some("sip".to_owned()),
                Some(_) | None => return Err("ipvs has no engine but sip".into()),
            },
            "persistence_timeout" => {
                self.persistent = Some(match value {
                    None => PERSISTENT,
                    Some(_) => read(value, 1, LONGEST_TIMEOUT)?.value,
                });
            }
            "persistence_granularity" => self.granularity(value.unwrap_or_default())?,
            "protocol" => {
                let name = value.unwrap_or_default();
                let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
                let known = protocols
                    .into_iter()
                    .find(|known| known.to_string().eq_ignore_ascii_case(name));
                self.protocol = Some(known.ok_or_else(|| format!("no protocol `{name}'"))?);
            }
            "weight" => numbered(value, 1, WEIGHT, |weight| self.weight = weight)?,
            "sorry_server" => {
                let member = self.member(statement)?;
                self.sorry = Some(Sorry {
                    member,
                    inhibit: false,
                });
            }
            "sorry_server_inhibit" => {
                self.sorry.as_mut().ok_or(NO_SORRY_SERVER)?.inhibit = true;
            }
            "sorry_server_lvs_method" => {
                let member = &mut self.sorry.as_mut().ok_or(NO_SORRY_SERVER)?.member;
                let read = method::read(statement, member.method);
                member.method = read.method;
                read.complaint.map_or(Ok(()), Err)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn flag(&mut self, scheduler: &str, bit: u8) -> Result<(), String> {
        if self.scheduler != Some(scheduler) {
            return Err(format!(
                "keepalived ignores it unless `lvs_sched {scheduler}' stands above"
            ));
        }
        self.flags |= bit;
        Ok(())
    }

    fn granularity(&mut self, text: &str) -> Result<(), String> {
        let family = match (self.family, text.contains('.')) {
            (Some(family), _) => family,
            (None, true) => Family::Ipv4,
            (None, false) => Family::Ipv6,
        };
        let mask = match family {
            Family::Ipv4 => {
                let mask: Ipv4Addr = text.parse().map_err(|_| format!("`{text}' is no mask"))?;
                Netmask::Mask(mask)
            }
            Family::Ipv6 => {
                let bits = read(Some(text), 1, 128)?.value;
                Netmask::Prefix(u8::try_from(bits).map_err(|error| error.to_string())?)
            }
        };
        self.family = Some(family);
        self.persistent.get_or_insert(PERSISTENT);
        let full = [Netmask::Mask(Ipv4Addr::BROADCAST), Netmask::Prefix(128)];
        self.granularity = (!full.contains(&mask)).then_some(mask);
        Ok(())
    }

    fn member(&self, statement: &Statement) -> Result<Member, String> {
        let word = statement.word(1).unwrap_or_default();
        let address = word
            .parse()
            .map_err(|_| format!("`{word}' is no address"))?;
        Ok(Member {
            server: Server {
                place: statement.place.clone(),
                address: ServerAddress {
                    address,
                    port: port(statement.word(2))?,
                },
                options: ServerOptions {
                    forwarding: Forwarding::Masquerade,
                    weight: 1,
                    upper_threshold: 0,
                    lower_threshold: 0,
                },
                extras: Vec::new(),
            },
            method: self.method,
            weight: None,
        })
    }

    fn real_server(&mut self, statement: &Statement) {
        let mut member = match self.member(statement) {
            Ok(member) => member,
            Err(why) => {
                self.extras.push(statement.ignored(why));
                return;
            }
        };
        for inner in statement.block() {
            let result = member.take(inner);
            if let Err(extra) = result {
                member.server.extras.push(extra);
            }
        }
        let address = member.server.address.address;
        if !matches!(member.method, Some(Forwarding::Tunnel(_))) {
            let family = Family::of(address);
            if *self.family.get_or_insert(family) != family {
                self.extras.push(statement.ignored(OTHER_FAMILY));
                return;
            }
        }
        if let Err(why) = nothing_behind(statement, 2) {
            let topic = Topic::Ignored(why);
            let extra = Extra::new(&statement.place, &statement.text, topic);
            member.server.extras.push(extra);
        }
        self.members.push(member);
    }

    /// Says the services; the error is why there are none.
    fn finish(mut self, description: &mut Description) -> Result<(), String> {
        if self.members.is_empty() {
            return Err("keepalived ignores a virtual server without real servers".into());
        }
        self.check_sorry();
        let services = self.services()?;
        self.settle(&services);
        let mut extras = std::mem::take(&mut self.extras);
        extras.extend(self.complaints(&services));
        let mut first = None;
        for service in services {
            let statement = self.statement;
            let add = Edit::AddService {
                service,
                options: self.service_options(&service),
            };
            if let Err(why) = description.apply(add, &statement.place) {
                let topic = Topic::Ignored(format!("ipvs would say of {service}: {why}"));
                extras.push(Extra::new(&statement.place, &statement.text, topic));
                continue;
            }
            for member in &self.members {
                if let Err(why) = self.add(&service, member, description) {
                    let place = &member.server.place;
                    let text = format!("real_server {}", member.server.address);
                    extras.push(Extra::new(place, text, Topic::Ignored(why)));
                }
            }
            self.add_sorry(&service, description);
            // What is not in the table is told once, whatever the number of services.
            for member in &mut self.members {
                member.server.extras.clear();
            }
            first.get_or_insert(service);
        }
        let first = first.and_then(|first| description.services.get_mut(&first));
        match first {
            Some(first) => first.extras = extras,
            None => return Err("ipvs would say of all its services: Service already exists".into()),
        }
        Ok(())
    }

    /// Leaves a sorry server of another family out.
    fn check_sorry(&mut self) {
        let Some(Sorry { member, .. }) = &self.sorry else {
            return;
        };
        if matches!(member.method, Some(Forwarding::Tunnel(_))) {
            return;
        }
        let family = Family::of(member.server.address.address);
        if *self.family.get_or_insert(family) != family {
            let text = format!("sorry_server {}", member.server.address);
            let topic = Topic::Ignored(OTHER_FAMILY.to_owned());
            let extra = Extra::new(&member.server.place, text, topic);
            self.extras.push(extra);
            self.sorry = None;
        }
    }

    /// The services, in keepalived's order.
    fn services(&self) -> Result<Vec<ServiceAddress>, String> {
        // Without a protocol the kernel, and hence keepalived, takes UDP.
        let protocol = self.protocol.unwrap_or(Protocol::Udp);
        let by_address = |(address, port)| ServiceAddress::Address {
            protocol,
            address,
            port,
        };
        Ok(match self.target {
            Target::Address(address, port) => vec![by_address((address, port))],
            Target::Mark(mark) => {
                let family = self.mark_family();
                vec![ServiceAddress::Mark { mark, family }]
            }
            Target::Group(group) => {
                let families = group.families();
                if self
                    .family
                    .is_some_and(|family| families.iter().any(|known| *known != family))
                {
                    return Err("the group's addresses are of another family".into());
                }
                let only = match families.as_slice() {
                    [family] => Some(*family),
                    _ => None,
                };
                let default = self.family.or(only).unwrap_or(Family::Ipv4);
                let marks = group
                    .marks
                    .iter()
                    .map(|(mark, family)| ServiceAddress::Mark {
                        mark: *mark,
                        family: family.unwrap_or(default),
                    });
                let addresses = group.addresses.iter().copied().map(by_address);
                addresses.chain(marks).collect()
            }
        })
    }

    /// The family of a mark: told, or that of its servers, or IPv4 if they differ.
    fn mark_family(&self) -> Family {
        self.family.unwrap_or_else(|| {
            let sorry = self.sorry.iter().map(|sorry| &sorry.member);
            let mut families = self
                .members
                .iter()
                .chain(sorry)
                .map(|member| Family::of(member.server.address.address));
            let first = families.next().unwrap_or(Family::Ipv4);
            if families.all(|family| family == first) {
                first
            } else {
                Family::Ipv4
            }
        })
    }

    /// Settles what keepalived settles behind the last statement.
    fn settle(&mut self, services: &[ServiceAddress]) {
        let portless = services
            .iter()
            .any(|service| matches!(service, ServiceAddress::Address { port: 0, .. }));
        if portless {
            self.persistent.get_or_insert(PERSISTENT);
        }
        let method = self.method.unwrap_or(Forwarding::Masquerade);
        let sorry = self.sorry.iter_mut().map(|sorry| &mut sorry.member);
        for member in self.members.iter_mut().chain(sorry) {
            let options = &mut member.server.options;
            options.forwarding = member.method.unwrap_or(method);
            options.weight = member.weight.unwrap_or(self.weight);
        }
        if let Some(Sorry { member, .. }) = &mut self.sorry {
            member.server.options.weight = 1;
        }
    }

    /// What is said of the whole virtual server and does not come true.
    fn complaints(&self, services: &[ServiceAddress]) -> Vec<Extra> {
        let grouped = matches!(self.target, Target::Group(_));
        let ignored = [
            (
                "ops",
                self.one_packet && !services.iter().all(one_packet),
                "only UDP and marks are scheduled packet by packet",
            ),
            (
                "persistence_granularity",
                grouped && self.granularity.is_some(),
                "keepalived does not apply it to the members of a group",
            ),
            (
                "protocol",
                self.protocol.is_some() && matches!(self.target, Target::Mark(_)),
                "a mark has no protocol",
            ),
            (
                "persistence_engine",
                self.engine.is_some() && self.persistent.is_none(),
                "keepalived applies it to persistent services only",
            ),
        ];
        let said = |keyword: &str| {
            let mut block = self.statement.block().iter();
            block.rfind(|inner| inner.keyword() == keyword)
        };
        ignored
            .into_iter()
            .filter(|(_, ignored, _)| *ignored)
            .filter_map(|(keyword, _, why)| said(keyword).map(|inner| inner.ignored(why)))
            .collect()
    }

    fn service_options(&self, service: &ServiceAddress) -> ServiceOptions {
        let grouped = matches!(self.target, Target::Group(_));
        ServiceOptions {
            scheduler: self.scheduler.unwrap_or("wlc").to_owned(),
            flags: self.flags,
            persistent: self.persistent,
            netmask: self.granularity.filter(|_| !grouped),
            one_packet: self.one_packet && one_packet(service),
            persistence_engine: self.engine.clone().filter(|_| self.persistent.is_some()),
        }
    }

    fn add(
        &self,
        service: &ServiceAddress,
        member: &Member,
        description: &mut Description,
    ) -> Result<(), String> {
        let server = self.placed(service, &member.server);
        let Server {
            place,
            address,
            options,
            extras,
        } = server;
        if Family::of(address.address) != service.family()
            && !matches!(options.forwarding, Forwarding::Tunnel(_))
        {
            return Err(OTHER_FAMILY.into());
        }
        if options.lower_threshold > options.upper_threshold {
            return Err("ipvs takes no lower threshold above the upper one".into());
        }
        let add = Edit::AddServer {
            service: *service,
            server: address,
            options,
        };
        description
            .apply(add, &place)
            .map_err(|why| format!("ipvs would say: {why}"))?;
        let added = description
            .services
            .get_mut(service)
            .and_then(|service| service.servers.get_mut(&address));
        if let Some(added) = added {
            added.extras = extras;
        }
        Ok(())
    }

    fn add_sorry(&self, service: &ServiceAddress, description: &mut Description) {
        let Some(Sorry { member, inhibit }) = &self.sorry else {
            return;
        };
        let mut server = self.placed(service, &member.server);
        let Some(service) = description.services.get_mut(service) else {
            return;
        };
        if *inhibit {
            server.options.weight = 0;
            // A real server that is also the sorry server stays what it is.
            let _ = service.servers.push(server);
        } else {
            service.fallback = Some(server);
        }
    }

    /// A server as it is in the table of a service: only translated packets change their port.
    fn placed(&self, service: &ServiceAddress, server: &Server) -> Server {
        let mut server = server.clone();
        let port = &mut server.address.port;
        let grouped = matches!(self.target, Target::Group(_));
        match (service, server.options.forwarding) {
            (ServiceAddress::Address { port: own, .. }, Forwarding::Masquerade) => {
                if *port == 0 && !grouped {
                    *port = *own;
                }
            }
            (ServiceAddress::Mark { .. }, Forwarding::Masquerade) => {}
            (ServiceAddress::Address { port: own, .. }, _) => *port = *own,
            (ServiceAddress::Mark { .. }, _) => *port = 0,
        }
        server
    }
}

const NO_SORRY_SERVER: &str = "no sorry_server stands above";
const OTHER_FAMILY: &str = "only a tunnel leads to a server of another family";

/// Whether a service can be scheduled packet by packet.
const fn one_packet(service: &ServiceAddress) -> bool {
    match service {
        ServiceAddress::Address { protocol, .. } => matches!(protocol, Protocol::Udp),
        ServiceAddress::Mark { .. } => true,
    }
}

impl Member {
    /// Takes a statement of a real server's block; the error is what is left out of it.
    fn take(&mut self, statement: &Statement) -> Result<(), Extra> {
        let options = &mut self.server.options;
        let value = statement.word(1);
        let result = match statement.keyword() {
            "weight" => numbered(value, 0, WEIGHT, |weight| self.weight = Some(weight)),
            "uthreshold" => numbered(value, 0, THRESHOLD, |number| {
                options.upper_threshold = number
            }),
            "lthreshold" => numbered(value, 0, THRESHOLD, |number| {
                options.lower_threshold = number
            }),
            "lvs_method" => {
                let read = method::read(statement, self.method);
                self.method = read.method;
                return read
                    .complaint
                    .map_or(Ok(()), |why| Err(statement.ignored(why)));
            }
            keyword => return Err(statement.extra(&topic::of_real_server(keyword))),
        };
        result
            .and_then(|()| nothing_behind(statement, 1))
            .map_err(|why| statement.ignored(why))
    }
}

/// Takes a number; what is not all of its word is taken as far as it goes, and complained about.
fn numbered(
    word: Option<&str>,
    least: u32,
    most: u32,
    take: impl FnOnce(u32),
) -> Result<(), String> {
    let number = leading(word, least, most)?;
    take(number.value);
    if number.whole {
        Ok(())
    } else {
        Err(format!("keepalived takes it for {}", number.value))
    }
}

/// Complains about words behind those that count, and about a block.
fn nothing_behind(statement: &Statement, words: usize) -> Result<(), String> {
    match statement.word(words.saturating_add(1)) {
        Some(word) => Err(format!("keepalived ignores the words from `{word}' on")),
        None if statement.block.is_some() && statement.keyword() != "real_server" => {
            Err("keepalived ignores the block".to_owned())
        }
        None => Ok(()),
    }
}
