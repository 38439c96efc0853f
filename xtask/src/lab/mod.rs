//! A network of namespaces on one machine: a client, directors and real servers on one bridge.
//!
//! ```text
//!   client 10.0.0.1   director1 10.0.0.2   server1 10.0.0.11   server2 10.0.0.12   ...
//!      eth0              eth0 + VIP           eth0, VIP on lo     eth0, VIP on lo
//!        |                 |                    |                   |
//!     [client]         [director1]          [server1]           [server2]
//!   ======================== br0, in the namespace "bridge" ========================
//! ```
//!
//! [`plan`] holds the addresses. Every host is a network namespace `lblab-NAME.HOST`, joined to
//! the bridge by a veth pair whose ends are created inside the two namespaces, so that nothing
//! ever appears among the machine's own interfaces.
//!
//! What makes DR over veth work, and is easily forgotten:
//!
//! - A frame sent by `XDP_TX` reaches the veth peer only if the peer carries an XDP program too.
//!   The bridge's end of each director's pair therefore carries one that returns `XDP_PASS`
//!   ([`xdp_pass`]).
//! - With checksum offload, frames reach XDP with unfinished checksums. `ethtool -K eth0 tx off`
//!   in every host makes the sender finish them.
//! - Real servers hold the VIP on `lo` and must keep quiet about it: `arp_ignore=1`,
//!   `arp_announce=2`.
//! - `ip netns exec` gives each command its own mount namespace with a fresh `/sys`, so what an
//!   agent mounts below `/sys/fs/bpf` is gone with that agent. The lab mounts one bpffs of its
//!   own, outside `/sys` and before any command starts; every later mount namespace is a copy
//!   that holds the same bpffs, so pins made by one agent are there for the next
//!   ([`Lab::pin_path`]).
//!
//! A lab of a test or demo belongs to the process that built it and goes with it; `cargo xtask
//! lab up` builds one that stays. All there is of a lab is found by its name: the namespaces and
//! one directory `/run/lblab-NAME` ([`register`]). So whatever an interrupted run left is removed
//! by the next one.

pub mod background;
pub mod director;
pub mod host;
pub mod interrupt;
pub mod listing;
pub mod plan;
pub mod real_server;
pub mod register;
pub mod verb;
pub mod wait;
pub mod xdp_pass;

mod build;

use self::host::Host;
use self::plan::Plan;
use self::register::Owner;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A lab that is up; dropping it removes it.
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
    hosts: Vec<Host>,
    kept: bool,
}

impl Lab {
    /// Builds a lab under a name of its own, which this process owns.
    ///
    /// # Errors
    /// Without root, `ip` or `ethtool`, or when the kernel lacks veth, bridge or XDP.
    pub fn up(plan: &Plan) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("p{}-{turn}", std::process::id()), plan)
    }

    /// Builds a lab under a given name, which this process owns. What a dead owner left under
    /// any name is removed first.
    ///
    /// # Errors
    /// As [`Lab::up`], and when a lab of this name is up.
    pub fn named(name: &str, plan: &Plan) -> Result<Self> {
        Self::build(name, plan, Owner::this_process()?)
    }

    /// Builds a lab that outlives this process; [`register::remove`] removes it.
    ///
    /// # Errors
    /// As [`Lab::named`].
    pub fn keep(name: &str, plan: &Plan) -> Result<()> {
        Self::build(name, plan, Owner::Nobody)?.kept = true;
        Ok(())
    }

    fn build(name: &str, plan: &Plan, owner: Owner) -> Result<Self> {
        register::sweep()?;
        let dir = register::claim(name, owner)?;
        // From here on dropping the lab removes whatever was built before an error.
        let mut lab = Self {
            name: name.to_owned(),
            dir,
            hosts: Vec::new(),
            kept: false,
        };
        build::lab(&mut lab, plan).with_context(|| format!("cannot build lab {name}"))?;
        Ok(lab)
    }

    /// The lab's name, unique on the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's directory; it goes with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory on the lab's bpffs, for `lb-agent --pin-path`; the agent creates it. One for
    /// each director, for they do not share pins.
    #[must_use]
    pub fn pin_path(&self, director: usize) -> PathBuf {
        register::bpffs(&self.dir).join(format!("lb{director}"))
    }

    /// The host of a name: `client`, `director1`, `server1`, ..., or `bridge`.
    ///
    /// # Panics
    /// When the lab has no such host.
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .unwrap_or_else(|| panic!("lab {} has no host {name}", self.name))
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Host {
        self.host("client")
    }

    /// A director, counted from 1.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn director(&self, number: usize) -> &Host {
        self.host(&plan::director(number))
    }

    /// A real server, counted from 1.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn server(&self, number: usize) -> &Host {
        self.host(&plan::server(number))
    }

    /// Adds a host that has nothing but a loopback interface, for networks that not every lab has.
    /// It goes with the lab.
    ///
    /// # Errors
    /// When the lab has one of this name.
    pub fn add(&mut self, name: &str) -> Result<()> {
        let host = build::namespace(self, name)?;
        let up = host.run("ip", ["link", "set", "lo", "up"]);
        self.hosts.push(host);
        up.map(drop)
    }

    /// Gives a director, counted from 1, another interface in the place of its own, with the same
    /// name and addresses.
    ///
    /// # Errors
    /// When it cannot be taken away or made.
    pub fn replace_interface(&self, director: usize) -> Result<()> {
        build::replace_interface(self, director)
    }

    /// All hosts, the bridge first.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = register::remove(&self.name) {
            eprintln!(
                "lab {}: not all of it could be removed: {error:#}; `cargo xtask lab down --name {}` \
                 tries again",
                self.name, self.name
            );
        }
    }
}
