//! The rows that lb is judged by: the ruler itself, floors, and the kernel's hash maps.

use super::layout::{IPIP, SERVERS, Server};
use super::ruler::{Expect, Flows, PASS, TX};
use super::subject::{Pass, Subject};
use super::traffic::{Traffic, sum};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use std::net::Ipv4Addr;

/// The ruler on IPv4 packets whose length stays.
pub(super) const NOTHING: &str = "nothing";
/// The ruler on IPv6 packets whose length stays.
pub(super) const NOTHING6: &str = "nothing IPv6";
/// Ruler and subject each move the head once.
pub(super) const NOTHING_GROWN: &str = "nothing grown";
/// The yardstick for established flows.
pub(super) const H: &str = "h";
/// The yardstick for new flows.
pub(super) const LRU_INSERT: &str = "lru_insert";

/// The rows that others' figures are made from.
pub(super) const ALWAYS: [&str; 5] = [NOTHING, NOTHING6, NOTHING_GROWN, H, LRU_INSERT];

/// The rows of the bench object, its programs loaded.
///
/// # Errors
///
/// When the object lacks one of the programs.
pub(super) fn subjects(object: &Ebpf) -> anyhow::Result<Vec<Subject>> {
    let every = || {
        super::subject::KNOWN
            .into_iter()
            .chain([Flows::New])
            .collect::<Vec<_>>()
    };
    let stays = Expect {
        action: TX,
        growth: 0,
        readdressed: false,
    };
    let tunnelled = Expect {
        action: TX,
        growth: IPIP,
        readdressed: true,
    };
    let row = |name, program| Subject::new(name, super::xdp(object, program)?);
    Ok(vec![
        Subject {
            expect: stays,
            flows: every(),
            ..row(NOTHING, "nothing")?
        },
        Subject {
            expect: stays,
            flows: every(),
            traffic: Traffic::TCP6,
            ..row(NOTHING6, "nothing")?
        },
        Subject {
            expect: tunnelled,
            flows: every(),
            ..row(NOTHING_GROWN, "nothing_grown")?
        },
        row("parse", "parse")?,
        Subject {
            traffic: Traffic::UDP,
            ..row("parse UDP", "parse")?
        },
        Subject {
            traffic: Traffic::TCP6,
            expect: Expect {
                action: PASS,
                ..stays
            },
            ..row("parse other", "parse")?
        },
        Subject {
            expect: tunnelled,
            fill: vec![Pass {
                program: row(H, "h_fill")?.program,
                traffic: Traffic::TCP,
                expect: stays,
            }],
            ..row(H, "h")?
        },
        Subject {
            expect: tunnelled,
            flows: vec![Flows::New],
            fill: vec![Pass {
                program: row(LRU_INSERT, "lru_insert")?.program,
                traffic: Traffic::TCP,
                expect: tunnelled,
            }],
            ..row(LRU_INSERT, "lru_insert")?
        },
    ])
}

/// Tells the comparison programs their servers.
///
/// # Errors
///
/// When the object lacks the map.
pub(super) fn configure(object: &mut Ebpf) -> anyhow::Result<()> {
    let mut servers: Array<MapData, Server> = super::take_map(object, "SERVER")?;
    for index in 0..SERVERS {
        servers.set(index, server(index), 0)?;
    }
    Ok(())
}

fn server(index: u32) -> Server {
    let address = (Ipv4Addr::new(192, 168, 0, 0).to_bits() + index).to_be_bytes();
    let [.., low] = index.to_be_bytes();
    let ethernet = [
        0x06,
        0,
        0,
        0,
        1,
        low,
        super::traffic::DIRECTOR,
        0,
        0,
        0,
        0,
        1,
    ];
    let (start, rest) = ethernet.split_at(8);
    let constant = [0x45, 0, 0, 0, 0x40, 0, 0x40, 4];
    Server {
        ethernet: u64::from_ne_bytes(start.try_into().expect("8 bytes")),
        ethernet_rest: u32::from_ne_bytes(rest.try_into().expect("4 bytes")),
        address: u32::from_ne_bytes(address),
        sum: sum(&constant) + sum(&address),
        zero: 0,
    }
}
