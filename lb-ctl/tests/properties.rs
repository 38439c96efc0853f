//! What must hold for every command line and every rule set.

mod common;

use common::call::call;
use common::machine::NoFiles;
use common::names::RecordedNames;
use common::table::{Table, new_server};
use lb_common::api::{
    Counters, Edit, Family, Forwarding, Netmask, Protocol, Rates, ServerAddress, ServerOptions,
    ServerStatus, ServiceAddress, ServiceOptions, ServiceStatus, Tunnel, TunnelChecksum,
};
use lb_ctl::args::request::{Format, Request, request};
use lb_ctl::complete::complete;
use lb_ctl::import::{Problems, ipvsadm, keepalived, ldirectord, rules};
use lb_ctl::output::rule::{Manner, Writer};
use lb_ctl::output::{listing, save};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_saved_rule_set_reads_back_as_it_was(services in vec(service(), 0..8)) {
        let mut text = Vec::new();
        let numeric = Format { numeric: true, ..Format::default() };
        save::rules(services.clone(), numeric, &RecordedNames, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();

        let mut read = Vec::new();
        for line in text.lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match request(&words, &RecordedNames) {
                Ok(Request::Edit(edit)) => read.push(edit),
                other => prop_assert!(false, "{line}: {other:?}"),
            }
        }
        let mut expected: Vec<Edit> = services.iter().flat_map(edits).collect();
        expected.sort_by_key(|edit| format!("{edit:?}"));
        read.sort_by_key(|edit| format!("{edit:?}"));
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_table_survives_save_and_restore(services in vec(service(), 0..8)) {
        let mut table = filled(&services);
        let saved = call("ipvsadm", &["-S", "-n"], "", &mut table, &NoFiles);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &saved.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0));
        prop_assert_eq!(sorted(&table), sorted(&restored));
    }

    #[test]
    fn imported_rules_make_the_table_they_were_printed_from(
        services in vec(service(), 0..8),
        thresholds in vec((any::<u16>(), any::<u16>()), 16),
        marks in vec(1..=u32::MAX, 8),
    ) {
        let services = with_everything(services, &thresholds, &marks);
        let table = filled(&services);
        let writer = Writer { manner: Manner::Whole, numeric: true, names: &RecordedNames };
        let mut rules = String::new();
        for status in &table.services.services {
            rules += &(writer.service(&status.service, &status.options) + "\n");
            for server in status.servers.iter().rev() {
                rules += &(writer.server(&status.service, server.server, &server.options) + "\n");
            }
        }
        let words = ["import", "ipvsadm", "-"];
        let imported = call("lb-ctl", &words, &rules, &mut Table::default(), &NoFiles);
        prop_assert_eq!((imported.err.as_str(), imported.code), ("", 0));
        prop_assert_eq!(&imported.out, &rules);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &imported.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0));
        prop_assert_eq!(&table.services, &restored.services);
    }

    #[test]
    fn keepalived_reads_back_as_it_was(
        services in vec(service(), 0..6),
        thresholds in vec((any::<u16>(), any::<u16>()), 16),
        marks in vec(1..=u32::MAX, 8),
    ) {
        let mut services = with_everything(services, &thresholds, &marks);
        services.iter_mut().for_each(settle_ports);
        let table = filled(&services);
        let text: String = table.services.services.iter().map(as_keepalived).collect();
        let words = ["import", "keepalived", "-"];
        let imported = call("lb-ctl", &words, &text, &mut Table::default(), &NoFiles);
        let mut restored = Table::default();
        let answer = call("ipvsadm", &["-R"], &imported.out, &mut restored, &NoFiles);
        prop_assert_eq!((answer.err.as_str(), answer.code), ("", 0), "{}\n{}", &text, imported.err);
        let expected: Vec<_> = table.services.services.into_iter()
            .filter(|status| !status.servers.is_empty())
            .collect();
        prop_assert_eq!(expected, restored.services.services, "{}\n{}", text, imported.err);
    }

    #[test]
    fn a_listing_has_a_line_for_everything(services in vec(service(), 0..8)) {
        let lines: usize = services.iter().map(|status| 1 + status.servers.len()).sum();
        let mut text = Vec::new();
        listing::services(services, Format::default(), &RecordedNames, &mut text).unwrap();
        prop_assert_eq!(String::from_utf8(text).unwrap().lines().count(), 2 + lines);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_command_line_panics(words in vec(word(), 0..10), input in vec(vec(word(), 0..6), 0..4)) {
        let input: String = input.iter().map(|line| line.join(" ") + "\n").collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = call("ipvsadm", &words, &input, &mut Table::default(), &NoFiles);
        prop_assert!([0, 1, 2, 255].contains(&answer.code));
    }

    #[test]
    fn no_verb_panics(
        verb in prop::sample::select(VERBS),
        words in vec(word(), 0..6),
        input in prop_oneof![keepalived_text(), ldirectord_text()],
    ) {
        let words: Vec<&str> = std::iter::once(verb).chain(words.iter().map(String::as_str)).collect();
        let answer = call("lb-ctl", &words, &input, &mut Table::default(), &NoFiles);
        prop_assert!([0, 1, 2, 3].contains(&answer.code));
    }

    #[test]
    fn completion_never_panics(words in vec(word(), 0..8)) {
        let mut table = Table::default();
        complete(&words, &mut table);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..400)) {
        every_reader(&bytes)?;
    }

    #[test]
    fn no_text_makes_the_reader_of_keepalived_panic(text in keepalived_text()) {
        every_reader(text.as_bytes())?;
    }

    #[test]
    fn no_text_makes_the_reader_of_ldirectord_panic(text in ldirectord_text()) {
        every_reader(text.as_bytes())?;
    }
}

