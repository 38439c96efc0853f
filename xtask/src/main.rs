//! `cargo xtask`.

use clap::Parser as _;
use std::process::ExitCode;
use xtask::bench::Bench;

#[derive(clap::Parser)]
enum Command {
    Bench(Bench),
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Bench(bench) => bench.run(),
    }
}
