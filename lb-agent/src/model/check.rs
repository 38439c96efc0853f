//! The kernel's rules for edits, in the order in which the kernel looks.
//!
//! ipvs: net/netfilter/ipvs/ip_vs_ctl.c:ip_vs_add_service, ip_vs_edit_service, ip_vs_add_dest,
//! ip_vs_edit_dest, ip_vs_new_dest, ip_vs_set_timeout

use super::{Model, Server, Service, Standing};
use lb_common::api::{
    DaemonRole, Edit, Family, Forwarding, MarkRule, Netmask, Refusal, RefusalKind, ServerAddress,
    ServerOptions, ServiceAddress, ServiceOptions, Setting, Timeouts, Tunnel,
};
use lb_common::layout::MARK_RULES;
use std::net::IpAddr;

/// The schedulers that ipvs knows; `none` chooses no server.
const SCHEDULERS: [&str; 15] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
    "none",
];

/// The greatest weight: ipvs has a signed number for it, and refuses less than 0.
const WEIGHT_MAX: u32 = i32::MAX.unsigned_abs();

/// The longest timeout, ipvsadm's: 31 days, in seconds.
const TIMEOUT_MAX: u32 = 31 * 86400;

pub(super) fn refuse<T>(kind: RefusalKind, message: String) -> Result<T, Refusal> {
    Err(Refusal { kind, message })
}

impl Model {
    /// Says why `edit` cannot be carried out, if so.
    pub(super) fn check(&self, edit: &Edit) -> Result<(), Refusal> {
        match edit {
            Edit::AddService { service, options } => self.check_new_service(service, options),
            Edit::EditService { service, options } => {
                self.known(service)?;
                check_options(service, options)
            }
            Edit::DeleteService { service } => self.known(service).map(drop),
            Edit::Clear => Ok(()),
            Edit::AddServer {
                service,
                server,
                options,
            } => self.check_new_server(service, server, options),
            Edit::EditServer {
                service,
                server,
                options,
            } => {
                let known = self.known(service)?;
                self.check_families(service, server)?;
                check_server(service, server, options)?;
                self.listed(known, server)
            }
            Edit::DeleteServer { service, server } => self.listed(self.known(service)?, server),
            Edit::Zero { service } => service.as_ref().map_or(Ok(()), |s| self.known(s).map(drop)),
            Edit::SetTimeouts { timeouts } => check_timeouts(timeouts),
            Edit::StartDaemon { role, .. } => self.check_new_daemon(*role),
            Edit::StopDaemon { role } => self.check_daemon(*role, true),
            Edit::SetNoServer { service, .. } => self.known(service).map(drop),
            Edit::AddMarkRule { rule } => self.check_new_rule(rule),
            Edit::DeleteMarkRule { rule } => self.check_known_rule(rule),
            Edit::Set { name, value } => Setting::check(name, *value).map(drop),
        }
    }

    fn check_new_service(
        &self,
        address: &ServiceAddress,
        options: &ServiceOptions,
    ) -> Result<(), Refusal> {
        if self.service_at(address).is_some() {
            let message = format!("service {address} exists already: edit it with -E");
            return refuse(RefusalKind::Exists, message);
        }
        check_options(address, options)?;
        let most = self.limits.services;
        if self.index.service_ids.lowest() >= most {
            let message = format!(
                "no room for service {address}: the table holds {most} services; delete one first"
            );
            return refuse(RefusalKind::Full, message);
        }
        Ok(())
    }

    fn check_new_server(
        &self,
        address: &ServiceAddress,
        server: &ServerAddress,
        options: &ServerOptions,
    ) -> Result<(), Refusal> {
        let service = self.known(address)?;
        self.check_families(address, server)?;
        check_server(address, server, options)?;
        if self.listed(service, server).is_ok() {
            let message = format!("server {server} is in service {address}: edit it with -e");
            return refuse(RefusalKind::Exists, message);
        }
        check_unicast(server)?;
        self.check_room(service, server)
    }

    fn check_room(&self, service: &Service, server: &ServerAddress) -> Result<(), Refusal> {
        let address = &service.address;
        let most = self.limits.servers_per_service;
        if self.servers_of(service.id).count() >= most as usize {
            let message = format!(
                "no room for server {server} in service {address}: it holds {most} servers; \
                 remove one first"
            );
            return refuse(RefusalKind::Full, message);
        }
        let revived = self.index.server.contains_key(&(*address, *server));
        let most = self.limits.servers;
        if !revived && self.index.server_ids.lowest() >= most {
            let kept = self.index.server_ids.used() as usize - self.index.live.len();
            let message = format!(
                "no room for server {server} of service {address}: the table holds {most} servers, \
                 {kept} of them removed ones whose connections have not ended; remove others or \
                 wait for those"
            );
            return refuse(RefusalKind::Full, message);
        }
        Ok(())
    }

