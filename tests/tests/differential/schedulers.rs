//! Which server each new flow goes to while commands change the service and flows come and go.

use crate::script::{self, Edit, Event, Options, Script};
use crate::subject::{Kernel, Product, Subject, segment, udp};
use anyhow::{Context, Result, ensure};
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use xtask::lab::Lab;
use xtask::lab::plan::{self, Plan, VIP};
use xtask::lab::wait::{self, Seen};

/// Sequences for each scheduler; the environment variable of this name sets another number.
const SEQUENCES: (&str, u64) = ("LB_SEQUENCES", 50);

/// Of ten events each.
const ROUNDS: usize = 20;

/// Virtual addresses, [`VIP`] the first: dh, lblc and lblcr go by them.
const ADDRESSES: u8 = 8;

/// A month: nothing expires that is not to.
const LONG: u32 = 31 * 86_400;

/// What is compared: for each round of a service, its commands and its new flows' servers.
type Life = Vec<(Vec<String>, Vec<Option<Ipv4Addr>>)>;

struct Service {
    name: String,
    address: SocketAddrV4,
    script: Script,
}

#[test]
fn root_flows_get_the_servers_that_ip_vs_gives_them() -> Result<()> {
    let services = services()?;
    let lab = Lab::up(&Plan::servers(script::SERVERS))?;
    let mut kernel = Kernel::boot()?;
    let expected = live(&services, &mut kernel).context("ip_vs")?;
    let mut product = Product::start(&lab)?;
    let found = live(&services, &mut product).context("lb")?;

    let differing: Vec<String> = services
        .iter()
        .zip(expected.iter().zip(&found))
        .filter_map(|(service, (expected, found))| difference(service, expected, found))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} services differ; the first:\n{}",
        differing.len(),
        services.len(),
        differing[..differing.len().min(3)].join("\n")
    );
    // The tables, too: order, weights and connections.
    let (found, expected_table) = (product.table()?, kernel.table()?);
    for (service, expected) in &expected_table {
        assert_eq!(found.get(service), Some(expected), "{service}");
    }
    assert_eq!(found.len(), expected_table.len());

    let picks = expected.iter().flatten().flat_map(|(_, picks)| picks);
    let (all, picked) = (picks.clone().count(), picks.flatten().count());
    println!(
        "{} services, {picked} of {all} flows went to a server",
        services.len()
    );
    assert!(
        picked > services.len() * ROUNDS,
        "the scripts have hardly any flow"
    );
    Ok(())
}

/// One service for each scheduler and seed.
fn services() -> Result<Vec<Service>> {
    let (name, default) = SEQUENCES;
    let sequences = match std::env::var(name) {
        Ok(number) => number
            .parse()
            .with_context(|| format!("{name} is no number"))?,
        Err(_) => default,
    };
    let all = script::schedulers()
        .flat_map(|scheduler| (0..sequences).map(move |seed| (scheduler, seed)));
    let [a, b, c, d] = VIP.octets();
    Ok((5000..)
        .zip(all)
        .map(|(port, (scheduler, seed))| {
            let address = Ipv4Addr::new(a, b, c, d + (seed % u64::from(ADDRESSES)) as u8);
            Service {
                name: format!("{} of seed {seed}", scheduler.name()),
                address: SocketAddrV4::new(address, port),
                script: script::script(scheduler, seed, ROUNDS),
            }
        })
        .collect())
}

/// What led to the first round in which lb picked otherwise.
fn difference(service: &Service, expected: &Life, found: &Life) -> Option<String> {
    let mut rounds = expected.iter().zip(found);
    let round = rounds.position(|(expected, found)| expected != found)?;
    let name = |pick: &Option<Ipv4Addr>| pick.map_or("none".to_owned(), |s| s.to_string());
    let names = |picks: &[_]| picks.iter().map(name).collect::<Vec<_>>().join(" ");
    let history: String = expected[..=round]
        .iter()
        .map(|(steps, picks)| format!("  {}\n    {}\n", steps.join("; "), names(picks)))
        .collect();
    Some(format!(
        "{}, with ip_vs:\n{history}  where lb picks:\n    {}",
        service.name,
        names(&found[round].1)
    ))
}

