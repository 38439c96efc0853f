//! ipvsadm's grammar: words to [`LowArgs`], judged in the order they stand.

use super::address::{endpoint, ipv4};
use super::flags::{Command, FLAGS, Flag, Spec};
use super::legality::{Opt, check_command};
use super::low::{FULL_PREFIX, LowArgs, Method, TunnelType};
use super::number::{fitting, leading};
use super::popt::Options;
use super::{Refused, check, sched_flags};
use crate::names::Names;
use lb_common::api::{DaemonRole, Netmask, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// 31 days, the longest timeout that ipvs takes.
const MAX_TIMEOUT: i64 = 31 * 24 * 60 * 60;
/// How long a service is persistent when `-p` has no value, in seconds.
const PERSISTENT: u32 = 6 * 60;
/// The longest interface name.
const INTERFACE_NAME: usize = 15;

/// Reads the words behind the program's name.
///
/// # Errors
/// The first one at which ipvsadm would stop.
pub fn parse(words: &[String], names: &dyn Names) -> Result<LowArgs, Refused> {
    let mut options = Options::new(FLAGS, words);
    let Ok(Some((first, value))) = options.next_option() else {
        return Err(Refused::TryHelp);
    };
    let Flag::Command(command) = first.flag else {
        return Err(Refused::TryHelp);
    };
    let mut low = LowArgs::new(command);
    if matches!(command, Command::Help | Command::Version) {
        return Ok(low);
    }
    daemon_role(&mut low, value.unwrap_or_default())?;

    let mut scheduler_flags = "";
    loop {
        match options.next_option() {
            Ok(Some((spec, value))) => {
                if spec.flag == Flag::SchedFlags {
                    scheduler_flags = value.unwrap_or_default();
                }
                let bad = options.current();
                take(
                    &mut low,
                    spec,
                    value.unwrap_or_default(),
                    value.is_some(),
                    bad,
                    names,
                )?;
            }
            Ok(None) => break,
            Err(problem) => {
                return Err(Refused::Option(format!("{}: {problem}", options.current())));
            }
        }
    }

    let mut words = options.leftovers();
    if command == Command::Set {
        words = set_timeouts(&mut low, words)?;
    }
    if let Some(word) = words.first() {
        return Err(check(format!("unexpected argument {word}")));
    }
    low.scheduler_flags = sched_flags::bits(scheduler_flags, &low.scheduler)?;
    check_command(command, low.given)?;
    Ok(low)
}

fn take(
    low: &mut LowArgs,
    spec: Spec,
    value: &str,
    has_value: bool,
    word: &str,
    names: &dyn Names,
) -> Result<(), Refused> {
    if let Some(opt) = noted_as(spec.flag) {
        low.given.note(opt)?;
    }
    match spec.flag {
        Flag::Command(_) => return Err(check(format!("invalid option `{word}'"))),
        Flag::TcpService => service(low, Protocol::Tcp, value, names)?,
        Flag::UdpService => service(low, Protocol::Udp, value, names)?,
        Flag::SctpService => service(low, Protocol::Sctp, value, names)?,
        Flag::FwmarkService => {
            low.service.mark = fitting(value, 1..=i64::from(u32::MAX))
                .ok_or_else(|| check(format!("invalid fwmark value `{value}' specified")))?;
        }
        Flag::Ipv6 => {
            if low.service.mark == 0 {
                return Err(check("-6 used before -f\n"));
            }
            low.service.address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            low.netmask = FULL_PREFIX;
        }
        Flag::Scheduler => low.scheduler = value.to_owned(),
        Flag::PersistenceEngine => low.persistence_engine = value.to_owned(),
        Flag::Persistent => {
            low.persistent = Some(if has_value {
                timeout(value, 1)?
            } else {
                PERSISTENT
            });
        }
        Flag::Netmask => low.netmask = netmask(low.service.address, value, names)?,
        Flag::RealServer => server(low, value, names)?,
        Flag::Gatewaying => low.method = Method::Route,
        Flag::Ipip => low.method = Method::Tunnel,
        Flag::Masquerading => low.method = Method::Masquerade,
        Flag::TunType => {
            low.tunnel = [TunnelType::Ipip, TunnelType::Gue, TunnelType::Gre]
                .into_iter()
                .find(|tunnel| tunnel.name() == value)
                .ok_or_else(|| check("illegal tunnel type specified"))?;
        }
        Flag::TunPort => low.tunnel_port = number(value, 1, 65535, "tunnel port")?,
        Flag::Weight => low.weight = number(value, 0, i64::from(i32::MAX), "weight")?,
        Flag::UpperThreshold => {
            low.upper_threshold = number(value, 0, i64::from(i32::MAX), "u_threshold")?;
        }
        Flag::LowerThreshold => {
            low.lower_threshold = number(value, 0, i64::from(i32::MAX), "l_threshold")?;
        }
        Flag::Ops => low.one_packet = true,
        Flag::SyncId => low.daemon.sync_id = number(value, 0, 255, "syncid")?,
        Flag::SyncMaxlen => low.daemon.max_length = number(value, 1, 65507, "sync-maxlen")?,
        Flag::McastInterface => low.daemon.interface = value.chars().take(INTERFACE_NAME).collect(),
        Flag::McastGroup => low.daemon.group = multicast_group(value)?,
        Flag::McastPort => low.daemon.port = number(value, 1, 65535, "mcast-port")?,
        Flag::McastTtl => low.daemon.ttl = number(value, 1, 255, "mcast-ttl")?,
        Flag::TunNocsum
        | Flag::TunCsum
        | Flag::TunRemcsum
        | Flag::Connection
        | Flag::Timeout
        | Flag::Daemon
        | Flag::Stats
        | Flag::Rate
        | Flag::Exact
        | Flag::Thresholds
        | Flag::PersistentConn
        | Flag::TunInfo
        | Flag::Nosort
        | Flag::Sort
        // Judged at the end of the line: the scheduler may come later.
        | Flag::SchedFlags
        | Flag::Numeric => {}
    }
    Ok(())
}

/// The name by which an option may occur once; `-6` and `--sort` may repeat.
pub(crate) const fn noted_as(flag: Flag) -> Option<Opt> {
    Some(match flag {
        Flag::Command(_) | Flag::Ipv6 | Flag::Sort => return None,
        Flag::TcpService | Flag::UdpService | Flag::SctpService | Flag::FwmarkService => {
            Opt::ServiceAddress
        }
        Flag::Scheduler => Opt::Scheduler,
        Flag::PersistenceEngine => Opt::PersistenceEngine,
        Flag::Persistent => Opt::Persistent,
        Flag::Netmask => Opt::Netmask,
        Flag::RealServer => Opt::RealServer,
        Flag::Gatewaying | Flag::Ipip | Flag::Masquerading => Opt::ForwardingMethod,
        Flag::TunType => Opt::TunType,
        Flag::TunPort => Opt::TunPort,
        Flag::TunNocsum => Opt::TunNocsum,
        Flag::TunCsum => Opt::TunCsum,
        Flag::TunRemcsum => Opt::TunRemcsum,
        Flag::Weight => Opt::Weight,
        Flag::UpperThreshold => Opt::UpperThreshold,
        Flag::LowerThreshold => Opt::LowerThreshold,
        Flag::Connection => Opt::Connection,
        Flag::Timeout => Opt::Timeout,
        Flag::Daemon => Opt::Daemon,
        Flag::Stats => Opt::Stats,
        Flag::Rate => Opt::Rate,
        Flag::Exact => Opt::Exact,
        Flag::Thresholds => Opt::Thresholds,
        Flag::PersistentConn => Opt::PersistentConn,
        Flag::TunInfo => Opt::TunInfo,
        Flag::Nosort => Opt::Nosort,
        Flag::Ops => Opt::Ops,
        Flag::Numeric => Opt::Numeric,
        Flag::SchedFlags => Opt::SchedFlags,
        Flag::SyncId => Opt::SyncId,
        Flag::SyncMaxlen => Opt::SyncMaxlen,
        Flag::McastInterface => Opt::McastInterface,
        Flag::McastGroup => Opt::McastGroup,
        Flag::McastPort => Opt::McastPort,
        Flag::McastTtl => Opt::McastTtl,
    })
}

fn daemon_role(low: &mut LowArgs, value: &str) -> Result<(), Refused> {
    let illegal = match low.command {
        Command::StartDaemon => "illegal start-daemon parameter specified",
        Command::StopDaemon => "illegal start_daemon specified",
        Command::AddService
        | Command::EditService
        | Command::DeleteService
        | Command::Clear
        | Command::Restore
        | Command::Save
        | Command::AddServer
        | Command::EditServer
        | Command::DeleteServer
        | Command::List
        | Command::Zero
        | Command::Set
        | Command::Help
        | Command::Version => return Ok(()),
    };
    low.role = match value {
        "master" => DaemonRole::Master,
        "backup" => DaemonRole::Backup,
        _ => return Err(check(illegal)),
    };
    Ok(())
}

fn service(
    low: &mut LowArgs,
    protocol: Protocol,
    value: &str,
    names: &dyn Names,
) -> Result<(), Refused> {
    let found = endpoint(value, Some(protocol), names)
        .ok_or_else(|| check("illegal virtual server address[:port] specified"))?;
    low.service.protocol = Some(protocol);
    low.service.address = found.address;
    low.service.port = found.port.unwrap_or(low.service.port);
    if found.address.is_ipv6() {
        low.netmask = FULL_PREFIX;
    }
    Ok(())
}

fn server(low: &mut LowArgs, value: &str, names: &dyn Names) -> Result<(), Refused> {
    // With a mark, ports have TCP's names.
    let protocol = match low.service.protocol {
        None if low.service.mark != 0 => Some(Protocol::Tcp),
        protocol => protocol,
    };
    let found = endpoint(value, protocol, names)
        .ok_or_else(|| check("illegal real server address[:port] specified"))?;
    low.server = (found.address, found.port.unwrap_or(low.service.port));
    Ok(())
}

fn netmask(service: IpAddr, value: &str, names: &dyn Names) -> Result<Netmask, Refused> {
    if service.is_ipv6() {
        u8::try_from(leading(value))
            .ok()
            .filter(|prefix| (1..=128).contains(prefix))
            .map(Netmask::Prefix)
            .ok_or_else(|| check("illegal ipv6 netmask specified"))
    } else {
        ipv4(value, names)
            .map(Netmask::Mask)
            .ok_or_else(|| check("illegal virtual server persistent mask specified"))
    }
}

fn timeout(value: &str, least: i64) -> Result<u32, Refused> {
    fitting(value, least..=MAX_TIMEOUT)
        .ok_or_else(|| check(format!("invalid timeout value `{value}' specified")))
}

fn number<T: TryFrom<i64>>(value: &str, least: i64, most: i64, what: &str) -> Result<T, Refused> {
    fitting(value, least..=most).ok_or_else(|| check(format!("illegal {what} specified")))
}

fn multicast_group(value: &str) -> Result<IpAddr, Refused> {
    let family = if value.contains(':') { "IPv6" } else { "IPv4" };
    value
        .parse()
        .ok()
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| check(format!("invalid {family} mcast-group `{value}'")))
}

/// Takes the three timeouts of `--set`, and returns the words behind them.
fn set_timeouts<'a>(low: &mut LowArgs, words: &'a [&'a str]) -> Result<&'a [&'a str], Refused> {
    let [tcp, tcp_fin, udp, rest @ ..] = words else {
        return Err(check("--set option requires 3 timeout values"));
    };
    low.timeouts.tcp = timeout(tcp, 0)?;
    low.timeouts.tcp_fin = timeout(tcp_fin, 0)?;
    low.timeouts.udp = timeout(udp, 0)?;
    Ok(rest)
}
