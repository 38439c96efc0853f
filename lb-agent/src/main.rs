//! The director's daemon: keeps the desired state, writes it to the datapath, serves `lb-ctl`.
//!
//! Reading order: [`model`] is what is wanted, [`director`] owns it and the datapath, [`state`]
//! keeps it on disk, [`control`] lets clients in, [`punt`] takes the packets that the program
//! cannot decide on, [`supervise`] runs it all. [`real_server`] is apart: it prepares other
//! machines for the director's packets, and ends.

mod cli;
mod config;
mod control;
mod datapath;
mod director;
mod helper;
mod log;
mod man;
mod model;
mod net;
mod punt;
mod rates;
mod real_server;
mod state;
mod supervise;
mod told;

use clap::Parser;
use cli::{Cli, Command, Exit};
use config::Config;
use std::process::ExitCode;
use told::Told;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start();
    abort_on_panic();
    match run(&cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::of(&error).into()
        }
    }
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(options) => {
            let config = Config::new(options)?;
            config.check_interfaces()?;
            supervise::run(&config, datapath::open)?;
        }
        Command::Detach(options) => datapath::detach(&Config::new(options)?)?,
        Command::Verify(options) => datapath::verify(&Config::new(options)?)?,
        Command::RealServer(options) => return real_server::run(options),
        Command::Man => man::print(&mut Told(std::io::stdout().lock()))?,
    }
    Ok(Exit::Ok)
}

/// Ends the process on any thread's panic: what it left half-done is then repaired by the next
/// start from state and maps, while the datapath forwards on.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
