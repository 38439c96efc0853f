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

/// The kernel tells programs the way to hosts beyond an interface only where it forwards itself.
fn forwards(host: &Host) -> Result<()> {
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")
}
