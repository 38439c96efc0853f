//! What is wrong with a real server, and how to mend it: decided from what the machine is like.

use super::machine::{LO, Machine, full};
use super::options::{Decapsulation, Wanted};
use super::plan::{ANNOUNCES_OWN, DISABLE_IPV6, dotted, effective, ipv4, is_on_lo, is_quiet};
use lb_common::api::AttachMode;
use lb_common::decap::{Refusal, Tunnel};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;

/// What the JSON form says it is: `lb-ctl schema realserver` describes it.
const SCHEMA: &str = "lb-ctl/realserver/1";

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// Whether nothing is wrong; advice does not count.
    ok: bool,
    /// The addresses that the machine was checked for.
    vips: Vec<IpAddr>,
    interface: String,
    /// The kinds of tunnels; none for direct routing.
    tunnels: Vec<String>,
    /// GUE's port, where that is one of them.
    gue_port: Option<u16>,
    /// What was looked at.
    findings: Vec<Finding>,
    /// What the program has counted since it was attached; none without it.
    events: Vec<Event>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at: a name for scripts.
    check: &'static str,
    status: Status,
    /// What was found.
    text: String,
    /// What mends it.
    fix: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// It works, but not for all traffic or not well.
    Warning,
    /// Clients are not served.
    Failure,
}

/// A counter of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    label: &'static str,
    count: u64,
}

/// What is known of the program.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// The program on the interface, whose ever it is.
    pub(super) on_interface: Option<u32>,
    /// lb's program on the interface, and its mode.
    pub(super) attached: Option<(u32, AttachMode)>,
    /// What it was told when it was loaded: tunnels, and the interface's Ethernet address. None
    /// where no record tells.
    pub(super) told: Option<(Decapsulation, [u8; 6])>,
    /// What it has counted.
    pub(super) events: Option<Vec<(&'static str, u64)>>,
}

/// Looks at everything that makes a real server answer clients.
pub(super) fn check(wanted: &Wanted, machine: &Machine, program: &Program) -> Report {
    let mut findings = Vec::new();
    addresses(wanted, machine, &mut findings);
    if interface(wanted, machine, &mut findings) {
        if wanted.vips.iter().any(IpAddr::is_ipv4) {
            arp(wanted, machine, &mut findings);
        }
        answers(wanted, machine, &mut findings);
        if let Some(decapsulation) = &wanted.decapsulation {
            decapsulates(wanted, decapsulation, machine, program, &mut findings);
            mtu(wanted, decapsulation, machine, &mut findings);
            counted(program, &mut findings);
        }
    }
    if machine.sysctls.contains_key(SYNCOOKIES) {
        findings.push(if machine.number(SYNCOOKIES) == 0 {
            warning(
                "syn-cookies",
                "a flood of SYNs fills the queues: behind a director only real servers can answer \
                 with cookies",
                format!("sysctl -w {}=1", dotted(SYNCOOKIES)),
            )
        } else {
            fine("syn-cookies", "floods of SYNs are answered with cookies")
        });
    }
    let decapsulation = wanted.decapsulation.as_ref();
    let events = decapsulation.and(program.events.as_deref());
    let event = |(label, count): &(&'static str, u64)| Event {
        label,
        count: *count,
    };
    Report {
        schema: SCHEMA,
        ok: findings
            .iter()
            .all(|finding| finding.status != Status::Failure),
        vips: wanted.vips.clone(),
        interface: wanted.interface.clone(),
        tunnels: decapsulation.map_or_else(Vec::new, |d| d.tunnels.clone()),
        gue_port: decapsulation
            .filter(|decapsulation| decapsulation.has(Tunnel::Gue))
            .map(|decapsulation| decapsulation.gue_port),
        findings,
        events: events.unwrap_or_default().iter().map(event).collect(),
    }
}

const SYNCOOKIES: &str = "net/ipv4/tcp_syncookies";

impl Report {
    /// Whether nothing is wrong; advice does not count.
    pub(super) const fn is_ok(&self) -> bool {
        self.ok
    }

