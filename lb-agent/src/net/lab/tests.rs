use super::*;

#[test]
fn root_neighbours_of_both_families_resolve() {
    in_lab(async |lab| {
        for (address, own) in [("10.77.0.2", "10.77.0.1"), ("fd77:0::2", "fd77:0::1")] {
            let Way::Resolved(next_hop) = lab.settle(address).await else {
                panic!("{address}: {:?}", lab.ways)
            };
            assert_eq!(&*next_hop.interface, "d0");
            assert_eq!(next_hop.source, mac([0, 1]));
            assert_eq!(next_hop.destination, mac([0, 2]));
            assert_eq!(next_hop.mtu, 1500);
            assert_eq!(next_hop.preferred_source, Some(ip(own)));
            let index = run(&["cat", "/proc/self/net/dev_snmp6/d0"]);
            let index = index
                .lines()
                .next()
                .and_then(|line| line.split_whitespace().nth(1));
            assert_eq!(Some(next_hop.ifindex.to_string().as_str()), index);
        }
    });
}

#[test]
fn root_a_moved_neighbour_is_followed() {
    in_lab(async |lab| {
        lab.peer_sysctl("net.ipv4.conf.p0.arp_notify=1");
        lab.peer_sysctl("net.ipv6.conf.p0.ndisc_notify=1");
        lab.settle("10.77.0.2").await;
        lab.settle("fd77:0::2").await;
        lab.peer_ip("link set p0 address 02:00:00:00:00:22");
        lab.until_at("10.77.0.2", [0, 0x22]).await;
        lab.until_at("fd77:0::2", [0, 0x22]).await;
    });
}

#[test]
fn root_own_ethernet_address_is_followed() {
    in_lab(async |lab| {
        lab.settle("10.77.0.2").await;
        lab.ip("link set d0 address 02:00:00:00:00:33");
        let new = mac([0, 0x33]);
        lab.until(
            "10.77.0.2",
            |way| matches!(way, Way::Resolved(n) if n.source == new),
        )
        .await;
        lab.ip("link set d0 mtu 1400");
        lab.until(
            "10.77.0.2",
            |way| matches!(way, Way::Resolved(n) if n.mtu == 1400),
        )
        .await;
    });
}

#[test]
fn root_a_link_goes_down_and_comes_back() {
    in_lab(async |lab| {
        lab.settle("10.77.0.2").await;
        lab.ip("link set d0 down");
        lab.until("10.77.0.2", |way| at(way).is_none()).await;
        lab.ip("link set d0 up");
        lab.until_at("10.77.0.2", [0, 2]).await;
        lab.peer_ip("link set p0 down");
        lab.until("10.77.0.2", |way| {
            matches!(why(way), Some(Unresolved::LinkDown { .. }))
        })
        .await;
        lab.peer_ip("link set p0 up");
        lab.until_at("10.77.0.2", [0, 2]).await;
        lab.ip("link del d0");
        lab.until("10.77.0.2", |way| why(way) == Some(&Unresolved::NoRoute))
            .await;
        lab.cable(0);
        lab.until_at("10.77.0.2", [0, 2]).await;
    });
}

#[test]
fn root_routes_through_gateways_are_followed() {
    in_lab(async |lab| {
        lab.cable(1);
        assert_eq!(
            why(&lab.settle("192.0.2.9").await),
            Some(&Unresolved::NoRoute)
        );
        lab.ip("route add 192.0.2.0/24 via 10.77.0.2 mtu 1300");
        let next_hop = lab.until_at("192.0.2.9", [0, 2]).await;
        assert_eq!((&*next_hop.interface, next_hop.mtu), ("d0", 1300));
        lab.ip("route replace 192.0.2.0/24 via 10.77.1.2");
        let next_hop = lab.until_at("192.0.2.9", [1, 2]).await;
        assert_eq!(next_hop.source, mac([1, 1]));
        lab.ip("route add 192.0.2.9/32 via inet6 fd77:0::2");
        lab.until_at("192.0.2.9", [0, 2]).await;
        lab.ip("route del 192.0.2.9/32");
        lab.until_at("192.0.2.9", [1, 2]).await;
        lab.ip("route add 192.0.2.9/32 via 10.77.0.2 table 77");
        lab.ip("rule add to 192.0.2.0/24 table 77");
        lab.until_at("192.0.2.9", [0, 2]).await;
        lab.ip("rule del to 192.0.2.0/24 table 77");
        lab.until_at("192.0.2.9", [1, 2]).await;
        lab.ip("link set d1 down");
        lab.until("192.0.2.9", |way| why(way) == Some(&Unresolved::NoRoute))
            .await;

        lab.settle("2001:db8::9").await;
        lab.ip("route add 2001:db8::/32 via fd77:0::2");
        lab.until_at("2001:db8::9", [0, 2]).await;
    });
}

