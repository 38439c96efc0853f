//! Files and datagrams arrive whole by every method, in every family, wherever the server is.
//!
//! ```text
//!  client 10.0.0.1        director1 10.0.0.2        server1 10.0.0.11   server2 10.0.0.12
//!     |                      |         |               |                   |          |
//!  ===|======================|=========|== the bridge =|===================|          |
//!                                      |                                              |
//!                             10.2.0.2 +------------ a link of its own ---------------+ 10.2.0.12
//! ```
//!
//! There are the two ways of giving tunnels their room. The links between director and server 1
//! take longer packets than the client's. Those to server 2 do not, and it tells its clients to
//! send shorter segments (`advmss`).

use anyhow::{Context as _, Result, ensure};
use lb_tests::network::{forwards, join};
use lb_tests::scene::{DEADLINE, Scene};
use lb_tests::transfer::{DATAGRAMS, Echo, FILE, File, datagrams};
use serde_json::Value;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use xtask::lab::director::Director;
use xtask::lab::host::Host;
use xtask::lab::plan::{VIP, VIP6};
use xtask::lab::real_server::RealServer;
use xtask::lab::{Lab, listing, wait};

#[test]
fn nothing_is_lost_or_altered() -> Result<()> {
    let scene = Scene::new(2)?;
    let servers = [real_server(&scene, 1)?, real_server(&scene, 2)?];
    room_for_tunnels(&scene.lab)?;
    another_interface(&scene.lab)?;
    masqueraded_answers(&scene.lab)?;
    for (server, interface) in servers.iter().zip(["eth0", "eth1"]) {
        decapsulate(server, interface)?;
    }
    let director = scene.director();
    let mut agent = director.agent("eth0");
    agent.args(["--interface", "eth1"]);
    let _agent = director.start_with(agent)?;
    let hosts = servers.each_ref().map(RealServer::host);
    let file = File::new(scene.lab.client(), &hosts)?;

    let cases = cases();
    assert_eq!(cases.len(), 7 * 2 * 4 + 5 * 2 * 4);
    for case in &cases {
        let done = run(case, &scene, &director, &file);
        let counted = || -> Result<String> {
            let status = director.ctl_output(["status", "-o", "json"])?;
            Ok(String::from_utf8(status.stdout)?)
        };
        done.with_context(|| format!("{case}; the agent's status: {:?}", counted()))?;
    }

    // And they went the way that they should have gone, as far as it was through a tunnel.
    for (server, place) in servers.iter().zip(PLACES) {
        for tunnel in [Tunnel::Ipip, Tunnel::Gre, Tunnel::Gue] {
            let of = |case: &&Case| case.place == place && case.method.tunnel() == Some(tunnel);
            let least = cases.iter().filter(of).map(Case::least_packets).sum();
            let taken = taken_out(server, tunnel.label())?;
            assert!(taken >= least, "{place}, {tunnel:?}: {taken} of {least}");
        }
    }
    Ok(())
}

/// One transfer to one server, behind which nothing stands but this service.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// The virtual port for datagrams. Each case has one of its own, lest a client's port that was
    /// used before mean a flow to the server of that case.
    port: u16,
    method: Method,
    /// Of the client and the virtual address.
    family: Family,
    /// Of the server.
    outer: Family,
    protocol: Protocol,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Direct,
    Masquerade,
    Through(Tunnel, Checksum),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    Ipip,
    Gre,
    Gue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Without,
    With,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

/// Where the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind the interface that the client's packets come in by.
    Same,
    /// Behind another one.
    Another,
}

const METHODS: [Method; 7] = [
    Method::Direct,
    Method::Masquerade,
    Method::Through(Tunnel::Ipip, Checksum::Without),
    Method::Through(Tunnel::Gre, Checksum::Without),
    Method::Through(Tunnel::Gre, Checksum::With),
    Method::Through(Tunnel::Gue, Checksum::Without),
    Method::Through(Tunnel::Gue, Checksum::With),
];

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

const PLACES: [Place; 2] = [Place::Same, Place::Another];

/// The port that the servers' echo is on when it is not the virtual one.
const OWN_PORT: u16 = 8000;

/// Every case there is: only tunnels lead from one family to the other.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in METHODS {
        for family in FAMILIES {
            for outer in FAMILIES {
                if family != outer && method.tunnel().is_none() {
                    continue;
                }
                for protocol in PROTOCOLS {
                    cases.extend(PLACES.map(|place| Case {
                        port: 0,
                        method,
                        family,
                        outer,
                        protocol,
                        place,
                    }));
                }
            }
        }
    }
    for (case, port) in cases.iter_mut().zip(9000..) {
        case.port = port;
    }
    cases
}

