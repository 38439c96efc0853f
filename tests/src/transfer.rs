//! Transfers of which every byte is checked: files by curl and nginx, and numbered datagrams.

use crate::nginx;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xtask::lab::host::Host;

/// Bytes of a file.
pub const FILE: usize = 10_000_000;

/// How many datagrams [`datagrams`] sends.
pub const DATAGRAMS: u32 = 1000;

/// How long an answer to a datagram may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a file may take, on a busy machine: seconds.
const FILE_PATIENCE: &str = "60";

/// A file that a client and its servers have.
#[derive(Debug)]
pub struct File<'a> {
    client: &'a Host,
    sum: String,
}

impl<'a> File<'a> {
    /// Gives it to the client, and to the nginx of each server.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(client: &'a Host, servers: &[&Host]) -> Result<Self> {
        let data = bytes(0, FILE);
        let own = client.dir().join("file");
        fs::write(&own, &data)?;
        let sum = sum(client, &own)?;
        for server in servers {
            let path = nginx::files(server).join("file");
            fs::write(&path, &data)?;
            ensure!(self::sum(server, &path)? == sum, "the copies differ");
        }
        Ok(Self { client, sum })
    }

    /// Has the client get it from a service, and compares the SHA-256 sums.
    ///
    /// # Errors
    /// When that takes too long, or something else arrives.
    pub fn download(&self, service: SocketAddr) -> Result<()> {
        let to = self.client.dir().join("downloaded");
        let url = format!("http://{service}/files/file");
        self.curl(["--output", &to.display().to_string(), &url])
            .context("download")?;
        self.compare(self.client, &to).context("download")
    }

    /// Has the client put it on a server by way of a service, and compares the SHA-256 sums.
    ///
    /// # Errors
    /// When that takes too long, or something else arrives.
    pub fn upload(&self, service: SocketAddr, server: &Host) -> Result<()> {
        let from = self.client.dir().join("file");
        let url = format!("http://{service}/files/uploaded");
        self.curl(["--upload-file", &from.display().to_string(), &url])
            .context("upload")?;
        self.compare(server, &nginx::files(server).join("uploaded"))
            .context("upload")
    }

    fn curl<const N: usize>(&self, args: [&str; N]) -> Result<()> {
        let common = "--silent --show-error --fail --globoff --max-time";
        let common = common.split(' ').chain([FILE_PATIENCE]);
        self.client.run("curl", common.chain(args)).map(drop)
    }

    /// Compares what arrived at a host, and removes it.
    fn compare(&self, host: &Host, path: &Path) -> Result<()> {
        let len = fs::metadata(path)
            .with_context(|| format!("nothing arrived at {}", host.name()))?
            .len();
        let sum = sum(host, path)?;
        fs::remove_file(path)?;
        ensure!(
            sum == self.sum,
            "{len} bytes with the sum {sum} arrived at {}, not {FILE} with {}",
            host.name(),
            self.sum
        );
        Ok(())
    }
}

/// The SHA-256 sum of a file, as a program on a host says it.
fn sum(host: &Host, path: &Path) -> Result<String> {
    let said = host.run("sha256sum", [path])?;
    let sum = said.split(' ').next().unwrap_or_default();
    ensure!(sum.len() == 64, "sha256sum says {said:?}");
    Ok(sum.to_owned())
}

/// Sends [`DATAGRAMS`] datagrams of up to `longest` bytes from a client to a service, and waits for
/// each to come back as it was sent.
///
/// # Errors
/// When one does not come back, or another one, or one twice.
pub fn datagrams(client: &Host, service: SocketAddr, longest: usize) -> Result<()> {
    /// Datagrams that are under way at once: no queue on the way is as short.
    const WINDOW: usize = 32;

    client.inside(|| -> Result<()> {
        let socket = match service {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
        }?;
        socket.connect(service)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut missing = BTreeSet::new();
        let mut answer = vec![0; 1 << 16];
        let mut receive = |missing: &mut BTreeSet<u32>| -> Result<()> {
            let received = socket.recv(&mut answer);
            let len = received.with_context(|| format!("no answer to {missing:?}"))?;
            let number = answer[..len].first_chunk().map(|n| u32::from_be_bytes(*n));
            let number = number.with_context(|| format!("an answer of {len} bytes"))?;
            ensure!(
                missing.remove(&number),
                "an answer to {number}, not {missing:?}"
            );
            ensure!(
                answer[..len] == datagram(number, longest),
                "datagram {number} came back altered"
            );
            Ok(())
        };
        for number in 0..DATAGRAMS {
            while missing.len() >= WINDOW {
                receive(&mut missing)?;
            }
            missing.insert(number);
            let sent = socket.send(&datagram(number, longest));
            sent.with_context(|| format!("cannot send datagram {number}"))?;
        }
        while !missing.is_empty() {
            receive(&mut missing)?;
        }
        Ok(())
    })?
}

/// The datagram of a number, which it begins with; every fourth is as long as can be.
fn datagram(number: u32, longest: usize) -> Vec<u8> {
    const HEAD: usize = 4;

    let room = longest - HEAD;
    let len = match number % 4 {
        0 => room,
        _ => number as usize * 37 % room,
    };
    [&number.to_be_bytes()[..], &bytes(number.into(), len)].concat()
}

/// So many bytes that are unlike those of every other seed (SplitMix64).
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((x ^ x >> 31).to_le_bytes())
    };
    let mut bytes: Vec<u8> = std::iter::from_fn(word)
        .take(len.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(len);
    bytes
}

/// Sends every datagram back, until it is stopped or dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Echo {
    /// Starts on an address that the host holds.
    ///
    /// # Errors
    /// When the address is taken or not there.
    pub fn start(host: &Host, listen: SocketAddr) -> Result<Self> {
        let socket = host
            .inside(|| UdpSocket::bind(listen))?
            .with_context(|| format!("{} cannot listen on {listen}", host.name()))?;
        // So that the thread notices the end.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || echo(&socket, &stop)
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops it, and gives how many datagrams there were.
    ///
    /// # Panics
    /// When an answer could not be sent.
    #[must_use]
    pub fn stop(mut self) -> u32 {
        self.end()
            .map_or(0, |count| count.expect("the echo does not panic"))
    }

    fn end(&mut self) -> Option<thread::Result<u32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(Err(panic)) = self.end() {
            eprintln!("the echo panicked: {panic:?}");
        }
    }
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) -> u32 {
    let mut buffer = vec![0; 1 << 16];
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        // None came in time, otherwise.
        if let Ok((len, client)) = socket.recv_from(&mut buffer) {
            socket
                .send_to(&buffer[..len], client)
                .expect("the client can be reached");
            count += 1;
        }
    }
    count
}
