//! Listings.

use super::{Failure, World};
use crate::args::request::Format;
use crate::output::{connections, daemons, listing, save, timeouts};
use lb_common::api::{ServiceAddress, ServiceStatus};

/// `-L`: all services, or one.
pub(super) fn services(
    service: Option<ServiceAddress>,
    format: Format,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let answer = world.control.services()?;
    let listed = match service {
        None => {
            listing::version(answer.slots, world.out)?;
            answer.services
        }
        Some(wanted) => {
            let found: Vec<ServiceStatus> = answer
                .services
                .into_iter()
                .filter(|status| status.service == wanted)
                .collect();
            if found.is_empty() {
                return Err(Failure::NoSuchService);
            }
            found
        }
    };
    listing::services(listed, format, world.names, world.out)?;
    Ok(())
}

/// `-S`.
pub(super) fn rules(format: Format, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = world.control.services()?;
    save::rules(answer.services, format, world.names, world.out)?;
    Ok(())
}

/// `-L -c`.
pub(super) fn connection_rows(format: Format, world: &mut World<'_>) -> Result<(), Failure> {
    let mut rows = connections::Rows::new(format, world.names);
    let out = &mut *world.out;
    world
        .control
        .connections(&mut |line| rows.print(line, out))?;
    rows.title(out)?;
    Ok(())
}

/// `-L --timeout`.
pub(super) fn timeout_row(world: &mut World<'_>) -> Result<(), Failure> {
    let answer = world.control.timeouts()?;
    timeouts::timeouts(&answer, world.out)?;
    Ok(())
}

/// `-L --daemon`.
pub(super) fn daemon_rows(world: &mut World<'_>) -> Result<(), Failure> {
    let answer = world.control.daemons()?;
    daemons::daemons(&answer, world.out)?;
    Ok(())
}
