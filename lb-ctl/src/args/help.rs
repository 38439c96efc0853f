//! The help and version texts.

use super::flags::{FLAGS, Section};
use crate::invocation::Identity;
use crate::verb::shown;
use std::fmt::Write;

const SYNOPSIS: &[&str] = &[
    "-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [options]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [options]",
    "-Z [virtual-service]",
    "--set tcp tcpfin udp",
    "--start-daemon {master|backup} [daemon-options]",
    "--stop-daemon {master|backup}",
    "-h",
];

/// The title of a part of the help, and the width of its left column.
const PARTS: &[(Section, &str, usize)] = &[
    (
        Section::Commands,
        "\nCommands:\nEither long or short options are allowed.\n",
        28,
    ),
    (Section::VirtualService, "\nvirtual-service:\n", 36),
    (Section::Options, "\nOptions:\n", 36),
    (Section::DaemonOptions, "Daemon Options:\n", 36),
];

/// The text of `-h`, first line of which is [`version`]. Under its own name lb-ctl tells of its
/// verbs as well; ipvsadm's text is ipvsadm's to the letter.
#[must_use]
pub fn help(program: &str, identity: Identity) -> String {
    let mut text = version(identity);
    text.push_str("Usage:\n");
    for line in SYNOPSIS {
        let _ = writeln!(text, "  {program} {line}");
    }
    for (section, title, width) in PARTS {
        text.push_str(title);
        for spec in FLAGS.iter().filter(|spec| spec.section == *section) {
            let mut left = spec.usage;
            for about in spec.about.split('\n') {
                let _ = writeln!(text, "  {left:width$}{about}");
                left = "";
            }
        }
    }
    match identity {
        Identity::Ipvsadm => {}
        Identity::LbCtl => {
            text.push_str("\nVerbs, of which `lb-ctl help VERB' tells more:\n");
            for verb in shown() {
                let _ = writeln!(text, "  {:28}{}", verb.grammar.name, verb.about);
            }
        }
    }
    text
}

/// The line of `-v`.
#[must_use]
pub fn version(identity: Identity) -> String {
    match identity {
        Identity::Ipvsadm => {
            "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n".to_owned()
        }
        Identity::LbCtl => format!(
            "lb-ctl v{} (the grammar of ipvsadm v1.31 and IPVS v1.2.1)\n",
            env!("CARGO_PKG_VERSION")
        ),
    }
}
