//! Frames go to the right Ethernet address or nowhere.

use anyhow::{Context, Result};
use lb_tests::scene::{self, DEADLINE, Scene, vip};
use lb_tests::sniff::Sniffer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use xtask::lab::director::Director;
use xtask::lab::host::Host;
use xtask::lab::plan::VIP6;
use xtask::lab::wait;
use xtask::load;

#[test]
fn packets_for_a_server_that_nobody_answers_for_are_held_until_it_appears() -> Result<()> {
    let scene = Scene::new(2)?;
    let (present, absent) = (scene.lab.server(1), scene.lab.server(2));
    absent.run("ip", ["link", "set", "eth0", "down"])?;
    let director = scene.director();
    // What the director's kernel learnt while the scene was built must not help.
    director.host().run("ip", ["neighbour", "flush", "all"])?;
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let sniffer = Sniffer::start(&scene.lab, "director1")?;
    let sent_to = || -> BTreeMap<u16, BTreeSet<[u8; 6]>> {
        let mut flows = BTreeMap::<u16, BTreeSet<[u8; 6]>>::new();
        let seen = sniffer.seen();
        for segment in seen
            .iter()
            .filter(|segment| SocketAddr::V4(segment.to) == vip())
        {
            flows
                .entry(segment.from.port())
                .or_default()
                .insert(segment.mac);
        }
        flows
    };

    // Four connections at a time: rr gives two to each server.
    let done = AtomicU64::new(0);
    let tally = scene.lab.client().inside(|| {
        thread::scope(|scope| -> Result<_> {
            let burst = scope.spawn(|| load::burst(vip(), 4, 4, &done));
            let half = wait::until("the server that is there has answered", DEADLINE, || {
                let now = done.load(Ordering::Relaxed);
                Ok(if now >= 2 {
                    wait::Seen::Done(now)
                } else {
                    wait::Seen::NotYet(format!("{now} answers; the director sent {:?}", sent_to()))
                })
            })?;
            assert_eq!(
                half, 2,
                "the other server is not there and cannot have answered"
            );
            for (port, macs) in sent_to() {
                assert_eq!(macs, [mac(present)?].into(), "the flow from port {port}");
            }
            absent.run("ip", ["link", "set", "eth0", "up"])?;
            // The clients' kernel sends the held SYNs again, well within the client's patience.
            Ok(burst.join().expect("the burst does not panic"))
        })
    })??;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert!(tally.answers.contains_key("server2"), "{tally}");
    let right = [mac(present)?, mac(absent)?];
    let flows = sent_to();
    assert!(!flows.is_empty());
    for (port, macs) in flows {
        assert_eq!(macs.len(), 1, "the flow from port {port} went to {macs:?}");
        assert!(
            macs.iter().all(|mac| right.contains(mac)),
            "{macs:?} are not {right:?}"
        );
    }
    Ok(())
}

#[test]
fn a_server_that_changes_its_ethernet_address_is_followed() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    assert_eq!(scene.fetch(4)?, [2, 1, 2, 1]);
    let server = scene.lab.server(2);
    // The server announces its new address, as a failover or a new network card does.
    server.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
    server.run(
        "ip",
        ["link", "set", "eth0", "address", "02:00:00:00:00:99"],
    )?;
    let sniffer = Sniffer::start(&scene.lab, "director1")?;
    wait::until("the director sends to the new address", DEADLINE, || {
        let answer = scene.lab.client().inside(|| load::fetch(vip()))?;
        let to_new = sniffer
            .seen()
            .iter()
            .any(|segment| segment.mac == [2, 0, 0, 0, 0, 0x99]);
        Ok(match answer {
            Ok(name) if name == "server2" && to_new => wait::Seen::Done(()),
            other => wait::Seen::NotYet(format!("{other:?}")),
        })
    })?;
    let mut answers = scene.fetch(4)?;
    answers.sort_unstable();
    assert_eq!(answers, [1, 1, 2, 2]);
    Ok(())
}

/// The Ethernet address of a host.
fn mac(host: &Host) -> Result<[u8; 6]> {
    let text = host.mac()?;
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
    bytes
        .try_into()
        .ok()
        .with_context(|| format!("{text} is no Ethernet address"))
}

#[test]
fn a_virtual_address_that_a_server_answers_for_as_well_is_told_of() -> Result<()> {
    let scene = Scene::new(1)?;
    let (director, server) = (scene.director(), scene.lab.server(1));
    let host = director.host();
    let agent = director.start()?;
    let (vip, service) = (format!("{VIP6}/128"), format!("[{VIP6}]:80"));
    director.ctl(["-A", "-t", &service])?;
    let address = |host: &Host, verb: &str, more: &[&str]| {
        let words = ["address", verb, &vip, "dev", "eth0"];
        host.run("ip", words.iter().chain(more)).map(drop)
    };
    // It has it on lo as it should, and on its interface too, where it answers.
    address(server, "add", &["nodad"])?;
    host.sysctl("net/ipv6/conf/eth0/accept_dad", "1")?;
    address(host, "delete", &[])?;
    address(host, "add", &[])?;
    let told =
        format!("the virtual address of TCP {service}, {VIP6} on eth0, is another machine's");
    status_until(&director, 1, &format!("\nwarning: {told}"))?;
    assert_eq!(agent.log().matches(&told).count(), 1, "{}", agent.log());

    address(server, "delete", &[])?;
    address(host, "delete", &[])?;
    address(host, "add", &[])?;
    status_until(&director, 0, "")?;
    let again = format!("{VIP6} on eth0 is no duplicate any more");
    assert!(agent.log().contains(&again), "{}", agent.log());
    Ok(())
}

/// Waits until `lb-ctl status` ends with this code and says this.
fn status_until(director: &Director<'_>, code: i32, text: &str) -> Result<()> {
    wait::until(format_args!("status is {code}: {text}"), DEADLINE, || {
        let status = director.ctl_output(["status"])?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        Ok(
            if status.status.code() == Some(code) && said.contains(text) {
                wait::Seen::Done(())
            } else {
                wait::Seen::NotYet(said)
            },
        )
    })
}
