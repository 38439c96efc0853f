//! The agent's settings: the command line's, else the configuration file's, else the defaults.

use crate::cli::{Options, Usage};
use lb_common::api::Setting;
use lb_common::layout::Sizes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The configuration file that is read when none is named.
const DEFAULT_FILE: &str = "/etc/lb/agent.yaml";

/// The fewest and the most flows that maps are made for.
const FLOWS: std::ops::RangeInclusive<u32> = 1024..=64 << 20;

/// The port of FTP control connections (RFC 959, section 8).
const FTP: u16 = 21;

/// The most ports of FTP, as ipvs has it (`IP_VS_APP_MAX_PORTS`).
const FTP_PORTS: usize = 8;

/// The agent's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The interfaces to attach to.
    pub(crate) interfaces: Vec<String>,
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// Where programs and maps are pinned; a bpffs is mounted there when there is none.
    pub(crate) pin_path: PathBuf,
    /// Where services are kept over restarts.
    pub(crate) state_dir: PathBuf,
    /// How to attach.
    pub(crate) xdp_mode: XdpMode,
    /// How many flows to make room for, when the maps are made.
    pub(crate) flows: u32,
    /// The settings that are not at ipvs's values from the start.
    pub(crate) settings: BTreeMap<Setting, u32>,
    /// The ports of services that speak FTP.
    pub(crate) ftp_ports: Vec<u16>,
}

/// How to attach to an interface.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum XdpMode {
    /// In the driver.
    #[default]
    Native,
    /// In the kernel's receive path, after a packet was allocated.
    Generic,
    /// In the driver where that works, else in the receive path.
    Auto,
}

/// The configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interfaces: Option<Vec<String>>,
    socket: Option<PathBuf>,
    pin_path: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    xdp_mode: Option<XdpMode>,
    flows: Option<u32>,
    settings: Option<BTreeMap<String, u32>>,
    ftp_ports: Option<Vec<u16>>,
}

impl Config {
    /// Joins command line, file and defaults.
    ///
    /// # Errors
    /// [`Usage`], with file, line and column where there are such.
    pub(crate) fn new(options: &Options) -> Result<Self, Usage> {
        let file = match &options.config {
            Some(path) => read(path)?.ok_or_else(|| {
                Usage(format!(
                    "no configuration file {}: write one, or leave out --config",
                    path.display()
                ))
            })?,
            None => read(Path::new(DEFAULT_FILE))?.unwrap_or_default(),
        };
        Self::join(options.clone(), file)
    }

    fn join(options: Options, file: File) -> Result<Self, Usage> {
        let Options {
            config: _,
            interface,
            socket,
            pin_path,
            state_dir,
            xdp_mode,
            flows,
            ftp_ports,
        } = options;
        let interfaces = if interface.is_empty() {
            file.interfaces.unwrap_or_default()
        } else {
            interface
        };
        let flows = flows.or(file.flows).unwrap_or(Sizes::DEFAULT.flows);
        if !FLOWS.contains(&flows) {
            return Err(Usage(format!(
                "flows: {flows} is not within {} to {}",
                FLOWS.start(),
                FLOWS.end()
            )));
        }
        let ftp_ports = ftp_ports.or(file.ftp_ports).unwrap_or_else(|| vec![FTP]);
        if ftp_ports.len() > FTP_PORTS || ftp_ports.contains(&0) {
            return Err(Usage(format!(
                "ftp_ports: {ftp_ports:?} are not up to {FTP_PORTS} ports from 1 on"
            )));
        }
        let settings = file.settings.unwrap_or_default().into_iter();
        let settings = settings.map(|(name, value)| {
            let setting = Setting::check(&name, Some(value));
            Ok((setting.map_err(|refusal| refusal.message)?, value))
        });
        let settings: Result<_, String> = settings.collect();
        let settings = settings.map_err(|why| Usage(format!("settings: {why}")))?;
        let path = |given: Option<PathBuf>, file: Option<PathBuf>, default: &str| {
            given.or(file).unwrap_or_else(|| default.into())
        };
        Ok(Self {
            interfaces,
            socket: path(socket, file.socket, "/run/lb/agent.sock"),
            pin_path: path(pin_path, file.pin_path, "/sys/fs/bpf/lb"),
            state_dir: path(state_dir, file.state_dir, "/var/lib/lb"),
            xdp_mode: xdp_mode.or(file.xdp_mode).unwrap_or_default(),
            flows,
            settings,
            ftp_ports,
        })
    }

    /// Refuses settings with which `run` would balance nothing.
    ///
    /// # Errors
    /// [`Usage`].
    pub(crate) fn check_interfaces(&self) -> Result<(), Usage> {
        if self.interfaces.is_empty() {
            return Err(Usage(format!(
                "no interface to attach to: name one with --interface, or in {DEFAULT_FILE} as \
                 `interfaces: [eth0]`"
            )));
        }
        for (place, interface) in self.interfaces.iter().enumerate() {
            if self.interfaces[..place].contains(interface) {
                return Err(Usage(format!("interface {interface} is named twice")));
            }
        }
        Ok(())
    }
}