#[test]
fn root_routes_that_lead_nowhere_say_so() {
    in_lab(async |lab| {
        for kind in ["unreachable", "blackhole", "prohibit"] {
            for (address, prefix) in [
                ("192.0.2.9", "192.0.2.0/24"),
                ("2001:db8::9", "2001:db8::/32"),
            ] {
                lab.ip(&format!("route add {kind} {prefix}"));
                let way = lab.settle(address).await;
                assert_eq!(
                    why(&way),
                    Some(&Unresolved::RouteRefuses { kind }),
                    "{address}"
                );
                lab.next_hops.unwant([ip(address)]);
                lab.ip(&format!("route del {kind} {prefix}"));
            }
        }
        for own in ["10.77.0.1", "fd77:0::1", "127.0.0.1"] {
            assert_eq!(
                why(&lab.settle(own).await),
                Some(&Unresolved::Local),
                "{own}"
            );
        }
        assert_eq!(
            why(&lab.settle("10.77.0.255").await),
            Some(&Unresolved::NotUnicast)
        );
        lab.ip("addr add 10.77.0.9/32 dev lo");
        assert_eq!(
            why(&lab.settle("10.77.0.9").await),
            Some(&Unresolved::Local)
        );
        lab.ip("addr del 10.77.0.9/32 dev lo");
        lab.until("10.77.0.9", |way| why(way) != Some(&Unresolved::Local))
            .await;
        lab.ip("tuntap add dev t0 mode tun");
        lab.ip("link set t0 up");
        lab.ip("route add 198.51.100.0/24 dev t0");
        let way = lab.settle("198.51.100.1").await;
        assert!(
            matches!(why(&way), Some(Unresolved::NotEthernet { .. })),
            "{way:?}"
        );
    });
}

#[test]
fn root_a_dead_neighbour_fails_and_comes_back() {
    in_lab(async |lab| {
        for setting in [
            "base_reachable_time_ms=1000",
            "retrans_time_ms=100",
            "delay_first_probe_time=1",
        ] {
            run(&["sysctl", "-qw", &format!("net.ipv4.neigh.d0.{setting}")]);
        }
        lab.settle("10.77.0.2").await;
        lab.peer_ip("addr del 10.77.0.2/24 dev p0");
        lab.until("10.77.0.2", |way| {
            matches!(why(way), Some(Unresolved::Failed { .. }))
        })
        .await;
        lab.peer_ip("addr add 10.77.0.2/24 dev p0");
        lab.until_at("10.77.0.2", [0, 2]).await;
    });
}

#[test]
fn root_a_removed_entry_is_made_again() {
    in_lab(async |lab| {
        lab.settle("10.77.0.2").await;
        lab.until_entry("10.77.0.2", |entry| entry.contains("managed"))
            .await;
        lab.ip("neighbour del 10.77.0.2 dev d0");
        lab.until("10.77.0.2", |way| at(way).is_none()).await;
        lab.until_at("10.77.0.2", [0, 2]).await;
        lab.until_entry("10.77.0.2", |entry| entry.contains("managed"))
            .await;
    });
}

#[test]
fn root_only_our_own_entries_are_removed() {
    in_lab(async |lab| {
        let permanent = "10.77.0.50 dev d0 lladdr 02:00:00:00:00:50 nud permanent";
        lab.ip(&format!("neighbour add {permanent}"));
        assert_eq!(at(&lab.settle("10.77.0.50").await), Some(mac([0, 0x50])));
        lab.settle("10.77.0.2").await;
        lab.until_entry("10.77.0.2", |entry| entry.contains("proto 108"))
            .await;
        let entry = lab.ip("neighbour show 10.77.0.50");
        assert!(
            entry.contains("PERMANENT") && !entry.contains("managed"),
            "{entry}"
        );

        // An entry of ours that an administrator makes permanent is theirs from then on.
        lab.peer_ip("addr add 10.77.0.3/24 dev p0");
        lab.settle("10.77.0.3").await;
        lab.ip("neighbour replace 10.77.0.3 dev d0 lladdr 02:00:00:00:00:03 nud permanent");
        lab.until_at("10.77.0.3", [0, 3]).await;

        lab.next_hops
            .unwant(["10.77.0.50", "10.77.0.3", "10.77.0.2"].map(ip));
        lab.until_entry("10.77.0.2", str::is_empty).await;
        for address in ["10.77.0.50", "10.77.0.3"] {
            let entry = lab.ip(&format!("neighbour show {address}"));
            assert!(entry.contains("PERMANENT"), "{address}: {entry}");
        }
    });
}

