//! The flow table from the agent's side: listing it, reclaiming what expired, and keeping
//! servers' counts right.

use super::helped::Helped;
use super::mapped::Mapped;
use super::maps::Maps;
use crate::helper::sip;
use crate::model::{Flow, ServerId, ServerPort};
use lb_common::addr::protocol;
use lb_common::api::{Family, Protocol, ServiceAddress};
use lb_common::flow::{BUSY, Counts, EMPTY, Role, Tuple, Word};
use lb_common::layout::{ColdBucket, HotBucket, ServerState, ServiceState, WAYS};
use lb_common::state::Class;
use lb_common::time::{Clock, Tick};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Timeouts in seconds by class.
pub(crate) type Seconds = [u32; Class::COUNT as usize];

fn digest(flows: &Mapped<HotBucket>, bucket: u32, way: usize) -> &AtomicU64 {
    flows.word64(bucket, offset_of!(HotBucket, entries) + way * 16)
}

fn word(flows: &Mapped<HotBucket>, bucket: u32, way: usize) -> &AtomicU64 {
    flows.word64(bucket, offset_of!(HotBucket, entries) + way * 16 + 8)
}

/// Forgets every flow. Only for a table that no program reads.
pub(crate) fn clear(flows: &Mapped<HotBucket>) {
    for bucket in 0..flows.len() {
        flows.store(bucket, HotBucket::default());
    }
}

/// A walk over the live flows.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) flows: Arc<Mapped<HotBucket>>,
    pub(crate) details: Arc<Mapped<ColdBucket>>,
    /// The table's seeds.
    pub(crate) seed: [u64; 2],
    pub(crate) now: Tick,
    pub(crate) clock: Clock,
    pub(crate) timeouts: Seconds,
    /// The timeouts of persistent services in seconds, by the service's id.
    pub(crate) persistence: BTreeMap<u32, u32>,
    pub(crate) helped: Arc<Helped>,
    pub(crate) bucket: u32,
    pub(crate) way: usize,
}

impl Walk {
    /// The connection or template at the walk's place, if there is one and it stays while it is
    /// read.
    fn flow(&self) -> Option<Flow> {
        let digest = digest(&self.flows, self.bucket, self.way);
        let word = word(&self.flows, self.bucket, self.way);
        let (seen, bits) = (digest.load(Ordering::Acquire), word.load(Ordering::Acquire));
        let live = Word::from_bits(bits);
        if seen == EMPTY || seen == BUSY || !live.is_live(self.now) {
            return None;
        }
        let details = self.details.load(self.bucket).entries[self.way];
        let tuple = Tuple {
            client: details.client,
            address: details.address,
            ports: details.ports,
            protocol: details.protocol as u8,
            role: Role::from_number((details.protocol >> 8) as u8)?,
        };
        // The details may be older or newer than the digest: then they are not its own.
        if tuple.key(self.seed).digest != seen || digest.load(Ordering::Acquire) != seen {
            return None;
        }
        let class = live.class();
        let (mut address, mut port) = (details.address.into(), tuple.port().number());
        let (mut client_port, mut protocol) = (tuple.client_port().number(), tuple.protocol);
        let mut engine = None;
        let left = self.clock.seconds(live.deadline().remaining(self.now));
        let (most, server_port) = match tuple.role {
            Role::Connection => {
                let most = self.timeouts[usize::from(class.number())];
                let at_server = if live.has(Word::KEEPS_PORT) {
                    ServerPort::Other(port)
                } else if live.has(Word::PORT_BELOW) {
                    ServerPort::Below
                } else {
                    ServerPort::Own
                };
                (most, at_server)
            }
            // Its connections may hold it for longer; ipvs does not tell that either.
            Role::Template => {
                let most = self.persistence.get(&details.service);
                (most.copied().unwrap_or(left), of_template(port))
            }
            Role::Call => {
                let service = self.helped.service(details.service)?;
                (address, port, protocol) = match service.address {
                    ServiceAddress::Address {
                        protocol,
                        address,
                        port,
                    } => (address, port, protocol.number()),
                    ServiceAddress::Mark { mark, family } => {
                        let mark = match family {
                            Family::Ipv4 => Ipv4Addr::from(mark).into(),
                            Family::Ipv6 => Ipv6Addr::from(u128::from(mark) << 96).into(),
                        };
                        (mark, 0, 0)
                    }
                };
                client_port = 0;
                // Of a call that only an earlier agent saw, nobody knows the name any more.
                let name = self.helped.call(&tuple).unwrap_or_default();
                engine = Some((sip::NAME, name));
                let most = self.persistence.get(&details.service);
                (most.copied().unwrap_or(left), of_template(port))
            }
            Role::Reply | Role::Fragment | Role::Cache => return None,
        };
        Some(Flow {
            protocol: match protocol {
                protocol::TCP => Some(Protocol::Tcp),
                protocol::UDP => Some(Protocol::Udp),
                protocol::SCTP => Some(Protocol::Sctp),
                _ => None,
            },
            client: details.client.into(),
            client_port,
            address,
            port,
            server: ServerId(live.server()),
            server_port,
            state: class.name(),
            expires: left.min(most),
            engine,
        })
    }
}

