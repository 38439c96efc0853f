//! The states and counts of connections that the same packets made.

use crate::subject::{Kernel, Product, Subject};
use anyhow::Result;
use etherparse::{PacketBuilder, TcpHeader};
use std::net::SocketAddrV4;
use xtask::lab::Lab;
use xtask::lab::listing;
use xtask::lab::plan::{CLIENT, Plan, VIP};

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

const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, 80);

#[test]
fn root_tcp_connections_get_the_states_and_counts_that_ip_vs_gives_them() -> Result<()> {
    let lab = Lab::up(&Plan::servers(2))?;
    let mut kernel = Kernel::boot()?;
    let mut product = Product::start(&lab)?;
    let expected = walk(&mut kernel)?;
    let found = walk(&mut product)?;
    assert_eq!(found.len(), expected.len());
    for ((walk, expected), (_, found)) in expected.iter().zip(&found) {
        assert_eq!(found, expected, "after {walk:?}");
    }
    assert_eq!(product.table()?, kernel.table()?);
    // Quiesced and removed servers keep their connections.
    for commands in [
        "-e -t {} -r 10.0.0.11:80 -g -w 0",
        "-d -t {} -r 10.0.0.12:80",
    ] {
        let command = commands.replace("{}", &SERVICE.to_string());
        kernel.edit(std::slice::from_ref(&command))?;
        product.edit(std::slice::from_ref(&command))?;
        assert_eq!(product.table()?, kernel.table()?, "{command}");
        assert_eq!(
            connections(&mut product)?,
            connections(&mut kernel)?,
            "{command}"
        );
    }
    Ok(())
}

/// The connections after each walk, each walk from a port of its own.
fn walk(subject: &mut impl Subject) -> Result<Vec<(&'static str, Vec<String>)>> {
    subject.edit(&[
        format!("-A -t {SERVICE} -s rr"),
        format!("-a -t {SERVICE} -r 10.0.0.11:80 -g -w 1"),
        format!("-a -t {SERVICE} -r 10.0.0.12:80 -g -w 1"),
    ])?;
    let walks = WALKS.into_iter().chain(STRAYS);
    (20_000..)
        .zip(walks)
        .map(|(port, walk)| {
            let segments: Vec<_> = walk.split(' ').map(|flags| segment(port, flags)).collect();
            subject.send(&segments)?;
            Ok((walk, connections(subject)?))
        })
        .collect()
}

/// State, client and server of each connection, in the client's order.
fn connections(subject: &mut impl Subject) -> Result<Vec<String>> {
    let mut connections = listing::connections(&subject.list("-L -n -c")?)?;
    connections.sort_by_key(|connection| connection.client);
    Ok(connections
        .iter()
        .map(|c| format!("{} {} {}", c.client, c.server, c.state))
        .collect())
}

/// An IPv4 packet with a segment that carries these flags.
fn segment(port: u16, flags: &str) -> Vec<u8> {
    let mut header = TcpHeader::new(port, SERVICE.port(), 1, 64_000);
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            'A' => header.ack = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            other => panic!("no flag {other}"),
        }
    }
    let mut packet = Vec::new();
    PacketBuilder::ipv4(CLIENT.octets(), VIP.octets(), 64)
        .tcp_header(header)
        .write(&mut packet, &[])
        .expect("it is short, and memory takes it");
    packet
}
