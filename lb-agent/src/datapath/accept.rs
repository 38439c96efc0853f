//! Packets from the director's own addresses: whether an interface takes them.
//!
//! A masqueraded server's reply that the host's stack is to route has the virtual address as its
//! source when it gets there. That is an address of the director's, and IPv4 drops packets from
//! such (net/ipv4/fib_frontend.c: `fib_validate_source`) unless the interface is told otherwise.
//! IPv6 does not look.

use super::attach::{Port, name_of};
use super::pin::PinDir;
use anyhow::Context as _;
use std::fs;
use std::path::PathBuf;

/// Lets an interface take packets from the director's own addresses. What this changes is noted
/// among the pins before, and undone with the note.
///
/// # Errors
///
/// When the setting cannot be read, noted or written.
pub(crate) fn start(port: &Port, pins: &PinDir) -> anyhow::Result<()> {
    let name = &port.name;
    for setting in FORWARDING {
        let path = PathBuf::from(format!("/proc/sys/{}", setting.replace('.', "/")));
        // Without IPv6 there is no such file.
        if fs::read_to_string(path).is_ok_and(|value| value.trim() == "0") {
            tracing::warn!(
                "{setting} is 0: what masqueraded servers answer goes nowhere, the kernel tells no \
                 ways to clients then: `sysctl -w {setting}=1`"
            );
        }
    }
    if read("all", FILTER)?.max(read(name, FILTER)?) == STRICT {
        tracing::warn!(
            "net.ipv4.conf.{name}.{FILTER} is strict: what masqueraded servers answer to clients \
             beyond interfaces without lb, or that the kernel has no neighbour entry of, is \
             dropped unless {name} itself has the virtual address: `sysctl -w \
             net.ipv4.conf.{name}.{FILTER}=2`"
        );
    }
    if read("all", ACCEPT)?.max(read(name, ACCEPT)?) != 0 {
        return Ok(());
    }
    pins.note_accepting(port.ifindex)?;
    write(name, 1)?;
    tracing::info!(
        "net.ipv4.conf.{name}.{ACCEPT}: 0 -> 1, for the host to route what masqueraded servers \
         answer where lb does not"
    );
    Ok(())
}

/// Undoes what [`start`] changed on an interface that has a note; there may be no such interface
/// any more.
///
/// # Errors
///
/// When the setting cannot be written.
pub(super) fn undo(ifindex: u32) -> anyhow::Result<()> {
    let Some(name) = name_of(ifindex) else {
        return Ok(());
    };
    if read(&name, ACCEPT)? != 0 {
        write(&name, 0)?;
        tracing::info!("net.ipv4.conf.{name}.{ACCEPT}: 1 -> 0");
    }
    Ok(())
}

/// Without these the director is no router, which masquerading takes, as with ipvs.
const FORWARDING: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

const ACCEPT: &str = "accept_local";
const FILTER: &str = "rp_filter";

/// Of `rp_filter`: a packet's source has to be reached by the interface that it came from (RFC
/// 3704, section 2.2).
const STRICT: u32 = 1;

fn path(interface: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv4/conf", interface, setting]
        .iter()
        .collect()
}

fn read(interface: &str, setting: &str) -> anyhow::Result<u32> {
    let path = path(interface, setting);
    let value = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value = value.trim().parse();
    value.with_context(|| path.display().to_string())
}

fn write(interface: &str, value: u32) -> anyhow::Result<()> {
    let path = path(interface, ACCEPT);
    fs::write(&path, value.to_string()).with_context(|| {
        format!(
            "setting {} to {value}: run lb-agent as root, with /proc/sys writable",
            path.display()
        )
    })
}