/// Leads the services through their rounds, side by side.
fn live(services: &[Service], subject: &mut impl Subject) -> Result<Vec<Life>> {
    subject.add_addresses(VIP, ADDRESSES)?;
    let mut added = vec![format!("--set {LONG} {LONG} {LONG}")];
    added.extend(services.iter().map(|service| {
        let scheduler = scheduler(service.script.scheduler, service.script.flags);
        format!("-A {} {scheduler}", service.option())
    }));
    subject.edit(&added)?;
    let mut lives = vec![Life::new(); services.len()];
    // By service, and by flow: its server, until it ends.
    let mut servers: Vec<Vec<Option<Ipv4Addr>>> = vec![Vec::new(); services.len()];
    // By service: those that it has.
    let mut present: Vec<HashSet<Ipv4Addr>> = vec![HashSet::new(); services.len()];
    for round in 0..ROUNDS {
        let step = || format!("round {round}");
        end_flows(services, &mut servers, &present, round, subject).with_context(step)?;

        for (service, present) in services.iter().zip(&mut present) {
            for edit in &service.script.rounds[round].edits {
                match *edit {
                    Edit::Add(number, _) => drop(present.insert(plan::server_address(number))),
                    Edit::Remove(number) => drop(present.remove(&plan::server_address(number))),
                    Edit::Change(..) | Edit::Schedule(..) => {}
                }
            }
        }
        let mut commands = Vec::new();
        let mut packets = Vec::new();
        let mut acks = Vec::new();
        for ((service, life), servers) in services.iter().zip(&mut lives).zip(&servers) {
            let script = &service.script.rounds[round];
            let edits = script.edits.iter().map(|edit| service.command(*edit));
            let mut steps: Vec<String> = edits.collect();
            commands.extend(steps.iter().cloned());
            let mut opened = servers.len();
            for event in &script.events {
                match *event {
                    Event::Open => {
                        packets.push(service.packet(opened, "S"));
                        if service.script.tcp {
                            acks.push((service, opened));
                        }
                        opened += 1;
                    }
                    Event::Close(flow) => {
                        steps.push(format!("{flow} is closed"));
                        if servers[flow].is_some() {
                            packets.push(service.packet(flow, "FA"));
                        }
                    }
                }
            }
            steps.extend(script.ends.iter().map(|flow| format!("{flow} had ended")));
            life.push((steps, Vec::new()));
        }
        subject.edit(&commands).with_context(step)?;
        let forwarded = subject.forwarded(&packets).with_context(step)?;
        let chosen: HashMap<(SocketAddrV4, SocketAddrV4), Ipv4Addr> = forwarded
            .into_iter()
            .map(|packet| ((packet.from, packet.to), packet.server))
            .collect();
        for ((service, life), servers) in services.iter().zip(&mut lives).zip(&mut servers) {
            let events = &service.script.rounds[round].events;
            let opened = events.iter().filter(|event| matches!(event, Event::Open));
            for _ in opened {
                let client = service.script.clients[servers.len()];
                let server = chosen.get(&(client, service.address)).copied();
                life[round].1.push(server);
                servers.push(server);
            }
        }
        // Half-open connections would not live as long.
        let of = |service: &Service| service.address.port() as usize - 5000;
        let acks: Vec<Vec<u8>> = acks
            .into_iter()
            .filter(|(service, flow)| servers[of(service)][*flow].is_some())
            .map(|(service, flow)| service.packet(flow, "A"))
            .collect();
        subject.forwarded(&acks).with_context(step)?;
    }
    Ok(lives)
}

/// Lets flows end for good, by a last packet under short timeouts. What is sent to a server that was
/// removed is dropped, and listings do not count its flows: those stay.
fn end_flows(
    services: &[Service],
    servers: &mut [Vec<Option<Ipv4Addr>>],
    present: &[HashSet<Ipv4Addr>],
    round: usize,
    subject: &mut impl Subject,
) -> Result<()> {
    let mut packets = Vec::new();
    for ((service, servers), present) in services.iter().zip(&mut *servers).zip(present) {
        for flow in &service.script.rounds[round].ends {
            if servers[*flow]
                .take_if(|server| present.contains(server))
                .is_some()
            {
                packets.push(service.packet(*flow, "FA"));
            }
        }
    }
    if packets.is_empty() {
        return Ok(());
    }
    let left = servers
        .iter()
        .zip(present)
        .map(|(servers, present)| {
            servers
                .iter()
                .flatten()
                .filter(|s| present.contains(s))
                .count()
        })
        .sum::<usize>() as u64;
    subject.edit(&["--set 0 1 1".to_owned()])?;
    subject.forwarded(&packets)?;
    wait::until("the flows end", Duration::from_secs(60), || {
        let there = subject.connections()?;
        ensure!(
            there >= left,
            "{there} connections where {left} cannot have ended"
        );
        Ok(if there == left {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{there} connections, and {left} are to be left"))
        })
    })?;
    subject.edit(&[format!("--set 0 {LONG} {LONG}")])
}

impl Service {
    /// What names it in a command.
    fn option(&self) -> String {
        let protocol = if self.script.tcp { "-t" } else { "-u" };
        format!("{protocol} {}", self.address)
    }

    /// The command, without the program's name.
    fn command(&self, edit: Edit) -> String {
        let service = self.option();
        let server = |number| SocketAddrV4::new(plan::server_address(number), self.address.port());
        let options = |options: Options| {
            let Options {
                weight,
                upper,
                lower,
            } = options;
            format!("-g -w {weight} -x {upper} -y {lower}")
        };
        match edit {
            Edit::Add(number, to) => {
                format!("-a {service} -r {} {}", server(number), options(to))
            }
            Edit::Change(number, to) => {
                format!("-e {service} -r {} {}", server(number), options(to))
            }
            Edit::Remove(number) => format!("-d {service} -r {}", server(number)),
            Edit::Schedule(kind, flags) => format!("-E {service} {}", scheduler(kind, flags)),
        }
    }

    /// A packet of a flow, with these flags if it is TCP's.
    fn packet(&self, flow: usize, flags: &str) -> Vec<u8> {
        let client = self.script.clients[flow];
        if self.script.tcp {
            segment(client, self.address, flags)
        } else {
            udp(client, self.address)
        }
    }
}

fn scheduler(kind: lb_common::sched::Kind, flags: u8) -> String {
    let names: Vec<String> = (1..=2)
        .filter(|n| flags >> (n - 1) & 1 != 0)
        .map(|n| format!("flag-{n}"))
        .collect();
    if names.is_empty() {
        format!("-s {}", kind.name())
    } else {
        format!("-s {} -b {}", kind.name(), names.join(","))
    }
}