const VERBS: &[&str] = &[
    "status",
    "list",
    "import",
    "schema",
    "completions",
    "man",
    "help",
    "complete",
    "frobnicate",
];

/// Reads bytes in every language; what is printed is taken by `-R` without a complaint about its
/// words, and every mistake has its place.
fn every_reader(bytes: &[u8]) -> Result<(), TestCaseError> {
    let file = "file";
    let folder = Path::new("");
    let readings = [
        ipvsadm::read(bytes, file, &RecordedNames),
        ldirectord::read(bytes, file, &RecordedNames),
        keepalived::read(bytes, file, folder, &NoFiles, "host1").map(|reading| reading.description),
    ];
    for reading in readings {
        match reading {
            Ok(description) => {
                let mut rules = Vec::new();
                rules::print(&description, &RecordedNames, &mut rules).expect("memory takes all");
                for omission in rules::omissions(&description) {
                    prop_assert!(omission.place.1 > 0 && !omission.why.is_empty());
                }
                for line in String::from_utf8_lossy(&rules).lines() {
                    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                    let request = request(&words, &RecordedNames);
                    prop_assert!(
                        matches!(request, Ok(Request::Edit(_))),
                        "{line}: {request:?}"
                    );
                }
            }
            Err(Problems(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(problem.place.line > 0 && !problem.what.is_empty());
                }
            }
        }
    }
    Ok(())
}

fn keepalived_text() -> impl Strategy<Value = String> {
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

fn ldirectord_text() -> impl Strategy<Value = String> {
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

/// A table with services and their servers, each address once.
fn filled(services: &[ServiceStatus]) -> Table {
    let mut table = Table::default();
    for edit in services.iter().flat_map(edits) {
        // What the table refuses is there already, or no server at all.
        table.apply(std::slice::from_ref(&edit));
    }
    table
}

fn sorted(table: &Table) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for status in &table.services.services {
        let service = format!("{:?} {:?}", status.service, status.options);
        let servers = status.servers.iter();
        lines.extend(servers.map(|server| format!("{service} {server:?}")));
        lines.push(service);
    }
    lines.sort();
    lines
}

/// Services with what -S does not save: thresholds, large marks, and the third flag of sh.
fn with_everything(
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

/// Gives servers the ports that keepalived gives them: none behind a mark unless translated, and
/// the service's for none.
fn settle_ports(status: &mut ServiceStatus) {
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
fn as_keepalived(status: &ServiceStatus) -> String {
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

/// The edits that make a service and its servers.
fn edits(status: &ServiceStatus) -> Vec<Edit> {
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

fn word() -> impl Strategy<Value = String> {
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

fn service() -> impl Strategy<Value = ServiceStatus> {
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