    /// What is not as it should be.
    pub(super) fn troubles(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.status != Status::Ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for Event { label, count } in &self.events {
            if *count > 0 {
                writeln!(f, "{count:>12} {label}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failure => "FAILURE",
        };
        write!(f, "{status:<8} {:<14} {}", self.check, self.text)?;
        match &self.fix {
            Some(fix) => write!(f, "\n{:>23} fix: {fix}", ""),
            None => Ok(()),
        }
    }
}

fn fine(check: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        check,
        status: Status::Ok,
        text: text.into(),
        fix: None,
    }
}

fn warning(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        check,
        status: Status::Warning,
        text: text.into(),
        fix: Some(fix.into()),
    }
}

fn failure(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        check,
        status: Status::Failure,
        text: text.into(),
        fix: Some(fix.into()),
    }
}

/// The virtual addresses are on lo, alone and nowhere else.
fn addresses(wanted: &Wanted, machine: &Machine, findings: &mut Vec<Finding>) {
    const CHECK: &str = "address";
    if !machine.link(LO).is_some_and(|lo| lo.up) {
        findings.push(failure(CHECK, "lo is down", "ip link set lo up"));
    }
    if wanted.vips.iter().any(IpAddr::is_ipv6) && machine.number(DISABLE_IPV6) != 0 {
        findings.push(failure(
            CHECK,
            "IPv6 is off on lo",
            format!("sysctl -w {}=0", dotted(DISABLE_IPV6)),
        ));
    }
    for vip in &wanted.vips {
        let places = machine
            .addresses
            .iter()
            .filter(|other| other.address == *vip);
        let mut good = is_on_lo(machine, *vip);
        if !good {
            findings.push(failure(
                CHECK,
                format!("{vip} is not on lo: packets for it are not this host's"),
                format!(
                    "ip address add {vip}/{} dev {LO}{}",
                    full(*vip),
                    nodad(*vip)
                ),
            ));
        }
        for place in places {
            let remove = format!(
                "ip address del {vip}/{} dev {}",
                place.prefix, place.interface
            );
            if place.interface != LO {
                good = false;
                findings.push(failure(
                    CHECK,
                    format!(
                        "{vip} is on {}, which answers for it in the director's place",
                        place.interface
                    ),
                    remove,
                ));
            } else if place.prefix != full(*vip) {
                good = false;
                findings.push(failure(
                    CHECK,
                    format!(
                        "{vip}/{} on lo makes all of that network this host's own",
                        place.prefix
                    ),
                    remove,
                ));
            }
        }
        if good {
            findings.push(fine(CHECK, format!("{vip} is on lo")));
        }
    }
}

const fn nodad(vip: IpAddr) -> &'static str {
    match vip {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => " nodad",
    }
}

/// The interface is there and up; false when it is not there.
fn interface(wanted: &Wanted, machine: &Machine, findings: &mut Vec<Finding>) -> bool {
    const CHECK: &str = "interface";
    let name = &wanted.interface;
    match machine.link(name) {
        None => findings.push(failure(
            CHECK,
            format!("there is no interface {name}"),
            "ip link    # lists what there is".to_owned(),
        )),
        Some(link) if !link.up => findings.push(failure(
            CHECK,
            format!("{name} is down"),
            format!("ip link set {name} up"),
        )),
        Some(_) => findings.push(fine(CHECK, format!("{name} is up"))),
    }
    machine.link(name).is_some()
}

/// The host keeps quiet about the virtual addresses.
fn arp(wanted: &Wanted, machine: &Machine, findings: &mut Vec<Finding>) {
    let name = &wanted.interface;
    let ignore = effective(machine, name, "arp_ignore");
    let all = [&ipv4("all", "arp_ignore"), &ipv4(name, "arp_ignore")].map(|key| dotted(key));
    findings.push(if is_quiet(ignore) {
        fine(
            "arp-ignore",
            format!("{name} does not answer ARP for lo's addresses"),
        )
    } else {
        failure(
            "arp-ignore",
            format!(
                "arp_ignore={ignore} on {name}: it answers ARP for the virtual addresses, and \
                 clients pass by the director"
            ),
            format!("sysctl -w {}=1 {}=1", all[0], all[1]),
        )
    });
    let announce = effective(machine, name, "arp_announce");
    let all = [&ipv4("all", "arp_announce"), &ipv4(name, "arp_announce")].map(|key| dotted(key));
    findings.push(if announce == ANNOUNCES_OWN {
        fine(
            "arp-announce",
            format!("{name} asks by ARP with an address of its own"),
        )
    } else {
        failure(
            "arp-announce",
            format!(
                "arp_announce={announce} on {name}: its questions name the virtual address as \
                 theirs, and neighbours take it for the director's"
            ),
            format!("sysctl -w {}=2 {}=2", all[0], all[1]),
        )
    });
}

