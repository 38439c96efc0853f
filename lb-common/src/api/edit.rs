//! What a client asks to change, and what came of it.

use super::{
    DaemonRole, MarkRule, NoServer, ServerAddress, ServerOptions, ServiceAddress, ServiceOptions,
    SyncDaemon, Timeouts,
};
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/edits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// The edits, carried out in order.
    pub edits: Vec<Edit>,
}

/// One change, as one `ipvsadm` command makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// `-A`.
    AddService {
        /// Which service.
        service: ServiceAddress,
        /// How it schedules.
        options: ServiceOptions,
    },
    /// `-E`.
    EditService {
        /// Which service.
        service: ServiceAddress,
        /// How it schedules from now on.
        options: ServiceOptions,
    },
    /// `-D`.
    DeleteService {
        /// Which service.
        service: ServiceAddress,
    },
    /// `-C`: deletes every service.
    Clear,
    /// `-a`.
    AddServer {
        /// Which service.
        service: ServiceAddress,
        /// Which server.
        server: ServerAddress,
        /// How it is used.
        options: ServerOptions,
    },
    /// `-e`.
    EditServer {
        /// Which service.
        service: ServiceAddress,
        /// Which server.
        server: ServerAddress,
        /// How it is used from now on.
        options: ServerOptions,
    },
    /// `-d`.
    DeleteServer {
        /// Which service.
        service: ServiceAddress,
        /// Which server.
        server: ServerAddress,
    },
    /// `-Z`: zeroes the counters of one service, or of all.
    Zero {
        /// Which service; none means all.
        service: Option<ServiceAddress>,
    },
    /// `--set`.
    SetTimeouts {
        /// The new timeouts.
        timeouts: Timeouts,
    },
    /// `--start-daemon`.
    StartDaemon {
        /// Master or backup.
        role: DaemonRole,
        /// Its settings.
        daemon: SyncDaemon,
    },
    /// `--stop-daemon`.
    StopDaemon {
        /// Master or backup.
        role: DaemonRole,
    },
    /// What clients of a service hear while no server of it may take their connections; `-E`
    /// leaves it as it is.
    SetNoServer {
        /// Which service.
        service: ServiceAddress,
        /// What they hear.
        answer: NoServer,
    },
    /// Adds a mark rule behind the others.
    AddMarkRule {
        /// The rule.
        rule: MarkRule,
    },
    /// Deletes a mark rule.
    DeleteMarkRule {
        /// The rule.
        rule: MarkRule,
    },
    /// Gives a setting a value.
    Set {
        /// The setting's name, as [`super::Setting`] has it.
        name: String,
        /// The value; none for what the agent's configuration says.
        value: Option<u32>,
    },
}

/// The answer to `POST /v1/edits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// For each edit, in order: none when it was carried out, else why it was not.
    pub outcomes: Vec<Option<Refusal>>,
}

/// Why an edit was refused; it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The cause, from which `lb-ctl` takes ipvsadm's wording.
    pub kind: RefusalKind,
    /// The object, the place and the cure, for people.
    pub message: String,
}

/// The cause of a refusal; each stands for the errno that the kernel's ipvs would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// EEXIST: the service, server or daemon exists already.
    Exists,
    /// ESRCH: no such service, daemon or mark rule.
    NoService,
    /// ENOENT for a server: it is not in the service.
    NoServer,
    /// ENOENT for a service: no such scheduler or persistence engine.
    NoScheduler,
    /// EINVAL: the values do not fit together.
    Invalid,
    /// ERANGE: a number is out of range.
    Range,
    /// ENODEV: no such interface.
    NoDevice,
    /// ENOMEM: a table is full.
    Full,
    /// EOPNOTSUPP: known to ipvs, and not supported by this agent.
    Unsupported,
    /// EPERM: the caller may not do this.
    Permission,
    /// EIO: the datapath could not be written.
    Failed,
}
