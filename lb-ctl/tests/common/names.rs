//! The names that the machine of the transcripts knew.

use lb_common::api::Protocol;
use lb_ctl::names::Names;
use std::net::{IpAddr, Ipv4Addr};

/// Its `/etc/hosts`, canonical names first, and the part of `/etc/services` that was used.
pub struct RecordedNames;

const HOSTS: &[(&str, &[&str])] = &[
    ("127.0.0.1", &["localhost"]),
    ("::1", &["localhost"]),
    ("10.0.0.77", &["vip.example.org", "vip"]),
    ("192.168.0.77", &["rs.example.org", "rs"]),
    ("2001:db8::77", &["v6.example.org"]),
    (
        "10.0.0.78",
        &["a-really-long-host-name.with-a-long-domain.example.org"],
    ),
];

const PORTS: &[(&str, u16, &[Protocol])] = &[
    ("tcpmux", 1, &[Protocol::Tcp]),
    ("domain", 53, &[Protocol::Tcp, Protocol::Udp]),
    ("tftp", 69, &[Protocol::Udp]),
    ("finger", 79, &[Protocol::Tcp]),
    ("http", 80, &[Protocol::Tcp]),
    ("https", 443, &[Protocol::Tcp, Protocol::Udp]),
    ("sip", 5060, &[Protocol::Tcp, Protocol::Udp]),
    ("http-alt", 8080, &[Protocol::Tcp, Protocol::Udp]),
];

impl Names for RecordedNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        HOSTS
            .iter()
            .filter(|(_, names)| names.contains(&host))
            .find_map(|(address, _)| address.parse().ok())
    }

    fn host(&self, address: IpAddr) -> Option<String> {
        HOSTS
            .iter()
            .find(|(known, _)| known.parse() == Ok(address))
            .map(|(_, names)| names[0].to_owned())
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        PORTS
            .iter()
            .find(|(known, _, protocols)| *known == name && protocols.contains(&protocol))
            .map(|(_, port, _)| *port)
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        PORTS
            .iter()
            .find(|(_, known, protocols)| *known == port && protocols.contains(&protocol))
            .map(|(name, ..)| (*name).to_owned())
    }
}