#[test]
fn root_an_unanswered_entry_is_taken_over() {
    in_lab(async |lab| {
        // The kernel resolves this one for itself, and tells nobody until it has an outcome.
        run(&[
            "sh",
            "-c",
            "echo x > /dev/udp/10.77.0.2/9 2>/dev/null || bash -c 'echo x > /dev/udp/10.77.0.2/9'",
        ]);
        assert_eq!(at(&lab.settle("10.77.0.2").await), Some(mac([0, 2])));
        lab.until_entry("10.77.0.2", |entry| entry.contains("managed"))
            .await;
    });
}

#[test]
fn root_a_thousand_addresses_on_one_link_resolve() {
    in_lab(async |lab| {
        lab.ip("addr add 10.99.0.1/16 dev d0");
        lab.peer_ip("route add 10.99.0.0/24 dev p0");
        for block in 1..=4 {
            // Every address of the block is the peer's own.
            lab.peer_ip(&format!("route add local 10.99.{block}.0/24 dev lo"));
        }
        let addresses: Vec<IpAddr> = (0..1000)
            .map(|n| ip(&format!("10.99.{}.{}", 1 + n / 250, 1 + n % 250)))
            .collect();
        lab.next_hops.want(addresses.clone());
        assert!(lab.next_hops.settled(addresses.clone(), PATIENCE).await);
        lab.ways.extend(lab.changes.take());
        for address in &addresses {
            let way = lab.ways.get(address);
            assert_eq!(way.and_then(at), Some(mac([0, 2])), "{address}: {way:?}");
        }
        // All behind one gateway: one entry serves them all.
        lab.ip("route add 192.0.2.0/24 via 10.77.0.2");
        let behind: Vec<IpAddr> = (1..250).map(|n| ip(&format!("192.0.2.{n}"))).collect();
        lab.next_hops.want(behind.clone());
        assert!(lab.next_hops.settled(behind.clone(), PATIENCE).await);
        lab.next_hops.unwant(behind.into_iter().chain(addresses));
        lab.until_entry("10.77.0.2", str::is_empty).await;
        lab.until_entry("10.99.4.250", str::is_empty).await;
    });
}

#[test]
fn root_lost_notifications_are_made_up_for() {
    in_lab(async |lab| {
        lab.settle("10.77.0.2").await;
        // The driver does not run while this thread is busy, so that its socket overflows: 30,000
        // notifications, which need far more than the buffer. The change that matters is
        // among those that are lost.
        let flood: String = (0..30_000)
            .map(|n| {
                let (c, d) = (n / 250, 1 + n % 250);
                format!(
                    "neighbour add 10.78.{c}.{d} lladdr 02:00:00:00:00:50 dev d0 nud permanent\n"
                )
            })
            .collect();
        let file = std::env::temp_dir().join(&lab.peer);
        std::fs::write(&file, flood).unwrap();
        lab.ip(&format!("-batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        lab.ip("neighbour replace 10.77.0.2 dev d0 lladdr 02:00:00:00:00:99 nud permanent");
        let lost = run(&["cat", "/proc/thread-self/net/netlink"]);
        let lost = lost
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(8));
        assert!(
            lost.map(|drops| drops.parse::<u32>().unwrap()).sum::<u32>() > 0,
            "nothing lost"
        );
        lab.until_at("10.77.0.2", [0, 0x99]).await;
    });
}

#[test]
fn root_entries_outlive_the_agent_and_are_taken_up_again() {
    in_lab(async |lab| {
        lab.settle("10.77.0.2").await;
        let (next_hops, changes) = NextHops::spawn().unwrap();
        let ended = std::mem::replace(&mut lab.changes, changes);
        lab.next_hops = next_hops;
        assert_eq!(ended.recv().await, None);
        lab.until_entry("10.77.0.2", |entry| entry.contains("managed"))
            .await;
        assert_eq!(at(&lab.settle("10.77.0.2").await), Some(mac([0, 2])));
        lab.next_hops.unwant([ip("10.77.0.2")]);
        lab.until_entry("10.77.0.2", str::is_empty).await;
    });
}

#[test]
fn root_an_address_that_the_peer_has_is_told_of_until_it_is_mended() {
    in_lab(async |lab| {
        lab.peer_ip("addr add fd77:0::99/64 dev p0 nodad");
        lab.settle("fd77:0::2").await;
        lab.ip("addr add fd77:0::99/64 dev d0");
        let duplicate = Duplicate {
            address: "fd77:0::99".parse().unwrap(),
            length: 64,
            interface: "d0".to_owned(),
        };
        lab.until_duplicates(std::slice::from_ref(&duplicate)).await;
        // Who listens later is told as well.
        let (_next_hops, changes) = NextHops::spawn().unwrap();
        lab.changes = changes;
        lab.until_duplicates(&[duplicate]).await;
        lab.peer_ip("addr del fd77:0::99/64 dev p0");
        lab.ip("addr del fd77:0::99/64 dev d0");
        lab.ip("addr add fd77:0::99/64 dev d0");
        lab.until_duplicates(&[]).await;
    });
}
