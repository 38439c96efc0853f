//! The states and counts of connections that the same packets made.

use crate::subject::{Kernel, Product, Subject, segment};
use anyhow::{Context, Result};
use std::net::SocketAddrV4;
use xtask::lab::Lab;
use xtask::lab::listing;
use xtask::lab::plan::{self, CLIENT, Plan, VIP};

/// What the client sends, one word a segment, one letter a flag. Under DR the director sees
/// nothing else.
const WALKS: [&str; 16] = [
    "S",
    "S S",
    "S A",
    "S A A A",
    "S A FA",
    "S A FA A",
    "S A FA FA",
    "S A FA R",
    "S A R",
    "S R",
    "S RA",
    "S FA",
    "S A S",
    "S A FA S",
    "S A R S",
    "S A R A",
];

/// Segments that open no connection.
const STRAYS: [&str; 4] = ["A", "FA", "R", "SA"];

/// Of a service that the client has one connection to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// State, client and server of each connection, as `-L -n -c` has them.
    connections: Vec<String>,
    /// The lines of `-L -n`.
    servers: Vec<String>,
}

#[test]
fn root_tcp_connections_get_the_states_and_counts_that_ip_vs_gives_them() -> Result<()> {
    let lab = Lab::up(&Plan::servers(1))?;
    let mut kernel = Kernel::boot()?;
    let mut product = Product::start(&lab)?;
    // Each walk has a service of its own and is looked at at once, so that nothing expires.
    let walks = WALKS.into_iter().chain(STRAYS);
    for (port, walk) in (5000..).zip(walks) {
        let expected = make(&mut kernel, port, walk)?;
        assert_eq!(make(&mut product, port, walk)?, expected, "after {walk:?}");
        if WALKS.contains(&walk) {
            assert_eq!(expected.connections.len(), 1, "{walk:?}: {expected:?}");
        }
    }
    Ok(())
}

#[test]
fn root_quiesced_and_removed_servers_keep_their_connections_as_in_ip_vs() -> Result<()> {
    const PORT: u16 = 5000;
    let lab = Lab::up(&Plan::servers(1))?;
    let mut kernel = Kernel::boot()?;
    let mut product = Product::start(&lab)?;
    assert_eq!(
        make(&mut product, PORT, "S A")?,
        make(&mut kernel, PORT, "S A")?
    );
    let (service, server) = (service(PORT), server(PORT));
    for command in [
        format!("-e -t {service} -r {server} -g -w 0"),
        format!("-d -t {service} -r {server}"),
        format!("-a -t {service} -r {server} -g -w 1"),
    ] {
        let commands = std::slice::from_ref(&command);
        kernel.edit(commands)?;
        product.edit(commands)?;
        let expected = see(&mut kernel, PORT)?;
        assert_eq!(see(&mut product, PORT)?, expected, "{command}");
        assert_eq!(expected.connections.len(), 1, "{command}: {expected:?}");
    }
    Ok(())
}

/// Makes a service with a server and a walk to it; the client has the service's port.
fn make(subject: &mut impl Subject, port: u16, walk: &str) -> Result<Seen> {
    let (service, server) = (service(port), server(port));
    subject.edit(&[
        format!("-A -t {service} -s rr"),
        format!("-a -t {service} -r {server} -g -w 1"),
    ])?;
    let client = SocketAddrV4::new(CLIENT, port);
    let segments: Vec<_> = walk
        .split(' ')
        .map(|flags| segment(client, service, flags))
        .collect();
    subject.send(&segments)?;
    see(subject, port)
}

fn see(subject: &mut impl Subject, port: u16) -> Result<Seen> {
    let connections = listing::connections(&subject.list("-L -n -c")?)?
        .iter()
        .filter(|connection| connection.client.port() == port)
        .map(|c| format!("{} {} {}", c.state, c.client, c.server))
        .collect();
    let line = format!("TCP  {} rr", service(port));
    let servers = subject.table()?.remove(&line);
    Ok(Seen {
        connections,
        servers: servers.with_context(|| format!("no line {line:?}"))?,
    })
}

fn service(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VIP, port)
}

fn server(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(plan::server_address(1), port)
}
