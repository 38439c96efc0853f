//! Sync daemons are kept and listed; what they do not do is said.

use anyhow::Result;
use lb_tests::scene::Scene;

const LISTED: &str = "\
master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)
backup sync daemon (mcast=eth0, syncid=8, maxlen=1400, group=239.1.2.3, port=9000, ttl=3)
";

#[test]
fn daemons_outlive_the_agent_and_are_said_to_serve_no_peer() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let mut agent = director.start()?;
    director.ctl([
        "--start-daemon",
        "master",
        "--mcast-interface",
        "eth0",
        "--syncid",
        "7",
    ])?;
    let backup = "--start-daemon backup --mcast-interface eth0 --syncid 8 --sync-maxlen 1400 \
                  --mcast-group 239.1.2.3 --mcast-port 9000 --mcast-ttl 3";
    director.ctl(backup.split_whitespace())?;
    assert_eq!(director.ctl(["-L", "--daemon"])?, LISTED);
    let log = agent.log();
    for warning in [
        "the master sync daemon on eth0 is kept, but this version sends no connection to a peer",
        "the backup sync daemon on eth0 is kept, but this version takes no connection from a peer",
    ] {
        assert!(log.contains(warning), "{log}");
    }
    let told = director.ctl(["list", "daemons"])?;
    assert!(
        told.contains("master sync daemon on eth0 serves no peer"),
        "{told}"
    );
    let told = director.ctl(["status"])?;
    assert!(
        told.contains("backup sync daemon on eth0 serves no peer"),
        "{told}"
    );

    for end in [true, false] {
        if end {
            agent.terminate()?;
        } else {
            agent.kill()?;
        }
        agent = director.start()?;
        assert_eq!(
            director.ctl(["-L", "--daemon"])?,
            LISTED,
            "terminated: {end}"
        );
    }
    director.ctl(["--stop-daemon", "master"])?;
    agent.kill()?;
    agent = director.start()?;
    let listed = director.ctl(["-L", "--daemon"])?;
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [LISTED.lines().last().expect("two")]
    );
    drop(agent);
    Ok(())
}
