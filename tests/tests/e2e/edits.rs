//! Servers are edited while they have connections.

use anyhow::{Context, Result, ensure};
use lb_tests::scene::{self, DEADLINE, Scene, vip};
use std::time::Duration;
use xtask::lab::wait::{self, Seen};

/// Connections that wrk keeps; as many as that are scheduled by the first weights.
const KEPT: u64 = 32;

/// Times that all of the weights come.
const ROUNDS: usize = 3;

/// Answers on new connections between one edit and the next.
const BETWEEN: u64 = 20;

#[test]
fn connections_that_go_on_by_another_method_are_told_of() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let agent = director.start()?;
    scene::add_service(&director, "rr", &[1])?;
    let edit = |server: &str, options: &[&str]| {
        let edit = ["-e", "-t", scene::SERVICE, "-r", server];
        director.ctl(edit.iter().chain(options)).map(drop)
    };
    let told = || agent.log().matches("by another method").count();
    let server = scene::server(1);
    edit(&server, &["-i"])?;
    edit(&server, &["-g"])?;
    assert_eq!(told(), 0, "it has no connections:\n{}", agent.log());
    scene.fetch(1)?;
    edit(&server, &["-g", "-w", "2"])?;
    assert_eq!(told(), 0, "the method stays:\n{}", agent.log());
    edit(&server, &["-i"])?;
    assert_eq!(told(), 1, "{}", agent.log());
    Ok(())
}

#[test]
fn wrk_sees_no_error_while_weights_change() -> Result<()> {
    const WEIGHTS: [&str; 5] = ["5", "1", "0", "100", "2"];
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "wrr", &[1, 1])?;
    let url = format!("http://{}/", vip());
    let connections = KEPT.to_string();
    let mut command = scene.lab.client().command("wrk");
    // It is interrupted once the edits are done, and tells then; an hour is longer than any of it.
    command.args(["--threads", "1", "--connections", &connections]);
    command.args(["--duration", "1h", "--timeout", "1m", &url]);
    let mut wrk = scene.lab.client().spawn("wrk", command)?;
    wait::until("wrk is connected", DEADLINE, || {
        let connected: u64 = scene::counted(&director)?.values().sum();
        Ok(if connected < KEPT {
            Seen::NotYet(format!("{connected} connections; {}", wrk.log()))
        } else {
            Seen::Done(())
        })
    })?;
    // wrk keeps its connections; these are the ones that are scheduled by the changing weights.
    let traffic = scene.traffic(2, Duration::from_millis(5))?;
    for weight in WEIGHTS.repeat(ROUNDS) {
        let server = scene::server(1);
        director.ctl([
            "-e",
            "-t",
            scene::SERVICE,
            "-r",
            &server,
            "-g",
            "-w",
            weight,
        ])?;
        let enough = traffic.answered() + BETWEEN;
        wait::until("connections were scheduled", DEADLINE, || {
            Ok(match traffic.answered() {
                answered if answered < enough => Seen::NotYet(format!("{answered} of {enough}")),
                _ => Seen::Done(()),
            })
        })?;
        ensure!(wrk.ended()?.is_none(), "wrk ended: {}", wrk.log());
    }
    wrk.interrupt()?;
    let status = wait::until("wrk ends", DEADLINE, || {
        let ended = wrk.ended()?;
        Ok(ended.map_or_else(|| Seen::NotYet(wrk.log()), Seen::Done))
    })?;
    let report = wrk.log();
    assert!(status.success(), "{report}");
    assert!(!report.contains("Socket errors"), "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
    let requests: u64 = report
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
        .with_context(|| format!("wrk tells no number of requests: {report}"))?;
    assert!(requests > 0, "{report}");

    let tally = traffic.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    let servers: Vec<&str> = tally.answers.keys().map(String::as_str).collect();
    assert_eq!(servers, ["server1", "server2"]);
    Ok(())
}
