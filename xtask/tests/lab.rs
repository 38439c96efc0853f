//! The lab alone: its links, its cleanliness, its owners. Needs root.

use anyhow::Result;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use xtask::lab::plan::{self, Plan, VIP};
use xtask::lab::{Lab, host::Host, register, wait};
use xtask::load;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn root_the_client_reaches_every_server_and_the_vip_is_the_directors() -> Result<()> {
    let lab = Lab::up(&Plan::servers(3))?;
    let _servers = (1..=3)
        .map(|n| serve(lab.server(n)))
        .collect::<Result<Vec<_>>>()?;
    for number in 1..=3 {
        let target = SocketAddr::from((plan::server_address(number), 80));
        let answer = wait::until(format!("{target} answers"), DEADLINE, || {
            Ok(match lab.client().inside(|| load::fetch(target))? {
                Ok(answer) => wait::Seen::Done(answer),
                Err(error) => wait::Seen::NotYet(format!("{error:#}")),
            })
        })?;
        assert_eq!(answer, plan::server(number));
        let url = format!("http://[fd00::{}]/", 10 + number);
        let curl = lab
            .client()
            .run("curl", ["--silent", "--fail", "--globoff", &url])?;
        assert_eq!(curl.trim(), plan::server(number));
    }
    // Nobody but the director answers for the VIP, and the director has no server on port 80.
    let target = SocketAddr::from((VIP, 80));
    let refused = lab.client().inside(|| load::fetch(target))?.unwrap_err();
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    let neighbours = lab
        .client()
        .run("ip", ["neighbour", "show", &VIP.to_string()])?;
    assert!(neighbours.contains(&lab.director(1).mac()?), "{neighbours}");
    Ok(())
}

#[test]
fn root_the_directors_peer_passes_frames_in_the_driver_and_checksums_are_finished() -> Result<()> {
    let lab = Lab::up(&Plan {
        directors: 2,
        servers: 1,
    })?;
    for director in ["director1", "director2"] {
        let link = lab
            .host("bridge")
            .run("ip", ["-json", "-details", "link", "show", director])?;
        let link: serde_json::Value = serde_json::from_str(&link)?;
        let xdp = &link[0]["xdp"];
        // linux/if_link.h: XDP_ATTACHED_DRV is 1.
        assert_eq!(xdp["mode"], 1, "{link}");
        assert_eq!(xdp["prog"]["name"], "lblab_xdp_pass", "{link}");
    }
    for host in ["client", "director1", "director2", "server1"] {
        let features = lab.host(host).run("ethtool", ["-k", "eth0"])?;
        assert!(
            features.contains("tx-checksumming: off"),
            "{host}: {features}"
        );
    }
    Ok(())
}

#[test]
fn root_pins_outlive_the_command_that_made_them() -> Result<()> {
    let lab = Lab::up(&Plan::servers(0))?;
    let director = lab.director(1);
    director.run("mkdir", [lab.pin_path(1)])?;
    let pins = lab.pin_path(1).display().to_string();
    let kind = director.run("stat", ["--file-system", "--format=%T", &pins])?;
    assert_eq!(kind.trim(), "bpf_fs");
    Ok(())
}

#[test]
fn root_two_labs_live_side_by_side_and_leave_nothing() -> Result<()> {
    let first = Lab::up(&Plan::servers(1))?;
    let second = Lab::up(&Plan::servers(1))?;
    let names = [first.name().to_owned(), second.name().to_owned()];
    assert_ne!(names[0], names[1]);
    let _servers = [serve(first.server(1))?, serve(second.server(1))?];
    drop(first);
    assert_eq!(traces(&names[0])?, Vec::<String>::new());
    // The other one works on.
    let target = SocketAddr::from((plan::server_address(1), 80));
    wait::until("the second lab's server answers", DEADLINE, || {
        Ok(match second.client().inside(|| load::fetch(target))? {
            Ok(_) => wait::Seen::Done(()),
            Err(error) => wait::Seen::NotYet(format!("{error:#}")),
        })
    })?;
    drop(second);
    assert_eq!(traces(&names[1])?, Vec::<String>::new());
    Ok(())
}

#[test]
fn root_what_a_killed_owner_left_is_swept_by_the_next() -> Result<()> {
    let name = format!("killed{}", std::process::id());
    let mut owner = hold(&name)?;
    let orphan = Command::new("ip")
        .args([
            "netns",
            "exec",
            &register::namespace(&name, "client"),
            "sleep",
            "1000",
        ])
        .spawn();
    assert!(!traces(&name)?.is_empty());
    owner.kill()?;
    owner.wait()?;
    assert!(
        !traces(&name)?.is_empty(),
        "SIGKILL leaves no time to clean up"
    );
    drop(Lab::up(&Plan::servers(0))?);
    assert_eq!(traces(&name)?, Vec::<String>::new());
    assert_eq!(orphan?.wait()?.signal(), Some(libc::SIGKILL));
    Ok(())
}

#[test]
fn root_an_interrupted_owner_removes_its_lab() -> Result<()> {
    for (signal, number) in [("INT", libc::SIGINT), ("TERM", libc::SIGTERM)] {
        let name = format!("signal{number}-{}", std::process::id());
        let mut owner = hold(&name)?;
        let sent = Command::new("kill")
            .args(["-s", signal, &owner.id().to_string()])
            .status()?;
        assert!(sent.success());
        assert_eq!(owner.wait()?.code(), Some(128 + number));
        assert_eq!(traces(&name)?, Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn root_a_living_owners_lab_is_left_alone() -> Result<()> {
    let name = format!("alive{}", std::process::id());
    let lab = Lab::named(&name, &Plan::servers(0))?;
    let refused = Lab::named(&name, &Plan::servers(0)).unwrap_err();
    assert!(
        format!("{refused:#}").contains("belongs to process"),
        "{refused:#}"
    );
    register::sweep()?;
    lab.client().run("true", [""; 0])?;
    drop(lab);
    assert_eq!(traces(&name)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn root_a_lab_that_cannot_be_built_leaves_nothing() -> Result<()> {
    let name = format!("broken{}", std::process::id());
    let refused = Lab::named(
        &name,
        &Plan {
            directors: 3,
            servers: 1,
        },
    )
    .unwrap_err();
    assert!(
        format!("{refused:#}").contains("3 directors"),
        "{refused:#}"
    );
    assert_eq!(traces(&name)?, Vec::<String>::new());
    Ok(())
}

/// Everything on this machine that bears a lab's name.
fn traces(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in ["/run", register::NETNS, "/sys/class/net", "/sys/fs/bpf"] {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        for entry in entries {
            found.push(entry?.path().display().to_string());
        }
    }
    found.extend(
        fs::read_to_string("/proc/self/mountinfo")?
            .lines()
            .map(str::to_owned),
    );
    found.retain(|line| line.contains(name));
    Ok(found)
}

fn serve(host: &Host) -> Result<xtask::lab::background::Background> {
    let mut command = host.command(env!("CARGO_BIN_EXE_xtask"));
    command.args(["serve", host.name()]);
    host.spawn("serve", command)
}

/// Starts a process that owns a lab, and waits until the lab is up.
fn hold(name: &str) -> Result<Child> {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["lab", "up", "--hold", "--servers", "1", "--name", name])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(owner.stdout.take().expect("it is piped"));
    let up = stdout
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("removed at Ctrl-C"));
    assert!(up, "lab {name} does not come up");
    Ok(owner)
}
