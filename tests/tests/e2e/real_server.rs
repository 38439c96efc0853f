//! `lb-agent real-server` and `lb-ctl realserver`: a machine becomes a real server, serves
//! clients through every tunnel, and becomes what it was.

use crate::refusals::{CONFLICT, ENVIRONMENT, program};
use anyhow::{Context as _, Result, ensure};
use lb_tests::encapsulator::{Encapsulator, Path};
use lb_tests::real_server::GUE_PORT;
use lb_tests::scene::{DEADLINE, Scene};
use lb_tests::tunnel::Shim;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use xtask::lab::host::Host;
use xtask::lab::plan::{CLIENT, DIRECTOR, VIP, VIP6, server_address};
use xtask::lab::real_server::RealServer;
use xtask::lab::xdp_pass;
use xtask::load;

const NEGATIVE: i32 = 1;

/// The director's and the first real server's addresses.
const PATHS: [[IpAddr; 2]; 2] = [
    [
        IpAddr::V4(DIRECTOR),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)),
    ],
    [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x11)),
    ],
];

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

/// Every tunnel that can end on a real server.
fn shims() -> Vec<Shim> {
    let gue = |checksum, extensions: &[u8]| Shim::Gue {
        port: GUE_PORT,
        extensions: extensions.to_vec(),
        checksum,
    };
    vec![
        Shim::Ipip,
        Shim::Gre { checksum: false },
        Shim::Gre { checksum: true },
        gue(false, &[]),
        gue(true, &[1, 2, 3, 4]),
        Shim::GueDirect {
            port: GUE_PORT,
            checksum: true,
        },
    ]
}

#[test]
fn clients_are_served_through_every_tunnel_in_both_modes() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    route_by_the_director(&scene)?;
    for mode in ["native", "generic"] {
        let mut setup = server.agent(options());
        setup.args(["--decapsulate", "ipip,gre,gue", "--xdp-mode", mode]);
        succeed(&mut setup)?;
        for [from, to] in PATHS {
            for shim in shims() {
                let path = Path {
                    from,
                    to,
                    mac: mac(server.host())?,
                    shim,
                    traffic_class: 0,
                };
                let what = format!("{mode}: {:?} from {from}", path.shim);
                let encapsulator = Encapsulator::start(scene.lab.director(1), &VIPS, path)?;
                for vip in VIPS {
                    let target = SocketAddr::new(vip, 80);
                    let answer = scene.lab.client().inside(|| load::fetch(target))?;
                    let answer = answer.with_context(|| format!("{what}, {target}"))?;
                    assert_eq!(answer, "server1", "{what}");
                    upload(&scene, server.host(), vip).with_context(|| format!("{what}, {vip}"))?;
                }
                assert!(encapsulator.sent() > 100, "{what}: it went another way");
            }
        }
    }
    let events = events(&server)?;
    for (label, least) in [("ipip", 1000), ("gre", 2000), ("gue", 3000)] {
        assert!(events(label) >= least, "{label}: {}", events(label));
    }
    for label in ["malformed", "unsupported", "inner", "congestion", "no_head"] {
        assert_eq!(events(label), 0, "{label}");
    }
    Ok(())
}

#[test]
fn congestion_on_the_way_from_the_director_reaches_the_server() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    route_by_the_director(&scene)?;
    let mut setup = server.agent(options());
    succeed(setup.args(["--decapsulate", "ipip"]))?;
    for host in [scene.lab.client(), server.host()] {
        host.sysctl("net/ipv4/tcp_ecn", "1")?;
    }
    let start = |traffic_class| {
        let path = Path {
            from: PATHS[0][0],
            to: PATHS[0][1],
            mac: mac(server.host())?,
            shim: Shim::Ipip,
            traffic_class,
        };
        Encapsulator::start(scene.lab.director(1), &VIPS, path)
    };
    let marks = || -> Result<u64> { snmp(server.host(), "IpExt", "InCEPkts") };
    let before = marks()?;
    {
        let _unmarked = start(0)?;
        upload(&scene, server.host(), VIPS[0])?;
    }
    assert_eq!(marks()?, before);
    // A SYN is not capable of ECN (RFC 3168, section 6.1.1): it has to come unmarked.
    let target = SocketAddr::new(VIPS[0], 9000);
    let listener = server.host().inside(|| TcpListener::bind(target))??;
    let unmarked = start(0)?;
    let mut stream = scene.lab.client().inside(|| TcpStream::connect(target))??;
    let (mut accepted, _) = listener.accept()?;
    drop(unmarked);
    let _marked = start(0b11)?;
    stream.write_all(&[1; 1000])?;
    accepted.set_read_timeout(Some(DEADLINE))?;
    accepted.read_exact(&mut [0; 1000])?;
    assert!(marks()? > before, "the server's stack saw no mark");
    Ok(())
}

