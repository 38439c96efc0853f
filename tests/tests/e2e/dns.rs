//! DNS with one-packet scheduling: every question is scheduled by itself.

use anyhow::Result;
use lb_tests::dns;
use lb_tests::scene::Scene;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use xtask::lab::plan::{VIP, VIP6, server_address};

#[test]
fn one_socket_asks_every_server_in_turn() -> Result<()> {
    let scene = Scene::new(2)?;
    let director = scene.director();
    let _agent = director.start()?;
    for (vip, servers) in [
        (IpAddr::from(VIP), ["10.0.0.11", "10.0.0.12"]),
        (IpAddr::from(VIP6), ["fd00::11", "fd00::12"]),
    ] {
        let service = SocketAddr::new(vip, 53);
        let servers_of = |n| dns::start(scene.lab.server(n), service, server_address(n));
        let _running = [1, 2]
            .into_iter()
            .map(servers_of)
            .collect::<Result<Vec<_>>>()?;
        let name = service.to_string();
        director.ctl(["-A", "-u", &name, "-s", "rr", "-o"])?;
        for server in servers {
            let server = SocketAddr::new(server.parse()?, 53).to_string();
            director.ctl(["-a", "-u", &name, "-r", &server, "-g", "-w", "1"])?;
        }
        let answers = scene.lab.client().inside(|| -> Result<Vec<_>> {
            let any: IpAddr = if vip.is_ipv4() { "0.0.0.0" } else { "::" }.parse()?;
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(service)?;
            (1..=6).map(|id| dns::ask(&socket, id)).collect()
        })??;
        assert_eq!(answers, [2, 1, 2, 1, 2, 1].map(server_address), "{service}");
    }
    // Two lines of titles and no connection.
    assert_eq!(director.ctl(["-L", "-n", "-c"])?.lines().count(), 2);
    Ok(())
}