    /// The synchronisation protocol has one family for a connection and its server.
    ///
    /// ipvs: net/netfilter/ipvs/ip_vs_ctl.c:ip_vs_genl_set_cmd
    fn check_families(
        &self,
        service: &ServiceAddress,
        server: &ServerAddress,
    ) -> Result<(), Refusal> {
        if service.family() == Family::of(server.address) || self.daemons.is_empty() {
            return Ok(());
        }
        let message = format!(
            "server {server} of service {service}: while a sync daemon runs, servers are of their \
             service's address family; stop it with --stop-daemon"
        );
        refuse(RefusalKind::Invalid, message)
    }

    fn check_new_daemon(&self, role: DaemonRole) -> Result<(), Refusal> {
        let is_mixed = |server: &&Server| {
            let live = matches!(server.standing, Standing::Live { .. });
            live && server.service.family() != Family::of(server.address.address)
        };
        if let Some(server) = self.servers().find(is_mixed) {
            let message = format!(
                "no sync daemon while a server is of another address family than its service, as \
                 {} of {} is",
                server.address, server.service
            );
            return refuse(RefusalKind::Invalid, message);
        }
        self.check_daemon(role, false)
    }

    fn check_daemon(&self, role: DaemonRole, runs: bool) -> Result<(), Refusal> {
        let role_name = match role {
            DaemonRole::Master => "master",
            DaemonRole::Backup => "backup",
        };
        match (self.daemons.contains_key(&role), runs) {
            (true, false) => refuse(
                RefusalKind::Exists,
                format!("the {role_name} daemon runs already: stop it first"),
            ),
            (false, true) => refuse(
                RefusalKind::NoService,
                format!("the {role_name} daemon does not run"),
            ),
            (true, true) | (false, false) => Ok(()),
        }
    }

    fn check_new_rule(&self, rule: &MarkRule) -> Result<(), Refusal> {
        let invalid = |what: &str| {
            let message = format!("mark rule {rule}: {what}");
            refuse(RefusalKind::Invalid, message)
        };
        let MarkRule {
            protocol: _,
            from,
            to,
            ports,
            interface,
            mark,
        } = rule;
        if *mark == 0 {
            return invalid("the mark is 0, which packets without a mark have: choose another");
        }
        if ports.is_some_and(|(first, last)| first > last) {
            return invalid("the first port is above the last one");
        }
        if let (Some(from), Some(to)) = (from, to)
            && Family::of(from.address()) != Family::of(to.address())
        {
            return invalid("the networks are of different address families: add a rule for each");
        }
        // IFNAMSIZ, less the byte that ends it.
        if interface
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > 15)
        {
            return invalid("an interface's name has 1 to 15 characters");
        }
        if self.marks.contains(rule) {
            let message = format!("mark rule {rule} exists already");
            return refuse(RefusalKind::Exists, message);
        }
        let used: usize = self.marks.iter().map(|rule| rule.families().len()).sum();
        if used + rule.families().len() > MARK_RULES as usize {
            let message = format!(
                "no room for mark rule {rule}: there is room for {MARK_RULES}, and a rule without \
                 networks takes that of two; delete one first"
            );
            return refuse(RefusalKind::Full, message);
        }
        Ok(())
    }

    fn check_known_rule(&self, rule: &MarkRule) -> Result<(), Refusal> {
        if self.marks.contains(rule) {
            return Ok(());
        }
        let message = format!("no mark rule {rule}: `lb-ctl mark list` tells which there are");
        refuse(RefusalKind::NoService, message)
    }

    fn known(&self, address: &ServiceAddress) -> Result<&Service, Refusal> {
        self.service_at(address).ok_or_else(|| Refusal {
            kind: RefusalKind::NoService,
            message: format!("no service {address}: add it with -A"),
        })
    }

    fn listed(&self, service: &Service, server: &ServerAddress) -> Result<(), Refusal> {
        let address = &service.address;
        if self.live_server(address, server).is_some() {
            return Ok(());
        }
        let message = format!("no server {server} in service {address}: add it with -a");
        refuse(RefusalKind::NoServer, message)
    }
}

