//! The kernel's side of the datapath.

use crate::config::Config;
use crate::model::Datapath;

/// Loads or adopts the programs and maps, and attaches them.
///
/// # Errors
/// Always: this build carries no datapath.
pub(crate) fn open(_config: &Config) -> anyhow::Result<Box<dyn Datapath>> {
    anyhow::bail!("this build carries no datapath")
}

/// Takes the programs off their interfaces and removes the pins.
///
/// # Errors
/// Always: this build carries no datapath.
pub(crate) fn detach(_config: &Config) -> anyhow::Result<()> {
    anyhow::bail!("this build carries no datapath")
}

/// Loads the programs and reports on them, without attaching.
///
/// # Errors
/// Always: this build carries no datapath.
pub(crate) fn verify(_config: &Config) -> anyhow::Result<()> {
    anyhow::bail!("this build carries no datapath")
}
