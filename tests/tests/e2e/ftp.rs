//! FTP through masqueraded services: data connections from and to everywhere.

use anyhow::{Context, Result, ensure};
use lb_tests::ftp::{FILE, Server, Session};
use lb_tests::network;
use lb_tests::scene::{DEADLINE, Scene};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::from_utf8;
use xtask::lab::director::Director;
use xtask::lab::plan::{VIP, VIP6};
use xtask::lab::wait;

/// The ways to ask for a data connection, as curl's options, and the command that shows that it was
/// asked for.
const PASSIVE: [(&[&str], &str); 2] = [(&[], "> EPSV"), (&["--disable-epsv"], "> PASV")];
const ACTIVE: [(&[&str], &str); 2] = [
    (&["--ftp-port", "-"], "> EPRT"),
    (&["--ftp-port", "-", "--disable-eprt"], "> PORT"),
];

#[test]
fn curl_gets_listing_and_file_in_every_way_over_both_families() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let servers = servers(&scene, 2, 21)?;
    let _agent = director.start()?;
    for (service, at) in [
        (format!("{VIP}:21"), ["10.0.0.11:21", "10.0.0.12:21"]),
        (format!("[{VIP6}]:21"), ["[fd00::11]:21", "[fd00::12]:21"]),
    ] {
        add(&director, &service, &at)?;
        let v6 = service.starts_with('[');
        // PASV and PORT have no room for IPv6 addresses.
        let ways = PASSIVE.iter().chain(&ACTIVE);
        let ways = ways.filter(|(_, command)| !v6 || command.starts_with("> E"));
        for (options, command) in ways {
            for _ in 0..2 {
                transfer(&scene, &service, options, command, &servers)?;
            }
        }
    }
    Ok(())
}

#[test]
fn other_ports_are_ftp_when_they_are_named() -> Result<()> {
    let scene = Scene::new(1)?;
    network::reply_through_director(&scene.lab, 1)?;
    let director = scene.director();
    let servers = servers(&scene, 1, 21)?
        .into_iter()
        .chain(servers(&scene, 1, 3021)?);
    let servers: Vec<_> = servers.collect();
    let mut command = director.agent("eth0");
    command.args(["--ftp-ports", "21,2121"]);
    let _agent = director.start_with(command)?;
    for (service, at) in [
        (format!("{VIP}:21"), "10.0.0.11:3021"),
        (format!("{VIP}:2121"), "10.0.0.11:21"),
        (format!("[{VIP6}]:2121"), "[fd00::11]:3021"),
    ] {
        add(&director, &service, &[at])?;
        for (options, command) in [PASSIVE[0], ACTIVE[0]] {
            transfer(&scene, &service, options, command, &servers)?;
        }
    }
    Ok(())
}

#[test]
fn a_connection_with_changed_replies_outlives_the_agent() -> Result<()> {
    let scene = Scene::new(1)?;
    network::reply_through_director(&scene.lab, 1)?;
    let director = scene.director();
    let servers = servers(&scene, 1, 21)?;
    let file = fs::read(&servers[0].file)?;
    let mut agent = director.start()?;
    add(&director, &format!("{VIP}:21"), &["10.0.0.11:21"])?;
    let client = scene.lab.client();
    let mut session = client.inside(|| Session::open((VIP, 21).into()))??;
    for round in 0..3 {
        // Each of these is longer than what the server said.
        let listener = session.passive("PASV")?;
        assert_eq!(listener.ip(), VIP, "round {round}");
        agent.kill()?;
        agent = director.start()?;
        let fetched = client.inside(|| session.fetch(listener))??;
        assert!(fetched == file, "round {round}: {} bytes", fetched.len());
    }
    session.ask("NOOP", "200")?;
    Ok(())
}

#[test]
fn a_connection_is_given_up_when_what_was_changed_is_not_known() -> Result<()> {
    let scene = Scene::new(1)?;
    network::reply_through_director(&scene.lab, 1)?;
    let director = scene.director();
    let _servers = servers(&scene, 1, 21)?;
    let mut agent = director.start()?;
    add(&director, &format!("{VIP}:21"), &["10.0.0.11:21"])?;
    let open = || {
        scene
            .lab
            .client()
            .inside(|| Session::open((VIP, 21).into()))
    };
    let (mut changed, mut unchanged) = (open()??, open()??);
    changed.passive("PASV")?;
    changed.ask("NOOP", "200")?;
    agent.kill()?;
    fs::remove_file(director.state().join("ftp.ndjson"))?;
    agent = director.start()?;
    unchanged.ask("NOOP", "200")?;
    changed.say("NOOP")?;
    wait::until("the log tells of it", DEADLINE, || {
        let log = agent.log();
        Ok(if log.contains("is given up") {
            wait::Seen::Done(())
        } else {
            wait::Seen::NotYet(log)
        })
    })?;
    // Others go on.
    open()??.passive("PASV")?;
    Ok(())
}

/// Starts vsftpd on so many servers.
fn servers(scene: &Scene, count: usize, port: u16) -> Result<Vec<Server>> {
    (1..=count)
        .map(|number| Server::start(scene.lab.server(number), port))
        .collect()
}

/// Adds a service whose servers are masqueraded.
fn add(director: &Director<'_>, service: &str, servers: &[&str]) -> Result<()> {
    director.ctl(["-A", "-t", service, "-s", "rr"])?;
    for server in servers {
        director.ctl(["-a", "-t", service, "-r", server, "-m"])?;
    }
    Ok(())
}

/// Gets the directory and the file over one control connection, and compares the file with those of
/// the servers.
fn transfer(
    scene: &Scene,
    service: &str,
    options: &[&str],
    command: &str,
    servers: &[Server],
) -> Result<()> {
    let client = scene.lab.client();
    let (listing, fetched) = (client.dir().join("listing"), client.dir().join("fetched"));
    let mut curl = client.command("curl");
    // The address of the reply to PASV counts, not that of the control connection.
    curl.args([
        "--silent",
        "--show-error",
        "--verbose",
        "--fail",
        "--max-time",
        "30",
    ])
    .arg("--no-ftp-skip-pasv-ip")
    .args(options)
    .args([format!("ftp://{service}/"), "--output".to_owned()])
    .arg(&listing)
    .args([format!("ftp://{service}/{FILE}"), "--output".to_owned()])
    .arg(&fetched);
    let output = curl.output().context("cannot run curl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{curl:?}: {said}");
    ensure!(said.contains(command), "{command} is not in {said}");
    ensure!(
        said.matches("< 220 ").count() == 1,
        "more than one control connection: {said}"
    );
    if command == "> PASV" {
        let address = VIP.to_string().replace('.', ",");
        ensure!(said.contains(&format!("({address},")), "{said}");
    }
    let listing = fs::read_to_string(&listing)?;
    ensure!(
        listing.lines().count() == 1 && listing.trim_end().ends_with(FILE),
        "{listing:?}"
    );
    let sum = sha256(&fetched)?;
    let mut known = servers.iter().map(|server| sha256(&server.file));
    ensure!(known.any(|of| of.is_ok_and(|of| of == sum)), "another file");
    fs::remove_file(&fetched)?;
    Ok(())
}

/// A file's checksum, as sha256sum(1) has it.
fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg("--").arg(path).output()?;
    ensure!(output.status.success(), "sha256sum {}", path.display());
    let line = from_utf8(&output.stdout)?;
    let (sum, _) = line.split_once(' ').context("no sum")?;
    Ok(sum.to_owned())
}