/// The port at the server of a template with this virtual port.
fn of_template(port: u16) -> ServerPort {
    if port == 0 {
        ServerPort::Other(0)
    } else {
        ServerPort::Own
    }
}

impl Iterator for Walk {
    type Item = Flow;

    fn next(&mut self) -> Option<Flow> {
        while self.bucket < self.flows.len() {
            let flow = self.flow();
            self.way = (self.way + 1) % WAYS;
            self.bucket += u32::from(self.way == 0);
            if flow.is_some() {
                return flow;
            }
        }
        None
    }
}

/// Walks the table again and again, a part at a time.
///
/// It makes the words of expired flows void, and compares what each server's counts say with
/// what is in the table: they differ for good when an agent was killed between a flow and its
/// count. They also differ for a moment whenever the program changes both. So a difference is
/// corrected only when three passes in a row found it the same, and the server's counts stood
/// still throughout each of them.
#[derive(Debug)]
pub(crate) struct Sweep {
    bucket: u32,
    pass: u64,
    /// Flows found by this pass, by server.
    found: Vec<Counts>,
    /// Whether this pass found any entry, by server: those that count for nothing included.
    referred: Vec<bool>,
    /// What the counts were when this pass began, by server.
    before: Vec<ServerState>,
    /// Differences found by earlier passes, and by how many in a row.
    doubt: BTreeMap<u32, (Counts, u8)>,
    /// Servers out of their lists, and the pass during which they went.
    retired: BTreeMap<u32, u64>,
}

/// How many buckets one call visits at the most: 32 MB of memory, some ten milliseconds.
const BUCKETS_A_CALL: u32 = 1 << 19;

impl Sweep {
    pub(crate) fn new(servers: u32) -> Self {
        Self {
            bucket: 0,
            pass: 0,
            found: vec![Counts::default(); servers as usize],
            referred: vec![false; servers as usize],
            before: vec![ServerState::default(); servers as usize],
            doubt: BTreeMap::new(),
            retired: BTreeMap::new(),
        }
    }

    /// A server left its list.
    pub(crate) fn retire(&mut self, server: u32) {
        self.retired.entry(server).or_insert(self.pass);
    }

    /// A server is in a list, or its entry is free.
    pub(crate) fn release(&mut self, server: u32) {
        self.retired.remove(&server);
    }

