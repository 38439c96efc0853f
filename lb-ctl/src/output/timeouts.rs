//! `-L --timeout`.

use lb_common::api::Timeouts;
use std::io::{self, Write};

/// The one line.
///
/// # Errors
/// Writing fails.
pub fn timeouts(timeouts: &Timeouts, out: &mut dyn Write) -> io::Result<()> {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    writeln!(out, "Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}")
}
