//! What is asked for: the command line, and what it means.

use crate::cli::Usage;
use crate::config::XdpMode;
use clap::{Args, ValueEnum};
use lb_common::decap::{Tunnel, Tunnels};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// GUE's port (IANA).
const GUE_PORT: u16 = 6080;

/// `lb-agent real-server`'s command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A virtual address; several may be named
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    pub(crate) vip: Vec<IpAddr>,
    /// The interface that the director's packets come in by
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,
    /// Take packets out of the director's tunnels, by XDP: ipip, gre, gue or gue:PORT, joined by
    /// commas
    #[arg(long, value_name = "TUNNELS", value_delimiter = ',')]
    pub(crate) decapsulate: Vec<Decapsulate>,
    /// Undo what was set up, whatever else is given
    #[arg(long, conflicts_with = "check")]
    pub(crate) undo: bool,
    /// Change nothing, say what is wrong and how to mend it; of what was set up, unless other
    /// addresses are given
    #[arg(long)]
    pub(crate) check: bool,
    /// Change nothing, say what would be done
    #[arg(long, conflicts_with = "check")]
    pub(crate) dry_run: bool,
    /// How to print what --check found [default: text]
    #[arg(short, long, value_name = "FORM", requires = "check", conflicts_with_all = ["undo", "dry_run"])]
    pub(crate) output: Option<Form>,
    /// In the driver, in the kernel's receive path, or the first of both that works [default: native]
    #[arg(long, value_name = "MODE")]
    pub(crate) xdp_mode: Option<XdpMode>,
    /// Where the program and its maps are pinned [default: /sys/fs/bpf/lb-real-server]
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_path: Option<PathBuf>,
    /// Where it is recorded what to undo [default: /run/lb-real-server]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl Options {
    /// Where the record is.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let default = || PathBuf::from("/run/lb-real-server");
        self.state_dir.clone().unwrap_or_else(default)
    }
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// One kind of tunnel to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decapsulate {
    tunnel: Tunnel,
    /// GUE's port, where one is given.
    port: Option<u16>,
}

impl FromStr for Decapsulate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let tunnel = Tunnel::ALL
            .into_iter()
            .find(|tunnel| tunnel.name() == name)
            .ok_or("there are ipip, gre and gue, the last with `:PORT` if need be")?;
        let port = match port {
            None => None,
            Some(port) if tunnel == Tunnel::Gue => match port.parse() {
                Ok(port) if port != 0 => Some(port),
                Ok(_) | Err(_) => return Err(format!("`{port}` is no UDP port")),
            },
            Some(_) => return Err(format!("{name} has no port")),
        };
        Ok(Self { tunnel, port })
    }
}

/// What the machine is to be prepared for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The virtual addresses, each once, in order.
    pub(crate) vips: Vec<IpAddr>,
    /// The interface's name.
    pub(crate) interface: String,
    /// What tunnels end here; none for direct routing.
    pub(crate) decapsulation: Option<Decapsulation>,
}

/// Which tunnels end here, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decapsulation {
    /// Names of [`Tunnel`]s, each once, in their order.
    pub(crate) tunnels: Vec<String>,
    /// GUE's UDP port.
    pub(crate) gue_port: u16,
    /// How to attach.
    pub(crate) xdp_mode: XdpMode,
    /// Where the program and its maps are pinned.
    pub(crate) pin_path: PathBuf,
}

impl Decapsulation {
    /// The tunnels as a set.
    pub(crate) fn set(&self) -> Tunnels {
        Tunnel::ALL
            .into_iter()
            .filter(|tunnel| self.has(*tunnel))
            .fold(Tunnels::default(), Tunnels::with)
    }

    /// Whether a kind of tunnel ends here.
    pub(crate) fn has(&self, tunnel: Tunnel) -> bool {
        self.tunnels.iter().any(|name| name == tunnel.name())
    }

    /// As `--decapsulate` takes it.
    pub(crate) fn option(&self) -> String {
        let tunnels = self.tunnels.iter().map(|name| {
            if name == Tunnel::Gue.name() && self.gue_port != GUE_PORT {
                format!("{name}:{}", self.gue_port)
            } else {
                name.clone()
            }
        });
        tunnels.collect::<Vec<_>>().join(",")
    }
}

impl Wanted {
    /// What the options ask for; none when they name neither addresses nor interface nor tunnels.
    ///
    /// # Errors
    /// [`Usage`].
    pub(crate) fn new(options: &Options) -> Result<Option<Self>, Usage> {
        if options.vip.is_empty() && options.interface.is_none() && options.decapsulate.is_empty() {
            return Ok(None);
        }
        let Some(interface) = options.interface.clone() else {
            return Err(Usage(
                "no interface: --interface names the one that the director's packets come in by"
                    .to_owned(),
            ));
        };
        if interface == "lo" {
            return Err(Usage(
                "--interface lo: virtual addresses are put on lo by themselves; name the interface \
                 that the director's packets come in by"
                    .to_owned(),
            ));
        }
        let mut vips = options.vip.clone();
        vips.sort_unstable();
        vips.dedup();
        if vips.is_empty() {
            return Err(Usage(
                "no virtual address: --vip names those of the services that this server is for"
                    .to_owned(),
            ));
        }
        for vip in &vips {
            check_vip(*vip)?;
        }
        Ok(Some(Self {
            vips,
            interface,
            decapsulation: decapsulation(options)?,
        }))
    }
}