fn check_options(address: &ServiceAddress, options: &ServiceOptions) -> Result<(), Refusal> {
    let name = &options.scheduler;
    if !SCHEDULERS.contains(&name.as_str()) {
        let message = format!(
            "service {address}: no scheduler `{name}`: choose one of {}",
            SCHEDULERS.join(" ")
        );
        return refuse(RefusalKind::NoScheduler, message);
    }
    if let Some(engine) = options
        .persistence_engine
        .as_deref()
        .filter(|e| *e != "sip")
    {
        let message = format!("service {address}: no persistence engine `{engine}`: sip is one");
        return refuse(RefusalKind::NoScheduler, message);
    }
    let invalid = |what| refuse(RefusalKind::Invalid, format!("service {address}: {what}"));
    match (address.family(), options.netmask) {
        (Family::Ipv6, Some(Netmask::Prefix(0 | 129..))) => {
            return invalid("the prefix length is not within 1 to 128");
        }
        (Family::Ipv4, Some(Netmask::Prefix(_))) => {
            return invalid("an IPv4 service takes a mask, not a prefix length");
        }
        (Family::Ipv6, Some(Netmask::Mask(_))) => {
            return invalid("an IPv6 service takes a prefix length, not a mask");
        }
        (Family::Ipv4 | Family::Ipv6, _) => {}
    }
    match address {
        ServiceAddress::Mark { mark: 0, .. } => invalid("the mark is 0"),
        ServiceAddress::Address { port: 0, .. } if options.persistent.is_none() => {
            invalid("port 0 stands for every port, for which the service has to be persistent (-p)")
        }
        ServiceAddress::Mark { .. } | ServiceAddress::Address { .. } => Ok(()),
    }
}

fn check_server(
    address: &ServiceAddress,
    server: &ServerAddress,
    options: &ServerOptions,
) -> Result<(), Refusal> {
    let ServerOptions {
        forwarding,
        weight,
        upper_threshold,
        lower_threshold,
    } = options;
    let refused = |kind, what: String| {
        refuse(
            kind,
            format!("server {server} of service {address}: {what}"),
        )
    };
    if address.family() != Family::of(server.address)
        && !matches!(forwarding, Forwarding::Tunnel(_))
    {
        let what = "another address family than the service's needs a tunnel (-i)".to_owned();
        return refused(RefusalKind::Invalid, what);
    }
    if *weight > WEIGHT_MAX {
        let what = format!("weight {weight} is not within 0 to {WEIGHT_MAX}");
        return refused(RefusalKind::Range, what);
    }
    if lower_threshold > upper_threshold {
        let what = format!("the lower threshold {lower_threshold} is above the upper one");
        return refused(RefusalKind::Range, what);
    }
    if *upper_threshold > i32::MAX.unsigned_abs() {
        let what = format!("threshold {upper_threshold} is above {}", i32::MAX);
        return refused(RefusalKind::Invalid, what);
    }
    if matches!(forwarding, Forwarding::Tunnel(Tunnel::Gue { port: 0, .. })) {
        let what = "a GUE tunnel needs a port".to_owned();
        return refused(RefusalKind::Invalid, what);
    }
    match (forwarding, address) {
        (Forwarding::Route | Forwarding::Tunnel(_), ServiceAddress::Address { port, .. })
            if *port != server.port =>
        {
            let what = format!("only masquerading changes the port: it has to be {port}");
            refused(RefusalKind::Invalid, what)
        }
        (
            Forwarding::Route | Forwarding::Tunnel(_) | Forwarding::Masquerade | Forwarding::Local,
            ServiceAddress::Address { .. } | ServiceAddress::Mark { .. },
        ) => Ok(()),
    }
}

/// ipvs: net/netfilter/ipvs/ip_vs_ctl.c:ip_vs_new_dest (`inet_addr_type`, `ipv6_addr_type`)
fn check_unicast(server: &ServerAddress) -> Result<(), Refusal> {
    let unicast = match server.address {
        IpAddr::V4(address) => {
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local())
        }
    };
    if unicast {
        return Ok(());
    }
    let message = format!("server {server}: its address is not a unicast one beyond the link");
    refuse(RefusalKind::Invalid, message)
}

fn check_timeouts(timeouts: &Timeouts) -> Result<(), Refusal> {
    let Timeouts { tcp, tcp_fin, udp } = *timeouts;
    match [tcp, tcp_fin, udp].into_iter().find(|t| *t > TIMEOUT_MAX) {
        Some(timeout) => refuse(
            RefusalKind::Invalid,
            format!("timeout {timeout} is above {TIMEOUT_MAX} seconds (31 days)"),
        ),
        None => Ok(()),
    }
}
