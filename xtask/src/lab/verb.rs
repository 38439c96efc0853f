//! `cargo xtask lab`: a lab to try things in.

use super::plan::{self, Plan, VIP};
use super::register::{self, Owner};
use super::{Lab, interrupt};
use crate::setup::{self, Group};
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use std::thread;

/// Builds and removes a network of namespaces: a client, directors and real servers.
#[derive(Debug, Args)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Builds a lab, which stays until `lab down`.
    Up {
        /// The lab's name.
        #[arg(long, default_value = "lab")]
        name: String,
        /// How many directors, 1 or 2.
        #[arg(long, default_value_t = 1)]
        directors: usize,
        /// How many real servers.
        #[arg(long, default_value_t = 3)]
        servers: usize,
        /// Stays in the foreground and removes the lab at Ctrl-C.
        #[arg(long)]
        hold: bool,
    },
    /// Removes a lab with all that runs in it, and whatever interrupted runs left.
    Down {
        /// The lab's name.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Lists the labs on this machine.
    Status,
}

/// Carries out the verb.
///
/// # Errors
/// As [`Lab::keep`] and [`register::remove`].
pub fn run(command: &Command) -> Result<()> {
    setup::ensure(&[Group::Lab])?;
    match &command.verb {
        Verb::Up {
            name,
            directors,
            servers,
            hold,
        } => up(
            name,
            &Plan {
                directors: *directors,
                servers: *servers,
            },
            *hold,
        ),
        Verb::Down { name } => down(name),
        Verb::Status => status(),
    }
}

fn up(name: &str, plan: &Plan, hold: bool) -> Result<()> {
    ensure!(
        register::owner(name).is_none_or(|owner| !owner.lives()),
        "lab {name} is up; `cargo xtask lab down --name {name}` removes it"
    );
    interrupt::removes(name)?;
    let _held = if hold {
        Some(Lab::named(name, plan)?)
    } else {
        Lab::keep(name, plan)?;
        None
    };
    status()?;
    println!(
        "\nRun things in it with `ip netns exec`, for instance:\n  \
         ip netns exec {} lb-agent run --interface eth0 --pin-path {} --state-dir {} --socket {}\n  \
         ip netns exec {} curl http://{VIP}/",
        register::namespace(name, &plan::director(1)),
        register::bpffs(&register::dir(name)).join("lb1").display(),
        register::dir(name).join("director1/state").display(),
        register::dir(name).join("director1/agent.sock").display(),
        register::namespace(name, "client"),
    );
    if hold {
        println!("\nThe lab is removed at Ctrl-C.");
        loop {
            thread::park();
        }
    }
    Ok(())
}

fn down(name: &str) -> Result<()> {
    let there = register::names()?.contains(name);
    register::remove(name)?;
    register::sweep()?;
    println!(
        "{}",
        if there {
            format!("lab {name} removed")
        } else {
            format!("no lab {name}")
        }
    );
    Ok(())
}

fn status() -> Result<()> {
    let names = register::names()?;
    if names.is_empty() {
        println!("no lab is up; `cargo xtask lab up` builds one");
    }
    for name in names {
        let owner = match register::owner(&name) {
            Some(Owner::Nobody) => "stays until `lab down`".to_owned(),
            Some(owner @ Owner::Process { pid, .. }) if owner.lives() => {
                format!("belongs to process {pid}")
            }
            Some(Owner::Process { .. }) | None => "left over; `lab down` removes it".to_owned(),
        };
        println!("lab {name}: {owner}");
        for namespace in register::namespaces(&name)? {
            println!("  {namespace}");
        }
    }
    Ok(())
}
