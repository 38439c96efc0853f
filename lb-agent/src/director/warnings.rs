//! What the director warns of: in its log once, and in what it tells of itself as long as it is so.

use super::Director;
use super::silence::{News, Unanswered};
use crate::model::{Outlet, Server, ServerId, Service, ServiceId, Standing};
use crate::net::{Duplicate, NextHop, interface_address};
use lb_common::api::{
    Family, Forwarding, MarkRule, Protocol, ServiceAddress, Warning, WarningKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

impl Director {
    /// Everything to warn of at present.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let mut passages = Passages::default();
        let silent = self.silence.servers();
        let silent = silent.filter_map(|id| self.silence_of(id, &mut passages));
        let silent = silent.map(|message| (WarningKind::NoReplies, message));
        let duplicates = self.duplicates.iter();
        let duplicates = duplicates.map(|duplicate| self.duplication_of(duplicate));
        let duplicates = duplicates.map(|message| (WarningKind::DuplicateAddress, message));
        let link_local = self.model.services().filter_map(link_local);
        let link_local = link_local.map(|message| (WarningKind::LinkLocal, message));
        let all = silent.chain(duplicates).chain(link_local);
        all.map(|(kind, message)| Warning { kind, message })
            .collect()
    }

    /// These are the own addresses that another machine has, and no others.
    pub(super) fn set_duplicates(&mut self, duplicates: BTreeSet<Duplicate>) {
        let before = std::mem::replace(&mut self.duplicates, duplicates);
        for duplicate in self.duplicates.difference(&before) {
            tracing::warn!("{}", self.duplication_of(duplicate));
        }
        for Duplicate {
            address, interface, ..
        } in before.difference(&self.duplicates)
        {
            tracing::info!("{address} on {interface} is no duplicate any more");
        }
    }

    /// What to say of a duplicate address.
    fn duplication_of(&self, duplicate: &Duplicate) -> String {
        let services: Vec<String> = self
            .services_at(duplicate.address.into())
            .map(|service| service.to_string())
            .collect();
        duplication(duplicate, &services)
    }

    /// Logs what is wrong with a new service.
    pub(super) fn tell_of_service(&self, id: ServiceId) {
        if let Some(message) = self.model.service(id).and_then(link_local) {
            tracing::warn!("{message}");
        }
    }

    /// Begins to watch whether something comes back from a server, or ends it, as its options ask
    /// for.
    pub(super) fn expect_answers(&mut self, id: ServerId) {
        let Some(server) = self.model.server(id) else {
            return;
        };
        if !has_to_answer(server, self.model.marks()) {
            self.silence.forget(id);
            return;
        }
        let counted = self.datapath.reading(id).counters;
        if server.options.weight == 0 {
            self.silence.pause(id, counted);
        } else {
            self.silence.begin(id, counted);
        }
    }

    /// Looks for masqueraded servers from which nothing comes back.
    pub(super) fn watch_for_silence(&mut self, now: Instant) {
        let (mut silent, mut answering) = (Vec::new(), Vec::new());
        for server in self.model.servers() {
            let is_live = matches!(server.standing, Standing::Live { .. });
            if !is_live || !has_to_answer(server, self.model.marks()) {
                self.silence.forget(server.id);
                continue;
            }
            let counted = self.datapath.reading(server.id).counters;
            // Packets for a server without a way are held back, which is told otherwise. Whoever
            // gives a server no new connections may know that it is down.
            let has_way = matches!(self.ways.outlet(server), Ok(Outlet::Hop(_)));
            if !has_way || server.options.weight == 0 {
                self.silence.pause(server.id, counted);
                continue;
            }
            match self.silence.look(server.id, now, counted) {
                Some(News::Silent) => silent.push(server.id),
                Some(News::Answers) => answering.push(server.id),
                None => {}
            }
        }
        let mut passages = Passages::default();
        for id in silent.iter().take(TOLD_AT_ONCE) {
            if let Some(message) = self.silence_of(*id, &mut passages) {
                tracing::warn!("{message}");
            }
        }
        if let Some(more) = beyond_told(silent.len()) {
            tracing::warn!(
                "nothing comes back from {more} more masqueraded servers: `lb-ctl status -o json` \
                 lists them"
            );
        }
        for id in answering.iter().take(TOLD_AT_ONCE) {
            if let Some(server) = self.model.server(*id) {
                let (service, address) = (server.service, server.address);
                tracing::info!("server {address} of {service} answers through lb again");
            }
        }
        if let Some(more) = beyond_told(answering.len()) {
            tracing::info!("{more} more servers answer through lb again");
        }
    }

    /// What to say of a silent server.
    fn silence_of(&self, id: ServerId, passages: &mut Passages) -> Option<String> {
        let server = self.model.server(id)?;
        let counted = self.datapath.reading(id).counters;
        let unanswered = self.silence.unanswered(id, counted)?;
        let passage = self.ways.hop(server.address.address).map(|hop| {
            let family = Family::of(server.address.address);
            passages.find(self, hop, family)
        });
        Some(silence(server, unanswered, passage.as_ref()))
    }

    /// The services of a virtual address.
    fn services_at(&self, own: IpAddr) -> impl Iterator<Item = ServiceAddress> {
        let services = self.model.services().map(|service| service.address);
        services.filter(move |service| match service {
            ServiceAddress::Address { address, .. } => *address == own,
            ServiceAddress::Mark { .. } => false,
        })
    }
}

/// Of how many servers at most one look's log tells each by itself.
const TOLD_AT_ONCE: usize = 5;

