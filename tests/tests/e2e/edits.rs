//! Servers are edited while they have connections.

use anyhow::{Context, Result, ensure};
use lb_tests::scene::{self, Scene, vip};
use std::thread;
use std::time::{Duration, Instant};

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
fn wrk_sees_no_error_while_weights_change_once_a_second() -> Result<()> {
    const WEIGHTS: [&str; 5] = ["5", "1", "0", "100", "2"];
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "wrr", &[1, 1])?;
    // wrk keeps its connections; these are the ones that are scheduled by the changing weights.
    let traffic = scene.traffic(2, Duration::from_millis(5))?;
    let url = format!("http://{}/", vip());
    let mut command = scene.lab.client().command("wrk");
    command.args([
        "--threads",
        "1",
        "--connections",
        "32",
        "--duration",
        "10s",
        "--timeout",
        "10s",
        &url,
    ]);
    let mut wrk = scene.lab.client().spawn("wrk", command)?;
    let mut edits = 0;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = wrk.ended()? {
            break status;
        }
        ensure!(
            start.elapsed() < scene::DEADLINE,
            "wrk does not end: {}",
            wrk.log()
        );
        let weight = WEIGHTS[edits % WEIGHTS.len()];
        director.ctl([
            "-e",
            "-t",
            scene::SERVICE,
            "-r",
            &scene::server(1),
            "-g",
            "-w",
            weight,
        ])?;
        edits += 1;
        thread::sleep(Duration::from_secs(1));
    };
    let report = wrk.log();
    assert!(status.success(), "{report}");
    assert!(!report.contains("Socket errors"), "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
    let requests: u64 = report
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
        .with_context(|| format!("wrk tells no number of requests: {report}"))?;
    assert!(requests > 0, "{report}");
    assert!(edits >= WEIGHTS.len(), "only {edits} edits while wrk ran");

    let tally = traffic.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    let servers: Vec<&str> = tally.answers.keys().map(String::as_str).collect();
    assert_eq!(servers, ["server1", "server2"]);
    Ok(())
}
