//! A flood of connections that nobody means to use.

use crate::no_server::counted;
use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use lb_tests::scene::{self, DEADLINE, Scene};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket,
};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use xtask::lab::director::Director;
use xtask::lab::host::Host;
use xtask::lab::plan::VIP;
use xtask::lab::wait::{self, Seen};

/// Room for flows: a small part of the SYNs.
const FLOWS: u32 = 4096;

/// The table is made twice as large.
const ENTRIES: u64 = 2 * FLOWS as u64;

/// Connections of the flood that the director makes before the flood ends: many times as many as
/// there is room for.
const OPENED: u64 = 50_000;

/// Half of them are used during the flood, half after it only.
const SESSIONS: usize = 200;

#[test]
fn a_flood_of_syns_disturbs_no_connection_and_no_agent() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let mut agent = director.agent("eth0");
    agent.args(["--flows", &FLOWS.to_string()]);
    let _agent = director.start_with(agent)?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let mut idle = scene.sessions(SESSIONS)?;
    let busy = idle.split_off(SESSIONS / 2);
    let traffic = scene.traffic_on(busy, Duration::from_millis(20))?;

    let mac = director.host().mac()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let flood = scope.spawn(|| flood(scene.lab.client(), &mac, &stop));
        // How many arrive, and when, is up to the machine. By the deadline none of them is over.
        let opened = wait::until("the flood has arrived", DEADLINE, || {
            Ok(match opened(&director)? {
                opened if opened < OPENED && !flood.is_finished() => {
                    Seen::NotYet(format!("{opened} of {OPENED} connections"))
                }
                _ => Seen::Done(()),
            })
        });
        stop.store(true, Ordering::Relaxed);
        flood.join().expect("the flood does not panic")?;
        opened
    })?;
    for session in &mut idle {
        session.ask()?;
    }
    let tally = traffic.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert!(tally.answered() > 0);
    // There was not room for all, and there is for new ones.
    let opened = opened(&director)?;
    let untracked = counted(&director, "untracked")?;
    let evicted = counted(&director, "evicted")?;
    let what = format!("{opened} opened, {evicted} evicted, {untracked} untracked");
    assert!(opened >= OPENED, "{what}");
    assert!(evicted + untracked + ENTRIES >= opened, "{what}");
    assert!(evicted > opened / 2, "{what}");
    let by = BTreeSet::from_iter(scene.fetch(4)?);
    assert_eq!(by.len(), 2);
    Ok(())
}

/// Connections that the servers were given.
fn opened(director: &Director<'_>) -> Result<u64> {
    Ok(scene::counted(director)?.values().sum())
}

/// Sends SYNs for the virtual service, each from another client that does not exist, to this
/// Ethernet address, until told to stop.
fn flood(host: &Host, mac: &str, stop: &AtomicBool) -> Result<()> {
    let mut to = [0; 6];
    for (byte, text) in to.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).with_context(|| mac.to_owned())?;
    }
    host.inside(|| -> Result<()> {
        let eth0 = getifaddrs()?
            .filter(|interface| interface.interface_name == "eth0")
            .find_map(|interface| interface.address?.as_link_addr().copied());
        let eth0: LinkAddr = eth0.context("there is no eth0")?;
        let from = eth0.addr().context("eth0 has no Ethernet address")?;
        let (flags, all) = (SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all)?;
        let mut frame = Vec::new();
        for number in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // Of the network for benchmarks (RFC 2544), in no order.
            let mixed = number.wrapping_mul(0x9e37_79b1);
            let client = (u32::from_be_bytes([198, 18, 0, 0]) | mixed >> 15).to_be_bytes();
            let port = 1024 + (number % 60_000) as u16;
            frame.clear();
            PacketBuilder::ethernet2(from, to)
                .ipv4(client, VIP.octets(), 64)
                .tcp(port, 80, mixed, 64_000)
                .syn()
                .write(&mut frame, &[])?;
            sendto(socket.as_raw_fd(), &frame, &eth0, MsgFlags::empty())?;
        }
        Ok(())
    })?
}
