//! What of ipvs this version's datapath does. Shrinks as the datapath grows.

use super::check::refuse;
use lb_common::api::{Edit, Refusal, RefusalKind, ServiceAddress, ServiceOptions};
use lb_common::sched::Kind;

/// The scheduler that chooses no server.
pub(crate) const NO_SCHEDULER: &str = "none";

/// Says which part of an edit the datapath does not do, if so.
pub(super) fn supported(edit: &Edit) -> Result<(), Refusal> {
    match edit {
        Edit::AddService { service, options } | Edit::EditService { service, options } => {
            service_supported(service, options)
        }
        Edit::DeleteService { .. }
        | Edit::Clear
        | Edit::AddServer { .. }
        | Edit::EditServer { .. }
        | Edit::DeleteServer { .. }
        | Edit::Zero { .. }
        | Edit::SetTimeouts { .. }
        | Edit::StartDaemon { .. }
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
        persistence_engine: _,
    } = options;
    if scheduler != NO_SCHEDULER && Kind::from_name(scheduler).is_none() {
        let choices: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let cure = format!("choose one of {}", choices.join(" "));
        return without(&format!("scheduler {scheduler} is"), &cure);
    }
    Ok(())
}

fn unsupported(message: String) -> Result<(), Refusal> {
    refuse(RefusalKind::Unsupported, message)
}
