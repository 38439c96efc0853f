//! What of ipvs this version's datapath does. Shrinks as the datapath grows.

use super::check::refuse;
use lb_common::api::{
    Edit, Forwarding, Refusal, RefusalKind, ServerAddress, ServerOptions, ServiceAddress,
    ServiceOptions, Tunnel, TunnelChecksum,
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
        | Edit::StopDaemon { .. }
        | Edit::SetNoServer { .. }
        | Edit::AddMarkRule { .. }
        | Edit::DeleteMarkRule { .. }
        | Edit::Set { .. } => Ok(()),
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
    let ServiceOptions {
        scheduler,
        flags: _,
        persistent: _,
        netmask: _,
        one_packet: _,
        persistence_engine,
    } = options;
    if persistence_engine.is_some() {
        return without("persistence engines are", "leave out --pe");
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
    if let Forwarding::Tunnel(Tunnel::Gue {
        checksum: TunnelChecksum::Remote,
        ..
    }) = options.forwarding
    {
        // The kernel itself does it only for packets whose checksum the sender's hardware is to
        // compute, of which XDP sees none.
        return without(
            "remote checksum offload is",
            "use --tun-csum or --tun-nocsum",
        );
    }
    Ok(())
}

fn unsupported(message: String) -> Result<(), Refusal> {
    refuse(RefusalKind::Unsupported, message)
}