fn run(case: &Case, scene: &Scene, director: &Director<'_>, file: &File<'_>) -> Result<()> {
    let (service, server) = (case.service(), case.server());
    let host = case.place.host(&scene.lab);
    let kind = match case.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
    };
    publish(director, kind, service, server, case.method.options())?;
    match case.protocol {
        Protocol::Tcp => {
            file.download(service)?;
            file.upload(service, host)?;
        }
        Protocol::Udp => {
            let listen = match case.method {
                Method::Masquerade => server,
                Method::Direct | Method::Through(..) => service,
            };
            let echo = Echo::start(host, listen)?;
            datagrams(scene.lab.client(), service, case.longest())?;
            ensure!(echo.stop() == DATAGRAMS, "the server got some twice");
        }
    }

    let stats = listing::stats(&director.ctl(["-L", "-n", "--stats", "--exact"])?)?;
    let [stats] = stats.as_slice() else {
        anyhow::bail!("another server: {stats:?}");
    };
    let back = case.method == Method::Masquerade;
    let expected = match case.protocol {
        Protocol::Tcp => {
            let least = FILE as u64;
            stats.connections == 2 && stats.in_bytes > least && (stats.out_bytes > least) == back
        }
        Protocol::Udp => {
            let sent = u64::from(DATAGRAMS);
            let answers = if back { sent } else { 0 };
            (stats.connections, stats.in_packets, stats.out_packets) == (1, sent, answers)
        }
    };
    ensure!(expected, "some went past lb: {stats:?}");
    let gone = ["-D", kind, &service.to_string()];
    director.ctl(gone).map(drop)
}

impl Case {
    /// As clients see it.
    fn service(&self) -> SocketAddr {
        let port = match (self.protocol, self.method) {
            (Protocol::Tcp, Method::Masquerade) => 8080,
            (Protocol::Tcp, Method::Direct | Method::Through(..)) => 80,
            (Protocol::Udp, _) => self.port,
        };
        let address = match self.family {
            Family::V4 => IpAddr::V4(VIP),
            Family::V6 => IpAddr::V6(VIP6),
        };
        SocketAddr::new(address, port)
    }

    fn server(&self) -> SocketAddr {
        let port = match (self.protocol, self.method) {
            (Protocol::Tcp, _) => 80,
            (Protocol::Udp, Method::Masquerade) => OWN_PORT,
            (Protocol::Udp, Method::Direct | Method::Through(..)) => self.service().port(),
        };
        let [v4, v6] = self.place.addresses();
        let address = match self.outer {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        SocketAddr::new(address.parse().expect("an address"), port)
    }

    /// The longest datagram that needs no fragments, in bytes.
    fn longest(&self) -> usize {
        let headers = match self.family {
            Family::V4 => 28,
            Family::V6 => 48,
        };
        match self.place {
            Place::Same => 1500 - headers,
            // Without the longest of the tunnels' headers, those of GUE in IPv6.
            Place::Another => 1500 - headers - 52,
        }
    }

    /// The least packets that the transfer takes to the server.
    fn least_packets(&self) -> u64 {
        match self.protocol {
            Protocol::Tcp => (FILE / 1500) as u64,
            Protocol::Udp => DATAGRAMS.into(),
        }
    }
}

impl Method {
    /// As `lb-ctl` takes it.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Direct => &["-g"],
            Self::Masquerade => &["-m"],
            Self::Through(Tunnel::Ipip, _) => &["-i"],
            Self::Through(Tunnel::Gre, Checksum::Without) => &["-i", "--tun-type", "gre"],
            Self::Through(Tunnel::Gre, Checksum::With) => {
                &["-i", "--tun-type", "gre", "--tun-csum"]
            }
            Self::Through(Tunnel::Gue, Checksum::Without) => {
                &["-i", "--tun-type", "gue", "--tun-port", "6080"]
            }
            Self::Through(Tunnel::Gue, Checksum::With) => &[
                "-i",
                "--tun-type",
                "gue",
                "--tun-port",
                "6080",
                "--tun-csum",
            ],
        }
    }

    const fn tunnel(self) -> Option<Tunnel> {
        match self {
            Self::Direct | Self::Masquerade => None,
            Self::Through(tunnel, _) => Some(tunnel),
        }
    }
}

impl Tunnel {
    /// The real server's counter of its packets.
    const fn label(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Gue => "gue",
        }
    }
}

impl Place {
    fn host(self, lab: &Lab) -> &Host {
        match self {
            Self::Same => lab.server(1),
            Self::Another => lab.server(2),
        }
    }

