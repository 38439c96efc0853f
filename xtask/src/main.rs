//! `cargo xtask`.

use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;
use xtask::{bench, demo, lab, load, serve};

/// Build, lab, demo, bench and test of lb.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    Bench(bench::Bench),
    Demo(demo::Command),
    Lab(lab::verb::Command),
    #[command(hide = true)]
    Serve(serve::Command),
    #[command(hide = true)]
    Load(load::Command),
}

fn main() -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match Xtask::parse() {
        Xtask::Bench(bench) => bench.run(),
        Xtask::Demo(command) => demo::run(&command).map(done),
        Xtask::Lab(command) => lab::verb::run(&command).map(done),
        Xtask::Serve(command) => serve::run(&command).map(done),
        Xtask::Load(command) => load::run(&command).map(done),
    }
}
