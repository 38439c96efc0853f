//! Masqueraded servers: other ports, both families, both ways through the director.

use anyhow::{Context as _, Result, ensure};
use lb_tests::network::{self, CLIENT6, FAR_VIP};
use lb_tests::scene::{self, DEADLINE, Scene};
use xtask::lab::director::Director;
use xtask::lab::listing;
use xtask::lab::plan::{CLIENT, VIP, VIP6};
use xtask::lab::wait::{self, Seen};

#[test]
fn curl_gets_nginx_on_another_port() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let _agent = director.start()?;
    for (service, servers) in services() {
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
fn answers_that_leave_by_an_interface_without_lb_are_routed_by_the_host() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let (client, host) = (scene.lab.client(), director.host());
    // What the client sends still comes by eth0.
    network::join([(client, "eth1", 1), (host, "eth1", 2)], 5, 1500)?;
    for [to, via] in [
        [format!("{CLIENT}/32"), "10.5.0.1".to_owned()],
        [format!("{CLIENT6}/128"), "fd05::1".to_owned()],
    ] {
        host.run("ip", ["route", "add", &to, "via", &via, "dev", "eth1"])?;
    }
    let mut agent = director.start()?;
    assert_eq!(accepts_local(&director)?, "0", "nobody asks for it yet");
    let (service, servers) = &services()[0];
    add(&director, service, servers)?;
    assert_eq!(accepts_local(&director)?, "1");
    director.ctl(["-C"])?;
    wait::until("no server is left that asks for it", DEADLINE, || {
        Ok(match accepts_local(&director)?.as_str() {
            "0" => Seen::Done(()),
            other => Seen::NotYet(format!("accept_local is {other}")),
        })
    })?;
    for (service, servers) in services() {
        add(&director, &service, &servers)?;
        assert_eq!(accepts_local(&director)?, "1");
        let before = routed_by_host(&director)?;
        let url = format!("http://{service}/");
        let answers = (0..4)
            .map(|_| curl(&scene, &url))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(answers, [2, 1, 2, 1], "{service}");
        // SYN-ACK, answer and FIN at least.
        ensure!(routed_by_host(&director)? >= before + 12, "{service}");
    }
    ensure!(
        agent
            .log()
            .contains("net.ipv4.conf.eth0.accept_local: 0 -> 1")
    );
    // It stays as long as the program does, whichever agent looks after that.
    agent.kill()?;
    assert_eq!(accepts_local(&director)?, "1");
    agent = director.start()?;
    assert_eq!(accepts_local(&director)?, "1");
    agent.kill()?;
    director.detach()?;
    assert_eq!(accepts_local(&director)?, "0");
    Ok(())
}

#[test]
fn what_was_accepted_before_lb_came_still_is_when_it_goes() -> Result<()> {
    let scene = Scene::new(1)?;
    let director = scene.director();
    let setting = "net/ipv4/conf/eth0/accept_local";
    director.host().sysctl(setting, "1")?;
    let mut agent = director.start()?;
    add(&director, scene::SERVICE, &["10.0.0.11:80"])?;
    agent.kill()?;
    director.detach()?;
    assert_eq!(accepts_local(&director)?, "1");
    Ok(())
}

#[test]
fn a_client_that_the_director_never_met_gets_its_answers() -> Result<()> {
    let scene = Scene::new(2)?;
    network::reply_through_director(&scene.lab, 2)?;
    let director = scene.director();
    let (client, host) = (scene.lab.client(), director.host());
    let _agent = director.start()?;
    let mac = host.mac()?;
    for ((service, servers), vip) in services()
        .into_iter()
        .zip([VIP.to_string(), VIP6.to_string()])
    {
        add(&director, &service, &servers)?;
        // It asks for nobody's Ethernet address, which would tell its own.
        let entry = ["neighbour", "replace", &vip, "lladdr", &mac, "dev", "eth0"];
        client.run("ip", entry)?;
        for address in [CLIENT.to_string(), CLIENT6.to_owned()] {
            let entry = ["to", &address, "dev", "eth0"];
            let ip = |verb| host.run("ip", ["neighbour", verb].iter().chain(&entry));
            ip("flush")?;
            assert_eq!(ip("show")?, "");
        }
        let before = routed_by_host(&director)?;
        curl(&scene, &format!("http://{service}/"))?;
        ensure!(routed_by_host(&director)? > before, "{service}");
    }
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

#[test]
fn a_server_that_answers_past_the_director_is_told_of_until_it_is_mended() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    network::forwards(director.host())?;
    let agent = director.start()?;
    for (service, [server, _]) in services() {
        add(&director, &service, &[server])?;
        // Its answers go to the client straight away, which knows nothing of that server.
        let url = format!("http://{service}/");
        let lost = scene.lab.client().run("curl", ["--max-time", "5", &url]);
        ensure!(lost.is_err(), "{url} answers");
        let told = format!("nothing comes back from masqueraded server {server} of TCP {service}");
        let warned = wait::until("the server is told of", DEADLINE, || {
            let status = director.ctl_output(["status"])?;
            let said = String::from_utf8_lossy(&status.stdout).into_owned();
            Ok(match said.contains(&format!("warning: {told}")) {
                true => Seen::Done((status.status.code(), said)),
                false => Seen::NotYet(said),
            })
        })?;
        assert_eq!(warned.0, Some(1), "{}", warned.1);
        assert_eq!(agent.log().matches(&told).count(), 1, "{}", agent.log());

        // The cure as it is told.
        let (ip, client) = match service.starts_with('[') {
            true => ("ip -6", CLIENT6.to_owned()),
            false => ("ip", CLIENT.to_string()),
        };
        let cure = format!("`{ip} route replace CLIENT via ");
        let (_, rest) = warned.1.split_once(&cure).context("no cure")?;
        let (via, _) = rest.split_once('`').context("no end of the cure")?;
        let route = ["route", "replace", &client, "via", via];
        scene.lab.server(1).run("ip", route)?;
        assert_eq!(curl(&scene, &url)?, 1);
        wait::until("it is told of no more", DEADLINE, || {
            let status = director.ctl_output(["status"])?;
            Ok(match status.status.code() {
                Some(0) => Seen::Done(()),
                _ => Seen::NotYet(String::from_utf8_lossy(&status.stdout).into_owned()),
            })
        })?;
        let again = format!("server {server} of TCP {service} answers through lb again");
        ensure!(agent.log().contains(&again), "{}", agent.log());
    }
    Ok(())
}

/// A service of each family, and its servers.
fn services() -> [(String, [&'static str; 2]); 2] {
    [
        (format!("{VIP}:8080"), ["10.0.0.11:80", "10.0.0.12:80"]),
        (format!("[{VIP6}]:8080"), ["[fd00::11]:80", "[fd00::12]:80"]),
    ]
}

/// The director's setting for packets from its own addresses.
fn accepts_local(director: &Director<'_>) -> Result<String> {
    let setting = "/proc/sys/net/ipv4/conf/eth0/accept_local";
    let value = director.host().run("cat", [setting])?;
    Ok(value.trim().to_owned())
}

/// How many packets to clients the director's stack was handed.
fn routed_by_host(director: &Director<'_>) -> Result<u64> {
    let status = director.ctl_output(["status", "--output", "json"])?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let reasons = status["agent"]["reasons"].as_array();
    let mut reasons = reasons.context("reasons")?.iter();
    let routed = reasons.find(|counted| counted["reason"] == "routed_by_host");
    routed
        .and_then(|counted| counted["packets"].as_u64())
        .context("no count of packets that the host routes")
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
