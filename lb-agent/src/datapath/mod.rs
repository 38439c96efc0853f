//! Everything in the kernel: the XDP program, its maps, and where it is attached.
//!
//! The maps and the links are pinned, so the datapath outlives the agent: an agent that starts
//! opens what is pinned and goes on, with whatever connections there are.
//!
//! | file | holds |
//! |---|---|
//! | `object` | the compiled program, embedded |
//! | `load` | the program into the kernel, with its maps |
//! | `attach` | the program on interfaces |
//! | `accept` | the interfaces' setting for packets from own addresses |
//! | `decapsulation` | the program of real servers, apart from all others |
//! | `pin`, `link` | the pin directory: mount, lock, removal |
//! | `maps` | every map by name, made or adopted |
//! | `mapped` | a map's array as memory of this process |
//! | `clock` | the kernel's HZ and the current tick |
//! | `kernel` | services, servers and ways into maps, counts out of them |
//! | `describe` | what the model says, in the maps' words |
//! | `helped` | which services have a helper |
//! | `servers`, `hints` | what follows from all servers together |
//! | `asked` | what follows from all services together |
//! | `rules` | the mark rules |
//! | `directory` | which record a service's packets find |
//! | `schedule` | what schedulers need in the maps |
//! | `pool`, `grace` | places in arrays, used again after a grace period |
//! | `flows` | the flow table: listing, expiry, counts |
//! | `table` | the flow table: lookups and insertions |
//! | `punts` | packets from the program, and to it |

mod accept;
mod asked;
mod attach;
mod checksums;
mod clock;
pub(crate) mod decapsulation;
mod describe;
mod directory;
mod flows;
mod grace;
mod helped;
mod hints;
mod kernel;
mod link;
mod load;
mod mapped;
mod maps;
mod object;
mod pin;
mod pool;
mod punts;
mod rules;
mod schedule;
mod servers;
mod table;

pub(crate) use attach::Port;
pub(crate) use helped::{Help, HelpedService};
pub(crate) use punts::{CallEvent, Known, Punt, Punts, connection};

use crate::config::Config;
use crate::model::Datapath;
use crate::net;
use crate::told::Told;
use std::path::Path;

/// Loads or adopts the programs and maps, and attaches them.
///
/// # Errors
///
/// When the machine does not allow it; then everything is as it was.
pub(crate) fn open(config: &Config) -> anyhow::Result<Box<dyn Datapath>> {
    let (loaded, pins) = load::Loaded::open(config)?;
    Ok(Box::new(kernel::Kernel::new(
        loaded,
        pins,
        &config.ftp_ports,
    )?))
}

/// Takes the programs off their interfaces, removes the pins, and releases the neighbours that the
/// kernel keeps for agents.
///
/// # Errors
///
/// When an agent runs on the pins, or a pin cannot be removed.
pub(crate) fn detach(config: &Config) -> anyhow::Result<()> {
    let root = &config.pin_path;
    let pins = pin::PinDir::open_existing(root)?;
    let others = pin::PinDir::others(root)?;
    let mut detached = false;
    if let Some(pins) = pins {
        for pinned in pins.links()? {
            tracing::info!("{}: detaching", named(pinned.ifindex));
            detached = true;
        }
        pins.remove()?;
        // Another may keep pins of its own there, or it is a mount.
        if let Err(error) = std::fs::remove_dir(root) {
            tracing::debug!("{} stays: {error}", root.display());
        }
    } else if others.is_empty() {
        tracing::info!(
            "nothing is attached: there are no pins in {}",
            root.display()
        );
    }
    for (path, ports) in &others {
        tracing::warn!("{}", left_by_another(path, ports));
    }
    // An agent on other pins needs its neighbours.
    if !detached {
        match attach::carriers() {
            Some(carriers) if carriers.is_empty() => {}
            Some(carriers) if others.is_empty() => {
                tracing::warn!(
                    "lb goes on at {}, by pins in another place: `--pin-path` names it",
                    carriers.join(", ")
                );
                return Ok(());
            }
            Some(_) | None => return Ok(()),
        }
    }
    match net::release_neighbours() {
        Ok(0) => {}
        Ok(released) => tracing::info!("neighbour entries of servers released: {released}"),
        Err(error) => tracing::warn!(
            "neighbour entries of servers stay: {error}; `ip neighbour flush protocol 108` \
             removes them"
        ),
    }
    Ok(())
}

/// What to say of pins of another layout.
fn left_by_another(path: &Path, ports: &[pin::PinnedPort]) -> String {
    let ports: Vec<String> = ports.iter().map(|port| named(port.ifindex)).collect();
    let what = match &ports[..] {
        [] => "maps".to_owned(),
        ports => format!("maps, and the program on {}", ports.join(", ")),
    };
    format!(
        "{} stays, with {what}: it is of another version, whose `lb-agent detach` removes it",
        path.display()
    )
}

fn named(ifindex: u32) -> String {
    let name = attach::name_of(ifindex);
    name.unwrap_or_else(|| format!("interface {ifindex}, which is gone"))
}

/// Loads the programs and reports on them, without attaching.
///
/// # Errors
///
/// When the kernel refuses one.
pub(crate) fn verify(_config: &Config) -> anyhow::Result<()> {
    let mut out = Told(std::io::stdout().lock());
    let director = load::verify(&mut out);
    // One that is refused does not keep the other from being looked at.
    decapsulation::verify(&mut out)?;
    director
}
