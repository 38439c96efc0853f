//! `cargo xtask demo`: HTTP traffic through the XDP program, and what happens to it when the agent
//! is killed.

use crate::lab::background::Background;
use crate::lab::director::{Director, Programs};
use crate::lab::plan::{self, Plan, VIP};
use crate::lab::{Lab, host::Host, interrupt, listing, wait};
use crate::load::{self, Session, Tally, Traffic};
use crate::setup::{self, Group};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::env;
use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const LAB: &str = "demo";
const SERVERS: usize = 3;
/// Requests under way at a time.
const WORKERS: usize = 4;
/// Connections that are held open from before the kill until after the restart.
const HELD: usize = 12;
const DEADLINE: Duration = Duration::from_secs(30);

/// Balances HTTP requests over three real servers, kills the agent meanwhile, and shows that
/// nobody notices.
#[derive(Debug, Args)]
pub struct Command {
    /// How many requests to make.
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u64).range(100..))]
    requests: u64,
}

/// Runs the demo.
///
/// # Errors
/// When something cannot be set up, a request fails, a server gets none, or a connection is lost.
pub fn run(command: &Command) -> Result<()> {
    let result = tour(command.requests);
    interrupt::settle();
    result
}

fn tour(requests: u64) -> Result<()> {
    println!("lb: a layer-4 load balancer in XDP, driven like ipvsadm");

    step("Building lb-agent and lb-ctl");
    setup::ensure(&[Group::Build, Group::Lab])?;
    let programs = Programs::build()?;

    step("Building a network of namespaces");
    interrupt::removes(LAB)?;
    let lab = Lab::named(LAB, &Plan::servers(SERVERS))?;
    let _servers = (1..=SERVERS)
        .map(|n| serve(lab.server(n)))
        .collect::<Result<Vec<_>>>()?;
    for number in 1..=SERVERS {
        answers(&lab, number)?;
    }
    print_network();

    step("Starting the agent on the director");
    let director = Director::new(&lab, 1, programs);
    println!("  $ lb-agent run --interface eth0");
    let mut agent = director.start()?;
    println!(
        "  the XDP program is attached, process {} answers",
        agent.pid()
    );

    step("Setting up a virtual service, as with ipvsadm");
    let service = format!("{VIP}:80");
    ctl(&director, &["-A", "-t", &service, "-s", "rr"])?;
    for number in 1..=SERVERS {
        let server = format!("{}:80", plan::server_address(number));
        ctl(
            &director,
            &["-a", "-t", &service, "-r", &server, "-g", "-w", "1"],
        )?;
    }

    step(&format!(
        "Making {requests} HTTP requests to http://{VIP}/, and killing the agent meanwhile"
    ));
    let target = SocketAddr::from((VIP, 80));
    let held = lab.client().inside(|| hold(target))??;
    let clients = held
        .iter()
        .map(Session::local)
        .collect::<Result<Vec<_>>>()?;
    established(&director, &clients)?;
    println!("  {HELD} connections are held open and used all the time");
    let held = lab
        .client()
        .inside(|| Traffic::on_sessions(held, Duration::from_millis(20)))?;
    let (tally, alone) = lab.client().inside(|| {
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            let burst = scope.spawn(|| load::burst(target, requests, WORKERS, &done));
            // The burst ends by itself, also when the agent does not come back.
            let alone = kill_and_restart(&director, &mut agent, requests, &done);
            let tally = burst.join().unwrap_or_else(|panic| resume_unwind(panic));
            alone.map(|alone| (tally, alone))
        })
    })??;
    println!("  {alone} requests were answered while no agent ran");
    established(&director, &clients)?;
    println!("  the {HELD} held connections are still ESTABLISHED in `lb-ctl -L -n -c`");
    let kept = held.stop();

    step("What the director counted, across both agents");
    ctl(&director, &["-L", "-n", "--stats"])?;

    step("What the client saw");
    print_shares(&tally);
    let (answered, failed) = (kept.answered(), kept.failures.len());
    println!("  and {answered} requests on the {HELD} held connections, {failed} failed");

    verdict(&tally, &kept)?;
    counted(&director, requests + clients.len() as u64)?;
    agent.terminate()?;
    director.detach()?;
    let all = tally.answered() + answered;
    println!("\nAll {all} requests were answered, though the agent was killed. Cleaning up.");
    Ok(())
}

/// Kills the agent after a third of the requests and starts it again after the second third;
/// gives how many were answered in between.
fn kill_and_restart(
    director: &Director<'_>,
    agent: &mut Background,
    requests: u64,
    done: &AtomicU64,
) -> Result<u64> {
    follow(done, requests / 3, requests)?;
    agent.kill()?;
    let dead = done.load(Ordering::Relaxed);
    println!(
        "  $ kill -9 {}      # the agent, after {dead} requests",
        agent.pid()
    );
    follow(done, requests * 2 / 3, requests)?;
    let alone = done.load(Ordering::Relaxed) - dead;
    println!("  $ lb-agent run --interface eth0      # again");
    *agent = director.start()?;
    println!("  process {} has adopted the datapath", agent.pid());
    follow(done, requests, requests)?;
    Ok(alone)
}

