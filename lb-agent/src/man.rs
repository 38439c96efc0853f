//! The page lb-agent(8), written from the command line's own definition.

use crate::cli::{Cli, Exit};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Prints the page.
pub(crate) fn print(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Only then do the verbs know whose they are.
    command.build();
    let man = Man::new(command.clone()).section("8");
    man.render_title(out)?;
    man.render_name_section(out)?;
    let verbs = command.get_subcommands();
    let verbs: Vec<_> = verbs.filter(|verb| !verb.is_hide_set()).collect();
    synopsis(&verbs, out)?;
    description(out)?;
    for verb in verbs {
        let title = verb.get_display_name().unwrap_or(verb.get_name());
        let title = title.replacen('-', " ", 2).replacen(' ', "-", 1);
        let mut page = Roff::new();
        page.control("SH", [title.to_uppercase().as_str()]);
        page.text([roman(format!("{}.", verb.get_about().unwrap_or_default()))]);
        page.to_writer(out)?;
        let mut options = Vec::new();
        Man::new(verb.clone()).render_options_section(&mut options)?;
        // Its title, the first line, is the verb's already.
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
        out.write_all(options.as_bytes())?;
    }
    ends(out)
}

fn synopsis(verbs: &[&Command], out: &mut dyn Write) -> io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    for verb in verbs {
        page.text([
            bold(format!("lb-agent {}", verb.get_name())),
            roman(" [OPTION...]"),
        ]);
        page.control("br", []);
    }
    page.text([bold("lb-agent"), roman(" --version")]);
    page.to_writer(out)
}

fn description(out: &mut dyn Write) -> io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in [
        "lb-agent attaches an XDP program to the interfaces it is told, fills the program's maps, \
         and serves lb-ctl(8) on a Unix socket. It needs root and Linux 6.1 or newer with BTF.",
        "Program and maps are pinned: however the agent ends, packets are balanced on, and the \
         next agent takes over with every connection in place. Services are kept in the state \
         directory and come back with the agent.",
        "The agent itself takes part in FTP control connections to masqueraded servers, of services \
         on the ports that --ftp-ports names, and in calls of services with the persistence engine \
         sip. Those wait while no agent runs. What it changed in FTP's replies is kept in the state \
         directory; a connection of which that is lost is given up, and the log says so.",
    ] {
        page.control("PP", []);
        page.text([roman(paragraph)]);
    }
    let keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    page.control("PP", []);
    page.text([roman(format!(
        "The configuration file is YAML and may have the keys {}; interfaces and ftp_ports are \
         lists, and settings has the names that `lb-ctl setting' shows. An option wins over the \
         file.",
        keys.join(", ")
    ))]);
    page.to_writer(out)
}

/// The keys of the configuration file, with a value that each takes.
const KEYS: &[(&str, &str)] = &[
    ("interfaces", "[eth0]"),
    ("socket", "/run/lb/agent.sock"),
    ("pin_path", "/sys/fs/bpf/lb"),
    ("state_dir", "/var/lib/lb"),
    ("xdp_mode", "native"),
    ("flows", "1000000"),
    ("settings", "{sloppy_tcp: 1}"),
    ("ftp_ports", "[21]"),
];

/// Every way to end.
const EXITS: &[(Exit, &str)] = &[
    (
        Exit::Ok,
        "Done. The agent was told to stop by SIGTERM or SIGINT; packets are balanced on.",
    ),
    (
        Exit::Negative,
        "lb-agent real-server --check found what keeps clients from being served.",
    ),
    (
        Exit::Usage,
        "The command line or the configuration is wrong.",
    ),
    (
        Exit::Environment,
        "The machine does not allow it: a file, an interface, a privilege, the kernel.",
    ),
    (
        Exit::Conflict,
        "Another agent holds the pins or the socket; or something else is where real-server would \
         put an address.",
    ),
];

fn ends(out: &mut dyn Write) -> io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (exit, text) in EXITS {
        page.control("TP", []);
        page.text([bold((*exit as u8).to_string())]);
        page.text([roman(*text)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("lb-ctl"), roman("(8)")]);
    page.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use crate::config::Config;

    fn page() -> String {
        let mut page = Vec::new();
        print(&mut page).expect("memory takes all");
        // As it reads: without escapes and fonts.
        String::from_utf8(page)
            .expect("the page is ASCII")
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
    }

    #[test]
    fn every_verb_and_option_is_on_the_page() {
        let page = page();
        let titles: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .map(|title| title.trim_matches('"'))
            .collect();
        let mut expected = ["NAME", "SYNOPSIS", "DESCRIPTION"]
            .map(str::to_owned)
            .to_vec();
        let command = Cli::command();
        let mut options = 0;
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let title = format!("LB-AGENT {}", verb.get_name().to_uppercase());
            let (_, part) = page
                .split_once(&format!("\n.SH \"{title}\"\n"))
                .expect(&title);
            let part = part.split("\n.SH ").next().expect("it goes on");
            for option in verb.get_arguments().filter(|option| !option.is_hide_set()) {
                if let Some(long) = option.get_long() {
                    assert!(part.contains(&format!("--{long}")), "{title} --{long}");
                    options += 1;
                }
            }
            expected.push(title);
        }
        expected.extend(["EXIT STATUS", "SEE ALSO"].map(str::to_owned));
        assert_eq!(titles, expected);
        assert!(options > 10);
        assert!(page.contains(".TH lb-agent 8 "), "{page}");
    }

    #[test]
    fn the_file_has_the_keys_that_the_page_names() {
        let path = std::env::temp_dir().join(format!("lb-agent-man-{}.yaml", std::process::id()));
        let options = Options {
            config: Some(path.clone()),
            ..Options::default()
        };
        let text: String = KEYS
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"))
            .collect();
        let read = |text: &str| {
            std::fs::write(&path, text).expect("the folder for temporary files takes one");
            Config::new(&options).map(|_| ())
        };
        let (good, other) = (read(&text), read("other: 1\n"));
        std::fs::remove_file(&path).expect("it was written");
        good.expect("every key that the page names is one");
        // The complaint about an unknown key names all that are known.
        let complaint = other.expect_err("no such key").to_string();
        let (_, known) = complaint.split_once("expected one of ").expect(&complaint);
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        assert_eq!(known, keys);
        let page = page();
        assert!(KEYS.iter().all(|(key, _)| page.contains(key)));
    }
}
