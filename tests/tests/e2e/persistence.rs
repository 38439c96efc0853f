//! Clients that stay with their server.

use anyhow::{Context, Result};
use lb_tests::scene::{self, Scene};
use std::net::{Ipv4Addr, SocketAddr};
use xtask::lab::director::Director;
use xtask::lab::plan::VIP;

const SERVICE: &str = "10.0.0.100:0";
const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

#[test]
fn one_client_has_one_server_on_every_port() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    add(&scene, &director)?;
    assert_eq!(ask(&scene, "10.0.0.1", &[80, 443, 80, 443])?, [2, 2, 2, 2]);
    assert_eq!(ask(&scene, "10.0.0.5", &[443, 80, 443, 80])?, [1, 1, 1, 1]);
    assert_eq!(ask(&scene, "10.0.0.1", &[443])?, [2]);

    let listed = director.ctl(["-L", "-n", "-c"])?;
    let template = |client: &str| {
        let lines = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = lines
            .into_iter()
            .find(|fields| fields.get(3) == Some(&client));
        found.map(|fields| [0, 2, 4, 5].map(|field| fields[field].to_owned()))
    };
    assert_eq!(
        template("10.0.0.1:0").context(listed.clone())?,
        ["TCP", "ASSURED", SERVICE, "10.0.0.12:0"]
    );
    assert_eq!(
        template("10.0.0.5:0").context(listed.clone())?,
        ["TCP", "ASSURED", SERVICE, "10.0.0.11:0"]
    );
    let persistent = director.ctl(["-L", "-n", "--persistent-conn"])?;
    let counts: Vec<&str> = persistent
        .lines()
        .filter(|line| line.contains(":0 ") && line.starts_with("  ->"))
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(counts, ["1", "1"], "{persistent}");
    Ok(())
}

#[test]
fn a_quiesced_server_keeps_its_clients_until_told_otherwise() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    add(&scene, &director)?;
    assert_eq!(ask(&scene, "10.0.0.1", &[80])?, [2]);
    director.ctl(["-e", "-t", SERVICE, "-r", "10.0.0.12:0", "-g", "-w", "0"])?;
    assert_eq!(ask(&scene, "10.0.0.1", &[80, 443])?, [2, 2]);
    director.ctl(["setting", "expire_quiescent_template=1"])?;
    assert_eq!(ask(&scene, "10.0.0.1", &[80, 443])?, [1, 1]);
    Ok(())
}

/// Adds a service for every port with both servers, and a second address to the client.
fn add(scene: &Scene, director: &Director<'_>) -> Result<()> {
    let address = format!("{OTHER_CLIENT}/24");
    scene
        .lab
        .client()
        .run("ip", ["address", "add", &address, "dev", "eth0"])?;
    director.ctl(["-A", "-t", SERVICE, "-s", "rr", "-p", "300"])?;
    for server in ["10.0.0.11:0", "10.0.0.12:0"] {
        director.ctl(["-a", "-t", SERVICE, "-r", server, "-g", "-w", "1"])?;
    }
    Ok(())
}

/// The servers that answer a client on these ports.
fn ask(scene: &Scene, client: &str, ports: &[u16]) -> Result<Vec<usize>> {
    let one = |port: &u16| {
        let url = format!("http://{}/", SocketAddr::from((VIP, *port)));
        let args = ["--silent", "--show-error", "--fail", "--max-time", "10"];
        let args = args.into_iter().chain(["--interface", client, &url]);
        let answer = scene.lab.client().run("curl", args)?;
        scene::server_number(answer.trim())
    };
    ports.iter().map(one).collect()
}
