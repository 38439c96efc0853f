//! A small HTTP client that makes many requests and counts who answered.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a connection or an answer may take before it counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Makes HTTP requests, each on a connection of its own, and prints who answered.
#[derive(Debug, Args)]
pub struct Command {
    /// Whom to ask.
    target: SocketAddr,
    /// How many requests to make.
    #[arg(long, default_value_t = 1000)]
    requests: u64,
    /// How many to make at a time.
    #[arg(long, default_value_t = 4)]
    workers: usize,
}

/// Makes the requests and prints the tally.
///
/// # Errors
/// When a request failed.
pub fn run(command: &Command) -> Result<()> {
    let Command {
        target,
        requests,
        workers,
    } = command;
    let tally = burst(*target, *requests, *workers, &AtomicU64::new(0));
    println!("{tally}");
    ensure!(
        tally.failures.is_empty(),
        "{} requests failed",
        tally.failures.len()
    );
    Ok(())
}

/// A connection that is kept open from one request to the next.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
    server: Option<String>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When nobody accepts within [`PATIENCE`].
    pub fn open(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&target, PATIENCE)
            .with_context(|| format!("cannot connect to {target}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            server: None,
        })
    }

    /// The client's end of the connection.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Makes a request and gives the answer's first line: the name of the server.
    ///
    /// # Errors
    /// When no whole answer with status 200 comes within [`PATIENCE`], or another server answers
    /// than before.
    pub fn ask(&mut self) -> Result<String> {
        let name = self.exchange()?;
        let before = self.server.get_or_insert_with(|| name.clone());
        ensure!(
            *before == name,
            "{name} answers on a connection to {before}"
        );
        Ok(name)
    }

    fn exchange(&mut self) -> Result<String> {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
        self.stream
            .get_mut()
            .write_all(REQUEST)
            .context("cannot send the request")?;
        let status = self.line()?;
        ensure!(
            status.starts_with("HTTP/1.1 200 "),
            "the answer is {status:?}"
        );
        let mut length = None;
        loop {
            let header = self.line()?;
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(
                    value
                        .trim()
                        .parse()
                        .context("the answer's length is no number")?,
                );
            }
        }
        let mut body = vec![0; length.context("the answer tells no length")?];
        self.stream
            .read_exact(&mut body)
            .context("the answer is cut short")?;
        let body = String::from_utf8(body).context("the answer is not UTF-8")?;
        Ok(body.lines().next().unwrap_or_default().to_owned())
    }

    /// A line without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("no answer")? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Makes one request on a connection of its own.
///
/// The client closes first, so its port rests in TIME_WAIT and no two requests of a minute come
/// from the same port.
///
/// # Errors
/// As [`Session::open`] and [`Session::ask`].
pub fn fetch(target: SocketAddr) -> Result<String> {
    Session::open(target)?.ask()
}

/// Who answered how often, and what failed.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers by name of the server.
    pub answers: BTreeMap<String, u64>,
    /// Why each failed request failed.
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, answer: Result<String>) {
        match answer {
            Ok(name) => *self.answers.entry(name).or_default() += 1,
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Takes over the counts of another one.
    pub fn add(&mut self, other: Self) {
        let Self { answers, failures } = other;
        for (name, count) in answers {
            *self.answers.entry(name).or_default() += count;
        }
        self.failures.extend(failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.answers {
            writeln!(f, "{name:<10} {count:>8}")?;
        }
        write!(f, "{:<10} {:>8}", "failed", self.failures.len())?;
        if let Some(first) = self.failures.first() {
            write!(f, "   the first: {first}")?;
        }
        Ok(())
    }
}

/// Makes so many requests, each on a connection of its own, so many at a time; `done` counts them
/// while they are made.
#[must_use]
pub fn burst(target: SocketAddr, requests: u64, workers: usize, done: &AtomicU64) -> Tally {
    let tally = Mutex::new(Tally::default());
    let started = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut own = Tally::default();
                while started.fetch_add(1, Ordering::Relaxed) < requests {
                    own.count(fetch(target));
                    done.fetch_add(1, Ordering::Relaxed);
                }
                tally.lock().expect("no worker panics").add(own);
            });
        }
    });
    tally.into_inner().expect("no worker panics")
}

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Tally>>,
}

impl Traffic {
    /// Starts workers that each make a request, on a connection of its own, once a `period`, or
    /// as often as answers come when that is less.
    #[must_use]
    pub fn short(target: SocketAddr, workers: usize, period: Duration) -> Self {
        Self::start((0..workers).map(|_| move || fetch(target)), period)
    }

    /// Starts a worker for each open connection, which makes a request on it once a `period`.
    #[must_use]
    pub fn on_sessions(sessions: Vec<Session>, period: Duration) -> Self {
        Self::start(
            sessions
                .into_iter()
                .map(|mut session| move || session.ask()),
            period,
        )
    }

    /// How many requests were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets the requests under way end, and gives the tally.
    ///
    /// # Panics
    /// When a worker did.
    #[must_use]
    pub fn stop(mut self) -> Tally {
        let mut tally = Tally::default();
        for own in self.end() {
            tally.add(own.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        tally
    }

    fn start<A>(asks: impl Iterator<Item = A>, period: Duration) -> Self
    where
        A: FnMut() -> Result<String> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let work = |mut ask: A| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let next = Instant::now() + period;
                    let answer = ask();
                    answered.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                    tally.count(answer);
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                tally
            })
        };
        let workers = asks.map(work).collect();
        Self {
            stop,
            answered,
            workers,
        }
    }

    fn end(&mut self) -> Vec<thread::Result<Tally>> {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.drain(..).map(JoinHandle::join).collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Sockets of a namespace must not outlive its lab; what the workers say is not asked for.
        drop(self.end());
    }
}
