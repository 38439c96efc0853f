//! A service or server as the `-A` or `-a` line that makes it.

use super::{address, service};
use crate::names::Names;
use lb_common::api::{
    Family, Forwarding, Protocol, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions,
    Tunnel, TunnelChecksum,
};
use std::fmt::Write;

/// How much a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// What ipvsadm's `-S` tells: no thresholds, no third flag of sh and mh, and marks from 2^31
    /// on as negative numbers, which ipvsadm does not read.
    Saved,
    /// Everything, so that `-R` makes it anew as it was.
    Whole,
}

/// How to write lines.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// How much they tell.
    pub manner: Manner,
    /// Numbers instead of names.
    pub numeric: bool,
    /// Where names come from.
    pub names: &'a dyn Names,
}

impl Writer<'_> {
    /// The `-A` line of a service.
    #[must_use]
    pub fn service(&self, service: &ServiceAddress, options: &ServiceOptions) -> String {
        let selector = self.selector(service);
        format!("-A {selector} {}", self.service_options(options))
    }

    /// The `-a` line of a server.
    #[must_use]
    pub fn server(
        &self,
        service: &ServiceAddress,
        server: ServerAddress,
        options: &ServerOptions,
    ) -> String {
        let ServerAddress { address, port } = server;
        let protocol = super::listing::protocol(service);
        let endpoint = address::endpoint(address, port, protocol, self.numeric, self.names);
        let selector = self.selector(service);
        format!(
            "-a {selector} -r {endpoint} {}",
            self.server_options(options)
        )
    }

    fn selector(&self, service: &ServiceAddress) -> String {
        match *service {
            ServiceAddress::Address {
                protocol,
                address,
                port,
            } => {
                let option = match protocol {
                    Protocol::Tcp => "-t",
                    Protocol::Udp => "-u",
                    Protocol::Sctp => "--sctp-service",
                };
                let protocol = Some(protocol);
                let endpoint = address::endpoint(address, port, protocol, self.numeric, self.names);
                format!("{option} {endpoint}")
            }
            ServiceAddress::Mark { mark, family } => {
                let mark = match self.manner {
                    Manner::Saved => i64::from(service::signed(mark)),
                    Manner::Whole => i64::from(mark),
                };
                match family {
                    Family::Ipv4 => format!("-f {mark}"),
                    Family::Ipv6 => format!("-f {mark} -6"),
                }
            }
        }
    }

    fn service_options(&self, options: &ServiceOptions) -> String {
        let ServiceOptions {
            scheduler,
            flags,
            persistent,
            netmask,
            one_packet,
            persistence_engine,
        } = options;
        let mut text = format!("-s {scheduler}");
        if let Some(seconds) = persistent {
            let _ = write!(text, " -p {seconds}");
        }
        if let Some(mask) = netmask.filter(|_| persistent.is_some()) {
            let _ = write!(text, " -M {}", service::netmask(mask));
        }
        if let Some(engine) = persistence_engine {
            let _ = write!(text, " --pe {engine}");
        }
        if *one_packet {
            text.push_str(" -o");
        }
        if *flags != 0 {
            let _ = match self.manner {
                Manner::Saved => write!(text, " -b {}", service::flags(options)),
                Manner::Whole => write!(text, " -b {}", service::all_flags(options)),
            };
        }
        text
    }

    fn server_options(&self, options: &ServerOptions) -> String {
        let ServerOptions {
            forwarding,
            weight,
            upper_threshold,
            lower_threshold,
        } = *options;
        let method = match forwarding {
            Forwarding::Route | Forwarding::Local => "-g",
            Forwarding::Tunnel(_) => "-i",
            Forwarding::Masquerade => "-m",
        };
        let mut text = format!("{method} -w {weight}");
        if self.manner == Manner::Whole {
            for (option, threshold) in [("-x", upper_threshold), ("-y", lower_threshold)] {
                if threshold != 0 {
                    let _ = write!(text, " {option} {threshold}");
                }
            }
        }
        if let Forwarding::Tunnel(tunnel) = forwarding {
            let _ = match tunnel {
                Tunnel::Ipip => write!(text, " --tun-type ipip"),
                Tunnel::Gue {
                    port,
                    checksum: kind,
                } => write!(text, " --tun-type gue --tun-port {port} {}", checksum(kind)),
                Tunnel::Gre { checksum: kind } => {
                    write!(text, " --tun-type gre {}", checksum(kind))
                }
            };
        }
        text
    }
}

const fn checksum(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::None => "--tun-nocsum",
        TunnelChecksum::Full => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    }
}
