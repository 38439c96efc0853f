//! What operators wait for: rules, listings and edits of 10,000 services with ten servers each,
//! and of a million connections. By the release builds, in a lab, and as operators do it: a
//! process of lb-ctl each, from its start to its end.

use super::target::Figure;
use crate::lab::Lab;
use crate::lab::director::{Director, Programs};
use crate::lab::plan::{self, Plan, VIP};
use anyhow::{Context as _, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const SERVICES: u32 = 10_000;

/// Of each service.
const SERVERS: usize = 10;

const CONNECTIONS: u32 = 1_000_000;

/// The table finds room for nearly all of those that it is made for.
const ENOUGH: u32 = CONNECTIONS / 1000 * 999;

/// The UDP port of the first service, to which the connections are.
const PORT: u16 = 9;

/// Measures, and gives the figures.
///
/// # Errors
/// When there is no lab, or lb-ctl fails.
pub(super) fn figures() -> anyhow::Result<Vec<Figure>> {
    let programs = Programs::build()?;
    let lab = Lab::up(&Plan::servers(SERVERS))?;
    let director = Director::new(&lab, 1, programs);
    let _agent = director.start()?;
    let ctl = Ctl::new(&director);
    let rules = ctl.directory.join("rules");
    fs::write(&rules, self::rules())?;

    let mut figures = Vec::new();
    let restored = median(3, || {
        ctl.run(&["-C"], None)?;
        ctl.run(&["-R"], Some(&rules))
    })?;
    let what = format!("s: -R of {SERVICES} services of {SERVERS} servers");
    figures.push(Figure::new("P11", what, restored, 2.0));
    for listing in [["-L", "-n"], ["-S", "-n"]] {
        let listed = median(3, || ctl.run(&listing, None))?;
        let lines = ctl.lines()?;
        ensure!(
            lines >= SERVICES as usize * (SERVERS + 1),
            "{listing:?} has {lines} lines"
        );
        let what = format!("s: {} of them", listing.join(" "));
        figures.push(Figure::new("P11", what, listed, 2.0));
    }

    connect(&lab, &director)?;
    let listed = median(3, || ctl.run(&["-L", "-n", "-c"], None))?;
    let connections = ctl.lines()?.saturating_sub(2);
    ensure!(
        connections >= ENOUGH as usize,
        "only {connections} connections"
    );
    let what = format!("s: -L -n -c of {connections} connections");
    figures.push(Figure::new("P12", what, listed, 2.0));
    let mut weight = 1;
    let edited = median(21, || {
        weight += 1;
        let server = plan::server_address(1).to_string();
        let (service, weight) = (format!("{}:80", address(1)), weight.to_string());
        let edit = ["-e", "-t", &service, "-r", &server, "-g", "-w", &weight];
        ctl.run(&edit, None)
    })?;
    let what = format!("ms: one edit beside {connections} connections");
    figures.push(Figure::new("P11", what, edited * 1000.0, 5.0));
    Ok(figures)
}

/// lb-ctl, with a file for what it prints.
struct Ctl {
    program: std::path::PathBuf,
    socket: std::path::PathBuf,
    directory: std::path::PathBuf,
}

impl Ctl {
    fn new(director: &Director<'_>) -> Self {
        Self {
            program: director.programs().ctl.clone(),
            socket: director.socket(),
            directory: director.host().dir().to_owned(),
        }
    }

    /// Runs it; gives the seconds that it took.
    fn run(&self, options: &[&str], input: Option<&Path>) -> anyhow::Result<f64> {
        let mut command = Command::new(&self.program);
        command
            .args(options)
            .env("LB_SOCKET", &self.socket)
            .stdin(match input {
                Some(path) => File::open(path)?.into(),
                None => Stdio::null(),
            })
            .stdout(File::create(self.directory.join("listing"))?);
        let start = Instant::now();
        let status = command.status().context("cannot run lb-ctl")?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(status.success(), "lb-ctl {options:?}: {status}");
        Ok(seconds)
    }

    /// How many lines it printed last.
    fn lines(&self) -> anyhow::Result<usize> {
        let listing = fs::read(self.directory.join("listing"))?;
        Ok(listing.iter().filter(|byte| **byte == b'\n').count())
    }
}

fn median(times: usize, mut run: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let seconds: anyhow::Result<Vec<f64>> = (0..times).map(|_| run()).collect();
    let mut seconds = seconds?;
    seconds.sort_by(f64::total_cmp);
    seconds.get(times / 2).copied().context("nothing measured")
}

/// The address of a service, counted from 0; that of number 0 is another.
fn address(service: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 100, 0, 0).to_bits() + service)
}

fn rules() -> String {
    let mut rules = String::new();
    let web = (1..SERVICES).map(|number| (format!("-t {}:80", address(number)), 80));
    for (service, port) in [(format!("-u {VIP}:{PORT}"), PORT)].into_iter().chain(web) {
        // Writing to memory does not fail.
        let _ = writeln!(rules, "-A {service} -s wlc");
        for number in 1..=SERVERS {
            let server = plan::server_address(number);
            let _ = writeln!(rules, "-a {service} -r {server}:{port} -g -w {number}");
        }
    }
    rules
}

/// Sends the first datagram of each connection, from an address and port of its own.
fn connect(lab: &Lab, director: &Director<'_>) -> anyhow::Result<()> {
    director.ctl(["--set", "0", "0", "86400"])?;
    // Without the virtual address servers answer nothing.
    let vip = format!("{VIP}/32");
    for number in 1..=SERVERS {
        let server = lab.server(number);
        server.run("ip", ["address", "del", &vip, "dev", "lo"])?;
    }
    // A busy machine loses some on the way; those that arrive again change nothing.
    for _ in 0..10 {
        lab.client().inside(send)??;
        if connections(director)? >= ENOUGH {
            return Ok(());
        }
    }
    bail!("only {} connections", connections(director)?)
}

fn send() -> anyhow::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let raw = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?;
    let to = SockaddrIn::from(SocketAddrV4::new(VIP, 0));
    for number in 0..CONNECTIONS {
        sendto(raw.as_raw_fd(), &datagram(number), &to, MsgFlags::empty())?;
    }
    Ok(())
}

/// How many connections the first service has.
fn connections(director: &Director<'_>) -> anyhow::Result<u32> {
    let service = SocketAddrV4::new(VIP, PORT).to_string();
    let listing = director.ctl(["-L", "-n", "-u", &service])?;
    let servers = listing.lines().filter(|line| line.ends_with(' '));
    let counts = servers.filter_map(|line| line.split_whitespace().last());
    Ok(counts.map(str::parse::<u32>).sum::<Result<u32, _>>()?)
}

/// An IPv4 packet with an empty UDP datagram; the kernel fills in what is left 0 of its header.
fn datagram(connection: u32) -> [u8; 28] {
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(10, 16, 0, 0).to_bits() + (connection >> 10));
    let port = 1024 + (connection & 1023) as u16;
    let mut packet = [0; 28];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&VIP.octets());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&PORT.to_be_bytes());
    packet[24..26].copy_from_slice(&8_u16.to_be_bytes());
    packet
}
