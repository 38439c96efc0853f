//! Which option goes with which command.

use super::flags::Command;
use super::{Refused, check};

/// An option as messages call it; the order decides which complaint comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the option of that name")]
pub enum Opt {
    Numeric,
    Connection,
    ServiceAddress,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    ForwardingMethod,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    Nosort,
    SyncId,
    Exact,
    Ops,
    PersistenceEngine,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

const NAMES: &[(Opt, &str)] = &[
    (Opt::Numeric, "numeric"),
    (Opt::Connection, "connection"),
    (Opt::ServiceAddress, "service-address"),
    (Opt::Scheduler, "scheduler"),
    (Opt::Persistent, "persistent"),
    (Opt::Netmask, "netmask"),
    (Opt::RealServer, "real-server"),
    (Opt::ForwardingMethod, "forwarding-method"),
    (Opt::Weight, "weight"),
    (Opt::UpperThreshold, "u-threshold"),
    (Opt::LowerThreshold, "l-threshold"),
    (Opt::McastInterface, "mcast-interface"),
    (Opt::Timeout, "timeout"),
    (Opt::Daemon, "daemon"),
    (Opt::Stats, "stats"),
    (Opt::Rate, "rate"),
    (Opt::Thresholds, "thresholds"),
    (Opt::PersistentConn, "persistent-conn"),
    (Opt::Nosort, "nosort"),
    (Opt::SyncId, "syncid"),
    (Opt::Exact, "exact"),
    (Opt::Ops, "ops"),
    (Opt::PersistenceEngine, "pe"),
    (Opt::SchedFlags, "sched-flags"),
    (Opt::McastGroup, "mcast-group"),
    (Opt::McastPort, "mcast-port"),
    (Opt::McastTtl, "mcast-ttl"),
    (Opt::SyncMaxlen, "sync-maxlen"),
    (Opt::TunInfo, "tun-info"),
    (Opt::TunType, "tun-type"),
    (Opt::TunPort, "tun-port"),
    (Opt::TunNocsum, "tun-nocsum"),
    (Opt::TunCsum, "tun-csum"),
    (Opt::TunRemcsum, "tun-remcsum"),
];

/// The options a line had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given(u64);

impl Given {
    /// Notes an option.
    ///
    /// # Errors
    /// The line had it already.
    pub fn note(&mut self, opt: Opt) -> Result<(), Refused> {
        if self.has(opt) {
            return Err(check(format!("multiple '{}' options specified", name(opt))));
        }
        self.0 |= 1 << opt as u8;
        Ok(())
    }

    /// Whether the line had an option.
    #[must_use]
    pub const fn has(self, opt: Opt) -> bool {
        self.0 & 1 << opt as u8 != 0
    }

    /// Whether the line had one of these.
    #[must_use]
    pub fn any(self, opts: &[Opt]) -> bool {
        opts.iter().any(|opt| self.has(*opt))
    }
}

/// What may accompany a command or a kind of tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rule {
    /// Without these it is incomplete.
    pub(super) must: &'static [Opt],
    /// Any of these.
    pub(super) may: &'static [Opt],
    /// At most one of these.
    pub(super) one_of: &'static [Opt],
}

impl Rule {
    /// Checks the options among `relevant`; `whose` names the command or tunnel type.
    pub(super) fn check(
        &self,
        given: Given,
        relevant: impl Fn(Opt) -> bool,
        whose: &str,
    ) -> Result<(), Refused> {
        let mut before = None;
        for (opt, name) in NAMES.iter().filter(|(opt, _)| relevant(*opt)) {
            if !given.has(*opt) {
                if self.must.contains(opt) {
                    return Err(check(format!(
                        "You need to supply the '{name}' option for the {whose}"
                    )));
                }
                continue;
            }
            if self.one_of.contains(opt) {
                if let Some(before) = before {
                    return Err(check(format!(
                        "The option '{name}' conflicts with the '{before}' option in the {whose}"
                    )));
                }
                before = Some(name);
            } else if !self.may.contains(opt) && !self.must.contains(opt) {
                return Err(check(format!("Illegal '{name}' option with the {whose}")));
            }
        }
        Ok(())
    }
}

/// Checks a line's options against its command.
pub(super) fn check_command(command: Command, given: Given) -> Result<(), Refused> {
    rule(command).check(given, |_| true, &format!("'{}' command", command.name()))
}

/// Whether an option may join those that a command's line has.
pub(crate) fn allows(command: Command, given: Given, opt: Opt) -> bool {
    let Rule { must, may, one_of } = rule(command);
    must.contains(&opt) || may.contains(&opt) || one_of.contains(&opt) && !given.any(one_of)
}

fn rule(command: Command) -> Rule {
    use Opt as O;
    let must: &[Opt] = match command {
        Command::AddService | Command::EditService | Command::DeleteService => &[O::ServiceAddress],
        Command::AddServer | Command::EditServer | Command::DeleteServer => {
            &[O::ServiceAddress, O::RealServer]
        }
        Command::Clear
        | Command::Restore
        | Command::Save
        | Command::List
        | Command::Zero
        | Command::Set
        | Command::StartDaemon
        | Command::StopDaemon
        | Command::Help
        | Command::Version => &[],
    };
    let may: &[Opt] = match command {
        Command::AddService | Command::EditService => &[
            O::Scheduler,
            O::Persistent,
            O::Netmask,
            O::Ops,
            O::PersistenceEngine,
            O::SchedFlags,
        ],
        Command::AddServer | Command::EditServer => &[
            O::ForwardingMethod,
            O::Weight,
            O::UpperThreshold,
            O::LowerThreshold,
            O::TunType,
            O::TunPort,
            O::TunNocsum,
            O::TunCsum,
            O::TunRemcsum,
        ],
        Command::List => &[
            O::Numeric,
            O::Stats,
            O::Rate,
            O::Thresholds,
            O::PersistentConn,
            O::Nosort,
            O::SyncId,
            O::Exact,
            O::TunInfo,
        ],
        Command::Save => &[O::Numeric],
        Command::Zero => &[O::ServiceAddress],
        Command::StartDaemon => &[
            O::McastInterface,
            O::SyncId,
            O::McastGroup,
            O::McastPort,
            O::McastTtl,
            O::SyncMaxlen,
        ],
        Command::StopDaemon => &[O::SyncId],
        Command::DeleteService
        | Command::DeleteServer
        | Command::Clear
        | Command::Restore
        | Command::Set
        | Command::Help
        | Command::Version => &[],
    };
    let one_of: &[Opt] = if command == Command::List {
        &[O::Connection, O::ServiceAddress, O::Timeout, O::Daemon]
    } else {
        &[]
    };
    Rule { must, may, one_of }
}

fn name(opt: Opt) -> &'static str {
    NAMES[opt as usize].1
}

#[cfg(test)]
mod tests {
    use super::NAMES;

    #[test]
    fn names_are_in_the_order_of_the_options() {
        for (at, (opt, _)) in NAMES.iter().enumerate() {
            assert_eq!(*opt as usize, at);
        }
    }
}
