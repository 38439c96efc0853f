//! What the files hold.

use super::VERSION;
use crate::director::{Account, Accounts};
use crate::model::{Change, Image, Limits, Model, ServerId, ServiceId};
use lb_common::api::{Counters, Edit};
use serde::{Deserialize, Serialize};

/// Everything that survives the agent.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What is wanted.
    pub(crate) model: Model,
    /// What the counters start from.
    pub(crate) accounts: Accounts,
    /// Tells this state's maps from another's, not 0.
    pub(crate) identity: u64,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// An edit was carried out.
    Edit(Edit),
    /// A retired or reserved server's id may be used again.
    Free(ServerId),
    /// A service's counters, and those of its servers named here, start from these values.
    #[serde(rename_all = "kebab-case")]
    Accounts {
        /// The service.
        service: ServiceId,
        /// Its own.
        account: Account,
        /// Its servers' counts at their zeroing.
        servers: Vec<(ServerId, Counters)>,
    },
}

/// The first line of the journal.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalHeader {
    pub(super) version: u32,
    /// The snapshot that the records follow.
    pub(super) after: u64,
}

/// The snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot {
    version: u32,
    pub(super) sequence: u64,
    identity: u64,
    model: Image,
    services: Vec<(ServiceId, Account)>,
    servers: Vec<(ServerId, Counters)>,
}

impl Record {
    /// The record of an edit.
    pub(crate) fn edit(edit: &Edit) -> Self {
        Self::Edit(edit.clone())
    }
}

impl State {
    /// A state without services, and of an identity of its own.
    pub(crate) fn empty() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // The standard library's only random numbers: its hash seeds.
        let random = std::hash::RandomState::new().build_hasher().finish();
        Self {
            model: Model::new(Limits::NONE),
            accounts: Accounts::default(),
            identity: random.max(1),
        }
    }

    /// Repeats what a record tells.
    pub(super) fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Edit(edit) => {
                let changes = self.model.apply(&edit).map_err(|r| r.message)?;
                for change in changes {
                    if let Change::ServiceRemoved(id, _) = change {
                        self.accounts.services.remove(&id);
                    }
                }
                self.model.commit();
            }
            Record::Free(id) => {
                self.model.free(id);
                self.accounts.servers.remove(&id);
            }
            Record::Accounts {
                service,
                account,
                servers,
            } => {
                self.accounts.services.insert(service, account);
                self.accounts.servers.extend(servers);
            }
        }
        Ok(())
    }
}

impl Snapshot {
    pub(super) fn new(sequence: u64, identity: u64, model: &Model, accounts: &Accounts) -> Self {
        Self {
            version: VERSION,
            sequence,
            identity,
            model: model.image(),
            services: accounts.services.clone().into_iter().collect(),
            servers: accounts.servers.clone().into_iter().collect(),
        }
    }

    /// The state it was taken of.
    pub(super) fn state(self) -> Result<State, String> {
        Ok(State {
            model: Model::from_image(self.model)?,
            accounts: Accounts {
                services: self.services.into_iter().collect(),
                servers: self.servers.into_iter().collect(),
            },
            identity: self.identity.max(1),
        })
    }
}
