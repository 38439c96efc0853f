//! The machine against a kernel made of plain values.

mod neighbours;
mod routes;

use super::super::way::NextHop;
use super::*;

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(running: bool) -> Link {
    Link {
        name: "eth0".into(),
        ethernet: Some(OWN),
        running,
        mtu: 1500,
    }
}

fn hop(address: &str) -> Hop {
    Hop {
        ifindex: 2,
        address: ip(address),
    }
}

fn via(address: &str) -> Route {
    Route::Via {
        hop: hop(address),
        mtu: None,
        preferred_source: Some(ip("10.0.0.1")),
    }
}

fn kept(state: State) -> Neighbour {
    Neighbour {
        state,
        keeper: Keeper::Lb,
    }
}

fn resolved(destination: [u8; 6]) -> Way {
    Way::Resolved(NextHop {
        ifindex: 2,
        interface: "eth0".into(),
        source: OWN,
        destination,
        mtu: 1500,
        preferred_source: Some(ip("10.0.0.1")),
    })
}

fn incomplete(neighbour: &str) -> Way {
    Way::Unresolved(Unresolved::Incomplete {
        neighbour: ip(neighbour),
        interface: "eth0".into(),
    })
}

fn table() -> Table {
    let mut table = Table::default();
    table.event(Event::Link(2, link(true)));
    table
}

/// Answers every open question with `route`; returns what else there was to do.
fn answer(table: &mut Table, route: &Route) -> Vec<Effect> {
    let mut rest = Vec::new();
    for effect in table.effects() {
        match effect {
            Effect::LookUp(address, question) => table.answered(address, question, route.clone()),
            other @ (Effect::Keep { .. } | Effect::Release(_) | Effect::Changed(..)) => {
                rest.push(other);
            }
        }
    }
    rest.extend(table.effects());
    rest
}

/// Addresses asked for among the effects.
fn looked_up(table: &mut Table) -> Vec<String> {
    table.look_up_doubtful();
    let effects = table.effects().into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::LookUp(address, _) => Some(address.to_string()),
            Effect::Keep { .. } | Effect::Release(_) | Effect::Changed(..) => None,
        })
        .collect()
}

/// A table in which each of `addresses` is resolved through the router 10.0.0.254.
fn through_router(addresses: &[&str]) -> Table {
    let mut table = table();
    addresses.iter().for_each(|address| table.want(ip(address)));
    answer(&mut table, &via("10.0.0.254"));
    table.event(Event::Neighbour(
        hop("10.0.0.254"),
        kept(State::Usable(ROUTER)),
    ));
    table.effects();
    table
}
