//! Counters as they are shown, from what the datapath counted.
//!
//! The datapath counts for each server since its entry was cleared, and never zeroes. What a
//! service shows is the sum over its servers, live and retired, plus what freed servers left
//! behind, minus a snapshot taken when it was zeroed (as ipvs does it).
//!
//! ipvs: net/netfilter/ipvs/ip_vs_ctl.c:ip_vs_zero_stats

use crate::model::{Model, ServerId, ServiceId};
use lb_common::api::Counters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a service's counters start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    /// What freed servers had counted.
    pub(crate) departed: Counters,
    /// The sum at the last zeroing.
    pub(crate) zero: Counters,
}

/// The snapshots of all services and servers; absent means zeroes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    /// For each service.
    pub(crate) services: BTreeMap<ServiceId, Account>,
    /// For each server, what it had counted at the last zeroing.
    pub(crate) servers: BTreeMap<ServerId, Counters>,
}

impl Accounts {
    /// What a service shows.
    pub(crate) fn service(
        &self,
        model: &Model,
        id: ServiceId,
        read: impl Fn(ServerId) -> Counters,
    ) -> Counters {
        let Account { departed, zero } = self.services.get(&id).copied().unwrap_or_default();
        minus(sum(model, id, departed, read), zero)
    }

    /// What a server shows that has counted `counted`.
    pub(crate) fn server(&self, id: ServerId, counted: Counters) -> Counters {
        minus(counted, self.servers.get(&id).copied().unwrap_or_default())
    }

    /// Lets a service and its live servers start from zero.
    pub(crate) fn zero(
        &mut self,
        model: &Model,
        id: ServiceId,
        read: impl Fn(ServerId) -> Counters,
    ) {
        for server in model.servers_of(id) {
            self.servers.insert(server.id, read(server.id));
        }
        let account = self.services.entry(id).or_default();
        account.zero = sum(model, id, account.departed, read);
    }

    /// Takes a server with what it has counted into a service that must not count that.
    pub(crate) fn adopt(&mut self, service: ServiceId, server: ServerId, counted: Counters) {
        self.servers.insert(server, counted);
        let account = self.services.entry(service).or_default();
        account.zero = plus(account.zero, counted);
    }

    /// Keeps what a server had counted for its service, if that one still is, and forgets it.
    pub(crate) fn free(&mut self, service: Option<ServiceId>, server: ServerId, counted: Counters) {
        self.servers.remove(&server);
        if let Some(service) = service {
            let account = self.services.entry(service).or_default();
            account.departed = plus(account.departed, counted);
        }
    }
}

fn sum(
    model: &Model,
    id: ServiceId,
    departed: Counters,
    read: impl Fn(ServerId) -> Counters,
) -> Counters {
    model
        .servers_of(id)
        .chain(model.retired_of(id))
        .fold(departed, |sum, server| plus(sum, read(server.id)))
}

fn plus(a: Counters, b: Counters) -> Counters {
    each(a, b, u64::wrapping_add)
}

fn minus(a: Counters, b: Counters) -> Counters {
    each(a, b, u64::saturating_sub)
}

fn each(a: Counters, b: Counters, f: impl Fn(u64, u64) -> u64) -> Counters {
    Counters {
        connections: f(a.connections, b.connections),
        in_packets: f(a.in_packets, b.in_packets),
        out_packets: f(a.out_packets, b.out_packets),
        in_bytes: f(a.in_bytes, b.in_bytes),
        out_bytes: f(a.out_bytes, b.out_bytes),
    }
}
