//! What a datapath has to write.

use super::{Model, ServerId, ServiceId, Standing};
use lb_common::api::ServiceAddress;
use std::collections::HashSet;

/// Something that changed. It names the object only; what the object is, the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// The agent has just started: anything may differ, and what the model does not hold goes.
    Everything,
    /// The service is gone, and its number may be another's already.
    ServiceRemoved(ServiceId, ServiceAddress),
    /// The server gets no new connections; flows may refer to it.
    ServerRetired(ServerId),
    /// The service is new.
    ServiceAdded(ServiceId),
    /// The service schedules otherwise.
    ServiceChanged(ServiceId),
    /// The server is new, or was retired and is live again.
    ServerAdded(ServerId),
    /// A server of a deleted service is live in the new service of the same address: its counters
    /// start anew, its flows go on. Follows [`Self::ServerAdded`].
    ServerAdopted(ServerId),
    /// The server is used otherwise.
    ServerChanged(ServerId),
    /// The service's list of servers, or a weight in it, is another one.
    ServersChanged(ServiceId),
    /// The service's counters start anew.
    ServiceZeroed(ServiceId),
    /// The session timeouts are others.
    TimeoutsChanged,
    /// A sync daemon was started or stopped.
    DaemonsChanged,
    /// The mark rules are others.
    MarksChanged,
    /// The settings are others.
    SettingsChanged,
}

/// The changes of a batch as one step from the model before to `model`.
///
/// Each is named once, removals come before additions, and additions and changes name objects
/// that exist. A removal may name what the datapath never saw: it was added in the same batch.
pub(crate) fn settle(model: &Model, changes: &[Change]) -> Vec<Change> {
    let mut seen = HashSet::new();
    let mut settled: Vec<Change> = changes
        .iter()
        .copied()
        .filter(|change| holds(model, change) && seen.insert(*change))
        .collect();
    settled.sort_by_key(step);
    settled
}

fn holds(model: &Model, change: &Change) -> bool {
    let live = |id: &ServerId| {
        model
            .server(*id)
            .map(|server| matches!(server.standing, Standing::Live { .. }))
    };
    match change {
        Change::Everything
        | Change::ServiceRemoved(..)
        | Change::TimeoutsChanged
        | Change::DaemonsChanged
        | Change::MarksChanged
        | Change::SettingsChanged => true,
        Change::ServerRetired(id) => live(id) == Some(false),
        Change::ServerAdded(id) | Change::ServerAdopted(id) | Change::ServerChanged(id) => {
            live(id) == Some(true)
        }
        Change::ServiceAdded(id)
        | Change::ServiceChanged(id)
        | Change::ServersChanged(id)
        | Change::ServiceZeroed(id) => model.service(*id).is_some(),
    }
}

fn step(change: &Change) -> u8 {
    match change {
        Change::Everything => 0,
        Change::ServiceRemoved(..) => 1,
        Change::ServerRetired(_) => 2,
        Change::ServiceAdded(_) => 3,
        Change::ServiceChanged(_) => 4,
        Change::ServerAdded(_) => 5,
        Change::ServerAdopted(_) => 6,
        Change::ServerChanged(_) => 7,
        Change::ServersChanged(_) => 8,
        Change::ServiceZeroed(_) => 9,
        Change::TimeoutsChanged => 10,
        Change::DaemonsChanged => 11,
        Change::MarksChanged => 12,
        Change::SettingsChanged => 13,
    }
}