#[test]
fn undoing_leaves_the_machine_as_it_was() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    let host = server.host();
    // Something in every place that setup touches.
    host.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    host.sysctl("net/ipv4/conf/eth0/arp_announce", "1")?;
    host.run("ip", ["address", "add", "10.0.0.103/32", "dev", "lo"])?;
    let before = state(&server)?;

    let mut setup = server.ctl("setup", options());
    let said = succeed(setup.args(["--decapsulate", "ipip,gue:7000"]))?;
    for line in [
        "eth0: takes packets out of ipip,gue:7000 (native)",
        "net.ipv4.conf.all.arp_ignore: 0 -> 1",
        "net.ipv4.conf.eth0.arp_announce: 1 -> 2",
        "net.ipv4.conf.eth0.rp_filter: 0 -> 2",
        "lo: add 10.0.0.100/32",
        "lo: add fd00::100/128",
    ] {
        assert!(said.lines().any(|said| said == line), "{line:?}: {said}");
    }
    let after = state(&server)?;
    assert_ne!(after, before);
    assert!(!program(host, "eth0")?.is_null());

    // The same again, and then with other addresses, of which one was there before.
    let mut again = server.ctl("setup", options());
    let said = succeed(again.args(["--decapsulate", "ipip,gue:7000"]))?;
    assert!(!said.contains("->") && !said.contains("lo: "), "{said}");
    assert_eq!(differences(&state(&server)?, &after), NONE);
    let mut others = server.ctl("setup", ["--vip", "10.0.0.103", "10.0.0.104"]);
    let said = succeed(others.args(["--interface", "eth0"]))?;
    for line in [
        "eth0: takes nothing out of tunnels any more",
        "lo: add 10.0.0.104/32",
        "lo: remove 10.0.0.100/32",
        "lo: remove fd00::100/128",
        "net.ipv4.conf.eth0.rp_filter: 2 -> 0",
    ] {
        assert!(said.lines().any(|said| said == line), "{line:?}: {said}");
    }
    assert!(program(host, "eth0")?.is_null());

    let said = succeed(&mut server.ctl("undo", ["--dry-run"]))?;
    assert!(said.contains("lo: remove 10.0.0.104/32"), "{said}");
    assert!(
        said.contains("net.ipv4.conf.all.arp_ignore: 1 -> 0"),
        "{said}"
    );
    assert_ne!(state(&server)?, before, "a dry run changed something");
    let undone = succeed(&mut server.ctl("undo", NONE))?;
    assert_eq!(undone, said);
    assert_eq!(differences(&state(&server)?, &before), NONE);
    assert!(!server.state().exists() && !server.pins().exists());
    let said = succeed(&mut server.ctl("undo", NONE))?;
    assert!(said.contains("nothing to undo"), "{said}");
    Ok(())
}

#[test]
fn a_setup_under_another_pin_path_takes_the_place_of_the_first() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    let elsewhere = server.pinned_elsewhere();
    let before = state(&server)?;
    for (now, other) in [
        (&server, &elsewhere),
        (&elsewhere, &server),
        (&server, &elsewhere),
    ] {
        let mut setup = now.ctl("setup", options());
        succeed(setup.args(["--decapsulate", "ipip"]))?;
        assert!(!program(server.host(), "eth0")?.is_null());
        assert!(now.pins().exists() && !other.pins().exists());
    }
    // What is refused once the old program is gone puts it back: the map has room for 4,096.
    let after = state(&server)?;
    let many: Vec<String> = (0..4097)
        .map(|at| format!("10.1.{}.{}", at / 250, at % 250))
        .collect();
    let mut setup = elsewhere.ctl("setup", ["--interface", "eth0", "--decapsulate", "gre"]);
    let output = setup.args(["--vip", &many.join(",")]).output()?;
    assert_eq!(output.status.code(), Some(ENVIRONMENT), "{}", said(&output));
    assert!(server.pins().exists() && !elsewhere.pins().exists());
    assert_eq!(differences(&state(&server)?, &after), NONE);
    // Wherever the pins are is in the record.
    succeed(&mut elsewhere.ctl("undo", NONE))?;
    assert_eq!(differences(&state(&server)?, &before), NONE);
    assert!(!server.pins().exists() && !elsewhere.pins().exists());
    Ok(())
}

