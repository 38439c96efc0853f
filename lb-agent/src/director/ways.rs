//! The ways to the servers: which addresses need one, and what is known.

use crate::model::{Outlet, Server, ServerId};
use crate::net::{NextHop, NextHops};
use lb_common::api::{Family, Forwarding, Next};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The wanted server addresses with their next hops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    ways: BTreeMap<IpAddr, Way>,
    /// Who looks for them, once there is someone.
    hops: Option<NextHops>,
}

/// Where packets for an address go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To another machine.
    Hop(NextHop),
    /// The address is the director's own.
    Here,
    /// Nowhere at present, and why.
    Nowhere(String),
}

#[derive(Clone, Debug)]
struct Way {
    reach: Reach,
    /// The servers of that address, live and retired.
    servers: BTreeSet<ServerId>,
}

impl Ways {
    /// Wants a way for a server; returns whether it is known already.
    pub(crate) fn want(&mut self, address: IpAddr, server: ServerId) -> bool {
        let way = self.ways.entry(address).or_insert_with(|| {
            if let Some(hops) = &self.hops {
                hops.want([address]);
            }
            Way {
                reach: Reach::Nowhere(format!(
                    "the route and neighbour of {address} are being looked up"
                )),
                servers: BTreeSet::new(),
            }
        });
        way.servers.insert(server);
        !matches!(way.reach, Reach::Nowhere(_))
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

    /// Notes where packets for an address go; returns the servers it concerns, none when nothing
    /// changed for them.
    pub(crate) fn set(&mut self, address: IpAddr, reach: Reach) -> Vec<ServerId> {
        let Some(way) = self.ways.get_mut(&address) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut way.reach, reach);
        // None is said again and again: after a restart the datapath may know an older way.
        if !matches!(way.reach, Reach::Nowhere(_)) && before == way.reach {
            return Vec::new();
        }
        way.servers.iter().copied().collect()
    }

    /// The servers of an address.
    pub(crate) fn servers(&self, address: IpAddr) -> Vec<ServerId> {
        let way = self.ways.get(&address);
        way.map_or_else(Vec::new, |way| way.servers.iter().copied().collect())
    }

    /// Whether the way to an address is wanted.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.ways.contains_key(&address)
    }

    /// The next hop of an address.
    pub(crate) fn hop(&self, address: IpAddr) -> Option<&NextHop> {
        match &self.ways.get(&address)?.reach {
            Reach::Hop(hop) => Some(hop),
            Reach::Here | Reach::Nowhere(_) => None,
        }
    }

    /// Where packets for a server go, or why nowhere.
    pub(crate) fn outlet(&self, server: &Server) -> Result<Outlet<'_>, String> {
        let address = server.address.address;
        let forwarding = server.options.forwarding;
        match (self.ways.get(&address).map(|way| &way.reach), forwarding) {
            (_, Forwarding::Local) => Ok(Outlet::Here),
            (None, _) => Err(format!("no server of address {address} is wanted")),
            (Some(Reach::Nowhere(why)), _) => Err(why.clone()),
            // Its answers would not come back through the program.
            (Some(Reach::Here), Forwarding::Masquerade) => Err(format!(
                "{address} is the director's own address, and lb does not see what a masqueraded \
                 server on the director answers: use -g, or a server on another machine"
            )),
            (Some(Reach::Here), Forwarding::Route | Forwarding::Tunnel(_)) => Ok(Outlet::Here),
            (Some(Reach::Hop(hop)), Forwarding::Tunnel(_)) if hop.preferred_source.is_none() => {
                let family = match Family::of(address) {
                    Family::Ipv4 => "IPv4",
                    Family::Ipv6 => "IPv6",
                };
                Err(format!(
                    "the director has no {family} address to send tunnelled packets from: add one \
                     with `ip address add`"
                ))
            }
            (
                Some(Reach::Hop(hop)),
                Forwarding::Route | Forwarding::Masquerade | Forwarding::Tunnel(_),
            ) => Ok(Outlet::Hop(hop)),
        }
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

    /// What is shown of the way to a server.
    pub(crate) fn next(&self, server: &Server) -> Next {
        match self.outlet(server) {
            Ok(Outlet::Hop(hop)) => Next::Resolved {
                interface: hop.interface.to_string(),
                mac: mac(hop.destination),
            },
            Ok(Outlet::Here) => Next::Local,
            Ok(Outlet::Nowhere) => Next::Unresolved {
                why: format!("no way to {}", server.address.address),
            },
            Err(why) => Next::Unresolved { why },
        }
    }
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