    /// The server's, by which the director reaches it.
    const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Same => ["10.0.0.11", "fd00::11"],
            Self::Another => ["10.2.0.12", "fd02::12"],
        }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            port: _,
            method,
            family,
            outer,
            protocol,
            place,
        } = self;
        match method {
            Method::Direct => write!(f, "DR, IP{family:?}")?,
            Method::Masquerade => write!(f, "NAT, IP{family:?}")?,
            Method::Through(tunnel, Checksum::Without) => {
                write!(f, "{tunnel:?}, IP{family:?} in IP{outer:?}")?;
            }
            Method::Through(tunnel, Checksum::With) => {
                write!(f, "{tunnel:?} with checksum, IP{family:?} in IP{outer:?}")?;
            }
        }
        write!(f, ", {protocol:?}, {place}")
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "server on the same interface",
            Self::Another => "server on another interface",
        })
    }
}

/// Adds a service of this kind, `-t` or `-u`, with one server of this method, and waits until the
/// way there is known.
pub(crate) fn publish(
    director: &Director<'_>,
    kind: &str,
    service: SocketAddr,
    server: SocketAddr,
    method: &[&str],
) -> Result<()> {
    let (service, server) = (service.to_string(), server.to_string());
    director.ctl(["-A", kind, &service, "-s", "rr"])?;
    let add = ["-a", kind, &service, "-r", &server];
    director.ctl(add.iter().chain(method))?;
    wait::until("the way to the server is known", DEADLINE, || {
        let status = director.ctl_output(["status"])?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        Ok(match status.status.success() {
            true => wait::Seen::Done(()),
            false => wait::Seen::NotYet(said),
        })
    })
}

/// A real server on which nothing is prepared yet.
pub(crate) fn real_server(scene: &Scene, number: usize) -> Result<RealServer<'_>> {
    RealServer::bare(&scene.lab, number, scene.director().programs().clone())
}

/// Gives the links from the director to server 1 room for a tunnel's headers.
fn room_for_tunnels(lab: &Lab) -> Result<()> {
    let bridge = lab.host("bridge");
    let set = |host: &Host, link: &str| {
        host.run("ip", ["link", "set", link, "mtu", "1600"])
            .map(drop)
    };
    for host in [lab.director(1), lab.server(1)] {
        set(host, "eth0")?;
        set(bridge, host.name())?;
    }
    Ok(())
}

/// Joins director and server 2 by interfaces `eth1` of their own. The server's answers to clients
/// go by the bridge.
fn another_interface(lab: &Lab) -> Result<()> {
    let (director, server) = (lab.director(1), lab.server(2));
    join([(director, "eth1", 2), (server, "eth1", 12)], 2, 1500)?;
    for (client, mss) in [("10.0.0.1/32", "1380"), ("fd00::1/128", "1360")] {
        let route = ["route", "add", client, "dev", "eth0", "advmss", mss];
        server.run("ip", route)?;
    }
    Ok(())
}

/// Lets servers send by the director what they do not send in the name of the virtual address.
fn masqueraded_answers(lab: &Lab) -> Result<()> {
    let director = lab.director(1);
    forwards(director)?;
    for (place, gateways) in [
        (Place::Same, ["10.0.0.2", "fd00::2"]),
        (Place::Another, ["10.2.0.2", "fd02::2"]),
    ] {
        let server = place.host(lab);
        let versions = ["-4", "-6"].into_iter().zip(["10.0.0.1", "fd00::1"]);
        for ((version, client), (own, gateway)) in
            versions.zip(place.addresses().into_iter().zip(gateways))
        {
            let rule = ["rule", "add", "from", own, "to", client, "lookup", "100"];
            server.run("ip", [version].iter().chain(&rule))?;
            let route = ["route", "add", client, "via", gateway, "table", "100"];
            server.run("ip", [version].iter().chain(&route))?;
        }
    }
    Ok(())
}

/// Has a server take packets out of every tunnel.
pub(crate) fn decapsulate(server: &RealServer<'_>, interface: &str) -> Result<()> {
    let (v4, v6) = (VIP.to_string(), VIP6.to_string());
    let mut setup = server.agent(["--vip", &v4, &v6, "--interface", interface]);
    setup.args(["--decapsulate", "ipip,gre,gue"]);
    let output = setup.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{setup:?}: {said}");
    Ok(())
}

/// How many packets a server took out of tunnels of a kind.
fn taken_out(server: &RealServer<'_>, label: &str) -> Result<u64> {
    let output = server.agent(["--check", "-o", "json"]).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let events = report["events"].as_array().context("no events")?;
    let event = events.iter().find(|event| event["label"] == label);
    let count = event.and_then(|event| event["count"].as_u64());
    count.with_context(|| format!("no counter {label}: {report}"))
}
