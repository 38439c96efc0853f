//! The table of all options: it parses, and it writes the help.

use super::popt::{Spelling, Value};

/// An option, whatever its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// One of the commands, of which a line has one, first.
    Command(Command),
    /// `--tcp-service`.
    TcpService,
    /// `--udp-service`.
    UdpService,
    /// `--sctp-service`.
    SctpService,
    /// `--fwmark-service`.
    FwmarkService,
    /// `--ipv6`.
    Ipv6,
    /// `--scheduler`.
    Scheduler,
    /// `--pe`.
    PersistenceEngine,
    /// `--persistent`.
    Persistent,
    /// `--netmask`.
    Netmask,
    /// `--real-server`.
    RealServer,
    /// `--gatewaying`.
    Gatewaying,
    /// `--ipip`.
    Ipip,
    /// `--masquerading`.
    Masquerading,
    /// `--tun-type`.
    TunType,
    /// `--tun-port`.
    TunPort,
    /// `--tun-nocsum`.
    TunNocsum,
    /// `--tun-csum`.
    TunCsum,
    /// `--tun-remcsum`.
    TunRemcsum,
    /// `--weight`.
    Weight,
    /// `--u-threshold`.
    UpperThreshold,
    /// `--l-threshold`.
    LowerThreshold,
    /// `--connection`.
    Connection,
    /// `--timeout`.
    Timeout,
    /// `--daemon`.
    Daemon,
    /// `--stats`.
    Stats,
    /// `--rate`.
    Rate,
    /// `--exact`.
    Exact,
    /// `--thresholds`.
    Thresholds,
    /// `--persistent-conn`.
    PersistentConn,
    /// `--tun-info`.
    TunInfo,
    /// `--nosort`.
    Nosort,
    /// `--sort`.
    Sort,
    /// `--ops`.
    Ops,
    /// `--numeric`.
    Numeric,
    /// `--sched-flags`.
    SchedFlags,
    /// `--syncid`.
    SyncId,
    /// `--sync-maxlen`.
    SyncMaxlen,
    /// `--mcast-interface`.
    McastInterface,
    /// `--mcast-group`.
    McastGroup,
    /// `--mcast-port`.
    McastPort,
    /// `--mcast-ttl`.
    McastTtl,
}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-A`.
    AddService,
    /// `-E`.
    EditService,
    /// `-D`.
    DeleteService,
    /// `-C`.
    Clear,
    /// `-R`.
    Restore,
    /// `-S`.
    Save,
    /// `-a`.
    AddServer,
    /// `-e`.
    EditServer,
    /// `-d`.
    DeleteServer,
    /// `-L`.
    List,
    /// `-Z`.
    Zero,
    /// `--set`.
    Set,
    /// `--start-daemon`.
    StartDaemon,
    /// `--stop-daemon`.
    StopDaemon,
    /// `-h`.
    Help,
    /// `-v`.
    Version,
}

impl Command {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Clear => "flush",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::AddServer => "add-server",
            Self::EditServer => "edit-server",
            Self::DeleteServer => "delete-server",
            Self::List => "list",
            Self::Zero => "zero",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Help => "help",
            Self::Version => "version",
        }
    }
}

/// A part of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `Commands:`.
    Commands,
    /// `virtual-service:`.
    VirtualService,
    /// `Options:`.
    Options,
    /// `Daemon Options:`.
    DaemonOptions,
    /// Not in ipvsadm's help.
    Unlisted,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The option.
    pub flag: Flag,
    /// Its long name, without dashes.
    pub long: &'static str,
    /// Its letters; the first is the usual one.
    pub shorts: &'static [char],
    /// Whether it takes a value.
    pub value: Value,
    /// Where the help has it.
    pub section: Section,
    /// Its spelling in the help.
    pub usage: &'static str,
    /// What it is for; further lines are set below the first.
    pub about: &'static str,
}

impl Spelling for Spec {
    fn long(&self) -> &'static str {
        self.long
    }

    fn shorts(&self) -> &'static [char] {
        self.shorts
    }

    fn value(&self) -> Value {
        self.value
    }
}

const fn row(
    section: Section,
    flag: Flag,
    (long, shorts): (&'static str, &'static [char]),
    value: Value,
    (usage, about): (&'static str, &'static str),
) -> Spec {
    Spec {
        flag,
        long,
        shorts,
        value,
        section,
        usage,
        about,
    }
}

use Flag as F;
use Section::{Commands, DaemonOptions, Options, Unlisted, VirtualService};
use Value::{No, Optional, Required};

/// Every option, in the order of the help.
#[rustfmt::skip]
pub const FLAGS: &[Spec] = &[
    row(Commands, F::Command(Command::AddService), ("add-service", &['A']), No,
        ("--add-service     -A", "add virtual service with options")),
    row(Commands, F::Command(Command::EditService), ("edit-service", &['E']), No,
        ("--edit-service    -E", "edit virtual service with options")),
    row(Commands, F::Command(Command::DeleteService), ("delete-service", &['D']), No,
        ("--delete-service  -D", "delete virtual service")),
    row(Commands, F::Command(Command::Clear), ("clear", &['C']), No,
        ("--clear           -C", "clear the whole table")),
    row(Commands, F::Command(Command::Restore), ("restore", &['R']), No,
        ("--restore         -R", "restore rules from stdin")),
    row(Commands, F::Command(Command::Save), ("save", &['S']), No,
        ("--save            -S", "save rules to stdout")),
    row(Commands, F::Command(Command::AddServer), ("add-server", &['a']), No,
        ("--add-server      -a", "add real server with options")),
    row(Commands, F::Command(Command::EditServer), ("edit-server", &['e']), No,
        ("--edit-server     -e", "edit real server with options")),
    row(Commands, F::Command(Command::DeleteServer), ("delete-server", &['d']), No,
        ("--delete-server   -d", "delete real server")),
    row(Commands, F::Command(Command::List), ("list", &['L', 'l']), No,
        ("--list            -L|-l", "list the table")),
    row(Commands, F::Command(Command::Zero), ("zero", &['Z']), No,
        ("--zero            -Z", "zero counters in a service or all services")),
    row(Commands, F::Command(Command::Set), ("set", &[]), No,
        ("--set tcp tcpfin udp", "set connection timeout values")),
    row(Commands, F::Command(Command::StartDaemon), ("start-daemon", &[]), Required,
        ("--start-daemon", "start connection sync daemon")),
    row(Commands, F::Command(Command::StopDaemon), ("stop-daemon", &[]), Required,
        ("--stop-daemon", "stop connection sync daemon")),
    row(Commands, F::Command(Command::Help), ("help", &['h']), No,
        ("--help            -h", "display this help message")),
    row(Unlisted, F::Command(Command::Version), ("version", &['v']), No,
        ("--version         -v", "display the version")),

    row(VirtualService, F::TcpService, ("tcp-service", &['t']), Required,
        ("--tcp-service|-t  service-address", "service-address is host[:port]")),
    row(VirtualService, F::UdpService, ("udp-service", &['u']), Required,
        ("--udp-service|-u  service-address", "service-address is host[:port]")),
    row(VirtualService, F::SctpService, ("sctp-service", &[]), Required,
        ("--sctp-service    service-address", "service-address is host[:port]")),
    row(VirtualService, F::FwmarkService, ("fwmark-service", &['f']), Required,
        ("--fwmark-service|-f fwmark", "fwmark is an integer greater than zero")),

    row(Options, F::Ipv6, ("ipv6", &['6']), No,
        ("--ipv6         -6", "fwmark entry uses IPv6")),
    row(Options, F::Scheduler, ("scheduler", &['s']), Required,
        ("--scheduler    -s scheduler",
         "one of rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh,\nthe default scheduler is wlc.")),
    row(Options, F::PersistenceEngine, ("pe", &[]), Required,
        ("--pe            engine", "alternate persistence engine may be sip,\nnot set by default.")),
    row(Options, F::Persistent, ("persistent", &['p']), Optional,
        ("--persistent   -p [timeout]", "persistent service")),
    row(Options, F::Netmask, ("netmask", &['M']), Required,
        ("--netmask      -M netmask", "persistent granularity mask")),
    row(Options, F::RealServer, ("real-server", &['r']), Required,
        ("--real-server  -r server-address", "server-address is host (and port)")),
    row(Options, F::Gatewaying, ("gatewaying", &['g']), No,
        ("--gatewaying   -g", "gatewaying (direct routing) (default)")),
    row(Options, F::Ipip, ("ipip", &['i']), No,
        ("--ipip         -i", "ipip encapsulation (tunneling)")),
    row(Options, F::Masquerading, ("masquerading", &['m']), No,
        ("--masquerading -m", "masquerading (NAT)")),
    row(Options, F::TunType, ("tun-type", &[]), Required,
        ("--tun-type      type", "one of ipip|gue|gre,\nthe default tunnel type is ipip.")),
    row(Options, F::TunPort, ("tun-port", &[]), Required,
        ("--tun-port      port", "tunnel destination port")),
    row(Options, F::TunNocsum, ("tun-nocsum", &[]), No,
        ("--tun-nocsum", "tunnel encapsulation without checksum")),
    row(Options, F::TunCsum, ("tun-csum", &[]), No,
        ("--tun-csum", "tunnel encapsulation with checksum")),
    row(Options, F::TunRemcsum, ("tun-remcsum", &[]), No,
        ("--tun-remcsum", "tunnel encapsulation with remote checksum")),
    row(Options, F::Weight, ("weight", &['w']), Required,
        ("--weight       -w weight", "capacity of real server")),
    row(Options, F::UpperThreshold, ("u-threshold", &['x']), Required,
        ("--u-threshold  -x uthreshold", "upper threshold of connections")),
    row(Options, F::LowerThreshold, ("l-threshold", &['y']), Required,
        ("--l-threshold  -y lthreshold", "lower threshold of connections")),
    row(Options, F::Connection, ("connection", &['c']), No,
        ("--connection   -c", "output of current IPVS connections")),
    row(Options, F::Timeout, ("timeout", &[]), No,
        ("--timeout", "output of timeout (tcp tcpfin udp)")),
    row(Options, F::Daemon, ("daemon", &[]), No,
        ("--daemon", "output of daemon information")),
    row(Options, F::Stats, ("stats", &[]), No,
        ("--stats", "output of statistics information")),
    row(Options, F::Rate, ("rate", &[]), No,
        ("--rate", "output of rate information")),
    row(Options, F::Exact, ("exact", &['X']), No,
        ("--exact", "expand numbers (display exact values)")),
    row(Options, F::Thresholds, ("thresholds", &[]), No,
        ("--thresholds", "output of thresholds information")),
    row(Options, F::PersistentConn, ("persistent-conn", &[]), No,
        ("--persistent-conn", "output of persistent connection info")),
    row(Options, F::TunInfo, ("tun-info", &[]), No,
        ("--tun-info", "output of tunnel information")),
    row(Options, F::Nosort, ("nosort", &[]), No,
        ("--nosort", "disable sorting output of service/server entries")),
    row(Options, F::Sort, ("sort", &[]), No,
        ("--sort", "does nothing, for backwards compatibility")),
    row(Options, F::Ops, ("ops", &['o']), No,
        ("--ops          -o", "one-packet scheduling")),
    row(Options, F::Numeric, ("numeric", &['n']), No,
        ("--numeric      -n", "numeric output of addresses and ports")),
    row(Options, F::SchedFlags, ("sched-flags", &['b']), Required,
        ("--sched-flags  -b flags", "scheduler flags (comma-separated)")),

    row(DaemonOptions, F::SyncId, ("syncid", &[]), Required,
        ("--syncid sid", "syncid for connection sync (default=255)")),
    row(DaemonOptions, F::SyncMaxlen, ("sync-maxlen", &[]), Required,
        ("--sync-maxlen length", "Max sync message length (default=1472)")),
    row(DaemonOptions, F::McastInterface, ("mcast-interface", &[]), Required,
        ("--mcast-interface interface", "multicast interface for connection sync")),
    row(DaemonOptions, F::McastGroup, ("mcast-group", &[]), Required,
        ("--mcast-group address", "IPv4/IPv6 group (default=224.0.0.81)")),
    row(DaemonOptions, F::McastPort, ("mcast-port", &[]), Required,
        ("--mcast-port port", "UDP port (default=8848)")),
    row(DaemonOptions, F::McastTtl, ("mcast-ttl", &[]), Required,
        ("--mcast-ttl ttl", "Multicast TTL (default=1)")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_spelling_occurs_twice() {
        let longs: HashSet<_> = FLAGS.iter().map(|spec| spec.long).collect();
        assert_eq!(longs.len(), FLAGS.len());
        let shorts: Vec<_> = FLAGS.iter().flat_map(|spec| spec.shorts).collect();
        assert_eq!(shorts.iter().collect::<HashSet<_>>().len(), shorts.len());
    }

    #[test]
    fn the_help_shows_every_spelling() {
        for spec in FLAGS {
            assert!(
                spec.usage.starts_with(&format!("--{}", spec.long)),
                "{}",
                spec.long
            );
            // ipvsadm's help does not tell of -X.
            for short in spec.shorts.iter().filter(|short| **short != 'X') {
                assert!(spec.usage.contains(&format!("-{short}")), "{}", spec.long);
            }
        }
    }
}
