//! What happens to the director's interfaces, and what a start that fails does to them.

use crate::refusals::{CONFLICT, ENVIRONMENT, pins, refused};
use anyhow::{Context as _, Result, ensure};
use lb_tests::scene::{self, DEADLINE, Scene, vip};
use std::collections::BTreeSet;
use xtask::lab::director::Director;
use xtask::lab::wait::{self, Seen};
use xtask::lab::xdp_pass;
use xtask::load;

/// Gives the director a second interface, `eth1`, with a program of somebody else on it.
fn add_taken_interface(director: &Director<'_>) -> Result<()> {
    let host = director.host();
    let pin = director.pins().with_file_name("foreign");
    xdp_pass::pin(&pin)?;
    let path = pin.display().to_string();
    host.run(
        "ip",
        [
            "link", "add", "eth1", "type", "veth", "peer", "name", "far1",
        ],
    )?;
    host.run("ip", ["link", "set", "dev", "eth1", "up"])?;
    host.run(
        "ip",
        ["link", "set", "dev", "eth1", "xdpdrv", "pinned", &path],
    )?;
    Ok(())
}

#[test]
fn a_start_that_fails_leaves_what_forwards_alone() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    add_taken_interface(&director)?;
    let forwards = || scene.fetch(4).map(|by| BTreeSet::from_iter(by).len());
    assert_eq!(forwards()?, 2);
    agent.kill()?;
    let before = pins(&director)?;
    let program = || -> Result<serde_json::Value> {
        let show = ["-json", "link", "show", "dev", "eth0"];
        let links: serde_json::Value = serde_json::from_str(&director.host().run("ip", show)?)?;
        let xdp = &links[0]["xdp"];
        ensure!(xdp["prog"]["id"].is_u64(), "{links}");
        Ok(xdp.clone())
    };
    let attached = program()?;

    // Only the other interface, then both.
    refused(&director, director.agent("eth1"), CONFLICT)?;
    assert_eq!((forwards()?, pins(&director)?), (2, before.clone()));
    let mut both = director.agent("eth0");
    both.args(["--interface", "eth1"]);
    refused(&director, both, CONFLICT)?;
    assert_eq!((forwards()?, pins(&director)?), (2, before.clone()));
    assert_eq!(program()?, attached, "the same program as before");
    // The one that goes on another mode comes back from it.
    let mut both = director.agent("eth0");
    both.args(["--interface", "eth1", "--xdp-mode", "generic"]);
    refused(&director, both, CONFLICT)?;
    assert_eq!((forwards()?, pins(&director)?), (2, before));
    assert_eq!(program()?, attached, "in the mode of before");

    let _agent = director.start()?;
    assert_eq!(forwards()?, 2);
    Ok(())
}

#[test]
fn a_mode_that_the_driver_lacks_leaves_the_one_it_has() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let in_mode = |mode: &str| {
        let mut command = director.agent("eth0");
        command.args(["--interface", "lo", "--xdp-mode", mode]);
        command
    };
    let mut agent = director.start_with(in_mode("generic"))?;
    scene::add_service(&director, "rr", &[1])?;
    assert_eq!(scene.fetch(2)?, [1, 1]);
    agent.kill()?;
    let before = pins(&director)?;
    let said = refused(&director, in_mode("native"), ENVIRONMENT)?;
    assert!(said.contains("lo") && said.contains("generic"), "{said}");
    assert_eq!(scene.fetch(2)?, [1, 1], "eth0 forwards as before");
    assert_eq!(pins(&director)?.len(), before.len());
    Ok(())
}

