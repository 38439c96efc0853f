//! How the program comes to an interface and leaves it.

use crate::refusals::{pins, program};
use anyhow::Result;
use lb_tests::scene::{self, Scene, vip};
use std::fs;
use std::path::Path;
use xtask::lab::wait;
use xtask::load;

// linux/if_link.h
const XDP_ATTACHED_DRV: u64 = 1;
const XDP_ATTACHED_SKB: u64 = 2;

#[test]
fn both_modes_forward_and_the_driver_is_preferred() -> Result<()> {
    for (mode, attached) in [
        ("native", XDP_ATTACHED_DRV),
        ("generic", XDP_ATTACHED_SKB),
        ("auto", XDP_ATTACHED_DRV),
    ] {
        let scene = Scene::new(2)?;
        let director = scene.director();
        let mut command = director.agent("eth0");
        command.args(["--xdp-mode", mode]);
        let _agent = director.start_with(command)?;
        let xdp = program(director.host(), "eth0")?;
        assert_eq!(
            xdp["mode"].as_u64(),
            Some(attached),
            "--xdp-mode {mode}: {xdp}"
        );
        scene::add_service(&director, "rr", &[1, 1])?;
        assert_eq!(scene.fetch(6)?, [2, 1, 2, 1, 2, 1], "--xdp-mode {mode}");
    }
    Ok(())
}

#[test]
fn detach_removes_program_and_pins() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "rr", &[1])?;
    assert_eq!(scene.fetch(1)?, [1]);
    assert!(!pins(&director)?.is_empty());
    let neighbours = || director.host().run("ip", ["neighbour", "show"]);
    assert!(neighbours()?.contains("proto 108"), "{}", neighbours()?);
    let detach_from = |pins: &Path| -> Result<String> {
        let mut command = director.host().command(&director.programs().agent);
        let output = command.args(["detach", "--pin-path"]).arg(pins).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        Ok(said)
    };
    let detach = || detach_from(director.pins());
    // By the wrong place nothing is taken from the agent that runs.
    let elsewhere = director.host().dir().join("elsewhere");
    let said = detach_from(&elsewhere)?;
    assert!(said.contains("nothing is attached"), "{said}");
    assert!(said.contains("lb goes on at eth0"), "{said}");
    assert!(!elsewhere.exists());
    let older = elsewhere.join("v1");
    fs::create_dir_all(&older)?;
    fs::write(older.join("link-9999-native"), "")?;
    let said = detach_from(&elsewhere)?;
    assert!(!said.contains("nothing is attached"), "{said}");
    let stays = format!("{} stays, with maps, and the program on ", older.display());
    assert!(said.contains(&stays), "{said}");
    assert!(neighbours()?.contains("proto 108"), "{}", neighbours()?);
    assert_eq!(scene.fetch(1)?, [1]);
    agent.terminate()?;
    let said = detach()?;
    assert!(said.contains("eth0: detaching"), "{said}");
    assert!(!director.pins().exists());
    assert!(!neighbours()?.contains("proto 108"), "{}", neighbours()?);
    // Once more there is nothing to do, and nothing is made.
    let said = detach()?;
    assert!(said.contains("nothing is attached"), "{said}");
    assert!(!director.pins().exists());
    // The kernel lets go of a program when the last pin of its link is gone, a moment later.
    wait::until("eth0 carries no program", scene::DEADLINE, || {
        let xdp = program(director.host(), "eth0")?;
        Ok(if xdp.is_null() {
            wait::Seen::Done(())
        } else {
            wait::Seen::NotYet(xdp.to_string())
        })
    })?;
    let refused = scene
        .lab
        .client()
        .inside(|| load::fetch(vip()))?
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("refused"),
        "the director's own kernel: {refused:#}"
    );
    Ok(())
}

#[test]
fn what_a_veth_pair_may_lack_is_noted_with_the_cure() -> Result<()> {
    let scene = Scene::new(1)?;
    let (director, client) = (scene.director(), scene.lab.client());
    let agent = director.start()?;
    scene::add_service(&director, "rr", &[1])?;
    // Nothing was seen to go wrong.
    let status = director.ctl(["status"])?;
    let peer = {
        let bridge = scene.lab.host("bridge");
        let link = bridge.run("cat", ["/sys/class/net/director1/ifindex"])?;
        link.trim().to_owned()
    };
    let note = format!("its other end, interface {peer} there");
    for said in [&status, &agent.log()] {
        assert_eq!(said.matches(&note).count(), 1, "{said}");
    }
    assert!(
        status.contains("\nnote: eth0 is a veth interface"),
        "{status}"
    );

    // What a host sends is without checksum from now on.
    client.run("ethtool", ["-K", "eth0", "tx", "on"])?;
    let lost = client.run("curl", ["--max-time", "3", "http://10.0.0.100/"]);
    assert!(lost.is_err(), "a packet without checksum arrives");
    let cure = ["-K", "director1", "tx", "off"];
    scene.lab.host("bridge").run("ethtool", cure)?;
    assert_eq!(scene.fetch(1)?, [1]);
    Ok(())
}

#[test]
fn other_traffic_to_the_director_passes() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1])?;
    // A port of the VIP without a service, and the director's own address.
    let _http = lb_tests::nginx::start(director.host())?;
    scene.answers(xtask::lab::plan::DIRECTOR.into())?;
    assert_eq!(
        scene.fetch(3)?,
        [1; 3],
        "the service on the VIP is not the director's own port 80"
    );
    Ok(())
}
