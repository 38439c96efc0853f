//! What the model says, in the maps' words. Pure.

use super::helped::Help;
use crate::model::{Server, Service};
use lb_common::addr::{Addr, Port};
use lb_common::api::{
    Family, Forwarding, MarkRule, Netmask, NoServer, ServerOptions, ServiceAddress, Tunnel,
    TunnelChecksum,
};
use lb_common::layout::{self, server_flags, service_flags};
use lb_common::sched::threshold;
use lb_common::service::Key;
use lb_common::time::Clock;

/// What packets of a service are looked up by.
pub(super) fn key(address: &ServiceAddress) -> Key {
    match *address {
        ServiceAddress::Address {
            protocol,
            address,
            port,
        } => Key::new(Addr::from(address), Port::new(port), protocol.number()),
        ServiceAddress::Mark { mark, family } => Key::of_mark(mark, family == Family::Ipv4),
    }
}

/// A service's record without what depends on the order of its servers and on its scheduler.
pub(super) fn service<'a>(
    service: &Service,
    servers: impl Iterator<Item = &'a Server>,
    ftp_ports: &[u16],
    clock: Clock,
) -> layout::Service {
    let options = &service.options;
    let (mut masquerades, mut thresholds) = (false, false);
    for server in servers {
        masquerades |= server.options.forwarding == Forwarding::Masquerade;
        thresholds |= server.options.upper_threshold != 0;
    }
    let (address, port, mark) = match service.address {
        ServiceAddress::Address {
            protocol: _,
            address,
            port,
        } => (Addr::from(address), port.into(), 0),
        ServiceAddress::Mark { mark, .. } => (Addr::default(), 0, mark),
    };
    let (prefix, mask) = match options.netmask {
        None => (128, u32::MAX),
        Some(Netmask::Mask(mask)) => (128, u32::from_ne_bytes(mask.octets())),
        Some(Netmask::Prefix(length)) => (length.into(), u32::MAX),
    };
    let help = Help::of(service, masquerades, ftp_ports);
    // The agent keeps the templates of calls, and brings each datagram to its server by an entry of
    // the flow table.
    //
    // deviates: so they are listed as connections with one-packet scheduling, too; a datagram of
    // another call takes their place. ipvs has none.
    let calls = help == Some(Help::Sip) && options.persistent.is_some();
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let scheduling = service_flags::SCHED_1 | service_flags::SCHED_2 | service_flags::SCHED_3;
    let flags = u32::from(options.flags) & scheduling
        | flag(options.one_packet && !calls, service_flags::ONE_PACKET)
        | flag(masquerades, service_flags::MASQUERADE)
        | flag(thresholds, service_flags::THRESHOLDS)
        | flag(help.is_some(), service_flags::HELPED)
        | match service.no_server {
            NoServer::Icmp => 0,
            NoServer::Reset => service_flags::REFUSE_RESET,
            NoServer::Silent => service_flags::REFUSE_SILENTLY,
        };
    layout::Service {
        id: service.id.0,
        flags,
        address,
        port,
        mark,
        // 0 ticks would mean that it does not persist.
        persistence: options
            .persistent
            .filter(|_| !calls)
            .map_or(0, |seconds| clock.ticks(seconds).max(1)),
        prefix,
        mask,
        ..layout::Service::default()
    }
}

/// The record of a service that was deleted, of which only flows are left.
pub(super) fn deleted(record: layout::Service) -> layout::Service {
    layout::Service {
        turn: 0,
        // No id: the service's own may be another's soon.
        id: u32::MAX,
        first: 0,
        len: 0,
        table: 0,
        table_len: 0,
        flags: service_flags::DELETED,
        ..record
    }
}

/// [`server_flags::METHOD`] and [`server_flags::CHECKSUM`] of a server's entry.
///
/// Remote checksum offload is no checksum: ipvs itself does it only for packets that the director
/// made, whose checksum its hardware is to compute.
///
/// ipvs: net/netfilter/ipvs/ip_vs_xmit.c:ipvs_gue_encap, ip_vs_tunnel_xmit
pub(super) fn method(options: &ServerOptions) -> u32 {
    let with = |method, checksum| match checksum {
        TunnelChecksum::None | TunnelChecksum::Remote => method,
        TunnelChecksum::Full => method | server_flags::CHECKSUM,
    };
    match options.forwarding {
        Forwarding::Route => server_flags::ROUTE,
        Forwarding::Masquerade => server_flags::MASQUERADE,
        Forwarding::Local => server_flags::LOCAL,
        Forwarding::Tunnel(Tunnel::Ipip) => server_flags::IPIP,
        Forwarding::Tunnel(Tunnel::Gre { checksum }) => with(server_flags::GRE, checksum),
        Forwarding::Tunnel(Tunnel::Gue { checksum, .. }) => with(server_flags::GUE, checksum),
    }
}

