//! The datapath outlives the agent.

use anyhow::Result;
use lb_tests::scene::{self, DEADLINE, Scene};
use std::time::Duration;
use xtask::lab::wait;
use xtask::load::Traffic;

/// Requests that have to be answered in each phase, so that the phase is under traffic.
const PHASE: u64 = 50;

#[test]
fn an_agent_killed_and_started_ten_times_loses_no_request_and_counts_on() -> Result<()> {
    let scene = Scene::new(3)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1, 1])?;
    let held = scene.sessions(6)?;
    let held = scene.traffic_on(held, Duration::from_millis(20))?;
    let traffic = scene.traffic(2, Duration::from_millis(5))?;
    let mut counted = 0;
    for restart in 1..=10 {
        flows(&traffic, "with the agent")?;
        agent.kill()?;
        flows(&traffic, "without an agent")?;
        agent = director.start()?;
        let now = scene::counted(&director)?;
        assert_eq!(now.len(), 3, "servers after restart {restart}: {now:?}");
        let now: u64 = now.values().sum();
        assert!(
            now >= counted + PHASE,
            "restart {restart}: {now} connections after {counted}"
        );
        counted = now;
    }
    let (tally, held) = (traffic.stop(), held.stop());
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(held.failures, Vec::<String>::new());
    let all: u64 = scene::counted(&director)?.values().sum();
    assert_eq!(
        all,
        tally.answered() + 6,
        "every connection was counted once"
    );
    Ok(())
}

#[test]
fn an_agent_asked_to_end_leaves_the_datapath_forwarding() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let status = agent.terminate()?;
    assert!(status.success(), "{status}: {}", agent.log());
    assert_eq!(scene.fetch(4)?, [2, 1, 2, 1]);
    Ok(())
}

#[test]
fn edits_made_before_a_kill_are_there_after_it() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "wrr", &[3, 1])?;
    let before = director.ctl(["-L", "-n"])?;
    assert!(before.contains("10.0.0.100:80 wrr"), "{before}");
    agent.kill()?;
    let _agent = director.start()?;
    assert_eq!(director.ctl(["-L", "-n"])?, before);
    // And they can be changed on.
    director.ctl(["-d", "-t", scene::SERVICE, "-r", &scene::server(2)])?;
    assert_eq!(scene.fetch(4)?, [1; 4]);
    Ok(())
}

/// Waits until the traffic was answered for a phase.
fn flows(traffic: &Traffic, when: &str) -> Result<()> {
    let goal = traffic.answered() + PHASE;
    wait::until(
        format_args!("{PHASE} requests are answered {when}"),
        DEADLINE,
        || {
            let now = traffic.answered();
            Ok(if now >= goal {
                wait::Seen::Done(())
            } else {
                wait::Seen::NotYet(format!("{} are missing", goal - now))
            })
        },
    )
}