/// Answers leave, and the path back does not keep packets from coming in.
fn answers(wanted: &Wanted, machine: &Machine, findings: &mut Vec<Finding>) {
    let name = &wanted.interface;
    let families = [
        ("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool),
        ("IPv6", IpAddr::is_ipv6),
    ];
    for ((family, is_of), answers) in families.into_iter().zip(&machine.answers) {
        if !wanted.vips.iter().any(is_of) {
            continue;
        }
        findings.push(match answers {
            Some(answers) => fine(
                "route",
                format!("{family} answers to clients leave by {}", answers.interface),
            ),
            None => warning(
                "route",
                format!("no {family} route to clients, but to those on this host's own networks"),
                if family == "IPv4" {
                    format!("ip route add default via ROUTER dev {name}")
                } else {
                    format!("ip -6 route add default via ROUTER dev {name}")
                },
            ),
        });
    }
    if !wanted.vips.iter().any(IpAddr::is_ipv4) {
        return;
    }
    let back = machine.answers[0]
        .as_ref()
        .map(|answers| &answers.interface);
    let strict = effective(machine, name, "rp_filter") == 1;
    let key = dotted(&ipv4(name, "rp_filter"));
    findings.push(match back {
        Some(back) if strict && back != name => failure(
            "rp-filter",
            format!(
                "rp_filter=1 on {name} drops packets of clients, whom this host answers by {back}"
            ),
            format!("sysctl -w {key}=2"),
        ),
        None if strict && wanted.decapsulation.is_some() => failure(
            "rp-filter",
            format!(
                "rp_filter=1 on {name} drops packets out of tunnels whose clients this host would \
                 not answer by {name}, and there is no route to most clients"
            ),
            format!("sysctl -w {key}=2"),
        ),
        Some(_) if strict && wanted.decapsulation.is_some() => warning(
            "rp-filter",
            format!(
                "rp_filter=1 on {name}: packets out of tunnels come in as long as all clients are \
                 answered by {name}"
            ),
            format!("sysctl -w {key}=2"),
        ),
        Some(_) | None => fine("rp-filter", format!("{name} takes packets of clients")),
    });
}

/// The program is on the interface, and does what is wanted.
fn decapsulates(
    wanted: &Wanted,
    decapsulation: &Decapsulation,
    machine: &Machine,
    program: &Program,
    findings: &mut Vec<Finding>,
) {
    const CHECK: &str = "decapsulation";
    let name = &wanted.interface;
    let setup = setup(wanted, decapsulation);
    let finding = match (program.attached, program.on_interface) {
        (Some((ours, mode)), Some(there)) if ours == there => {
            let mode = match mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            };
            let mac = machine.link(name).and_then(|link| link.mac);
            match &program.told {
                Some((told, _)) if told.option() != decapsulation.option() => failure(
                    CHECK,
                    format!(
                        "{name} takes packets out of {}, not {}",
                        told.option(),
                        decapsulation.option()
                    ),
                    setup,
                ),
                Some((_, told)) if Some(*told) != mac => failure(
                    CHECK,
                    format!("{name} has another Ethernet address than when this was set up"),
                    setup,
                ),
                Some(_) => fine(
                    CHECK,
                    format!(
                        "{name} takes packets out of {} ({mode})",
                        decapsulation.option()
                    ),
                ),
                None => warning(
                    CHECK,
                    format!("{name} takes packets out of tunnels ({mode}); no record tells which"),
                    setup,
                ),
            }
        }
        (_, Some(other)) => failure(
            CHECK,
            format!(
                "{name} carries another XDP program (id {other}), and takes nothing out of tunnels"
            ),
            format!("ip link set dev {name} xdp off; {setup}"),
        ),
        (_, None) => failure(
            CHECK,
            format!("{name} takes nothing out of tunnels: no program is attached"),
            setup,
        ),
    };
    findings.push(finding);
}