/// A server's tunnel port; 0 for none.
pub(super) fn tunnel_port(options: &ServerOptions) -> u32 {
    if let Forwarding::Tunnel(Tunnel::Gue { port, .. }) = options.forwarding {
        port.into()
    } else {
        0
    }
}

/// A server's upper and lower connection threshold
/// (net/netfilter/ipvs/ip_vs_conn.c: `ip_vs_dest_totalconns`, `ip_vs_unbind_dest`).
pub(super) fn thresholds(options: &ServerOptions) -> (u32, u32) {
    let upper = options.upper_threshold;
    (upper, threshold::lower(upper, options.lower_threshold))
}

/// The rules as the program meets them; one for an interface that is not there is left out.
pub(super) fn rules(
    rules: &[MarkRule],
    ifindex: impl Fn(&str) -> Option<u32>,
) -> Vec<layout::MarkRule> {
    rules
        .iter()
        .filter_map(|rule| {
            let index = match &rule.interface {
                Some(name) => ifindex(name)?,
                None => 0,
            };
            Some((rule, index))
        })
        .flat_map(|(rule, index)| {
            let families = rule.families().into_iter();
            families.map(move |family| describe_rule(rule, family, index))
        })
        .collect()
}

fn describe_rule(rule: &MarkRule, family: Family, ifindex: u32) -> layout::MarkRule {
    let network = |prefix: Option<lb_common::api::Prefix>| {
        prefix.map_or((Addr::default(), 0), |prefix| {
            (Addr::from(prefix.address()), prefix.mapped_length())
        })
    };
    let (source, source_prefix) = network(rule.from);
    let (destination, destination_prefix) = network(rule.to);
    let (first, last) = rule.ports.unwrap_or((0, u16::MAX));
    layout::MarkRule {
        source,
        destination,
        source_prefix,
        destination_prefix,
        protocol: rule.protocol.map_or(0, |p| p.number().into()),
        ports: u32::from(first) | u32::from(last) << 16,
        ifindex,
        mark: rule.mark,
        family: match family {
            Family::Ipv4 => 4,
            Family::Ipv6 => 6,
        },
        zero: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{self as example, server_options, service_options};
    use crate::model::{ServerId, ServiceId, Standing};
    use lb_common::api::Protocol;

    const CLOCK: Clock = Clock { hz: 250, shift: 8 };

    fn describe(address: ServiceAddress, change: impl FnOnce(&mut Service)) -> layout::Service {
        let mut wanted = Service {
            id: ServiceId(3),
            address,
            options: service_options("rr"),
            no_server: NoServer::Icmp,
            added: 0,
        };
        change(&mut wanted);
        service(&wanted, [].iter(), &[21], CLOCK)
    }

    fn server_of(forwarding: Forwarding, upper: u32) -> Server {
        Server {
            id: ServerId(1),
            service: example::service(1),
            address: example::server(1),
            options: ServerOptions {
                forwarding,
                upper_threshold: upper,
                ..server_options(1)
            },
            standing: Standing::Retired { service: None },
            last_weight: 1,
        }
    }

    #[test]
    fn a_plain_service_has_no_flags() {
        let record = describe(example::service(1), |_| {});
        assert_eq!((record.id, record.flags, record.persistence), (3, 0, 0));
        assert_eq!((record.port, record.mark), (80, 0));
        assert_eq!(
            record.address,
            Addr::from(std::net::IpAddr::from([10, 0, 0, 1]))
        );
    }

    #[test]
    fn options_are_flags_and_numbers() {
        let record = describe(example::service(1), |service| {
            service.options.flags = 0b101;
            service.options.one_packet = true;
            service.options.persistent = Some(300);
            service.options.netmask = Some(Netmask::Mask([255, 255, 0, 255].into()));
            service.no_server = NoServer::Silent;
        });
        let flags = service_flags::SCHED_1
            | service_flags::SCHED_3
            | service_flags::ONE_PACKET
            | service_flags::REFUSE_SILENTLY;
        assert_eq!(record.flags, flags);
        assert_eq!(record.persistence, CLOCK.ticks(300));
        assert_eq!(record.mask.to_ne_bytes(), [255, 255, 0, 255]);
        let record = describe(example::service(1), |service| {
            service.options.persistent = Some(0);
        });
        assert_eq!(record.persistence, 1);
    }

    #[test]
    fn a_mark_service_has_a_mark_and_no_address() {
        let address = ServiceAddress::Mark {
            mark: 7,
            family: Family::Ipv6,
        };
        let record = describe(address, |service| {
            service.options.netmask = Some(Netmask::Prefix(64));
        });
        assert_eq!((record.mark, record.port), (7, 0));
        assert_eq!((record.prefix, record.mask), (64, u32::MAX));
        assert_eq!(record.address, Addr::default());
        assert_eq!(key(&address), Key::of_mark(7, false));
    }

    #[test]
    fn what_one_server_has_is_the_services_flag() {
        let wanted = |port| Service {
            id: ServiceId(0),
            address: ServiceAddress::Address {
                protocol: Protocol::Tcp,
                address: [10, 0, 0, 1].into(),
                port,
            },
            options: service_options("rr"),
            no_server: NoServer::Icmp,
            added: 0,
        };
        let servers = [
            server_of(Forwarding::Route, 0),
            server_of(Forwarding::Masquerade, 10),
        ];
        let masqueraded = service_flags::MASQUERADE | service_flags::THRESHOLDS;
        let record = service(&wanted(80), servers.iter(), &[21], CLOCK);
        assert_eq!(record.flags, masqueraded);
        let record = service(&wanted(21), servers.iter(), &[21], CLOCK);
        assert_eq!(record.flags, masqueraded | service_flags::HELPED);
        let record = service(&wanted(21), servers[..1].iter(), &[21], CLOCK);
        assert_eq!(record.flags, 0);
    }

    #[test]
    fn a_deleted_service_keeps_what_its_flows_are_found_by() {
        let record = deleted(describe(example::service(1), |service| {
            service.no_server = NoServer::Silent;
        }));
        assert_eq!((record.flags, record.len), (service_flags::DELETED, 0));
        assert_eq!((record.id, record.port), (u32::MAX, 80));
    }

    #[test]
    fn forwarding_methods_and_their_checksums() {
        let of = |forwarding| method(&server_of(forwarding, 0).options);
        let checksum = TunnelChecksum::Full;
        assert_eq!(of(Forwarding::Route), server_flags::ROUTE);
        assert_eq!(of(Forwarding::Masquerade), server_flags::MASQUERADE);
        assert_eq!(of(Forwarding::Local), server_flags::LOCAL);
        assert_eq!(of(Forwarding::Tunnel(Tunnel::Ipip)), server_flags::IPIP);
        assert_eq!(
            of(Forwarding::Tunnel(Tunnel::Gre { checksum })),
            server_flags::GRE | server_flags::CHECKSUM
        );
        let gue = Forwarding::Tunnel(Tunnel::Gue {
            port: 6080,
            checksum: TunnelChecksum::None,
        });
        assert_eq!(of(gue), server_flags::GUE);
        assert_eq!(tunnel_port(&server_of(gue, 0).options), 6080);
    }

    #[test]
    fn the_lower_threshold_is_three_quarters_unless_said() {
        let mut options = server_of(Forwarding::Route, 10).options;
        assert_eq!(thresholds(&options), (10, 8));
        options.lower_threshold = 2;
        assert_eq!(thresholds(&options), (10, 2));
        options.upper_threshold = 1;
        options.lower_threshold = 0;
        assert_eq!(thresholds(&options), (1, 1));
        assert_eq!(thresholds(&server_options(1)), (0, 0));
    }

    #[test]
    fn a_rule_is_one_for_each_family_it_is_for() {
        let rule = |interface: Option<&str>, to: &str| MarkRule {
            protocol: Some(Protocol::Udp),
            from: None,
            to: to.parse().ok(),
            ports: Some((5000, 5010)),
            interface: interface.map(str::to_owned),
            mark: 7,
        };
        let all = [
            rule(None, ""),
            rule(Some("eth1"), "10.0.0.0/8"),
            rule(Some("eth9"), ""),
        ];
        let index = |name: &str| (name == "eth1").then_some(5);
        let described = rules(&all, index);
        let families: Vec<_> = described.iter().map(|r| (r.family, r.ifindex)).collect();
        assert_eq!(families, [(4, 0), (6, 0), (4, 5)]);
        let last = described[2];
        assert_eq!((last.source_prefix, last.destination_prefix), (0, 104));
        assert_eq!(
            (last.ports, last.protocol, last.mark),
            (5000 | 5010 << 16, 17, 7)
        );
    }
}
