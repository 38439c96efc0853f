//! What the page says of each of ipvsadm's options beyond its help.

use crate::args::flags::{Command, Flag};

/// What there is to know about an option.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// The option.
    pub flag: Flag,
    /// What it does.
    pub text: &'static str,
    /// The least and the greatest value, of a number.
    pub range: Option<(i64, i64)>,
}

const fn text(flag: Flag, text: &'static str) -> Detail {
    Detail {
        flag,
        text,
        range: None,
    }
}

const fn number(flag: Flag, least: i64, most: i64, text: &'static str) -> Detail {
    Detail {
        flag,
        text,
        range: Some((least, most)),
    }
}

use Command as C;
use Flag as F;

/// One entry for each option.
#[rustfmt::skip]
pub const DETAILS: &[Detail] = &[
    text(F::Command(C::AddService), "Adds a virtual service."),
    text(F::Command(C::EditService),
        "Replaces how a service schedules. What is not named becomes its default again."),
    text(F::Command(C::DeleteService), "Deletes a service and its real servers."),
    text(F::Command(C::Clear), "Deletes all services."),
    text(F::Command(C::Restore),
        "Reads commands from standard input, one a line, without the program's name. A line that \
         the agent refuses is told and the next one runs; a line whose words make no sense ends \
         the run. The exit status is the last line's, as ipvsadm's: with 0 other lines may have \
         been refused, as standard error tells."),
    text(F::Command(C::Save),
        "Prints the services and servers as lines for --restore. Like ipvsadm, it leaves out \
         thresholds, timeouts and sync daemons; lb-ctl list services -o json has the thresholds."),
    text(F::Command(C::AddServer), "Adds a real server to a service."),
    text(F::Command(C::EditServer),
        "Replaces how a real server is used. What is not named becomes its default again."),
    text(F::Command(C::DeleteServer), "Takes a real server out of a service."),
    text(F::Command(C::List),
        "Lists the services and their servers, or one service, or what --connection, --timeout or \
         --daemon names. Without any word, lb-ctl does the same."),
    text(F::Command(C::Zero), "Zeroes the counters of one service, or of all."),
    text(F::Command(C::Set),
        "Sets the timeouts of sessions, three numbers of seconds; 0 leaves one as it is."),
    text(F::Command(C::StartDaemon), "Starts a sync daemon, master or backup."),
    text(F::Command(C::StopDaemon), "Stops a sync daemon, master or backup."),
    text(F::Command(C::Help), "Prints ipvsadm's help."),
    text(F::Command(C::Version), "Prints the version."),

    text(F::TcpService, "Names a TCP service: address:port, with IPv6 addresses in brackets. \
        A port may have a name, an IPv4 address too. A service without a port has all ports and \
        must be persistent."),
    text(F::UdpService, "Names a UDP service."),
    text(F::SctpService, "Names an SCTP service."),
    number(F::FwmarkService, 1, 4_294_967_295, "Names the service of a firewall mark."),

    text(F::Ipv6, "Makes the service of a mark one of IPv6. It stands behind --fwmark-service."),
    text(F::Scheduler, "Chooses the scheduler; wlc is the default."),
    text(F::PersistenceEngine, "Chooses the persistence engine; there is one, sip."),
    number(F::Persistent, 1, 2_678_400,
        "Sends a client to the same server for that many seconds after its last connection, 360 \
         without a number."),
    text(F::Netmask,
        "Takes clients for one that are equal under this mask: an address for IPv4, a prefix \
         length from 1 to 128 for IPv6."),
    text(F::RealServer,
        "Names a real server. Without a port it has the service's; with --gatewaying and --ipip \
         it has the service's in any case, unless the service is a mark."),
    text(F::Gatewaying, "Sends packets to the server by direct routing. This is the default."),
    text(F::Ipip, "Sends packets through a tunnel."),
    text(F::Masquerading, "Translates addresses."),
    text(F::TunType, "Chooses the encapsulation: ipip, gue or gre. ipip is the default."),
    number(F::TunPort, 1, 65535, "Sets the UDP port of gue, which needs one."),
    text(F::TunNocsum, "Sends gue and gre without a checksum. This is the default."),
    text(F::TunCsum, "Sends gue and gre with a checksum."),
    text(F::TunRemcsum, "Sends gue as without: XDP cannot tell whose checksum is left to make."),
    number(F::Weight, 0, 2_147_483_647,
        "Sets the server's weight, 1 by default. 0 keeps new connections away and lets the others \
         go on."),
    number(F::UpperThreshold, 0, 2_147_483_647,
        "Sends no new connections to a server that has so many; 0, the default, is no limit."),
    number(F::LowerThreshold, 0, 2_147_483_647,
        "Sends new ones again when so many are left; 0, the default, is three quarters of the \
         upper threshold."),
    text(F::Connection, "Lists the connections."),
    text(F::Timeout, "Lists the timeouts."),
    text(F::Daemon, "Lists the sync daemons."),
    text(F::Stats, "Lists counters: connections, packets and bytes."),
    text(F::Rate, "Lists the same a second."),
    text(F::Exact, "Prints large numbers with all their digits, not with K, M, G or T."),
    text(F::Thresholds, "Lists the thresholds."),
    text(F::PersistentConn, "Lists the persistence templates of each server."),
    text(F::TunInfo, "Lists the tunnels too."),
    text(F::Nosort, "Lists services in the order they were added, and the newest server first."),
    text(F::Sort, "Does nothing: the list is sorted."),
    text(F::Ops, "Schedules each packet by itself, for UDP and marks."),
    text(F::Numeric, "Prints numbers in place of names, and asks no name server."),
    text(F::SchedFlags,
        "Sets flags of the scheduler, several with commas: sh-fallback and sh-port for sh, \
         mh-fallback and mh-port for mh, flag-1, flag-2 and flag-3 for any."),

    number(F::SyncId, 0, 255, "Sets what tells groups of directors apart, 0 by default."),
    number(F::SyncMaxlen, 1, 65507, "Sets the length of the longest message."),
    text(F::McastInterface, "Names the interface to send or listen on, eth0 by default."),
    text(F::McastGroup, "Sets the multicast group, 224.0.0.81 by default."),
    number(F::McastPort, 1, 65535, "Sets the UDP port, 8848 by default."),
    number(F::McastTtl, 1, 255, "Sets the TTL of messages, 1 by default."),
];
