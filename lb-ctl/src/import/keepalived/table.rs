//! A virtual server, once it is read, as services of the table.

use super::pool::{Member, OTHER_FAMILY, PERSISTENT, Pool, Sorry, Target};
use crate::import::{Description, Extra, Server, Topic};
use lb_common::api::{Edit, Family, Forwarding, Protocol, ServiceAddress, ServiceOptions};

impl Pool<'_> {
    /// Says the services; the error is why there are none.
    pub(super) fn finish(mut self, description: &mut Description) -> Result<(), String> {
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
            let known = description.apply(add, &statement.place);
            if let Err(why) = known {
                let why = format!("ipvs would say of {service}: {why}; its servers join");
                let extra = Extra::new(&statement.place, &statement.text, Topic::Ignored(why));
                extras.push(extra);
            }
            for member in &self.members {
                match self.add(&service, member, description) {
                    // A server of both.
                    Err(why) if known.is_err() && why.contains("already exists") => {}
                    Err(why) => {
                        let place = &member.server.place;
                        let text = format!("real_server {}", member.server.address);
                        extras.push(Extra::new(place, text, Topic::Ignored(why)));
                    }
                    Ok(()) => {}
                }
            }
            self.add_sorry(&service, description);
            // What is not in the table is told once, whatever the number of services.
            for member in &mut self.members {
                member.server.extras.clear();
            }
            if known.is_ok() {
                first.get_or_insert(service);
            }
        }
        match first.and_then(|first| description.services.get_mut(&first)) {
            Some(first) => first.extras = extras,
            None => description.extras.append(&mut extras),
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

/// Whether a service can be scheduled packet by packet.
const fn one_packet(service: &ServiceAddress) -> bool {
    match service {
        ServiceAddress::Address { protocol, .. } => matches!(protocol, Protocol::Udp),
        ServiceAddress::Mark { .. } => true,
    }
}
