//! What one saves, the other restores: generated rules go from the kernel's `ip_vs` to lb and from
//! lb to the kernel's `ip_vs`, and every listing is the same behind as before.

use crate::script::Random;
use crate::shell::{Kernel, Product, Shell};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use xtask::lab::Lab;
use xtask::lab::plan::Plan;

/// Sets of rules; every second one is saved with names.
const SETS: u64 = 6;

/// Services of a set.
const SERVICES: usize = 60;

/// What shows all that rules say.
const LISTINGS: [&str; 3] = ["-L -n", "-L -n --tun-info", "-S -n"];

#[test]
fn root_rules_that_one_saves_are_restored_by_the_other() -> Result<()> {
    let lab = Lab::up(&Plan::servers(1))?;
    let (mut kernel, mut product) = (Kernel::boot()?, Product::start(&lab)?);
    let mut lines = 0;
    for seed in 0..SETS {
        let rules = rules(&mut Random(seed));
        lines += rules.lines().count();
        let save = if seed % 2 == 0 { "-S -n" } else { "-S" };
        there_and_back(&rules, save, &mut kernel, &mut product)?;
        there_and_back(&rules, save, &mut product, &mut kernel)?;
    }
    println!("{lines} rules each way");
    Ok(())
}

/// Restores what `from` saves in `to`.
fn there_and_back(
    rules: &str,
    save: &str,
    from: &mut impl Shell,
    to: &mut impl Shell,
) -> Result<()> {
    restore(rules, from)?;
    let saved = ipvsadm(save, from)?;
    let expected = listings(from)?;
    ensure!(
        expected[2].lines().count() == rules.lines().count(),
        "some rule is not saved:\n{rules}\n{}",
        expected[2]
    );
    restore(&saved, to)?;
    for ((listing, expected), found) in LISTINGS.iter().zip(&expected).zip(&listings(to)?) {
        assert_eq!(found, expected, "{listing} of:\n{saved}");
    }
    Ok(())
}

/// Puts rules in place of whatever there is.
fn restore(rules: &str, shell: &mut impl Shell) -> Result<()> {
    let script = format!("ipvsadm -C && ipvsadm -R <<'END OF RULES'\n{rules}END OF RULES\n");
    let output = shell.run(&script)?;
    ensure!(
        output.status == 0 && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}\n{rules}"
    );
    Ok(())
}

fn listings(shell: &mut impl Shell) -> Result<[String; 3]> {
    let mut texts = LISTINGS.map(str::to_owned);
    for text in &mut texts {
        *text = ipvsadm(text, shell)?;
    }
    Ok(texts)
}

fn ipvsadm(options: &str, shell: &mut impl Shell) -> Result<String> {
    shell.run(&format!("ipvsadm {options}"))?.success()
}

/// Rules for services and their servers that ipvs takes, and `-S` says all of.
fn rules(random: &mut Random) -> String {
    let mut rules = String::new();
    let mut known = BTreeSet::new();
    while known.len() < SERVICES {
        let service = Service::new(random);
        if !known.insert(service.option.clone()) {
            continue;
        }
        // Writing to memory does not fail.
        let _ = writeln!(rules, "-A {} {}", service.option, service.options(random));
        let mut servers = BTreeSet::new();
        for _ in 0..random.below(6) {
            let (address, options) = service.server(random);
            if servers.insert(address.clone()) {
                let _ = writeln!(rules, "-a {} -r {address} {options}", service.option);
            }
        }
    }
    rules
}

/// A service, as options say it.
struct Service {
    option: String,
    udp: bool,
    v6: bool,
    /// None for a mark.
    port: Option<u64>,
}

impl Service {
    fn new(random: &mut Random) -> Self {
        let v6 = random.below(3) == 0;
        let kind = random.pick(&["-t", "-t", "-u", "--sctp-service", "-f"]);
        if kind == "-f" {
            let family = if v6 { " -6" } else { "" };
            // ipvsadm saves greater ones as negative numbers, which it refuses itself.
            let mark = random.pick(&["1", "7", "255", "65536", "2147483647"]);
            return Self {
                option: format!("-f {mark}{family}"),
                udp: false,
                v6,
                port: None,
            };
        }
        let address = random.pick(if v6 {
            &[
                "2001:db8::1",
                "2001:db8::80",
                "fd00:1:2:3:4:5:6:7",
                "2001:db8:0:1::",
            ]
        } else {
            &[
                "10.0.0.1",
                "10.0.0.77",
                "192.0.2.200",
                "9.1.1.1",
                "203.0.113.9",
            ]
        });
        let port = random.pick(&PORTS);
        Self {
            option: format!("{kind} {}", end(address, v6, port)),
            udp: kind == "-u",
            v6,
            port: Some(port),
        }
    }

    fn options(&self, random: &mut Random) -> String {
        let mut options = match random.below(4) {
            0 => format!(
                "-s sh{}",
                random.pick(&["", " -b sh-port", " -b sh-fallback,sh-port"])
            ),
            1 => format!(
                "-s mh{}",
                random.pick(&["", " -b mh-port", " -b mh-fallback"])
            ),
            _ => {
                let names = [
                    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sed", "nq", "fo", "ovf",
                ];
                format!(
                    "-s {}{}",
                    random.pick(&names),
                    random.pick(&["", "", " -b flag-1,flag-3"])
                )
            }
        };
        // Every port is for a persistent service only.
        if self.port == Some(0) || random.below(2) == 0 {
            options.push_str(random.pick(&[" -p", " -p 1", " -p 86400", " -p 2678400"]));
            options.push_str(match (random.below(2), self.v6) {
                (0, _) => "",
                (_, true) => random.pick(&[" -M 64", " -M 1", " -M 127"]),
                (_, false) => random.pick(&[" -M 255.255.255.0", " -M 255.0.255.0", " -M 0.0.0.0"]),
            });
        }
        if self.udp && random.below(3) == 0 {
            options.push_str(" -o");
        }
        options
    }

    /// A server's address and options.
    fn server(&self, random: &mut Random) -> (String, String) {
        let method = random.pick(&[
            "-g",
            "-m",
            "-i",
            "-i --tun-type ipip",
            "-i --tun-type gre",
            "-i --tun-type gre --tun-csum",
            "-i --tun-type gue --tun-port 6080",
            "-i --tun-type gue --tun-port 65535 --tun-csum",
            "-i --tun-type gue --tun-port 1 --tun-remcsum",
        ]);
        // Only a tunnel leads to the other family.
        let v6 = self.v6 ^ (method.starts_with("-i") && random.below(3) == 0);
        let last = random.below(250) + 1;
        let address = if v6 {
            format!("fd00::{last:x}")
        } else {
            format!("192.168.0.{last}")
        };
        let port = match self.port {
            Some(port) if !method.starts_with("-m") => port,
            Some(_) | None => random.pick(&PORTS),
        };
        let weight = random.pick(&["0", "1", "3", "65535", "65536", "2147483647"]);
        (end(&address, v6, port), format!("{method} -w {weight}"))
    }
}

const PORTS: [u64; 7] = [0, 53, 80, 443, 5060, 8080, 65535];

fn end(address: &str, v6: bool, port: u64) -> String {
    if v6 {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}