fn decapsulation(options: &Options) -> Result<Option<Decapsulation>, Usage> {
    let asked = &options.decapsulate;
    if asked.is_empty() {
        return Ok(None);
    }
    let tunnels = Tunnel::ALL
        .into_iter()
        .filter(|tunnel| asked.iter().any(|a| a.tunnel == *tunnel));
    let mut ports: Vec<u16> = asked.iter().filter_map(|asked| asked.port).collect();
    ports.sort_unstable();
    ports.dedup();
    if let [a, b, ..] = ports[..] {
        return Err(Usage(format!(
            "--decapsulate: gue is asked for on ports {a} and {b}; it can be on one"
        )));
    }
    let pin_path = options.pin_path.clone();
    Ok(Some(Decapsulation {
        tunnels: tunnels.map(|tunnel| tunnel.name().to_owned()).collect(),
        gue_port: ports.first().copied().unwrap_or(GUE_PORT),
        xdp_mode: options.xdp_mode.unwrap_or_default(),
        pin_path: pin_path.unwrap_or_else(|| "/sys/fs/bpf/lb-real-server".into()),
    }))
}

/// Refuses what cannot be a service's address.
fn check_vip(vip: IpAddr) -> Result<(), Usage> {
    let why = match vip {
        _ if vip.is_unspecified() => "is no address",
        _ if vip.is_loopback() => "is this host's own on every host",
        _ if vip.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address",
        IpAddr::V4(v4) if v4.is_link_local() => "means another host on every link",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "means another host on every link",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address in IPv6's form",
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(()),
    };
    Err(Usage(format!("--vip {vip}: it {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn options(line: &str) -> Result<Options, String> {
        let words = ["lb-agent", "real-server"]
            .into_iter()
            .chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::RealServer(options) = cli.command else {
            return Err("another".to_owned());
        };
        Ok(options)
    }

    fn wanted(line: &str) -> Result<Option<Wanted>, String> {
        Wanted::new(&options(line)?).map_err(|usage| usage.0)
    }

    #[test]
    fn addresses_may_be_given_in_every_way() {
        let one = wanted("--vip 10.0.0.101 10.0.0.100 --interface eth0").expect("good");
        for line in [
            "--interface eth0 --vip 10.0.0.100,10.0.0.101",
            "--vip 10.0.0.100 --interface eth0 --vip 10.0.0.101 --vip 10.0.0.100",
        ] {
            assert_eq!(wanted(line).expect("good"), one, "{line}");
        }
        let one = one.expect("something");
        assert_eq!(one.vips.len(), 2);
        assert_eq!(one.decapsulation, None);
    }

    #[test]
    fn tunnels_are_sorted_and_gue_has_a_port() {
        let of = |tunnels: &str| {
            let line = format!("--vip fd00::1 --interface eth0 --decapsulate {tunnels}");
            let decapsulation = wanted(&line)?.expect("something").decapsulation;
            Ok::<_, String>(decapsulation.expect("tunnels"))
        };
        let all = of("gue:4000,ipip,gre").expect("good");
        assert_eq!(all.tunnels, ["ipip", "gre", "gue"]);
        assert_eq!(all.gue_port, 4000);
        assert_eq!(all.option(), "ipip,gre,gue:4000");
        assert_eq!(of("gue").expect("good").gue_port, 6080);
        assert_eq!(of("gue,ipip").expect("good").option(), "ipip,gue");
        for (tunnels, why) in [
            ("vxlan", "there are ipip, gre and gue"),
            ("gre:1", "gre has no port"),
            ("gue:0", "`0` is no UDP port"),
            ("gue:x", "`x` is no UDP port"),
            ("gue:1,gue:2", "on ports 1 and 2"),
        ] {
            let error = of(tunnels).expect_err("bad");
            assert!(error.contains(why), "{tunnels}: {error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_cure() {
        for (line, why) in [
            ("--vip 10.0.0.1", "no interface"),
            ("--interface eth0", "no virtual address"),
            ("--vip 10.0.0.1 --interface lo", "put on lo by themselves"),
            ("--vip 127.0.0.1 --interface eth0", "own on every host"),
            ("--vip 224.0.0.1 --interface eth0", "multicast"),
            ("--vip 0.0.0.0 --interface eth0", "no address"),
            ("--vip fe80::1 --interface eth0", "on every link"),
            ("--vip ::ffff:10.0.0.1 --interface eth0", "in IPv6's form"),
            ("--vip 10.0.0.1/32 --interface eth0", "invalid"),
            ("--undo --check", "cannot be used with"),
            ("--undo --output json", "cannot be used with"),
            ("--vip 10.0.0.1 --interface eth0 -o json", "--check"),
        ] {
            let error = wanted(line).expect_err("bad");
            assert!(error.contains(why), "{line}: {error}");
        }
        assert_eq!(wanted("--undo"), Ok(None));
        assert_eq!(wanted("--check -o json"), Ok(None));
    }
}