/// Shows progress until so many requests are done.
fn follow(done: &AtomicU64, goal: u64, requests: u64) -> Result<()> {
    const WIDTH: u64 = 40;
    let terminal = stdout().is_terminal();
    let bar = |now: u64| {
        let filled = now * WIDTH / requests;
        let bar: String = (0..WIDTH)
            .map(|at| if at < filled { '#' } else { '.' })
            .collect();
        format!("  [{bar}] {now}/{requests}")
    };
    let last = wait::until(
        format_args!("{goal} requests are done"),
        10 * load::PATIENCE,
        || {
            let now = done.load(Ordering::Relaxed);
            if terminal {
                print!("\r{}", bar(now));
                stdout().flush()?;
            }
            Ok(if now >= goal {
                wait::Seen::Done(now)
            } else {
                wait::Seen::NotYet(format!("{now} are"))
            })
        },
    )?;
    println!("{}{}", if terminal { "\r" } else { "" }, bar(last));
    Ok(())
}

/// Opens the connections that are to be held, and makes a request on each.
fn hold(target: SocketAddr) -> Result<Vec<Session>> {
    let open = |_| {
        let mut session = Session::open(target)?;
        session.ask()?;
        Ok(session)
    };
    (0..HELD).map(open).collect()
}

/// Waits until the director lists all these clients' connections as established.
fn established(director: &Director<'_>, clients: &[SocketAddr]) -> Result<()> {
    wait::until("all held connections are ESTABLISHED", DEADLINE, || {
        let listing = director.ctl(["-L", "-n", "-c"])?;
        let entries = listing::connections(&listing)?;
        let there = |client: &&SocketAddr| {
            entries
                .iter()
                .any(|entry| entry.client == **client && entry.state == "ESTABLISHED")
        };
        let count = clients.iter().filter(there).count();
        Ok(if count == clients.len() {
            wait::Seen::Done(())
        } else {
            wait::Seen::NotYet(format!("{count} are; the listing:\n{listing}"))
        })
    })
}

/// Every request was answered, and every server answered some.
fn verdict(tally: &Tally, kept: &Tally) -> Result<()> {
    for tally in [tally, kept] {
        if let Some(first) = tally.failures.first() {
            bail!(
                "{} requests failed, the first: {first}",
                tally.failures.len()
            );
        }
    }
    for number in 1..=SERVERS {
        let server = plan::server(number);
        ensure!(
            tally.answers.contains_key(&server),
            "{server} got no request"
        );
    }
    Ok(())
}

/// The director's counters know every connection, and every server had some.
fn counted(director: &Director<'_>, connections: u64) -> Result<()> {
    let stats = listing::stats(&director.ctl(["-L", "-n", "--stats", "--exact"])?)?;
    let counted: u64 = stats.iter().map(|server| server.connections).sum();
    ensure!(
        counted == connections,
        "the director counted {counted} connections, the client made {connections}"
    );
    for number in 1..=SERVERS {
        let address = SocketAddr::from((plan::server_address(number), 80));
        ensure!(
            stats
                .iter()
                .any(|server| server.server == address && server.connections > 0),
            "the director counted no connection of {address}"
        );
    }
    Ok(())
}

fn serve(host: &Host) -> Result<Background> {
    let xtask = env::current_exe().context("cannot find this program")?;
    let mut command = host.command(xtask);
    command.args(["serve", host.name()]);
    host.spawn("serve", command)
}

/// Waits until a server answers on its own address.
fn answers(lab: &Lab, number: usize) -> Result<()> {
    let target = SocketAddr::from((plan::server_address(number), 80));
    wait::until(format_args!("{target} answers"), DEADLINE, || {
        Ok(match lab.client().inside(|| load::fetch(target))? {
            Ok(_) => wait::Seen::Done(()),
            Err(error) => wait::Seen::NotYet(format!("{error:#}")),
        })
    })
}

fn step(title: &str) {
    println!("\n== {title}");
}

fn print_network() {
    println!("  client     {}", plan::CLIENT);
    println!(
        "  director1  {}, and the virtual address {VIP}",
        plan::DIRECTOR
    );
    for number in 1..=SERVERS {
        println!(
            "  {}    {}",
            plan::server(number),
            plan::server_address(number)
        );
    }
}

/// Shows an `lb-ctl` command, runs it and shows what it printed.
fn ctl(director: &Director<'_>, args: &[&str]) -> Result<()> {
    println!("  $ lb-ctl {}", args.join(" "));
    for line in director.ctl(args)?.lines() {
        println!("  {line}");
    }
    Ok(())
}

/// The share of each server in the answers.
fn print_shares(tally: &Tally) {
    const WIDTH: u64 = 40;
    let all = tally.answered().max(1);
    for (server, &count) in &tally.answers {
        let bar: String = (0..count * WIDTH / all).map(|_| '#').collect();
        let percent = count as f64 * 100.0 / all as f64;
        println!("  {server:<10} {count:>6}  {percent:>5.1} %  {bar}");
    }
    println!("  {:<10} {:>6}", "failed", tally.failures.len());
}