/// The command that sets up what is wanted.
fn setup(wanted: &Wanted, decapsulation: &Decapsulation) -> String {
    let vips: Vec<String> = wanted.vips.iter().map(IpAddr::to_string).collect();
    format!(
        "lb-ctl realserver setup --vip {} --interface {} --decapsulate {}",
        vips.join(" "),
        wanted.interface,
        decapsulation.option()
    )
}

/// What clients' packets of this size grow to has to fit: Ethernet's, which nearly all have.
const CLIENTS: u32 = 1500;

/// Bytes of headers before the inner packet, at most.
fn overhead(decapsulation: &Decapsulation, outer: u32) -> u32 {
    let own = |tunnel| match tunnel {
        Tunnel::Ipip => 0,
        // With its checksum.
        Tunnel::Gre => 8,
        // UDP and GUE without extension fields.
        Tunnel::Gue => 12,
    };
    let tunnels = Tunnel::ALL
        .into_iter()
        .filter(|tunnel| decapsulation.has(*tunnel));
    outer + tunnels.map(own).max().unwrap_or(0)
}

/// Tunnelled packets fit the way from the director, or clients are told to send shorter ones.
fn mtu(
    wanted: &Wanted,
    decapsulation: &Decapsulation,
    machine: &Machine,
    findings: &mut Vec<Finding>,
) {
    const CHECK: &str = "mtu";
    let name = &wanted.interface;
    let Some(link) = machine.link(name) else {
        return;
    };
    let mut own = machine
        .addresses
        .iter()
        .filter(|address| address.interface == *name);
    let outer = if own.any(|address| address.address.is_ipv4()) {
        20
    } else {
        40
    };
    let needed = CLIENTS + overhead(decapsulation, outer);
    if link.mtu >= needed {
        findings.push(fine(
            CHECK,
            format!("{name} takes packets of {CLIENTS} bytes and their tunnel's headers"),
        ));
        return;
    }
    // How long segments may be whose inner headers come on top, for each family that needs telling.
    let room = link.mtu.saturating_sub(overhead(decapsulation, outer));
    let families = [(true, 40, ""), (false, 60, "-6 ")];
    let mut told = Vec::new();
    for ((is_ipv4, headers, option), answers) in families.into_iter().zip(&machine.answers) {
        let most = room.saturating_sub(headers);
        let advmss = answers.as_ref().and_then(|answers| answers.advmss);
        let wants = wanted.vips.iter().any(|vip| vip.is_ipv4() == is_ipv4);
        if wants && advmss.is_none_or(|advmss| advmss > most) {
            told.push(format!(
                "`ip {option}route change default ... advmss {most}`"
            ));
        }
    }
    findings.push(if told.is_empty() {
        fine(
            CHECK,
            "clients are told to send segments that fit into the tunnel",
        )
    } else {
        warning(
            CHECK,
            format!(
                "{name} has MTU {}: packets of clients with more than {room} bytes do not fit into \
                 the tunnel, and where ICMP is filtered such connections stall",
                link.mtu
            ),
            format!(
                "`ip link set {name} mtu {needed}`, and as much on all of the way from the \
                 director; or tell clients to send shorter segments: {}",
                told.join(" ")
            ),
        )
    });
}

/// What the program counted that tells of trouble elsewhere.
fn counted(program: &Program, findings: &mut Vec<Finding>) {
    let events = program.events.as_deref().unwrap_or_default();
    for (refusal, cure) in [
        (
            Refusal::Fragment,
            "raise the MTU of the way from the director, or the director's tunnels set DF",
        ),
        (
            Refusal::Unsupported,
            "have the director use tunnels without keys, sequence numbers and extensions",
        ),
        (
            Refusal::NotVirtual,
            "name the services' addresses in --vip, if these are services of this server",
        ),
        (
            Refusal::Inner,
            "look for who sends them: tcpdump on the interface shows the outer addresses",
        ),
    ] {
        let count = events.iter().find(|(label, _)| *label == refusal.label());
        if let Some((_, count)) = count.filter(|(_, count)| *count > 0) {
            findings.push(warning(
                "packets",
                format!("{count} packets: {}", refusal.text()),
                cure,
            ));
        }
    }
}
