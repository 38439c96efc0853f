//! keepalived.conf(5), the part that makes ipvs's table, as of keepalived 2.4.
//!
//! [`lines`] turns files into lines, [`block`] lines into statements, [`group`] and [`pool`]
//! statements into what they say together, and [`table`] that into services and servers. keepalived goes on behind most mistakes and leaves out
//! what they stand in; so does this reader, and says so. What makes it unsure where a block ends
//! is an error here.

mod block;
mod group;
mod lines;
mod method;
mod number;
mod pool;
mod table;
mod text;
mod topic;

use super::{Description, Extra, Problems, Topic};
use crate::machine::Machine;
use block::Statement;
use group::Groups;
use lb_common::api::{Edit, Timeouts};
use lines::Lines;
use std::path::Path;

/// A configuration, and what was not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the configuration says to this machine.
    pub description: Description,
    /// How many lines are for other machines (`@name`).
    pub skipped: usize,
}

/// Reads a configuration; `file` names it in messages, `folder` is where relative names of
/// included files start, and `config_id` decides about lines that begin with `@`.
///
/// # Errors
/// It cannot be told where a block, a quote or a circle of parameters ends.
pub fn read(
    bytes: &[u8],
    file: &str,
    folder: &Path,
    machine: &dyn Machine,
    config_id: &str,
) -> Result<Reading, Problems> {
    let mut lines = Lines::new(machine, config_id);
    lines.file(bytes, file, folder, 0)?;
    let Lines {
        lines,
        extras,
        skipped,
        ..
    } = lines;
    let mut description = Description {
        extras,
        ..Description::default()
    };
    let statements = block::statements(lines)?;
    // A group may stand behind the servers that use it.
    let mut groups = Groups::default();
    for statement in &statements {
        if statement.keyword() == "virtual_server_group" {
            description.extras.extend(groups.add(statement));
        }
    }
    for statement in &statements {
        match statement.keyword() {
            "virtual_server_group" => {}
            "virtual_server" => pool::virtual_server(statement, &groups, &mut description),
            "global_defs" => global_definitions(statement, &mut description),
            keyword => {
                let extra = statement.extra(&topic::of_root(keyword));
                description.extras.push(extra);
            }
        }
    }
    Ok(Reading {
        description,
        skipped,
    })
}

fn global_definitions(statement: &Statement, description: &mut Description) {
    for inner in statement.block() {
        match inner.keyword() {
            "lvs_timeouts" => timeouts(inner, description),
            keyword => {
                let topic = topic::of_global(keyword);
                description.extras.push(inner.extra(&topic));
            }
        }
    }
}

/// `lvs_timeouts [tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]`.
fn timeouts(statement: &Statement, description: &mut Description) {
    let mut timeouts = Timeouts {
        tcp: 0,
        tcp_fin: 0,
        udp: 0,
    };
    let mut words = statement.words.iter().skip(1);
    while let Some(word) = words.next() {
        let target = match word.as_str() {
            "tcp" => &mut timeouts.tcp,
            "tcpfin" => &mut timeouts.tcp_fin,
            "udp" => &mut timeouts.udp,
            _ => {
                let why = format!("keepalived knows no timeout of `{word}'");
                ignore(statement, why, &mut description.extras);
                continue;
            }
        };
        match number::read(words.next().map(String::as_str), 0, number::LONGEST_TIMEOUT) {
            Ok(number) => *target = number.value,
            Err(why) => ignore(statement, why, &mut description.extras),
        }
    }
    if (timeouts.tcp, timeouts.tcp_fin, timeouts.udp) != (0, 0, 0) {
        // It cannot be refused: nothing is looked up.
        let _ = description.apply(Edit::SetTimeouts { timeouts }, &statement.place);
    }
}

fn ignore(statement: &Statement, why: String, extras: &mut Vec<Extra>) {
    extras.push(Extra::new(
        &statement.place,
        &statement.text,
        Topic::Ignored(why),
    ));
}
