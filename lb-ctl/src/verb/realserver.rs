//! `lb-ctl realserver`: this machine as a real server.
//!
//! `lb-agent real-server` does the work, on this very machine and without a running agent: it
//! needs the privileges, the program and the kernel's netlink. Here are the words for people.

use super::words::{Grammar, OUTPUT, Operand, Tail, VerbOption, Words};
use super::{Verb, VerbError};
use crate::command::World;
use crate::exit::Exit;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

pub(super) const REALSERVER: Verb = Verb {
    grammar: Grammar {
        name: "realserver",
        operands: &[Operand {
            name: "WHAT",
            about: "what to do",
            values: &[
                (
                    "setup",
                    "prepare this machine; again with other addresses, change it",
                ),
                ("check", "say what is wrong, and what mends it"),
                (
                    "undo",
                    "put every setting back to what it was before the first setup",
                ),
            ],
            optional: false,
        }],
        options: &[&VIP, &INTERFACE, &DECAPSULATE, &XDP_MODE, &DRY_RUN, &OUTPUT],
        tail: Tail::Verbatim,
    },
    about: "prepare this machine as a real server, check it, or undo that",
    details: &[
        "A real server takes packets for the virtual addresses, which it holds on lo, and keeps \
         quiet about them in ARP. With --decapsulate it takes them out of the tunnels of services \
         with -i as well: by an XDP program, without tunnel devices or modules.",
        "check looks at what was set up, unless --vip, --interface and --decapsulate say what to \
         look for, and ends with 1 when clients are not served.",
        "The work is done by lb-agent real-server, whose other options are taken too: lb-agent is \
         looked for where LB_AGENT says, beside lb-ctl, and in PATH. No agent needs to run.",
        "For instance: lb-ctl realserver setup --vip 10.0.0.100 --interface eth0 --decapsulate ipip",
    ],
    run: realserver,
};

const VIP: VerbOption = VerbOption {
    long: "vip",
    shorts: &[],
    value: Some("ADDRESS..."),
    about: "the virtual addresses of the services, IPv4 and IPv6",
    values: &[],
};

const INTERFACE: VerbOption = VerbOption {
    long: "interface",
    shorts: &[],
    value: Some("IF"),
    about: "where the director's packets come in",
    values: &[],
};

const DECAPSULATE: VerbOption = VerbOption {
    long: "decapsulate",
    shorts: &[],
    value: Some("TUNNELS"),
    about: "take packets out of these tunnels: ipip, gre, gue or gue:PORT, joined by commas",
    values: &[],
};

const XDP_MODE: VerbOption = VerbOption {
    long: "xdp-mode",
    shorts: &[],
    value: Some("MODE"),
    about: "in the driver, which is the default, behind it, or the first of both that works",
    values: &["native", "generic", "auto"],
};

const DRY_RUN: VerbOption = VerbOption {
    long: "dry-run",
    shorts: &[],
    value: None,
    about: "change nothing, say what setup or undo would do",
    values: &[],
};

/// Calls `lb-agent real-server` and ends as it does.
fn realserver(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let option = match words.operand(0) {
        "check" => Some("--check"),
        "undo" => Some("--undo"),
        // The grammar lets no other word pass.
        _ => None,
    };
    let rest = words.operands.get(1..).unwrap_or_default();
    // The verb says which it is.
    if let Some(word) = rest
        .iter()
        .find(|word| ["--check", "--undo"].contains(*word))
    {
        return Err(VerbError::Usage {
            verb: REALSERVER.grammar.name,
            what: format!("unexpected `{word}'"),
            usage: REALSERVER.grammar.usage(),
        });
    }
    let agent = agent();
    let mut command = Command::new(&agent);
    command.arg("real-server").args(option).args(rest);
    world.out.flush()?;
    match command.status() {
        Ok(status) => Ok(exit(status.code())),
        Err(source) => Err(VerbError::Agent {
            verb: REALSERVER.grammar.name,
            agent: agent.display().to_string(),
            source,
        }),
    }
}

/// The agent's program: `LB_AGENT`, or beside this one, or in the path.
fn agent() -> PathBuf {
    const NAME: &str = "lb-agent";
    let named = env::var_os("LB_AGENT").filter(|path: &OsString| !path.is_empty());
    let beside = || {
        let own = env::current_exe().ok()?;
        Some(own.with_file_name(NAME)).filter(|path| path.is_file())
    };
    named
        .map(PathBuf::from)
        .or_else(beside)
        .unwrap_or_else(|| NAME.into())
}

/// How the agent ended; its exit codes are the verbs'. None when a signal ended it.
const fn exit(code: Option<i32>) -> Exit {
    match code {
        Some(0) => Exit::Success,
        Some(1) => Exit::Negative,
        Some(2) => Exit::Usage,
        Some(4) => Exit::Conflict,
        Some(_) | None => Exit::Environment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_exit_codes_are_the_verbs() {
        for known in [
            Exit::Success,
            Exit::Negative,
            Exit::Usage,
            Exit::Environment,
            Exit::Conflict,
        ] {
            assert_eq!(exit(Some(known.code().into())), known);
        }
        assert_eq!(exit(Some(101)), Exit::Environment);
        assert_eq!(exit(None), Exit::Environment);
    }
}
