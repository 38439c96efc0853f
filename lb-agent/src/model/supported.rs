//! What of ipvs this version's datapath does. Shrinks as the datapath grows.

use super::check::refuse;
use lb_common::api::{
    Edit, Family, Forwarding, Protocol, Refusal, RefusalKind, ServerAddress, ServerOptions,
    ServiceAddress, ServiceOptions,
};
use lb_common::sched::Kind;

/// Says which part of an edit the datapath does not do, if so.
pub(super) fn supported(edit: &Edit) -> Result<(), Refusal> {
    match edit {
        Edit::AddService { service, options } | Edit::EditService { service, options } => {
            service_supported(service, options)
        }
        Edit::AddServer {
            service,
            server,
            options,
        }
        | Edit::EditServer {
            service,
            server,
            options,
        } => server_supported(service, server, options),
        Edit::StartDaemon { .. } => unsupported(
            "connection synchronisation is not supported by this version: run one director"
                .to_owned(),
        ),
        Edit::DeleteService { .. }
        | Edit::Clear
        | Edit::DeleteServer { .. }
        | Edit::Zero { .. }
        | Edit::SetTimeouts { .. }
        | Edit::StopDaemon { .. } => Ok(()),
    }
}

/// Says what of a service the datapath does not do, if so.
pub(crate) fn service_supported(
    service: &ServiceAddress,
    options: &ServiceOptions,
) -> Result<(), Refusal> {
    let without = |what: &str, cure: &str| {
        unsupported(format!(
            "service {service}: {what} not supported by this version: {cure}"
        ))
    };
    match service {
        ServiceAddress::Mark { .. } => {
            return without(
                "firewall marks are",
                "name the address and port with -t or -u",
            );
        }
        ServiceAddress::Address {
            protocol: Protocol::Sctp,
            ..
        } => return without("SCTP is", "use -t or -u"),
        ServiceAddress::Address {
            protocol: Protocol::Tcp | Protocol::Udp,
            ..
        } => {}
    }
    if service.family() == Family::Ipv6 {
        return without("IPv6 is", "use an IPv4 address");
    }
    let ServiceOptions {
        scheduler,
        flags: _,
        persistent,
        netmask: _,
        one_packet,
        persistence_engine,
    } = options;
    if persistent.is_some() {
        return without("persistence is", "leave out -p");
    }
    if persistence_engine.is_some() {
        return without("persistence engines are", "leave out --pe");
    }
    if *one_packet {
        return without("one-packet scheduling is", "leave out -o");
    }
    if Kind::from_name(scheduler).is_none() {
        let choices: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let cure = format!("choose one of {}", choices.join(" "));
        return without(&format!("scheduler {scheduler} is"), &cure);
    }
    Ok(())
}

/// Says what of a server the datapath does not do, if so.
pub(crate) fn server_supported(
    service: &ServiceAddress,
    server: &ServerAddress,
    options: &ServerOptions,
) -> Result<(), Refusal> {
    let without = |what: &str, cure: &str| {
        unsupported(format!(
            "server {server} of service {service}: {what} not supported by this version: {cure}"
        ))
    };
    if Family::of(server.address) == Family::Ipv6 {
        return without("IPv6 is", "use an IPv4 address");
    }
    match options.forwarding {
        Forwarding::Route => {}
        Forwarding::Tunnel(_) => return without("tunnelling is", "use direct routing (-g)"),
        Forwarding::Masquerade => return without("masquerading is", "use direct routing (-g)"),
        Forwarding::Local => return without("local delivery is", "use direct routing (-g)"),
    }
    Ok(())
}

fn unsupported(message: String) -> Result<(), Refusal> {
    refuse(RefusalKind::Unsupported, message)
}