/// Reads a file; none when there is no such file.
fn read(path: &Path) -> Result<Option<File>, Usage> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn parse(text: &str, path: &Path) -> Result<File, Usage> {
    let file: Option<File> = serde_yaml::from_str(text).map_err(|error| {
        let why = error.to_string();
        let place = error.location().map_or_else(String::new, |location| {
            format!(":{}:{}", location.line(), location.column())
        });
        let why = why.split(" at line ").next().unwrap_or(&why);
        Usage(format!("{}{place}: {why}", path.display()))
    })?;
    // An empty document is a file without settings.
    Ok(file.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, String> {
        parse(text, Path::new("agent.yaml"))
            .and_then(|file| Config::join(Options::default(), file))
            .map_err(|usage| usage.0)
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in ["", "# nothing\n", "---\n", "{}"] {
            let config = parsed(text).expect("good");
            assert_eq!(config.socket, Path::new("/run/lb/agent.sock"));
            assert_eq!(config.pin_path, Path::new("/sys/fs/bpf/lb"));
            assert_eq!(config.state_dir, Path::new("/var/lib/lb"));
            assert_eq!(
                (config.xdp_mode, config.flows),
                (XdpMode::Native, 1_000_000)
            );
        }
    }

    #[test]
    fn the_command_line_wins() {
        let file = parse(
            "interfaces: [eth0, eth1]\nflows: 4096\nxdp_mode: native\n",
            Path::new("agent.yaml"),
        )
        .expect("good");
        let options = Options {
            interface: vec!["eth2".to_owned()],
            xdp_mode: Some(XdpMode::Generic),
            ..Options::default()
        };
        let config = Config::join(options, file).expect("good");
        assert_eq!(config.interfaces, ["eth2"]);
        assert_eq!((config.xdp_mode, config.flows), (XdpMode::Generic, 4096));
    }

    #[test]
    fn errors_name_the_place() {
        let place = |text| parsed(text).expect_err("bad");
        let unknown = place("flows: 4096\ninterfces: [eth0]\n");
        assert!(
            unknown.starts_with("agent.yaml:2:1: unknown field `interfces`, expected one of"),
            "{unknown}"
        );
        let mode = place("xdp_mode: fast\n");
        assert!(mode.starts_with("agent.yaml:1:11: "), "{mode}");
        assert!(mode.contains("unknown variant `fast`"), "{mode}");
        assert!(place("flows: 3\n").contains("3 is not within 1024 to"));
        let setting = place("settings: {sloppy: 1}\n");
        assert!(
            setting.starts_with("settings: no setting sloppy: there are conn"),
            "{setting}"
        );
        let value = place("settings: {sloppy_tcp: 2}\n");
        assert_eq!(value, "settings: sloppy_tcp: 2 is not within 0 to 1");
        let missing = place("settings: {schedule_icmp: 1}\n");
        assert!(missing.contains("lb does not have it yet"), "{missing}");
    }

    #[test]
    fn settings_have_ipvss_names() {
        let config = parsed("settings:\n  conn_reuse_mode: 3\n  pmtu_disc: 0\n").expect("good");
        let settings = [(Setting::ConnReuseMode, 3), (Setting::PmtuDisc, 0)];
        assert_eq!(config.settings, BTreeMap::from(settings));
    }

    #[test]
    fn ftp_is_spoken_on_up_to_eight_ports() {
        let ports = |text| parsed(text).map(|config| config.ftp_ports);
        assert_eq!(ports(""), Ok(vec![21]));
        assert_eq!(ports("ftp_ports: [21, 2121]\n"), Ok(vec![21, 2121]));
        assert_eq!(ports("ftp_ports: []\n"), Ok(vec![]));
        let why = "ftp_ports: [0] are not up to 8 ports from 1 on";
        assert_eq!(ports("ftp_ports: [0]\n"), Err(why.to_owned()));
        assert!(ports("ftp_ports: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n").is_err());
        let options = Options {
            ftp_ports: Some(vec![990]),
            ..Options::default()
        };
        let file = parse("ftp_ports: [2121]", Path::new("agent.yaml")).expect("good");
        let config = Config::join(options, file).expect("good");
        assert_eq!(config.ftp_ports, [990]);
    }

    #[test]
    fn a_named_file_has_to_be_there() {
        let options = Options {
            config: Some("/nonexistent/agent.yaml".into()),
            ..Options::default()
        };
        let error = Config::new(&options).expect_err("missing").0;
        assert!(
            error.starts_with("no configuration file /nonexistent/agent.yaml"),
            "{error}"
        );
    }
}