    /// Visits a part of the table. At the end of a pass, the retired servers without flows.
    pub(crate) fn step(&mut self, maps: &Maps, now: Tick) -> Vec<ServerId> {
        if self.bucket == 0 {
            for (server, before) in (0..).zip(&mut self.before) {
                *before = maps.server_states.load(server);
            }
        }
        let end = self
            .bucket
            .saturating_add(BUCKETS_A_CALL)
            .min(maps.flows.len());
        for bucket in self.bucket..end {
            for way in 0..WAYS {
                self.visit(maps, bucket, way, now);
            }
        }
        self.bucket = end;
        if end < maps.flows.len() {
            return Vec::new();
        }
        end_windows(maps, now);
        self.end_pass(maps)
    }

    fn visit(&mut self, maps: &Maps, bucket: u32, way: usize, now: Tick) {
        let cell = word(&maps.flows, bucket, way);
        let bits = cell.load(Ordering::Relaxed);
        if bits == Word::VOID.bits() {
            return;
        }
        let mut word = Word::from_bits(bits);
        if !word.is_live(now) {
            let void = Word::VOID.bits();
            match cell.compare_exchange(bits, void, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return count(maps, word.server(), Counts::of(word).taken()),
                // The program continued it or gave the entry to another flow.
                Err(stands) => word = Word::from_bits(stands),
            }
        }
        if word != Word::VOID {
            add(&mut self.found, word.server(), Counts::of(word));
            if let Some(referred) = self.referred.get_mut(word.server() as usize) {
                *referred = true;
            }
        }
    }

    fn end_pass(&mut self, maps: &Maps) -> Vec<ServerId> {
        /// Passes in a row that must agree on a difference.
        const AGREE: u8 = 3;

        let mut doubt = BTreeMap::new();
        for (server, found) in self.found.iter().enumerate() {
            let server = server as u32;
            let state = maps.server_states.load(server);
            let off = Counts {
                connections: 0,
                active: found.active.wrapping_sub_unsigned(state.active),
                inactive: found.inactive.wrapping_sub_unsigned(state.inactive),
                persistent: found.persistent.wrapping_sub_unsigned(state.persistent),
            };
            let before = self.before[server as usize];
            let still = before == state;
            if off == Counts::default() || !still {
                continue;
            }
            let times = match self.doubt.get(&server) {
                Some((before, times)) if *before == off => times + 1,
                _ => 1,
            };
            if times >= AGREE {
                count(maps, server, off);
            } else {
                doubt.insert(server, (off, times));
            }
        }
        self.doubt = doubt;
        let free = self
            .retired
            .iter()
            .filter(|(server, pass)| **pass < self.pass && !self.referred[**server as usize])
            .map(|(server, _)| ServerId(*server))
            .collect();
        self.found.fill(Counts::default());
        self.referred.fill(false);
        self.bucket = 0;
        self.pass += 1;
        free
    }
}

/// Ends the windows during which services' flows may be untracked, once they are past: a tick
/// that is left standing comes round again.
fn end_windows(maps: &Maps, now: Tick) {
    for service in 0..maps.service_states.len() {
        let window = maps
            .service_states
            .word32(service, offset_of!(ServiceState, untracked));
        let seen = window.load(Ordering::Relaxed);
        if seen
            .checked_sub(1)
            .is_some_and(|until| Tick::new(until).is_past(now))
        {
            // When it fails, the program has just opened a new one.
            let _ = window.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

fn add(found: &mut [Counts], server: u32, counts: Counts) {
    if let Some(found) = found.get_mut(server as usize) {
        found.active += counts.active;
        found.inactive += counts.inactive;
        found.persistent += counts.persistent;
    }
}

/// Changes a server's counts as the program does.
pub(super) fn count(maps: &Maps, server: u32, counts: Counts) {
    if server >= maps.server_states.len() {
        return;
    }
    let word = |offset| maps.server_states.word32(server, offset);
    word(offset_of!(ServerState, active)).fetch_add(counts.active as u32, Ordering::Relaxed);
    word(offset_of!(ServerState, inactive)).fetch_add(counts.inactive as u32, Ordering::Relaxed);
    word(offset_of!(ServerState, persistent))
        .fetch_add(counts.persistent as u32, Ordering::Relaxed);
}
