//! Real servers take packets out of the kernel's own tunnels.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::build::workspace;
use xtask::vm::{Series, Vm};

/// How many tunnels the script tries.
const TUNNELS: usize = 12;

#[test]
fn root_the_tunnels_of_6_1_end_in_the_driver() -> Result<()> {
    check(Series::V6_1, "native")
}

#[test]
fn root_the_tunnels_of_6_12_end_in_the_receive_path() -> Result<()> {
    check(Series::V6_12, "generic")
}

fn check(series: Series, mode: &str) -> Result<()> {
    let agent = workspace().join("target/release/lb-agent");
    ensure!(
        agent.is_file(),
        "{} is missing: run `cargo build --release`",
        agent.display()
    );
    let script = format!("MODE={mode}\n{}", include_str!("real_server.sh"));
    let said = Vm::new(series)?
        .with_file(agent)
        .with_limit(Duration::from_secs(600))
        .run(&script)?
        .success()?;
    let bad: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("BAD"))
        .collect();
    assert_eq!(bad, Vec::<&str>::new(), "{said}");
    let good = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(good, TUNNELS, "{said}");

    let report = said.find("\n{").context("no report")?;
    let report: Value = serde_json::from_str(&said[report..])?;
    let count = |label: &str| {
        let events = report["events"].as_array().into_iter().flatten();
        let mut events = events.filter(|event| event["label"] == label);
        events.next().and_then(|event| event["count"].as_u64())
    };
    // 300 kB through four tunnels of each kind, in packets that the kernel may not have cut yet:
    // they have up to 64 kB then.
    for label in ["ipip", "gre", "gue"] {
        assert!(count(label) > Some(100), "{label}: {report}");
    }
    for label in [
        "malformed",
        "fragment",
        "unsupported",
        "inner",
        "congestion",
        "no_head",
    ] {
        assert_eq!(count(label), Some(0), "{label}: {report}");
    }
    Ok(())
}
