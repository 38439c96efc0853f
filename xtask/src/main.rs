//! `cargo xtask`.

use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;
use xtask::{bench, ci, demo, lab, load, pages, serve, setup, test, vm};

/// Build, lab, demo, bench and test of lb.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    Bench(bench::Bench),
    Ci(ci::Command),
    Demo(demo::Command),
    Lab(lab::verb::Command),
    #[command(hide = true)]
    Load(load::Command),
    Pages(pages::Command),
    #[command(hide = true)]
    Serve(serve::Command),
    Setup(setup::Command),
    Test(test::Command),
    Vm(vm::verb::Command),
}

fn main() -> ExitCode {
    match run(Xtask::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 3 is lb-ctl's code for an environment that has to be put right first.
            ExitCode::from(if error.is::<setup::ByHand>() { 3 } else { 1 })
        }
    }
}

fn run(xtask: Xtask) -> Result<ExitCode> {
    match xtask {
        Xtask::Bench(command) => return command.run(),
        Xtask::Ci(command) => ci::run(&command)?,
        Xtask::Demo(command) => demo::run(&command)?,
        Xtask::Lab(command) => lab::verb::run(&command)?,
        Xtask::Load(command) => load::run(&command)?,
        Xtask::Pages(command) => pages::run(&command)?,
        Xtask::Serve(command) => serve::run(&command)?,
        Xtask::Setup(command) => setup::run(&command)?,
        Xtask::Test(command) => test::run(&command)?,
        Xtask::Vm(command) => return vm::verb::run(&command),
    }
    Ok(ExitCode::SUCCESS)
}
