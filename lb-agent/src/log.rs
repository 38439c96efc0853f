//! Where the agent's log goes: to standard error, where the service supervisor picks it up.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The variable that chooses levels, e.g. `debug` or `lb_agent::net=trace`.
const VARIABLE: &str = "LB_LOG";

/// Starts logging; `info` and above unless the environment says otherwise.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