#[test]
fn an_interface_with_another_ethernet_address_is_followed() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    assert_eq!(scene.fetch(2)?, [2, 1]);
    let host = director.host();
    host.run(
        "ip",
        ["link", "set", "dev", "eth0", "address", "02:00:00:00:77:01"],
    )?;
    let client = scene.lab.client();
    client.run("ip", ["neighbour", "flush", "all"])?;
    wait::until("the service answers on the new address", DEADLINE, || {
        Ok(match client.inside(|| load::fetch(vip()))? {
            Ok(_) => Seen::Done(()),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })?;
    assert_eq!(scene.fetch(4)?.len(), 4);
    Ok(())
}

#[test]
fn an_interface_that_was_away_or_renamed_forwards_on() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let ip = |line: &str| director.host().run("ip", line.split(' ')).map(drop);
    let forwards = |what: &str| -> Result<()> {
        scene.answers(vip().ip()).context(what.to_owned())?;
        let by = BTreeSet::from_iter(scene.fetch(4)?);
        ensure!(by.len() == 2, "{what}: only {by:?} answer");
        Ok(())
    };
    forwards("at first")?;
    ip("link set dev eth0 down")?;
    ip("link set dev eth0 up")?;
    forwards("after down and up")?;
    for address in ["10.0.0.2/24", "10.0.0.100/32"] {
        ip(&format!("address del {address} dev eth0"))?;
    }
    for address in ["10.0.0.2/24", "10.0.0.100/32"] {
        ip(&format!("address add {address} dev eth0"))?;
    }
    forwards("with its addresses added anew")?;
    ip("link set dev eth0 mtu 1400")?;
    ip("link set dev eth0 mtu 1500")?;
    forwards("after other MTUs")?;
    let rename = |from: &str, to: &str| -> Result<()> {
        ip(&format!("link set dev {from} down"))?;
        ip(&format!("link set dev {from} name {to}"))?;
        ip(&format!("link set dev {to} up"))?;
        wait::until("lb-ctl tells the new name", DEADLINE, || {
            let status = director.ctl_output(["status"])?.stdout;
            let status = String::from_utf8(status)?;
            Ok(if status.contains(&format!("attached to {to} ")) {
                Seen::Done(())
            } else {
                Seen::NotYet(status)
            })
        })
    };
    rename("eth0", "eth9")?;
    forwards("under another name")?;
    // A server that is added now is reached by the new name.
    director.ctl(["-d", "-t", scene::SERVICE, "-r", "10.0.0.12:80"])?;
    director.ctl(["-a", "-t", scene::SERVICE, "-r", "10.0.0.12:80", "-g"])?;
    forwards("with a new server under another name")?;
    ip("link set dev eth9 address 02:00:00:00:77:02")?;
    let client = scene.lab.client();
    client.run("ip", ["neighbour", "flush", "all"])?;
    forwards("with another Ethernet address under another name")?;
    let pinned = pins(&director)?;
    // One that has the old name now is none of lb's.
    ip("link add eth0 type veth peer name far0")?;
    ip("link set dev eth0 up")?;
    rename("eth9", "eth8")?;
    forwards("beside another of the old name")?;
    assert_eq!(pins(&director)?, pinned);
    Ok(())
}

#[test]
fn the_status_tells_of_an_interface_that_is_gone() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let ip = |line: &str| director.host().run("ip", line.split(' ')).map(drop);
    let add = || -> Result<()> {
        ip("link add eth1 type veth peer name far1")?;
        ip("link set dev eth1 up")
    };
    add()?;
    let mut command = director.agent("eth0");
    command.args(["--interface", "eth1"]);
    let _agent = director.start_with(command)?;
    director.ctl(["status"])?;
    let told = |code: i32, line: &str| {
        wait::until(format!("the status says {line:?}"), DEADLINE, || {
            let status = director.ctl_output(["status"])?;
            let said = String::from_utf8(status.stdout)?;
            let is_so = status.status.code() == Some(code) && said.contains(line);
            Ok(if is_so {
                Seen::Done(said)
            } else {
                Seen::NotYet(said)
            })
        })
    };
    ip("link del dev eth1")?;
    let said = told(1, "no interface eth1: its packets are not balanced")?;
    ensure!(said.contains("attached to eth0 "), "{said}");
    add()?;
    let said = told(0, "attached to eth1 ")?;
    ensure!(!said.contains("no interface"), "{said}");
    Ok(())
}

#[test]
fn an_interface_that_was_deleted_and_made_anew_forwards_again() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let forwards = || -> Result<usize> {
        scene.answers(vip().ip())?;
        Ok(BTreeSet::from_iter(scene.fetch(4)?).len())
    };
    assert_eq!(forwards()?, 2);
    // One that asks for a setting of the interface.
    director.ctl(["-A", "-t", "10.0.0.100:81"])?;
    director.ctl(["-a", "-t", "10.0.0.100:81", "-r", "10.0.0.11:80", "-m"])?;
    scene.lab.replace_interface(1)?;
    scene.lab.replace_interface(1)?;
    assert_eq!(forwards()?, 2, "its servers are known under another index");
    let setting = "/proc/sys/net/ipv4/conf/eth0/accept_local";
    let accepts = director.host().run("cat", [setting])?;
    assert_eq!(accepts.trim(), "1");
    Ok(())
}
