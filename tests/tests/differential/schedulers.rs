//! Which server each new flow goes to while commands change the service.

use crate::script::{self, Edit, Round};
use crate::subject::{Kernel, Product, Subject};
use anyhow::{Context, Result};
use lb_common::sched::Kind;
use std::net::SocketAddrV4;
use xtask::lab::Lab;
use xtask::lab::plan::{self, Plan, VIP};

/// For each scheduler.
const SEEDS: u64 = 12;

/// For each seed; a round is an edit or some, and a batch of flows.
const ROUNDS: usize = 30;

/// What is compared: for each round of a service, its commands and its flows' servers.
type Life = Vec<(Vec<String>, Vec<Option<SocketAddrV4>>)>;

/// One service for each scheduler and seed.
struct Service {
    name: String,
    scheduler: Kind,
    address: SocketAddrV4,
    rounds: Vec<Round>,
}

#[test]
fn root_flows_get_the_servers_that_ip_vs_gives_them() -> Result<()> {
    let services = services();
    let mut kernel = Kernel::boot()?;
    let expected = live(&services, &mut kernel)?;
    let lab = Lab::up(&Plan::servers(script::SERVERS))?;
    let mut product = Product::start(&lab)?;
    let found = live(&services, &mut product)?;

    let differing: Vec<String> = services
        .iter()
        .zip(expected.iter().zip(&found))
        .filter_map(|(service, (expected, found))| difference(service, expected, found))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} services differ:\n{}",
        differing.len(),
        services.len(),
        differing.join("\n")
    );
    // The tables, too: order, weights and connections.
    assert_eq!(product.table()?, kernel.table()?);

    let picked = expected
        .iter()
        .flatten()
        .flat_map(|(_, picks)| picks.iter().flatten());
    assert!(picked.count() > 1000, "the scripts have hardly any flow");
    Ok(())
}

fn services() -> Vec<Service> {
    let all = [Kind::Rr, Kind::Wrr]
        .into_iter()
        .flat_map(|scheduler| (0..SEEDS).map(move |seed| (scheduler, seed)));
    (5000..)
        .zip(all)
        .map(|(port, (scheduler, seed))| Service {
            name: format!("{} of seed {seed}", scheduler.name()),
            scheduler,
            address: SocketAddrV4::new(VIP, port),
            rounds: script::rounds(scheduler, seed).take(ROUNDS).collect(),
        })
        .collect()
}

/// What led to the first round in which lb picked otherwise.
fn difference(service: &Service, expected: &Life, found: &Life) -> Option<String> {
    let mut rounds = expected.iter().zip(found);
    let round = rounds.position(|(expected, found)| expected != found)?;
    let name = |pick: &Option<SocketAddrV4>| pick.map_or("none".to_owned(), |s| s.ip().to_string());
    let names = |picks: &[_]| picks.iter().map(name).collect::<Vec<_>>().join(" ");
    let history: String = expected[..=round]
        .iter()
        .map(|(commands, picks)| format!("  {}\n    {}\n", commands.join("; "), names(picks)))
        .collect();
    Some(format!(
        "{}, with ip_vs:\n{history}  where lb picks:\n    {}",
        service.name,
        names(&found[round].1)
    ))
}

/// Leads the services through their rounds, side by side.
fn live(services: &[Service], subject: &mut impl Subject) -> Result<Vec<Life>> {
    let added: Vec<String> = services
        .iter()
        .map(|service| format!("-A -u {} -s {}", service.address, service.scheduler.name()))
        .collect();
    subject.edit(&added)?;
    let mut lives = vec![Life::new(); services.len()];
    // Every flow is new: no two have the same port.
    let mut ports = 10_000..;
    for round in 0..ROUNDS {
        let mut flows = Vec::new();
        for (service, life) in services.iter().zip(&mut lives) {
            let Round {
                edits,
                flows: count,
            } = &service.rounds[round];
            let commands = edits.iter().map(|edit| command(service.address, *edit));
            life.push((commands.collect(), Vec::new()));
            flows.extend(
                ports
                    .by_ref()
                    .take(*count)
                    .map(|port| (port, service.address)),
            );
        }
        let commands: Vec<String> = lives
            .iter()
            .flat_map(|life| life[round].0.clone())
            .collect();
        subject.edit(&commands)?;
        let picks = subject
            .picks(&flows)
            .with_context(|| format!("round {round}"))?;
        let mut picks = picks.into_iter();
        for (service, life) in services.iter().zip(&mut lives) {
            let count = service.rounds[round].flows;
            life[round].1 = picks.by_ref().take(count).collect();
        }
    }
    Ok(lives)
}

/// The command, without the program's name.
fn command(service: SocketAddrV4, edit: Edit) -> String {
    let server = |number| SocketAddrV4::new(plan::server_address(number), service.port());
    match edit {
        Edit::Add(number, weight) => {
            format!("-a -u {service} -r {} -g -w {weight}", server(number))
        }
        Edit::Weigh(number, weight) => {
            format!("-e -u {service} -r {} -g -w {weight}", server(number))
        }
        Edit::Remove(number) => format!("-d -u {service} -r {}", server(number)),
        Edit::Schedule(kind) => format!("-E -u {service} -s {}", kind.name()),
    }
}