#[test]
fn what_check_finds_its_fixes_mend() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    let host = server.host();
    host.sysctl("net/ipv4/conf/all/rp_filter", "1")?;

    // Nobody set it up: what to look for has to be said.
    let output = server.ctl("check", NONE).output()?;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let asked = || {
        let mut command = server.ctl("check", options());
        command.args(["--decapsulate", "ipip", "-o", "json"]);
        command
    };
    let report = report(asked(), NEGATIVE)?;
    let failed = with_status(&report, "failure");
    for check in [
        "address",
        "arp-ignore",
        "arp-announce",
        "rp-filter",
        "decapsulation",
    ] {
        assert!(
            failed.iter().any(|(name, _)| name == check),
            "{check}: {report}"
        );
    }
    let advice = with_status(&report, "warning");
    assert!(
        advice
            .iter()
            .any(|(name, fix)| name == "mtu" && fix.contains("mtu 1520"))
    );

    // Each fix is a command; after them nothing is wrong.
    for (_, fix) in failed {
        let fix = fix.replace(
            "lb-ctl realserver setup",
            &format!(
                "{} real-server --state-dir {} --pin-path {}",
                scene.director().programs().agent.display(),
                server.state().display(),
                server.pins().display()
            ),
        );
        host.run("sh", ["-ec", &fix]).with_context(|| fix.clone())?;
    }
    let report = self::report(asked(), 0)?;
    assert_eq!(with_status(&report, "failure"), []);
    assert_eq!(report["ok"], true);

    // And what breaks later is found, without being told what to look for.
    type Break<'a> = (&'a [&'a str], &'a str);
    let breaks: [Break<'_>; 4] = [
        (
            &["ip", "address", "del", "10.0.0.100/32", "dev", "lo"],
            "address",
        ),
        (
            &["ip", "address", "add", "10.0.0.100/32", "dev", "eth0"],
            "address",
        ),
        (
            &[
                "ip",
                "link",
                "set",
                "dev",
                "eth0",
                "address",
                "02:00:00:00:00:77",
            ],
            "decapsulation",
        ),
        (
            &[
                "sh",
                "-c",
                "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore; \
                           echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_ignore",
            ],
            "arp-ignore",
        ),
    ];
    for (command, check) in breaks {
        host.run(command[0], &command[1..])?;
        let report = self::report(server.ctl("check", ["-o", "json"]), NEGATIVE)?;
        let failed = with_status(&report, "failure");
        assert!(
            failed.iter().any(|(name, _)| name == check),
            "{check}: {report}"
        );
    }
    let text = server.ctl("check", NONE).output()?;
    assert_eq!(text.status.code(), Some(NEGATIVE));
    assert!(
        said(&text).contains("FAILURE  arp-ignore"),
        "{}",
        said(&text)
    );
    Ok(())
}

#[test]
fn a_server_keeps_quiet_about_its_addresses() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    server
        .host()
        .run("ip", ["address", "add", "10.0.0.100/32", "dev", "lo"])?;
    // The director's too, so that nobody but the server could answer.
    let director = scene.lab.director(1);
    director.run("ip", ["address", "del", "10.0.0.100/32", "dev", "eth0"])?;
    let connects = || -> Result<std::io::Result<TcpStream>> {
        let target = SocketAddr::new(VIPS[0], 80);
        scene.lab.client().inside(|| TcpStream::connect(target))
    };
    connects()?.context("without settings a server answers for addresses of lo")?;
    succeed(&mut server.agent(options()))?;
    scene
        .lab
        .client()
        .run("ip", ["neighbour", "flush", "dev", "eth0"])?;
    let error = connects()?.expect_err("nobody answers ARP");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
    succeed(&mut server.agent(["--undo"]))?;
    connects()?.context("and after undoing it does again")?;
    Ok(())
}

