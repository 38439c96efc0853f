//! The ways to the servers: which addresses need one, and what is known.

use crate::model::ServerId;
use crate::net::{NextHop, NextHops};
use lb_common::api::Next;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The wanted server addresses with their next hops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    ways: BTreeMap<IpAddr, Way>,
    /// Who looks for them, once there is someone.
    hops: Option<NextHops>,
}

#[derive(Clone, Debug)]
struct Way {
    /// The next hop, or why there is none.
    hop: Result<NextHop, String>,
    /// The servers of that address, live and retired.
    servers: BTreeSet<ServerId>,
}

impl Ways {
    /// Wants a way for a server; returns the next hop when it is known already.
    pub(crate) fn want(&mut self, address: IpAddr, server: ServerId) -> Option<&NextHop> {
        let way = self.ways.entry(address).or_insert_with(|| {
            if let Some(hops) = &self.hops {
                hops.want([address]);
            }
            Way {
                hop: Err(format!(
                    "the route and neighbour of {address} are being looked up"
                )),
                servers: BTreeSet::new(),
            }
        });
        way.servers.insert(server);
        way.hop.as_ref().ok()
    }

    /// Wants no way for a server any more.
    pub(crate) fn drop_server(&mut self, address: IpAddr, server: ServerId) {
        if let Some(way) = self.ways.get_mut(&address) {
            way.servers.remove(&server);
            if way.servers.is_empty() {
                self.ways.remove(&address);
                if let Some(hops) = &self.hops {
                    hops.unwant([address]);
                }
            }
        }
    }

    /// Notes the next hop of an address, or why there is none; returns the servers it concerns,
    /// none when nothing changed for them.
    pub(crate) fn set(&mut self, address: IpAddr, hop: Result<NextHop, String>) -> Vec<ServerId> {
        let Some(way) = self.ways.get_mut(&address) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut way.hop, hop);
        // None is said again and again: after a restart the datapath may know an older way.
        if way.hop.is_ok() && before == way.hop {
            return Vec::new();
        }
        way.servers.iter().copied().collect()
    }

    /// Whether the way to an address is wanted.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.ways.contains_key(&address)
    }

    /// The next hop of an address.
    pub(crate) fn hop(&self, address: IpAddr) -> Option<&NextHop> {
        self.ways.get(&address)?.hop.as_ref().ok()
    }

    /// From now on `hops` looks for the ways, those wanted already included.
    pub(crate) fn follow(&mut self, hops: NextHops) {
        hops.want(self.addresses());
        self.hops = Some(hops);
    }

    /// The addresses for which a next hop is wanted.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ways.keys().copied()
    }

    /// What is shown of the way to an address.
    pub(crate) fn next(&self, address: IpAddr) -> Next {
        match self.ways.get(&address).map(|way| &way.hop) {
            Some(Ok(hop)) => Next::Resolved {
                interface: hop.interface.to_string(),
                mac: mac(hop.destination),
            },
            Some(Err(why)) => Next::Unresolved { why: why.clone() },
            None => Next::Unresolved {
                why: format!("no server of address {address} is wanted"),
            },
        }
    }
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
