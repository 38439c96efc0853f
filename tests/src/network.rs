//! More network than every lab has: routes back through the director, and a second interface.

use anyhow::Result;
use xtask::lab::Lab;
use xtask::lab::host::Host;
use xtask::lab::plan::{CLIENT, DIRECTOR};

/// The client's IPv6 address.
pub const CLIENT6: &str = "fd00::1";

/// The virtual address of the second network.
pub const FAR_VIP: &str = "10.1.0.100";

/// Lets servers send what is for the client through the director, as masqueraded ones have to.
///
/// # Errors
/// When `ip` refuses.
pub fn reply_through_director(lab: &Lab, servers: usize) -> Result<()> {
    forwards(lab.director(1))?;
    for number in 1..=servers {
        let server = lab.server(number);
        for [to, via] in [
            [format!("{CLIENT}/32"), DIRECTOR.to_string()],
            [format!("{CLIENT6}/128"), "fd00::2".to_owned()],
            ["10.1.0.0/24".to_owned(), DIRECTOR.to_string()],
        ] {
            server.run("ip", ["route", "add", &to, "via", &via])?;
        }
    }
    Ok(())
}

/// Joins client and director by interfaces `eth1` of their own: 10.1.0.1 and 10.1.0.2, and the
/// director holds [`FAR_VIP`].
///
/// # Errors
/// When `ip` or `ethtool` refuse.
pub fn second_network(lab: &Lab) -> Result<()> {
    let (client, director) = (lab.client(), lab.director(1));
    let peer = ["peer", "name", "eth1", "netns", director.namespace()];
    let add = ["link", "add", "eth1", "type", "veth"];
    client.run("ip", add.iter().chain(&peer))?;
    for (host, addresses) in [
        (client, &["10.1.0.1/24"][..]),
        (director, &["10.1.0.2/24", "10.1.0.100/32"]),
    ] {
        host.run("ethtool", ["-K", "eth1", "tx", "off"])?;
        for address in addresses {
            host.run("ip", ["address", "add", address, "dev", "eth1"])?;
        }
        host.run("ip", ["link", "set", "eth1", "up"])?;
    }
    // Without it the client's end takes no frames that a program redirects to the director's.
    client.run("ethtool", ["-K", "eth1", "gro", "on"])?;
    forwards(director)
}

/// Joins two hosts by a link of this MTU, with interfaces of these names. On the network of this
/// number the hosts have the addresses of these last numbers: with 5, 10.5.0.1 and fd05::1 for 1.
///
/// # Errors
/// When `ip` or `ethtool` refuse.
pub fn join(ends: [(&Host, &str, u8); 2], network: u8, mtu: u16) -> Result<()> {
    let [(first, name, _), (second, other, _)] = ends;
    let peer = ["peer", "name", other, "netns", second.namespace()];
    let add = ["link", "add", name, "type", "veth"];
    first.run("ip", add.iter().chain(&peer))?;
    for (host, name, last) in ends {
        own(host, name, network, last)?;
        host.run("ip", ["link", "set", name, "up", "mtu", &mtu.to_string()])?;
    }
    Ok(())
}

/// Joins a host to the lab's bridge by an interface `eth0`, with the addresses of this last number.
///
/// # Errors
/// When `ip` or `ethtool` refuse.
pub fn join_bridge(lab: &Lab, host: &Host, last: u8) -> Result<()> {
    let (bridge, port) = (lab.host("bridge"), host.name());
    let peer = ["peer", "name", "eth0", "netns", host.namespace()];
    let add = ["link", "add", port, "type", "veth"];
    bridge.run("ip", add.iter().chain(&peer))?;
    bridge.run("ip", ["link", "set", port, "master", "br0", "up"])?;
    own(host, "eth0", 0, last)?;
    host.run("ip", ["link", "set", "eth0", "up"]).map(drop)
}

/// Gives an end of a veth pair its addresses. It sends nothing that lacks a checksum, and takes
/// what a program redirects to the other end.
fn own(host: &Host, name: &str, network: u8, last: u8) -> Result<()> {
    host.run("ethtool", ["-K", name, "tx", "off", "gro", "on"])?;
    let v4 = format!("10.{network}.0.{last}/24");
    let v6 = format!("fd{network:02}::{last}/64");
    host.run("ip", ["address", "add", &v4, "dev", name])?;
    host.run("ip", ["address", "add", &v6, "dev", name, "nodad"])
        .map(drop)
}

/// Makes a host a router of both families.
///
/// The kernel tells programs the way to hosts beyond an interface only where it forwards itself.
///
/// # Errors
/// When the kernel refuses.
pub fn forwards(host: &Host) -> Result<()> {
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")
}
