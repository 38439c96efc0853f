//! `-L --thresholds`.

use lb_common::api::ServerStatus;
use std::io::{self, Write};

pub(super) const TITLE: &str = "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  \
     -> RemoteAddress:Port\n";

pub(super) fn server(status: &ServerStatus, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        " {:<10} {:<10} {:<10} {:<10}",
        status.options.upper_threshold,
        status.options.lower_threshold,
        status.active,
        status.inactive,
    )
}