/// How many of these are not told of each by itself, if any.
fn beyond_told(all: usize) -> Option<usize> {
    all.checked_sub(TOLD_AT_ONCE).filter(|more| *more > 0)
}

/// What a server's answers need of the director.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Passage {
    /// They come by this interface, which has no program.
    Bare(Arc<str>),
    /// They come by an interface with the program; the director's address there that can be the
    /// server's gateway, if there is one.
    Gateway(Option<IpAddr>),
}

/// The passages that were looked up, for as long as a look at all servers takes: many servers have
/// few, and each costs a walk through all addresses and services.
#[derive(Default)]
struct Passages {
    attached: Option<BTreeSet<String>>,
    found: BTreeMap<(Arc<str>, Family, Option<IpAddr>), Passage>,
}

impl Passages {
    fn find(&mut self, director: &Director, hop: &NextHop, family: Family) -> Passage {
        let source = hop.preferred_source;
        let key = (Arc::clone(&hop.interface), family, source);
        if let Some(found) = self.found.get(&key) {
            return found.clone();
        }
        let attached = self.attached.get_or_insert_with(|| {
            let interfaces = director.datapath.about().interfaces;
            interfaces.into_iter().map(|on| on.name).collect()
        });
        let passage = if attached.contains(&*hop.interface) {
            // Not a virtual address, which the server may hold itself.
            let is_virtual = |own: &IpAddr| director.services_at(*own).next().is_some();
            let own = interface_address(&hop.interface, family);
            let mut all = [own, source].into_iter().flatten();
            Passage::Gateway(all.find(|own| !is_virtual(own)))
        } else {
            Passage::Bare(Arc::clone(&hop.interface))
        };
        self.found.insert(key, passage.clone());
        passage
    }
}

/// Whether whoever opens a connection to a server gets an answer through the director, if only a
/// refusal. Datagrams may well be all that is said.
pub(super) fn has_to_answer(server: &Server, rules: &[MarkRule]) -> bool {
    let answers = |protocol| match protocol {
        Protocol::Tcp | Protocol::Sctp => true,
        Protocol::Udp => false,
    };
    let by_protocol = match server.service {
        ServiceAddress::Address { protocol, .. } => answers(protocol),
        ServiceAddress::Mark { mark, .. } => rules
            .iter()
            .filter(|rule| rule.mark == mark)
            .all(|rule| rule.protocol.is_some_and(answers)),
    };
    by_protocol && server.options.forwarding == Forwarding::Masquerade
}

/// What is wrong with a silent server, and what mends it; no passage is known where it has no way.
fn silence(server: &Server, unanswered: Unanswered, passage: Option<&Passage>) -> String {
    let Unanswered {
        connections,
        packets,
    } = unanswered;
    let (address, service) = (server.address, server.service);
    let connections = match connections {
        1 => "a connection".to_owned(),
        more => format!("{more} connections"),
    };
    let what = format!(
        "nothing comes back from masqueraded server {address} of {service}, to which {connections} \
         of {packets} packets went"
    );
    let gateway = match passage {
        Some(Passage::Bare(interface)) => {
            return format!(
                "{what}: lb is not attached to {interface}, by which it is reached, and what the \
                 server answers passes by it. Start lb-agent with `--interface {interface}` as well"
            );
        }
        Some(Passage::Gateway(gateway)) => *gateway,
        None => None,
    };
    let (ip, redirects) = match Family::of(address.address) {
        Family::Ipv4 => (
            "ip",
            ", and no ICMP redirects from the director (`sysctl -w \
             net.ipv4.conf.all.send_redirects=0`, and the same of its interface)",
        ),
        Family::Ipv6 => ("ip -6", ""),
    };
    let director = gateway.map_or_else(|| "DIRECTOR".to_owned(), |director| director.to_string());
    format!(
        "{what}: it is down, drops them, or answers clients past the director. Its way to clients \
         has to lead through the director: on the server `{ip} route replace default via \
         {director}`; to clients on its own network as well, `{ip} route replace CLIENT via \
         {director}`{redirects}"
    )
}

/// What is wrong with an address that another machine has, and what mends it; `services` are those
/// of which it is the virtual address.
fn duplication(duplicate: &Duplicate, services: &[String]) -> String {
    let Duplicate {
        address,
        length,
        interface,
    } = duplicate;
    let what = match services {
        [] => "the director's own address".to_owned(),
        [one] => format!("the virtual address of {one}"),
        [one, others @ ..] => format!("the virtual address of {one} and {} more", others.len()),
    };
    format!(
        "{what}, {address} on {interface}, is another machine's as well (duplicate address \
         detection failed): the kernel does not answer for it, and clients find the other machine \
         or none. Take it off the other: real servers have virtual addresses on lo, and of several \
         directors one has them at a time. Then `ip address delete {address}/{length} dev \
         {interface}` and add it anew"
    )
}

/// What is wrong with a service at a link-local address. ipvs takes it and serves it no better:
/// kernels take packets for such an address by the interface that has it, which for real servers is
/// lo, and answers to the link-local addresses that its clients have are not routed.
fn link_local(service: &Service) -> Option<String> {
    let ServiceAddress::Address {
        address: IpAddr::V6(address),
        ..
    } = service.address
    else {
        return None;
    };
    let what = service.address;
    address.is_unicast_link_local().then(|| {
        format!(
            "{what} is at a link-local address: no real server on another machine can serve it, by \
             any forwarding method. Give the service a global or unique local address"
        )
    })
}
