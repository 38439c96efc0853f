//! Rule sets and command lines to try.

use super::table::new_server;
use lb_common::api::{
    Counters, Edit, Family, Forwarding, Netmask, Protocol, Rates, ServerAddress, ServerOptions,
    ServerStatus, ServiceAddress, ServiceOptions, ServiceStatus, Tunnel, TunnelChecksum,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "-A",
            "-E",
            "-D",
            "-C",
            "-a",
            "-e",
            "-d",
            "-L",
            "-Z",
            "-S",
            "-R",
            "--set",
            "--start-daemon",
            "--stop-daemon",
            "master",
            "-t",
            "-u",
            "-f",
            "-6",
            "-r",
            "-s",
            "rr",
            "-p",
            "-M",
            "255.255.255.0",
            "64",
            "-w",
            "-x",
            "-y",
            "-g",
            "-i",
            "-m",
            "-n",
            "-c",
            "--stats",
            "--rate",
            "--tun-type",
            "gue",
            "--tun-port",
            "--tun-csum",
            "-b",
            "sh-port",
            "10.0.0.1:80",
            "[2001:db8::1]:80",
            "7",
            "--",
            "-",
            "",
            "ipvsadm",
            "lb-ctl",
            "services",
            "connections",
            "keepalived",
            "ldirectord",
            "bash",
            "-o",
            "json",
            "--output=json",
            "--config-id",
            "--socket",
            "--help",
            "é",
            "-é=",
            "--=",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
        "-{1,2}[a-zA-Z6=-]{0,6}",
        "[0-9.:x\\[\\]]{0,12}",
    ]
}

pub fn service() -> impl Strategy<Value = ServiceStatus> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(ipv6, mark)| {
        (
            service_address(ipv6, mark),
            service_options(ipv6),
            of(1..2_678_400_u32),
            vec(
                (server_address(ipv6), 0..5_u8, checksum(), any::<u16>()),
                0..6,
            ),
        )
            .prop_map(|(service, mut options, persistent, servers)| {
                let (udp, port) = match service {
                    ServiceAddress::Address { protocol, port, .. } => {
                        (protocol == Protocol::Udp, port)
                    }
                    ServiceAddress::Mark { .. } => (true, 1),
                };
                options.one_packet &= udp;
                // A service without a port is persistent, and only such have a mask saved.
                options.persistent = persistent.or((port == 0).then_some(360));
                if options.persistent.is_none() {
                    options.netmask = None;
                }
                ServiceStatus {
                    service,
                    options,
                    no_server: lb_common::api::NoServer::default(),
                    counters: Counters::default(),
                    rates: Rates::default(),
                    servers: servers
                        .into_iter()
                        .map(|(server, method, sum, weight)| {
                            real_server(service, server, method, sum, weight)
                        })
                        .collect(),
                }
            })
    })
}

fn real_server(
    service: ServiceAddress,
    mut server: ServerAddress,
    method: u8,
    sum: TunnelChecksum,
    weight: u16,
) -> ServerStatus {
    let forwarding = match method {
        0 => Forwarding::Route,
        1 => Forwarding::Masquerade,
        2 => Forwarding::Tunnel(Tunnel::Ipip),
        3 => Forwarding::Tunnel(Tunnel::Gue {
            port: weight | 1,
            checksum: sum,
        }),
        _ => Forwarding::Tunnel(Tunnel::Gre {
            checksum: match sum {
                TunnelChecksum::Remote => TunnelChecksum::Full,
                TunnelChecksum::None | TunnelChecksum::Full => sum,
            },
        }),
    };
    if let ServiceAddress::Address { port, .. } = service
        && forwarding != Forwarding::Masquerade
    {
        server.port = port;
    }
    let options = ServerOptions {
        forwarding,
        weight: weight.into(),
        upper_threshold: 0,
        lower_threshold: 0,
    };
    new_server(server, options)
}

fn service_address(ipv6: bool, mark: bool) -> impl Strategy<Value = ServiceAddress> {
    let protocols = vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    // Marks from 2^31 on are saved as negative numbers, which ipvsadm itself does not read.
    (
        address(ipv6),
        any::<u16>(),
        1..i32::MAX,
        prop::sample::select(protocols),
    )
        .prop_map(move |(address, port, number, protocol)| {
            if mark {
                ServiceAddress::Mark {
                    mark: number.unsigned_abs(),
                    family: Family::of(address),
                }
            } else {
                ServiceAddress::Address {
                    protocol,
                    address,
                    port,
                }
            }
        })
}

fn service_options(ipv6: bool) -> impl Strategy<Value = ServiceOptions> {
    let netmask = if ipv6 {
        (1..128_u8).prop_map(Netmask::Prefix).boxed()
    } else {
        (0..u32::MAX)
            .prop_map(|mask| Netmask::Mask(mask.into()))
            .boxed()
    };
    let schedulers = vec!["rr", "wlc", "sh", "mh"];
    (
        prop::sample::select(schedulers),
        0..8_u8,
        of(netmask),
        any::<bool>(),
        of(Just("sip".to_owned())),
    )
        .prop_map(
            |(scheduler, flags, netmask, one_packet, persistence_engine)| {
                // sh and mh have two flags, of which both are saved by name.
                let known = if ["sh", "mh"].contains(&scheduler) {
                    3
                } else {
                    7
                };
                ServiceOptions {
                    scheduler: scheduler.to_owned(),
                    flags: flags & known,
                    persistent: None,
                    netmask,
                    one_packet,
                    persistence_engine,
                }
            },
        )
}

fn server_address(ipv6: bool) -> impl Strategy<Value = ServerAddress> {
    (address(ipv6), any::<u16>()).prop_map(|(address, port)| ServerAddress { address, port })
}

fn checksum() -> impl Strategy<Value = TunnelChecksum> {
    prop::sample::select(vec![
        TunnelChecksum::None,
        TunnelChecksum::Full,
        TunnelChecksum::Remote,
    ])
}

fn address(ipv6: bool) -> BoxedStrategy<IpAddr> {
    if ipv6 {
        any::<u128>()
            .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            .boxed()
    } else {
        any::<u32>()
            .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
            .boxed()
    }
}

/// Services with what -S does not save: thresholds, large marks, and the third flag of sh.
pub fn with_everything(
    mut services: Vec<ServiceStatus>,
    thresholds: &[(u16, u16)],
    marks: &[u32],
) -> Vec<ServiceStatus> {
    let mut thresholds = thresholds.iter().cycle();
    for (status, other) in services.iter_mut().zip(marks) {
        if let ServiceAddress::Mark { mark, .. } = &mut status.service {
            *mark = *other;
        }
        if other % 2 == 0 {
            status.options.flags |= 4;
        }
        if status.options.persistent.is_none() {
            status.options.persistence_engine = None;
        }
        for server in &mut status.servers {
            let (a, b) = thresholds.next().copied().unwrap_or_default();
            server.options.upper_threshold = a.max(b).into();
            server.options.lower_threshold = a.min(b).into();
        }
    }
    services
}

/// The edits that make a service and its servers.
pub fn edits(status: &ServiceStatus) -> Vec<Edit> {
    let service = Edit::AddService {
        service: status.service,
        options: status.options.clone(),
    };
    let servers = status.servers.iter().map(|server| Edit::AddServer {
        service: status.service,
        server: server.server,
        options: server.options.clone(),
    });
    std::iter::once(service).chain(servers).collect()
}
