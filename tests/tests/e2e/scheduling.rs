//! Which server answers, in the kernel's order: servers are listed newest first.

use anyhow::Result;
use lb_tests::scene::{self, Scene, vip};
use lb_tests::udp::Responder;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use xtask::lab::plan::VIP;

#[test]
fn curl_alternates_between_nginx_servers_under_rr() -> Result<()> {
    let scene = Scene::new(3)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1, 1])?;
    let url = format!("http://{}/", vip());
    let curl = || {
        scene.lab.client().run(
            "curl",
            [
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "10",
                &url,
            ],
        )
    };
    let answers = (0..9)
        .map(|_| scene::server_number(curl()?.trim()))
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(answers, [3, 2, 1, 3, 2, 1, 3, 2, 1]);
    Ok(())
}

#[test]
fn wrr_gives_three_to_one_in_the_kernels_order() -> Result<()> {
    // ipvs: net/netfilter/ipvs/ip_vs_wrr.c: the current weight survives additions, so a service
    // just built starts in the pass that takes every server once, newest first. A heavier server
    // that is older has its other turns after that; one that is newer comes first in each pass.
    check_wrr(&[3, 1], &[2, 1, 1, 1])?;
    check_wrr(&[1, 3], &[2, 1, 2, 2])
}

/// 400 requests are answered by the servers of the pattern, again and again from the first on.
fn check_wrr(weights: &[u32], pattern: &[usize]) -> Result<()> {
    const REQUESTS: usize = 400;
    let scene = Scene::new(weights.len())?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "wrr", weights)?;
    let answers = scene.fetch(REQUESTS)?;
    let expected: Vec<usize> = pattern.iter().copied().cycle().take(REQUESTS).collect();
    assert_eq!(answers, expected, "weights {weights:?}");
    let shares = (1..).zip(weights.iter().map(|&weight| u64::from(weight) * 100));
    assert_eq!(
        scene::counted(&director)?,
        shares.collect::<BTreeMap<_, _>>()
    );
    Ok(())
}

#[test]
fn a_quiesced_server_gets_no_new_connection_and_keeps_its_old_ones() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    scene::add_service(&director, "rr", &[1, 1])?;
    let mut sessions = scene.sessions(4)?;
    director.ctl([
        "-e",
        "-t",
        scene::SERVICE,
        "-r",
        &scene::server(1),
        "-g",
        "-w",
        "0",
    ])?;
    assert_eq!(scene.fetch(20)?, [2; 20]);
    let mut answers = Vec::new();
    for session in &mut sessions {
        answers.push(scene::server_number(&session.ask()?)?);
    }
    assert_eq!(answers, [2, 1, 2, 1]);
    Ok(())
}

#[test]
fn udp_clients_alternate_and_each_keeps_its_server() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    let service = SocketAddr::from((VIP, 53));
    // On the VIP, so that answers carry its address.
    let _responders = [1, 2].map(|n| Responder::start(scene.lab.server(n), service));
    director.ctl(["-A", "-u", "10.0.0.100:53", "-s", "rr"])?;
    for server in ["10.0.0.11:53", "10.0.0.12:53"] {
        director.ctl(["-a", "-u", "10.0.0.100:53", "-r", server, "-g", "-w", "1"])?;
    }
    let answers = scene.lab.client().inside(|| -> Result<Vec<Vec<usize>>> {
        (0..6)
            .map(|_| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(service)?;
                socket.set_read_timeout(Some(xtask::load::PATIENCE))?;
                (0..5).map(|_| ask(&socket)).collect()
            })
            .collect()
    })??;
    let expected: Vec<Vec<usize>> = [2, 1, 2, 1, 2, 1].map(|server| vec![server; 5]).to_vec();
    assert_eq!(answers, expected);
    Ok(())
}

fn ask(socket: &UdpSocket) -> Result<usize> {
    socket.send(b"who")?;
    let mut answer = [0; 64];
    let len = socket.recv(&mut answer)?;
    scene::server_number(std::str::from_utf8(&answer[..len])?)
}
