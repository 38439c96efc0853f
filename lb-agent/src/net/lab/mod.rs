//! The whole module against a real kernel, in network namespaces of its own.
//!
//! The director is the test's own thread in a namespace without a name, which ends with the
//! thread; the other end of its cables is a named namespace, removed when the [`Lab`] is dropped.
//! Waiting is always for an event, bounded by [`PATIENCE`]; nothing sleeps.

mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::{Changes, Duplicate, NextHop, NextHops, Unresolved, Way};

/// How long something may take before the test calls it missing: less than the driver's
/// periodic check, which would otherwise make up for an event that was not acted on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A director with a cable `d0` to the peer's `p0`, both ends with an IPv4 and an IPv6 address,
/// and the next hops seen from there.
struct Lab {
    peer: String,
    next_hops: NextHops,
    changes: Changes,
    ways: HashMap<IpAddr, Way>,
}

/// Runs a test on a thread, a runtime and in a namespace of its own.
fn in_lab(test: impl AsyncFnOnce(&mut Lab) + Send + 'static) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces: run it as root"
    );
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("new network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(&mut Lab::new()).await });
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let peer = format!("lb-net-{}-{number}", std::process::id());
        run(&["ip", "netns", "add", &peer]);
        let (next_hops, changes) = NextHops::spawn().unwrap();
        let lab = Self {
            peer,
            next_hops,
            changes,
            ways: HashMap::new(),
        };
        lab.ip("link set lo up");
        lab.peer_ip("link set lo up");
        lab.cable(0);
        lab
    }

    /// Lays cable `dN` to `pN` with 10.77.N.1 and .2, fd77:N::1 and ::2, addresses
    /// 02:00:00:00:0N:01 and :02.
    fn cable(&self, n: u8) {
        let peer = &self.peer;
        self.ip(&format!(
            "link add d{n} type veth peer name p{n} netns {peer}"
        ));
        self.ip(&format!("link set d{n} address 02:00:00:00:0{n}:01"));
        self.ip(&format!("addr add 10.77.{n}.1/24 dev d{n}"));
        self.ip(&format!("addr add fd77:{n}::1/64 dev d{n} nodad"));
        self.peer_ip(&format!("link set p{n} address 02:00:00:00:0{n}:02"));
        self.peer_ip(&format!("addr add 10.77.{n}.2/24 dev p{n}"));
        self.peer_ip(&format!("addr add fd77:{n}::2/64 dev p{n} nodad"));
        self.ip(&format!("link set d{n} up"));
        self.peer_ip(&format!("link set p{n} up"));
    }

    /// Runs `ip` at the director.
    fn ip(&self, arguments: &str) -> String {
        let mut command = vec!["ip"];
        command.extend(arguments.split_whitespace());
        run(&command)
    }

    /// Runs `ip` at the peer.
    fn peer_ip(&self, arguments: &str) -> String {
        self.ip(&format!("-n {} {arguments}", self.peer))
    }

    /// Sets a sysctl at the peer.
    fn peer_sysctl(&self, setting: &str) {
        run(&["ip", "netns", "exec", &self.peer, "sysctl", "-qw", setting]);
    }

    /// Wants an address and waits until it is settled.
    async fn settle(&mut self, address: &str) -> Way {
        self.next_hops.want([ip(address)]);
        let settled = self.next_hops.settled([ip(address)], PATIENCE).await;
        self.ways.extend(self.changes.take());
        let way = self.ways.get(&ip(address)).cloned();
        assert!(settled, "{address} does not settle: {way:?}");
        way.expect("a settled way is among the changes")
    }

    /// Waits until the way to an address is as told.
    async fn until(&mut self, address: &str, mut is: impl FnMut(&Way) -> bool) -> Way {
        let address = ip(address);
        let wait = async {
            loop {
                if let Some(way) = self.ways.get(&address).filter(|way| is(way)) {
                    return way.clone();
                }
                let changes = self.changes.recv().await.expect("the driver runs");
                self.ways.extend(changes);
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(way) => way,
            Err(_) => panic!("{address} stays {:?}", self.ways.get(&address)),
        }
    }

    /// Waits until an address is reached by Ethernet address `02:00:00:00:<end>`.
    async fn until_at(&mut self, address: &str, end: [u8; 2]) -> NextHop {
        let mac = mac(end);
        let way = self.until(address, |way| at(way) == Some(mac)).await;
        let Way::Resolved(next_hop) = way else {
            unreachable!("it has an Ethernet address")
        };
        next_hop
    }

    /// Waits until exactly these addresses are told to be duplicates.
    async fn until_duplicates(&self, wanted: &[Duplicate]) {
        let wait = async {
            loop {
                assert!(self.changes.ready().await, "the driver runs");
                self.changes.take();
                let told = self.changes.take_duplicates();
                if told.is_some_and(|told| told.iter().eq(wanted)) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        assert!(found.is_ok(), "not told: {wanted:?}");
    }

    /// Waits until the director's neighbour entries for an address read as told.
    async fn until_entry(&self, address: &str, is: impl Fn(&str) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let entry = self.ip(&format!("neighbour show {address} nud all"));
            if is(&entry) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{address} stays {entry:?}"
            );
            // A command answered is a turn of the driver.
            self.next_hops.way(ip(address)).await;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.peer]);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(end: [u8; 2]) -> [u8; 6] {
    [2, 0, 0, 0, end[0], end[1]]
}

fn at(way: &Way) -> Option<[u8; 6]> {
    match way {
        Way::Resolved(next_hop) => Some(next_hop.destination),
        Way::Unresolved(_) => None,
    }
}

fn why(way: &Way) -> Option<&Unresolved> {
    match way {
        Way::Resolved(_) => None,
        Way::Unresolved(why) => Some(why),
    }
}

fn run(command: &[&str]) -> String {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .expect("command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}