#[test]
fn what_stands_in_the_way_is_refused_and_nothing_changes() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    let host = server.host();
    let refused = |command: &mut Command, code, word: &str| -> Result<()> {
        let before = state(&server)?;
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
        assert_eq!(differences(&state(&server)?, &before), NONE);
        assert!(!server.state().exists(), "a record is left");
        Ok(())
    };
    let on = |interface: &str| server.agent(["--vip", "10.0.0.100", "--interface", interface]);
    refused(&mut on("eth7"), ENVIRONMENT, "eth7")?;
    refused(&mut on("lo"), 2, "lo by themselves")?;
    refused(
        &mut server.agent(["--vip", "10.0.0.11", "--interface", "eth0"]),
        CONFLICT,
        "eth0",
    )?;
    refused(&mut server.agent(NONE), 2, "--help")?;

    host.run("ip", ["link", "set", "lo", "down"])?;
    refused(&mut on("eth0"), ENVIRONMENT, "ip link set lo up")?;
    host.run("ip", ["link", "set", "lo", "up"])?;

    // Addresses that cannot be added are known before anything is done.
    host.sysctl("net/ipv6/conf/lo/disable_ipv6", "1")?;
    refused(&mut server.agent(options()), ENVIRONMENT, "disable_ipv6=0")?;
    host.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;

    let pin = server.pins().with_file_name("foreign-on-server");
    xdp_pass::pin(&pin)?;
    let path = pin.display().to_string();
    host.run(
        "ip",
        ["link", "set", "dev", "eth0", "xdpdrv", "pinned", &path],
    )?;
    refused(
        on("eth0").args(["--decapsulate", "ipip"]),
        CONFLICT,
        "another XDP program",
    )?;
    host.run("ip", ["link", "set", "dev", "eth0", "xdpdrv", "off"])?;
    fs::remove_file(&pin)?;

    // What fails in the middle is taken back to the beginning.
    let mut setup = server.agent(options());
    setup.args(["--decapsulate", "ipip"]);
    let mut read_only = host.command("sh");
    read_only.args([
        "-ec",
        "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys; exec \"$@\"",
        "sh",
    ]);
    // Behind `ip netns exec NAMESPACE`.
    read_only.args(setup.get_args().skip(3));
    refused(&mut read_only, ENVIRONMENT, "arp_ignore")?;

    // Another namespace's record is not ours to undo.
    succeed(&mut server.agent(options()))?;
    let mut elsewhere = scene
        .lab
        .client()
        .command(&scene.director().programs().agent);
    elsewhere
        .args(["real-server", "--undo", "--state-dir"])
        .arg(server.state());
    let output = elsewhere.output()?;
    assert_eq!(output.status.code(), Some(CONFLICT), "{}", said(&output));
    succeed(&mut server.agent(["--undo"]))?;
    Ok(())
}

#[test]
fn what_is_set_up_stays_when_nobody_listens() -> Result<()> {
    let scene = Scene::new(1)?;
    let server = bare(&scene)?;
    let (listener, pipe) = std::io::pipe()?;
    drop(listener);
    let setup = server.agent(options()).stdout(pipe).output()?;
    assert!(setup.status.success(), "{}", said(&setup));
    succeed(&mut server.agent(["--check"]))?;
    Ok(())
}

const NONE: [&str; 0] = [];

/// The lab's virtual addresses on `eth0`.
fn options() -> [String; 5] {
    let [v4, v6] = VIPS.map(|vip| vip.to_string());
    [
        "--vip".to_owned(),
        v4,
        v6,
        "--interface".to_owned(),
        "eth0".to_owned(),
    ]
}

fn bare(scene: &Scene) -> Result<RealServer<'_>> {
    RealServer::bare(&scene.lab, 1, scene.director().programs().clone())
}

/// Has the client send to the virtual addresses by way of the director, whose own stack drops
/// such packets: it does not forward. There is room for the tunnels' headers.
fn route_by_the_director(scene: &Scene) -> Result<()> {
    let client = scene.lab.client();
    let director = scene.lab.director(1);
    for vip in ["10.0.0.100/32", "fd00::100/128"] {
        director.run("ip", ["address", "del", vip, "dev", "eth0"])?;
    }
    client.run("ip", ["link", "set", "eth0", "mtu", "1400"])?;
    client.run("ip", ["route", "add", "10.0.0.100", "via", "10.0.0.2"])?;
    client.run("ip", ["-6", "route", "add", "fd00::100", "via", "fd00::2"])?;
    assert_eq!(server_address(1), Ipv4Addr::new(10, 0, 0, 11));
    assert_eq!(CLIENT, Ipv4Addr::new(10, 0, 0, 1));
    Ok(())
}

