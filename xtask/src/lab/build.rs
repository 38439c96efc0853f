//! Builds the namespaces, links, addresses and settings of a lab.

use super::host::Host;
use super::plan::{self, Plan, VIP, VIP6};
use super::{Lab, host as hosts, register, wait, xdp_pass};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a host is for, and with it what it needs.
enum Role {
    Client,
    Director { holds_vip: bool },
    Server,
}

/// Builds everything; on an error the lab holds what was built so far.
pub(super) fn lab(lab: &mut Lab, plan: &Plan) -> Result<()> {
    plan.check()?;
    register::mount_bpffs(&lab.dir)?;
    bridge(lab)?;
    host(lab, "client", 1, &Role::Client)?;
    for number in 1..=plan.directors {
        let name = plan::director(number);
        let holds_vip = number == 1;
        host(
            lab,
            &name,
            plan::director_last(number),
            &Role::Director { holds_vip },
        )?;
        take_transmitted(lab, &name)?;
    }
    for number in 1..=plan.servers {
        host(
            lab,
            &plan::server(number),
            plan::server_last(number),
            &Role::Server,
        )?;
    }
    wait_for_ports(lab)
}

/// Gives a director another interface in the place of its own, with the same name and addresses.
pub(super) fn replace_interface(lab: &Lab, number: usize) -> Result<()> {
    let name = plan::director(number);
    let director = lab.host(&name);
    director.run("ip", ["link", "delete", "eth0"])?;
    let holds_vip = number == 1;
    let role = Role::Director { holds_vip };
    link(lab, director, &name, plan::director_last(number), &role)?;
    take_transmitted(lab, &name)?;
    wait_for_ports(lab)
}

/// Lets the bridge's end of a director's link take the frames that the director's program transmits.
fn take_transmitted(lab: &Lab, name: &str) -> Result<()> {
    let pass = register::bpffs(&lab.dir).join("xdp_pass");
    xdp_pass::pin(&pass)?;
    // Forced into the driver: in the generic path it would not let XDP_TX frames through.
    let set = ["link", "set", "dev", name, "xdpdrv", "pinned"];
    lab.host("bridge").run(
        "ip",
        set.iter().map(AsRef::as_ref).chain([pass.as_os_str()]),
    )?;
    // The interface holds the program now.
    fs::remove_file(&pass).with_context(|| format!("cannot unpin {}", pass.display()))
}

fn wait_for_ports(lab: &Lab) -> Result<()> {
    wait::until("all bridge ports forward", Duration::from_secs(10), || {
        ports_forward(lab)
    })
}

/// The namespace with the bridge; the bridge forwards from a port's first moment on.
fn bridge(lab: &mut Lab) -> Result<()> {
    let host = namespace(lab, "bridge")?;
    batch(
        &host,
        "link set lo up\n\
         link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set br0 up\n",
    )?;
    lab.hosts.push(host);
    Ok(())
}

/// One host with its link to the bridge.
fn host(lab: &mut Lab, name: &str, last: u8, role: &Role) -> Result<()> {
    let host = namespace(lab, name)?;
    link(lab, &host, name, last, role)?;
    lab.hosts.push(host);
    Ok(())
}

/// A host's veth pair, addresses, offloads and sysctls.
fn link(lab: &Lab, host: &Host, name: &str, last: u8, role: &Role) -> Result<()> {
    let bridge = lab.host("bridge");
    batch(
        bridge,
        &format!(
            "link add {name} type veth peer name eth0 netns {}\n\
             link set {name} master br0\n\
             link set {name} up\n",
            host.namespace()
        ),
    )?;
    let vip_on = match role {
        Role::Client | Role::Director { holds_vip: false } => None,
        Role::Director { holds_vip: true } => Some("eth0"),
        Role::Server => Some("lo"),
    };
    // Until an interface's link-local address has passed duplicate address detection, a second or
    // two, its host answers no neighbour.
    host.sysctl("net/ipv6/conf/eth0/accept_dad", "0")?;
    for (key, value) in sysctls(role) {
        host.sysctl(key, value)?;
    }
    host.run("ethtool", ["-K", "eth0", "tx", "off"])?;
    let mut lines = format!(
        "address add {}/24 dev eth0\n\
         address add {}/64 dev eth0 nodad\n\
         link set lo up\n\
         link set eth0 up\n",
        plan::address(last),
        plan::address6(last)
    );
    if let Some(device) = vip_on {
        lines += &format!(
            "address add {VIP}/32 dev {device}\naddress add {VIP6}/128 dev {device} nodad\n"
        );
    }
    batch(host, &lines)
}

/// Keys below `/proc/sys` and their values.
const fn sysctls(role: &Role) -> &'static [(&'static str, &'static str)] {
    match role {
        // Many short connections: all ports, for a port rests 60 s after each.
        Role::Client => &[("net/ipv4/ip_local_port_range", "1024 65535")],
        Role::Director { .. } => &[],
        Role::Server => &[
            ("net/ipv4/conf/all/arp_ignore", "1"),
            ("net/ipv4/conf/all/arp_announce", "2"),
            ("net/ipv4/conf/eth0/arp_ignore", "1"),
            ("net/ipv4/conf/eth0/arp_announce", "2"),
        ],
    }
}

/// An empty namespace and the host's directory.
pub(super) fn namespace(lab: &Lab, name: &str) -> Result<Host> {
    let host = Host::new(lab, name);
    hosts::ip(["netns", "add", host.namespace()])?;
    fs::create_dir(host.dir())
        .with_context(|| format!("cannot create {}", host.dir().display()))?;
    Ok(host)
}

/// Runs lines of `ip` commands in a host's namespace, stopping at the first that fails.
fn batch(host: &Host, lines: &str) -> Result<()> {
    let mut ip = Command::new("ip")
        .args(["-n", host.namespace(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip: `cargo xtask setup` installs it")?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin
            .write_all(lines.as_bytes())
            .context("ip ends before its input")?;
    }
    let output = ip.wait_with_output()?;
    ensure!(
        output.status.success(),
        "host {}: `ip -batch` fails: {}\nits input was:\n{lines}",
        host.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Whether every port of the bridge is in state forwarding: a new port is not until the kernel
/// has noticed its carrier.
fn ports_forward(lab: &Lab) -> Result<wait::Seen<()>> {
    let links = lab
        .host("bridge")
        .run("ip", ["-json", "-details", "link", "show", "master", "br0"])?;
    let links: serde_json::Value =
        serde_json::from_str(&links).context("`ip -json link` answers")?;
    let links = links
        .as_array()
        .context("`ip -json link` answers no list")?;
    let waiting: Vec<&str> = links
        .iter()
        .filter(|link| link["linkinfo"]["info_slave_data"]["state"] != "forwarding")
        .filter_map(|link| link["ifname"].as_str())
        .collect();
    let ports = lab.hosts.len() - 1;
    Ok(if links.len() == ports && waiting.is_empty() {
        wait::Seen::Done(())
    } else {
        wait::Seen::NotYet(format!(
            "{} of {ports} ports, not forwarding: {waiting:?}",
            links.len()
        ))
    })
}
