//! `cargo xtask`.

use anyhow::Result;
use clap::Parser;
use xtask::{demo, lab, load, serve};

/// Build, lab, demo, bench and test of lb.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    Demo(demo::Command),
    Lab(lab::verb::Command),
    #[command(hide = true)]
    Serve(serve::Command),
    #[command(hide = true)]
    Load(load::Command),
}

fn main() -> Result<()> {
    match Xtask::parse() {
        Xtask::Demo(command) => demo::run(&command),
        Xtask::Lab(command) => lab::verb::run(&command),
        Xtask::Serve(command) => serve::run(&command),
        Xtask::Load(command) => load::run(&command),
    }
}
