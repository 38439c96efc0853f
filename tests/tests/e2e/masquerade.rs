//! Masqueraded servers: other ports, both families, both ways through the director.

use anyhow::{Result, ensure};
use lb_tests::network::{self, FAR_VIP};
use lb_tests::scene::{self, Scene};
use xtask::lab::director::Director;
use xtask::lab::listing;
use xtask::lab::plan::{VIP, VIP6};

#[test]
fn curl_gets_nginx_on_another_port() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let _agent = director.start()?;
    for (service, servers) in [
        (format!("{VIP}:8080"), ["10.0.0.11:80", "10.0.0.12:80"]),
        (format!("[{VIP6}]:8080"), ["[fd00::11]:80", "[fd00::12]:80"]),
    ] {
        add(&director, &service, &servers)?;
        let url = format!("http://{service}/");
        let answers = (0..4)
            .map(|_| curl(&scene, &url))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(answers, [2, 1, 2, 1], "{service}");
    }
    // What came back was counted as well, and did not go past lb.
    let stats = listing::stats(&director.ctl(["-L", "-n", "--stats", "--exact"])?)?;
    assert_eq!(stats.len(), 4);
    for server in stats {
        assert_eq!(server.connections, 2, "{server:?}");
        assert!(server.out_packets > 0 && server.out_bytes > 0, "{server:?}");
    }
    Ok(())
}

#[test]
fn a_client_beyond_another_interface_gets_through_by_redirection() -> Result<()> {
    let scene = Scene::new(2)?;
    network::second_network(&scene.lab)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let mut command = director.agent("eth0");
    command.args(["--interface", "eth1"]);
    let _agent = director.start_with(command)?;
    let service = format!("{FAR_VIP}:80");
    add(&director, &service, &["10.0.0.11:80", "10.0.0.12:80"])?;
    let url = format!("http://{service}/");
    let answers = (0..4)
        .map(|_| curl(&scene, &url))
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(answers, [2, 1, 2, 1]);
    Ok(())
}

#[test]
fn a_server_on_the_director_is_refused_with_a_cure() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let _agent = director.start()?;
    // The virtual address is the director's own as well.
    for server in ["10.0.0.2:80", scene::SERVICE] {
        add(&director, scene::SERVICE, &[server])?;
        let status = director.ctl_output(["status"])?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        assert_eq!(status.status.code(), Some(1), "{said}");
        assert!(said.contains(server) && said.contains("use -g"), "{said}");
        // With the cure, nothing is missing.
        director.ctl(["-e", "-t", scene::SERVICE, "-r", server, "-g"])?;
        director.ctl(["status"])?;
        director.ctl(["-D", "-t", scene::SERVICE])?;
    }
    Ok(())
}

/// Adds a service whose servers are masqueraded.
fn add(director: &Director<'_>, service: &str, servers: &[&str]) -> Result<()> {
    director.ctl(["-A", "-t", service, "-s", "rr"])?;
    for server in servers {
        director.ctl(["-a", "-t", service, "-r", server, "-m"])?;
    }
    Ok(())
}

/// The number of the server that answers a request.
fn curl(scene: &Scene, url: &str) -> Result<usize> {
    let args = [
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "10",
        url,
    ];
    let answer = scene.lab.client().run("curl", args)?;
    ensure!(!answer.is_empty(), "no answer from {url}");
    scene::server_number(answer.trim())
}
