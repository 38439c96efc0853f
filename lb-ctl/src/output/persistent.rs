//! `-L --persistent-conn`.

use lb_common::api::ServerStatus;
use std::io::{self, Write};

pub(super) const TITLE: &str = "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n  \
     -> RemoteAddress:Port\n";

pub(super) fn server(status: &ServerStatus, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        " {:<9} {:<11} {:<10} {:<10}",
        status.options.weight, status.persistent, status.active, status.inactive,
    )
}
