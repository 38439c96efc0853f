//! A service's own line, in listings and in rules.

use super::address;
use crate::names::Names;
use lb_common::api::{Family, Netmask, ServiceAddress, ServiceOptions};
use std::fmt::Write;

/// Protocol and address, or the mark.
pub(super) fn name(service: &ServiceAddress, numeric: bool, names: &dyn Names) -> String {
    match *service {
        ServiceAddress::Address {
            protocol,
            address,
            port,
        } => {
            let text = address::endpoint(address, port, Some(protocol), numeric, names);
            format!(
                "{:<4} {}",
                protocol.to_string(),
                address::column(address, &text)
            )
        }
        ServiceAddress::Mark { mark, family } => format!(
            "FWM  {}{}",
            signed(mark),
            match family {
                Family::Ipv4 => "",
                Family::Ipv6 => " IPv6",
            }
        ),
    }
}

/// Scheduler, flags, persistence.
pub(super) fn scheduling(options: &ServiceOptions) -> String {
    let mut text = options.scheduler.clone();
    if options.flags != 0 {
        let _ = write!(text, " ({})", flags(options));
    }
    if let Some(seconds) = options.persistent {
        let _ = write!(text, " persistent {seconds}");
        if let Some(mask) = options.netmask {
            let _ = write!(text, " mask {}", netmask(mask));
        }
        if let Some(engine) = &options.persistence_engine {
            let _ = write!(text, " pe {engine}");
        }
    }
    if options.one_packet {
        text.push_str(" ops");
    }
    text
}

/// The names of a scheduler's flags. sh and mh know no third one.
pub(super) fn flags(options: &ServiceOptions) -> String {
    match options.scheduler.as_str() {
        "sh" | "mh" => flag_names(options, 2).join(","),
        _ => flag_names(options, 3).join(","),
    }
}

/// The names of a scheduler's flags, which ipvsadm reads whoever the scheduler is.
pub(super) fn all_flags(options: &ServiceOptions) -> String {
    flag_names(options, 3).join(",")
}

/// The names of those flags that are set, among the first `known`.
pub(super) fn flag_names(options: &ServiceOptions, known: usize) -> Vec<&'static str> {
    let names = match options.scheduler.as_str() {
        "sh" => ["sh-fallback", "sh-port", "flag-3"],
        "mh" => ["mh-fallback", "mh-port", "flag-3"],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let names = names.into_iter().take(known).enumerate();
    names
        .filter(|(bit, _)| options.flags & 1 << bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// A mask as an address, or a prefix length.
pub(super) fn netmask(mask: Netmask) -> String {
    match mask {
        Netmask::Mask(mask) => mask.to_string(),
        Netmask::Prefix(prefix) => prefix.to_string(),
    }
}

/// A mark as ipvsadm prints it, as a signed number.
pub(super) const fn signed(mark: u32) -> i32 {
    mark as i32
}
