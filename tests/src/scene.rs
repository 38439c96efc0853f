//! A lab with nginx on every real server and, when asked for, a running director.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use xtask::lab::background::Background;
use xtask::lab::director::{Director, Programs};
use xtask::lab::plan::{self, Plan, VIP};
use xtask::lab::{Lab, listing, wait};
use xtask::load::{self, Session, Traffic};

use crate::nginx;

/// The virtual service of the scenes, as `lb-ctl` takes it.
pub const SERVICE: &str = "10.0.0.100:80";

/// How long something may take that has to happen, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A lab, its real servers and the programs under test.
#[derive(Debug)]
pub struct Scene {
    // Dropped in this order: the servers, the lab, the turn.
    servers: Mutex<BTreeMap<usize, Background>>,
    /// The network.
    pub lab: Lab,
    programs: Programs,
    _turn: File,
}

impl Scene {
    /// Builds a lab with so many real servers, all of which answer.
    ///
    /// Scenes take turns, also those of other test processes: each keeps the machine busy.
    ///
    /// # Errors
    /// Without root, nginx, or the release builds of the programs.
    pub fn new(servers: usize) -> Result<Self> {
        let programs = Programs::built()?;
        // A file that is there anyway: a lock on it leaves nothing behind.
        let turn = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))?;
        turn.lock()
            .context("cannot wait for the turn of this test")?;
        let lab = Lab::up(&Plan::servers(servers))?;
        let nginx = |n| Ok((n, nginx::start(lab.server(n))?));
        let nginx: Result<BTreeMap<_, _>> = (1..=servers).map(nginx).collect();
        let scene = Self {
            servers: Mutex::new(nginx?),
            lab,
            programs,
            _turn: turn,
        };
        for number in 1..=servers {
            scene.answers(plan::server_address(number).into())?;
        }
        Ok(scene)
    }

    /// Ends the nginx of a real server, counted from 1.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop_server(&self, number: usize) -> Result<()> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nginx = servers.remove(&number).context("that server is dead")?;
        // SIGTERM: a master that is killed leaves a worker, which would serve on.
        nginx.terminate()?;
        Ok(())
    }

    /// Starts the nginx of a real server anew, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_server(&self, number: usize) -> Result<()> {
        let nginx = nginx::start(self.lab.server(number))?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.insert(number, nginx);
        self.answers(plan::server_address(number).into())
    }

    /// The first director; nothing runs on it yet.
    #[must_use]
    pub fn director(&self) -> Director<'_> {
        Director::new(&self.lab, 1, self.programs.clone())
    }

    /// Makes requests to the virtual service one after the other, each on a connection of its
    /// own; gives the servers' numbers in the order they answered.
    ///
    /// # Errors
    /// When a request fails.
    pub fn fetch(&self, requests: usize) -> Result<Vec<usize>> {
        self.lab.client().inside(|| {
            let one =
                |at| server_number(&load::fetch(vip()).with_context(|| format!("request {at}"))?);
            (1..=requests).map(one).collect()
        })?
    }

    /// Opens connections to the virtual service, and makes a request on each.
    ///
    /// # Errors
    /// When one fails.
    pub fn sessions(&self, count: usize) -> Result<Vec<Session>> {
        let open = |_| {
            let mut session = Session::open(vip())?;
            session.ask()?;
            Ok(session)
        };
        self.lab
            .client()
            .inside(|| (0..count).map(open).collect())?
    }

    /// Starts requests to the virtual service that go on until stopped, each on a connection of
    /// its own.
    ///
    /// # Errors
    /// When the client's namespace cannot be entered.
    pub fn traffic(&self, workers: usize, period: Duration) -> Result<Traffic> {
        self.lab
            .client()
            .inside(|| Traffic::short(vip(), workers, period))
    }

    /// Starts requests on open connections that go on until stopped.
    ///
    /// # Errors
    /// When the client's namespace cannot be entered.
    pub fn traffic_on(&self, sessions: Vec<Session>, period: Duration) -> Result<Traffic> {
        self.lab
            .client()
            .inside(|| Traffic::on_sessions(sessions, period))
    }

    /// Waits until a client's request to port 80 of an address is answered.
    ///
    /// # Errors
    /// At the deadline.
    pub fn answers(&self, address: std::net::IpAddr) -> Result<()> {
        let target = SocketAddr::new(address, 80);
        wait::until(format_args!("{target} answers"), DEADLINE, || {
            Ok(match self.lab.client().inside(|| load::fetch(target))? {
                Ok(_) => wait::Seen::Done(()),
                Err(error) => wait::Seen::NotYet(format!("{error:#}")),
            })
        })
    }
}

/// The virtual service's address.
#[must_use]
pub fn vip() -> SocketAddr {
    SocketAddr::from((VIP, 80))
}

/// A server of the lab, counted from 1, as `lb-ctl` takes it.
#[must_use]
pub fn server(number: usize) -> String {
    format!("{}:80", plan::server_address(number))
}

/// Adds the virtual service with servers of these weights, the first one first.
///
/// # Errors
/// When `lb-ctl` refuses.
pub fn add_service(director: &Director<'_>, scheduler: &str, weights: &[u32]) -> Result<()> {
    director.ctl(["-A", "-t", SERVICE, "-s", scheduler])?;
    for (number, weight) in (1..).zip(weights) {
        let (server, weight) = (server(number), weight.to_string());
        director.ctl(["-a", "-t", SERVICE, "-r", &server, "-g", "-w", &weight])?;
    }
    Ok(())
}

/// The connections that the director counted, by the server's number.
///
/// # Errors
/// When the listing cannot be had.
pub fn counted(director: &Director<'_>) -> Result<BTreeMap<usize, u64>> {
    let stats = listing::stats(&director.ctl(["-L", "-n", "--stats", "--exact"])?)?;
    stats
        .iter()
        .map(|stats| {
            let number = (1..=plan::MOST_SERVERS)
                .find(|&number| stats.server.ip() == plan::server_address(number))
                .with_context(|| format!("{} is no server of the lab", stats.server))?;
            Ok((number, stats.connections))
        })
        .collect()
}

/// The number in a server's name.
///
/// # Errors
/// When it is no server's name.
pub fn server_number(name: &str) -> Result<usize> {
    let number = name
        .strip_prefix("server")
        .and_then(|number| number.parse().ok());
    ensure!(number.is_some(), "{name:?} is no server of the lab");
    number.context("it was found")
}
