//! What the agent cannot work with it refuses, says so, and leaves as it was.

use anyhow::{Context, Result};
use lb_tests::scene::{self, DEADLINE, Scene};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use xtask::lab::director::Director;
use xtask::lab::host::Host;
use xtask::lab::{wait, xdp_pass};

/// Exit codes of the agent.
pub(crate) const ENVIRONMENT: i32 = 3;
pub(crate) const CONFLICT: i32 = 4;

#[test]
fn a_second_agent_on_the_same_pins() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let mut agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let before = (pins(&director)?, program(director.host(), "eth0")?);

    let mut second = director.host().command(&director.programs().agent);
    let socket = director.host().dir().join("second.sock");
    second
        .args(["run", "--interface", "eth0", "--pin-path"])
        .arg(director.pins())
        .arg("--socket")
        .arg(&socket)
        .arg("--state-dir")
        .arg(director.host().dir().join("second"));
    let said = refused(&director, second, CONFLICT)?;
    assert!(
        said.contains(&director.pins().display().to_string()),
        "{said}"
    );
    assert!(!socket.exists(), "{} is left", socket.display());

    assert_eq!(
        (pins(&director)?, program(director.host(), "eth0")?),
        before
    );
    assert!(agent.ended()?.is_none(), "{}", agent.log());
    assert_eq!(scene.fetch(4)?, [2, 1, 2, 1]);
    Ok(())
}

#[test]
fn a_missing_interface() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let said = refused(&director, director.agent("eth7"), ENVIRONMENT)?;
    assert!(said.contains("eth7"), "{said}");
    nothing_done(&director)
}

#[test]
fn a_missing_interface_beside_one_that_exists() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let mut command = director.agent("eth0");
    command.args(["--interface", "eth7"]);
    let said = refused(&director, command, ENVIRONMENT)?;
    assert!(said.contains("eth7"), "{said}");
    nothing_done(&director)
}

#[test]
fn a_foreign_program_on_the_interface() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let pin = director.pins().with_file_name("foreign");
    xdp_pass::pin(&pin)?;
    let path = pin.display().to_string();
    director.host().run(
        "ip",
        ["link", "set", "dev", "eth0", "xdpdrv", "pinned", &path],
    )?;
    let before = program(director.host(), "eth0")?;
    assert!(before["prog"]["id"].is_u64(), "{before}");

    let said = refused(&director, director.agent("eth0"), CONFLICT)?;
    assert!(said.contains("eth0"), "{said}");
    let id = before["prog"]["id"].to_string();
    assert!(said.contains(&id), "the message names program {id}: {said}");
    assert_eq!(program(director.host(), "eth0")?, before);
    assert_eq!(pins(&director)?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn no_privilege() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    // All that this user may need of files it has; what it lacks is the privilege.
    let copy = scene.lab.dir().join("lb-agent");
    fs::copy(&director.programs().agent, &copy)?;
    let home = scene.lab.dir().join("nobody");
    fs::create_dir(&home)?;
    director
        .host()
        .run("chown", ["65534:65534".as_ref(), home.as_os_str()])?;
    let mut command = director.host().command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["run", "--interface", "eth0", "--socket"])
        .arg(home.join("agent.sock"))
        .arg("--pin-path")
        .arg(director.pins())
        .arg("--state-dir")
        .arg(home.join("state"));
    let said = refused(&director, command, ENVIRONMENT)?;
    assert!(said.contains("root") || said.contains("CAP_"), "{said}");
    assert!(!home.join("agent.sock").exists());
    nothing_done(&director)
}

#[test]
fn an_interface_without_native_xdp() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let mut command = director.agent("lo");
    command.args(["--xdp-mode", "native"]);
    let said = refused(&director, command, ENVIRONMENT)?;
    assert!(
        said.contains("lo") && said.contains("generic"),
        "names the interface and the cure: {said}"
    );
    assert!(program(director.host(), "lo")?.is_null());
    nothing_done(&director)
}

#[test]
fn a_pin_path_that_no_bpffs_takes() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let pins = director.pins().with_file_name("lb.1").join("pins");
    let told = "`lb.1' has a dot";
    for verb in [
        &["run", "--interface", "eth0", "--pin-path"][..],
        &["detach", "--pin-path"],
        &[
            "real-server",
            "--vip",
            "10.0.0.200",
            "--interface",
            "eth0",
            "--decapsulate",
            "ipip",
            "--pin-path",
        ],
    ] {
        let mut command = director.host().command(&director.programs().agent);
        command.args(verb).arg(&pins);
        for option in ["--state-dir", "--socket"] {
            if (option, verb[0]) != ("--socket", "real-server") {
                command.arg(option).arg(director.host().dir().join(option));
            }
        }
        let said = refused(&director, command, 2)?;
        assert!(said.contains(told) && said.contains("`lb-1'"), "{said}");
    }
    nothing_done(&director)
}

#[test]
fn an_unknown_option() -> Result<()> {
    let scene = Scene::new(0)?;
    let director = scene.director();
    let mut command = director.agent("eth0");
    command.arg("--no-such-option");
    let said = refused(&director, command, 2)?;
    assert!(said.contains("--no-such-option"), "{said}");
    nothing_done(&director)
}

/// Runs an agent that has to end by itself with this exit code; gives what it said.
pub(crate) fn refused(director: &Director<'_>, command: Command, code: i32) -> Result<String> {
    let mut agent = director.host().spawn("refused", command)?;
    let status = wait::until("the agent refuses", DEADLINE, || {
        Ok(match agent.ended()? {
            Some(status) => wait::Seen::Done(status),
            None => wait::Seen::NotYet(format!("it runs and says: {}", agent.log())),
        })
    })?;
    let said = agent.log();
    assert_eq!(status.code(), Some(code), "{said}");
    assert!(
        !said.trim().is_empty() && !said.contains("panicked"),
        "{said}"
    );
    Ok(said)
}

/// No pin, no program and no socket is left.
fn nothing_done(director: &Director<'_>) -> Result<()> {
    assert_eq!(pins(director)?, Vec::<PathBuf>::new());
    assert!(program(director.host(), "eth0")?.is_null());
    assert!(
        !director.socket().exists(),
        "{} is left",
        director.socket().display()
    );
    Ok(())
}

/// Everything below the agent's pin path, sorted; the empty path itself counts as nothing.
pub(crate) fn pins(director: &Director<'_>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![director.pins().to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What `ip` tells of the XDP program on an interface: its `mode` and `prog`; null without one.
pub(crate) fn program(host: &Host, interface: &str) -> Result<Value> {
    let links = host.run(
        "ip",
        ["-json", "-details", "link", "show", "dev", interface],
    )?;
    let mut links: Value = serde_json::from_str(&links)?;
    Ok(links[0]["xdp"].take())
}
