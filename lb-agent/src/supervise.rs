//! The running agent: start, periodic tasks, signals, stop.

use crate::config::Config;
use crate::control::{self, Ways};
use crate::director::{Director, Shared, check_supported};
use crate::model::Datapath;
use crate::net::NextHops;
use crate::punt::Reader;
use crate::rates;
use crate::state::{Lock, Store};
use anyhow::Context;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often expired flows are reclaimed and the journal is looked after.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a long or broken journal is looked for.
const COMPACT: Duration = Duration::from_secs(5);

/// How long clients have to take their answers once the agent is to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT. Then the state is written and the socket removed, and the
/// datapath forwards on.
///
/// # Errors
/// When something that is needed is missing or another's; nothing is left half-done.
pub(crate) fn run(
    config: &Config,
    open: impl FnOnce(&Config) -> anyhow::Result<Box<dyn Datapath>>,
) -> anyhow::Result<()> {
    let _lock = Lock::take(&config.state_dir)?;
    let (store, state) = Store::open(&config.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        // The socket first: it is the last that can be another agent's, and needs no undoing.
        let socket = control::Socket::bind(&config.socket)?;
        // What can fail comes before the datapath is touched.
        check_supported(&state.model)?;
        let (hops, changes) = NextHops::spawn().context("cannot listen to the kernel's routes")?;
        let director = Shared::new(Director::start(
            store,
            state,
            open(config)?,
            config.settings.clone(),
        )?);
        director
            .with({
                let hops = hops.clone();
                move |director| director.follow(hops)
            })
            .await;
        let (stopping, stopped) = watch::channel(false);
        let ways = Ways { hops, changes };
        let punts = director.with(Director::take_punts).await;
        let punts = punts.context("cannot read the program's packets")?;
        let reader = match punts {
            Some(punts) => Some(Reader::new(punts, director.clone(), &config.state_dir)?),
            None => None,
        };
        // Who is answered may count on the helpers.
        let server = tokio::spawn(control::serve(
            socket,
            director.clone(),
            ways.clone(),
            stopped,
        ));
        let tasks = [
            tokio::spawn(async move {
                if let Some(reader) = reader {
                    reader.run().await;
                }
            }),
            tokio::spawn(follow_ways(director.clone(), ways)),
            every(SWEEP, &director, Director::sweep),
            every(rates::PERIOD, &director, Director::tick_rates),
            every(COMPACT, &director, Director::compact_if_due),
            tokio::spawn(sync_journal(director.clone())),
        ];
        tracing::info!("ready, listening on {}", config.socket.display());

        stop.requested().await;
        stopping.send_replace(true);
        if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
            tracing::warn!("clients that took no answer were cut off");
        }
        for task in tasks {
            task.abort();
        }
        director.with(Director::compact).await;
        tracing::info!("stopped; the datapath forwards on");
        Ok(())
    })
}

/// Calls `work` on the director every `period`, late rather than twice.
fn every(
    period: Duration,
    director: &Shared,
    work: fn(&mut Director),
) -> tokio::task::JoinHandle<()> {
    let director = director.clone();
    tokio::spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await; // the first comes at once
        loop {
            ticks.tick().await;
            director.with(work).await;
        }
    })
}

/// Brings what is found out about the ways to servers into the datapath.
async fn follow_ways(director: Shared, ways: Ways) {
    while ways.changes.ready().await {
        let changes = ways.changes.clone();
        director
            .with(move |director| director.take_ways(&changes))
            .await;
    }
}

/// Syncs the journal every second, without holding the director meanwhile.
async fn sync_journal(director: Shared) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(file) = director.with(Director::unsynced).await else {
            continue;
        };
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        if let Ok(Err(error)) = synced {
            tracing::warn!("cannot sync the journal: {error}");
        }
    }
}

/// The signals that concern the agent.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a request to stop.
    async fn requested(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::info!("SIGHUP has no meaning yet: restart the agent to read its configuration");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::XdpMode;
    use crate::director::memory::Memory;
    use crate::state::tests::TestDirectory;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    #[test]
    fn sigterm_stops_it_with_the_state_written_and_the_socket_removed() {
        let directory = TestDirectory::new();
        let config = Config {
            interfaces: vec!["lo".to_owned()],
            socket: directory.join("agent.sock"),
            pin_path: directory.join("pins"),
            state_dir: directory.join("state"),
            xdp_mode: XdpMode::Auto,
            flows: 1024,
            settings: std::collections::BTreeMap::new(),
            ftp_ports: vec![21],
        };
        let (opened, listens) = mpsc::channel();
        let agent = std::thread::spawn({
            let config = config.clone();
            move || {
                run(&config, |_| {
                    opened.send(()).expect("the test waits");
                    Ok(Box::new(Memory::default()))
                })
            }
        });
        listens.recv().expect("it gets as far as the datapath");
        // The socket listens by now; the answer comes when all is running.
        let mut client = UnixStream::connect(&config.socket).expect("it listens");
        client
            .write_all(b"GET /v1/agent HTTP/1.1\r\nhost: lb\r\nconnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

        for ignored_then_obeyed in [Signal::SIGHUP, Signal::SIGTERM] {
            kill(Pid::this(), ignored_then_obeyed).expect("our own process");
        }
        agent.join().expect("no panic").expect("a clean stop");
        assert!(!config.socket.exists());
        assert!(config.state_dir.join("state.json").exists());
    }

    #[test]
    fn a_datapath_that_does_not_open_leaves_no_socket() {
        let directory = TestDirectory::new();
        let config = Config {
            interfaces: vec!["lo".to_owned()],
            socket: directory.join("agent.sock"),
            pin_path: directory.join("pins"),
            state_dir: directory.join("state"),
            xdp_mode: XdpMode::Auto,
            flows: 1024,
            settings: std::collections::BTreeMap::new(),
            ftp_ports: vec![21],
        };
        let error = run(&config, |_| anyhow::bail!("no such interface")).expect_err("none");
        assert_eq!(error.to_string(), "no such interface");
        assert!(!config.socket.exists());
    }
}