/// Sends a megabyte from the client to a listener on the server, which has to get every byte.
fn upload(scene: &Scene, server: &Host, vip: IpAddr) -> Result<()> {
    let data: Vec<u8> = (0..1_u32 << 18)
        .flat_map(|n| (n.wrapping_mul(0x9e37_79b9)).to_le_bytes())
        .collect();
    let target = SocketAddr::new(vip, 9000);
    let listener = server.inside(|| TcpListener::bind(target))??;
    let mut stream = scene
        .lab
        .client()
        .inside(|| TcpStream::connect_timeout(&target, DEADLINE))??;
    stream.set_write_timeout(Some(DEADLINE))?;
    let received = thread::scope(|scope| -> Result<Vec<u8>> {
        let receiver = scope.spawn(|| -> Result<Vec<u8>> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(DEADLINE))?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            Ok(received)
        });
        stream.write_all(&data)?;
        stream.shutdown(Shutdown::Write)?;
        receiver.join().expect("the receiver does not panic")
    })?;
    ensure!(
        received == data,
        "{} of {} bytes",
        received.len(),
        data.len()
    );
    Ok(())
}

fn mac(host: &Host) -> Result<[u8; 6]> {
    let text = host.mac()?;
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("{text} is no Ethernet address"))
}

/// What the program counted, by label.
fn events(server: &RealServer<'_>) -> Result<impl Fn(&str) -> u64> {
    let report = report(server.agent(["--check", "-o", "json"]), 0)?;
    let events = report["events"].as_array().context("no events")?.clone();
    Ok(move |label: &str| {
        let event = events.iter().find(|event| event["label"] == label);
        event
            .and_then(|event| event["count"].as_u64())
            .expect("a counter")
    })
}

/// Everything that setup may touch, a line each: settings, addresses, the program, pins.
fn state(server: &RealServer<'_>) -> Result<BTreeSet<String>> {
    let host = server.host();
    let settings = "cd /proc/sys/net; for f in ipv4/conf/*/* ipv6/conf/*/*; do \
                    echo \"$f $(cat $f 2>/dev/null || true)\"; done";
    let mut state: BTreeSet<String> = (host.run("sh", ["-ec", settings])?.lines())
        .map(str::to_owned)
        .collect();
    let links: Value = serde_json::from_str(&host.run("ip", ["-json", "address"])?)?;
    for link in links.as_array().into_iter().flatten() {
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let (local, prefix) = (&address["local"], &address["prefixlen"]);
            state.insert(format!("{} {local}/{prefix}", link["ifname"]));
        }
    }
    state.insert(format!("eth0 program {}", program(host, "eth0")?["mode"]));
    if server.pins().exists() {
        for entry in fs::read_dir(server.pins())? {
            state.insert(entry?.path().display().to_string());
        }
    }
    Ok(state)
}

/// What is in one of the states only.
fn differences(a: &BTreeSet<String>, b: &BTreeSet<String>) -> Vec<String> {
    a.symmetric_difference(b).cloned().collect()
}

/// A counter of /proc/net/netstat.
fn snmp(host: &Host, group: &str, name: &str) -> Result<u64> {
    let text = host.run("cat", ["/proc/net/netstat"])?;
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{group}:")));
    let (names, values) = (
        lines.next().context("names")?,
        lines.next().context("values")?,
    );
    let at = names
        .split(' ')
        .position(|word| word == name)
        .context("the counter")?;
    Ok(values.split(' ').nth(at).context("its value")?.parse()?)
}

/// The report of a check that ends with this code.
fn report(mut command: Command, code: i32) -> Result<Value> {
    let output = command.output()?;
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Names and fixes of a report's findings with a status.
fn with_status(report: &Value, status: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().into_iter().flatten();
    findings
        .filter(|finding| finding["status"] == status)
        .map(|finding| (text(&finding["check"]), text(&finding["fix"])))
        .collect()
}

fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
