//! Texts in the languages of other programs.

use lb_common::api::{
    Family, Forwarding, Netmask, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions,
    ServiceStatus, Tunnel, TunnelChecksum,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub fn keepalived_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "virtual_server",
        "virtual_server_group",
        "real_server",
        "sorry_server",
        "fwmark",
        "group",
        "10.0.0.1",
        "192.168.0.1-9",
        "10.0.0.0/30",
        "2001:db8::1",
        "80",
        "0",
        "G",
        "{",
        "}",
        "{\n",
        "}\n",
        "\n",
        " ",
        "\t",
        "#",
        "!",
        "\"",
        "\\",
        "\\\n",
        "@host1",
        "@^host1",
        "$A",
        "${A}",
        "$A=",
        "${_PWD}",
        "~SEQ(N, 1, 3)",
        "~SEQ(",
        "~LST(N, a, b)",
        "~LST({",
        "include x",
        "include *",
        "lvs_sched",
        "rr",
        "sh",
        "sh-port",
        "ops",
        "protocol",
        "TCP",
        "UDP",
        "lvs_method",
        "NAT",
        "DR",
        "TUN",
        "type",
        "gue",
        "port",
        "csum",
        "weight",
        "uthreshold",
        "lthreshold",
        "persistence_timeout",
        "persistence_granularity",
        "255.255.0.0",
        "64",
        "persistence_engine",
        "sip",
        "sorry_server_inhibit",
        "ip_family",
        "inet6",
        "quorum",
        "global_defs",
        "lvs_timeouts",
        "tcp",
        "4294967296",
        "é",
        "\0",
    ]);
    vec((piece, "[ \n]{0,2}"), 0..60).prop_map(|pieces| {
        pieces
            .into_iter()
            .map(|(piece, blank)| piece.to_owned() + &blank)
            .collect()
    })
}

pub fn ldirectord_text() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "virtual",
        "virtual6",
        "\treal",
        "    real6",
        "\treal6",
        "    fallback",
        "fallback",
        "fallback6",
        "\tscheduler",
        "\tpersistent",
        "\tnetmask",
        "\tschedflags",
        "\tprotocol",
        "\tops",
        "\tchecktype",
        "\tpasswd",
        "checktimeout",
        "  real",
        "x",
        "#",
        "",
    ]);
    let value = prop::sample::select(vec![
        "10.0.0.1:80",
        "[2001:db8::1]:80",
        "7",
        "vip:http",
        "10.0.0.1:53",
        "192.168.0.1:80 gate 1 \"/\",\"OK\" l:1 u:2",
        "192.168.0.1->192.168.0.3 masq",
        "192.168.0.1->192.168.255.255 masq",
        "[2001:db8::2] ipip",
        "127.0.0.1:8080 masq",
        "127.0.0.1",
        "wrr",
        "600",
        "255.255.255.0",
        "64",
        "sh-port",
        "tcp",
        "udp",
        "fwm",
        "yes",
        "off",
        "on",
        "",
        "\"",
        "->",
        "a:b:c",
        "[",
        "]:1",
        "é",
    ]);
    let line = (key, prop::sample::select(vec!["=", " = ", ""]), value);
    vec(line, 0..24).prop_map(|lines| {
        lines
            .into_iter()
            .map(|(key, equals, value)| format!("{key}{equals}{value}\n"))
            .collect()
    })
}

/// Gives servers the ports that keepalived gives them: none behind a mark unless translated, and
/// the service's for none.
pub fn settle_ports(status: &mut ServiceStatus) {
    for server in &mut status.servers {
        let masquerade = server.options.forwarding == Forwarding::Masquerade;
        match status.service {
            ServiceAddress::Mark { .. } if !masquerade => server.server.port = 0,
            ServiceAddress::Address { port, .. } if server.server.port == 0 => {
                server.server.port = port;
            }
            ServiceAddress::Mark { .. } | ServiceAddress::Address { .. } => {}
        }
    }
}

/// A service as keepalived has it.
pub fn as_keepalived(status: &ServiceStatus) -> String {
    let target = match status.service {
        ServiceAddress::Address { address, port, .. } => format!("{address} {port}"),
        ServiceAddress::Mark { mark, .. } => format!("fwmark {mark}"),
    };
    let mut text = format!("virtual_server {target} {{\n");
    let mut line = |words: String| text += &format!("    {words}\n");
    let ServiceOptions {
        scheduler,
        flags,
        persistent,
        netmask,
        one_packet,
        persistence_engine,
    } = &status.options;
    match status.service {
        ServiceAddress::Address { protocol, .. } => line(format!("protocol {protocol}")),
        ServiceAddress::Mark { family, .. } => line(match family {
            Family::Ipv4 => "ip_family inet".to_owned(),
            Family::Ipv6 => "ip_family inet6".to_owned(),
        }),
    }
    line(format!("lvs_sched {scheduler}"));
    for (bit, name) in [(1, "flag-1"), (2, "flag-2"), (4, "flag-3")] {
        if flags & bit != 0 {
            line(name.to_owned());
        }
    }
    if let Some(seconds) = persistent {
        line(format!("persistence_timeout {seconds}"));
    }
    match netmask {
        Some(Netmask::Mask(mask)) => line(format!("persistence_granularity {mask}")),
        Some(Netmask::Prefix(prefix)) => line(format!("persistence_granularity {prefix}")),
        None => {}
    }
    if *one_packet {
        line("ops".to_owned());
    }
    if let Some(engine) = persistence_engine {
        line(format!("persistence_engine {engine}"));
    }
    for server in status.servers.iter().rev() {
        let ServerAddress { address, port } = server.server;
        let ServerOptions {
            forwarding,
            weight,
            upper_threshold,
            lower_threshold,
        } = server.options;
        let sum = |checksum| match checksum {
            TunnelChecksum::None => "nocsum",
            TunnelChecksum::Full => "csum",
            TunnelChecksum::Remote => "remcsum",
        };
        let method = match forwarding {
            Forwarding::Route | Forwarding::Local => "DR".to_owned(),
            Forwarding::Masquerade => "NAT".to_owned(),
            Forwarding::Tunnel(Tunnel::Ipip) => "TUN".to_owned(),
            Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => {
                format!("TUN type gue port {port} {}", sum(checksum))
            }
            Forwarding::Tunnel(Tunnel::Gre { checksum }) => {
                format!("TUN {} type gre", sum(checksum))
            }
        };
        line(format!("real_server {address} {port} {{"));
        line(format!("    weight {weight} # and so on"));
        line(format!("    lvs_method {method}"));
        line(format!("    uthreshold {upper_threshold}"));
        line(format!("    lthreshold {lower_threshold} }}"));
    }
    text + "}\n"
}
