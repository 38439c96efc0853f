//! [`Datapath`] over the maps of a loaded program.

use super::clock::Moment;
use super::directory;
use super::flows::{self, Seconds, Sweep, Walk};
use super::grace;
use super::load::Loaded;
use super::maps::Maps;
use super::pin::PinDir;
use super::pool::{Block, Pool};
use super::punts::Punts;
use crate::model::{
    About, Change, Datapath, Flow, Limits, Model, Reading, ServerId, ServiceId, Standing,
};
use crate::net::NextHop;
use anyhow::Context as _;
use lb_common::addr::{Addr, Port};
use lb_common::api::{Counters, ServiceAddress, Timeouts};
use lb_common::datapath::Way;
use lb_common::layout::{
    Control, LAYOUT, MAX_MEMBERS, Member, Server, ServerState, Service, ServiceState, Traffic,
    WAYS, reason_index, server_flags, traffic_index,
};
use lb_common::reason::Reason;
use lb_common::sched::{Kind, Turn, Weights, first_turn, turn_after_changes, turn_of_scheduler};
use lb_common::service::Key;
use lb_common::state::{Class, tcp};
use lb_common::time::Tick;
use lb_common::wire::MacAddr;
use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The datapath in the kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    loaded: Loaded,
    /// Held, so that no other agent writes these maps.
    pins: PinDir,
    directory: directory::Writer,
    /// Services as the maps have them.
    published: BTreeMap<u32, Published>,
    records: Pool,
    members: Pool,
    sweep: Sweep,
    timeouts: Seconds,
    /// The last moment that was asked for, should the kernel not answer.
    now: Tick,
}

/// A service as the maps have it.
#[derive(Clone, Debug)]
struct Published {
    key: Key,
    kind: Kind,
    record: Block,
    block: Block,
    members: Vec<Member>,
    generation: u32,
}

impl Kernel {
    /// Takes over what the maps hold already.
    pub(crate) fn new(loaded: Loaded, pins: PinDir) -> anyhow::Result<Self> {
        let (maps, sizes) = (&loaded.maps, loaded.sizes);
        let (directory, records) = directory::Writer::read(maps, sizes);
        let mut published = BTreeMap::new();
        for (key, record) in records {
            let service = maps.services.load(record);
            let kind = Kind::from_number(service.scheduler)
                .with_context(|| format!("service record {record} has no known scheduler"))?;
            let members = (0..service.len)
                .map(|i| maps.members.load(service.first + i))
                .collect();
            published.insert(
                service.id,
                Published {
                    key,
                    kind,
                    record: Block::new(record, 1),
                    block: Block::new(service.first, service.len),
                    members,
                    generation: service.generation,
                },
            );
        }
        let records = Pool::new(sizes.records(), published.values().map(|p| p.record));
        let members = Pool::new(sizes.members(), published.values().map(|p| p.block));
        let sweep = Sweep::new(sizes.servers);
        let now = loaded.clock.tick(loaded.moment()?.jiffies);
        let timeouts = [0; Class::COUNT as usize];
        Ok(Self {
            loaded,
            pins,
            directory,
            published,
            records,
            members,
            sweep,
            timeouts,
            now,
        })
    }

    fn maps(&self) -> &Maps {
        &self.loaded.maps
    }

    fn tick(&self) -> Tick {
        self.loaded
            .moment()
            .map_or(self.now, |Moment { jiffies, .. }| {
                self.loaded.clock.tick(jiffies)
            })
    }

    /// Plans what to publish for a service: its list and record in places that no program reads.
    fn draft(
        &mut self,
        model: &Model,
        id: ServiceId,
        touched: bool,
    ) -> anyhow::Result<Option<Published>> {
        let service = model
            .service(id)
            .context("a changed service that the model does not have")?;
        let key = key(&service.address)?;
        let kind = Kind::from_name(&service.options.scheduler).with_context(|| {
            format!(
                "{}: no scheduler {}",
                service.address, service.options.scheduler
            )
        })?;
        let members: Vec<Member> = model
            .servers_of(id)
            .map(|server| Member {
                server: server.id.0,
                weight: server.options.weight,
            })
            .collect();
        let old = self.published.get(&id.0).filter(|old| old.key == key);
        if let Some(old) = old
            && old.kind == kind
            && old.members == members
            && !touched
        {
            return Ok(None);
        }
        let weights = Weights::of(members.iter().map(|member| member.weight));
        let turn = match old {
            Some(old) if old.kind == kind => {
                turn_after_changes(kind, self.turn(id.0, old), &old.members, &members)
            }
            Some(_) => turn_of_scheduler(kind, weights),
            None => first_turn(kind, members.iter().rev().map(|member| member.weight)),
        };
        if old.is_none() {
            // The id may have been another service's.
            let untracked = offset_of!(ServiceState, untracked);
            self.maps()
                .service_states
                .word32(id.0, untracked)
                .store(0, Ordering::Relaxed);
        }
        let generation = self.generation(id.0).wrapping_add(1);
        let len = members.len() as u32;
        let block = take(&mut self.members, &mut self.records, len, true).with_context(|| {
            format!("{}: no room for its list of {len} servers", service.address)
        })?;
        let Some(record) = take(&mut self.members, &mut self.records, 1, false) else {
            self.members.give(block);
            anyhow::bail!("{}: no room for another service", service.address);
        };
        let maps = &self.loaded.maps;
        for (index, member) in (block.first..).zip(&members) {
            maps.members.store(index, *member);
        }
        maps.services.store(
            record.first,
            Service {
                turn: Turn {
                    generation: generation as u16,
                    ..turn
                }
                .bits(),
                id: id.0,
                first: block.first,
                len,
                scheduler: kind as u32,
                weight_max: weights.max,
                weight_step: weights.step,
                generation,
                address: key.addr(),
                port: key.port().number().into(),
                prefix: 128,
                mask: u32::MAX,
                ..Service::default()
            },
        );
        Ok(Some(Published {
            key,
            kind,
            record,
            block,
            members,
            generation,
        }))
    }

    /// The turn that a published service stands at.
    fn turn(&self, id: u32, old: &Published) -> Turn {
        let bits = self
            .maps()
            .service_states
            .word64(id, offset_of!(ServiceState, turn))
            .load(Ordering::Relaxed);
        match Turn::from_bits(bits) {
            turn if turn.generation == old.generation as u16 => turn,
            _ => Turn::from_bits(self.maps().services.load(old.record.first).turn),
        }
    }

    /// The last generation that a service id had, whichever service had the id.
    fn generation(&self, id: u32) -> u32 {
        let bits = self.maps().service_states.load(id).turn;
        let state = u32::from(Turn::from_bits(bits).generation);
        self.published.get(&id).map_or(state, |old| old.generation)
    }

    /// Makes a server's entry the model's, but for its way.
    fn write_server(&self, model: &Model, id: ServerId) -> anyhow::Result<()> {
        let server = model
            .server(id)
            .context("a changed server that the model does not have")?;
        let (service, flags) = match server.standing {
            Standing::Live { service, .. } => (service.0, server_flags::AVAILABLE),
            Standing::Retired { service } => (service.map_or(u32::MAX, |service| service.0), 0),
        };
        let (addr, port) = (
            Addr::from(server.address.address),
            u32::from(server.address.port),
        );
        let servers = &self.maps().servers;
        let now = servers.load(id.0);
        if (now.addr, now.port) != (addr, port) {
            // The entry is free: no list has it and no flow refers to it.
            servers.store(
                id.0,
                Server {
                    addr,
                    port,
                    ..Server::default()
                },
            );
        }
        let word = |offset| servers.word32(id.0, offset);
        word(offset_of!(Server, service)).store(service, Ordering::Relaxed);
        word(offset_of!(Server, flags)).store(flags, Ordering::Release);
        Ok(())
    }

    /// Empties every table.
    fn clear(&mut self) -> anyhow::Result<()> {
        let keys: Vec<Key> = self.published.values().map(|old| old.key).collect();
        self.directory.write(&self.loaded.maps, &keys, &[])?;
        for (_, old) in std::mem::take(&mut self.published) {
            self.records.retire(old.record);
            self.members.retire(old.block);
        }
        grace::wait()?;
        self.records.reclaim();
        self.members.reclaim();
        let maps = self.maps();
        flows::clear(&maps.flows);
        for id in 0..maps.service_states.len() {
            maps.service_states.store(id, ServiceState::default());
        }
        for id in 0..maps.servers.len() {
            self.zero_server(id);
        }
        self.sweep = Sweep::new(self.loaded.sizes.servers);
        Ok(())
    }

    /// Clears the entries that an agent freed and had no time to clear.
    fn zero_unknown(&self, model: &Model) {
        let reserved: Vec<u32> = model.reserved().map(|id| id.0).collect();
        for id in 0..self.maps().servers.len() {
            let known = model.server(ServerId(id)).is_some() || reserved.contains(&id);
            if !known && self.maps().servers.load(id).addr != Addr::default() {
                self.zero_server(id);
            }
        }
    }

    fn zero_server(&self, id: u32) {
        let maps = self.maps();
        maps.servers.store(id, Server::default());
        maps.server_states.store(id, ServerState::default());
        for cpu in 0..self.loaded.cpus {
            for reply in [false, true] {
                let index = traffic_index(cpu, self.loaded.sizes.servers, id, reply);
                maps.traffic.store(index, Traffic::default());
            }
        }
    }

    fn traffic(&self, server: u32, reply: bool) -> Traffic {
        (0..self.loaded.cpus).fold(Traffic::default(), |sum, cpu| {
            let index = traffic_index(cpu, self.loaded.sizes.servers, server, reply);
            let Traffic { packets, bytes } = self.maps().traffic.load(index);
            Traffic {
                packets: sum.packets + packets,
                bytes: sum.bytes + bytes,
            }
        })
    }
}

/// A block of members, or else a record; after a grace period if that is what it takes.
fn take(members: &mut Pool, records: &mut Pool, len: u32, of_members: bool) -> Option<Block> {
    let one = |members: &mut Pool, records: &mut Pool| {
        if of_members {
            members.take(len)
        } else {
            records.take(len)
        }
    };
    if let found @ Some(_) = one(members, records) {
        return found;
    }
    if !members.has_retired() && !records.has_retired() {
        return None;
    }
    if let Err(error) = grace::wait() {
        tracing::error!("{error:#}");
        return None;
    }
    members.reclaim();
    records.reclaim();
    one(members, records)
}

/// The key of a service that packets can be looked up by.
fn key(address: &ServiceAddress) -> anyhow::Result<Key> {
    match address {
        ServiceAddress::Address {
            protocol,
            address,
            port,
        } => Ok(Key::new(
            Addr::from(*address),
            Port::new(*port),
            protocol.number(),
        )),
        ServiceAddress::Mark { .. } => anyhow::bail!("{address}: this datapath has no marks"),
    }
}

impl Datapath for Kernel {
    fn limits(&self) -> Limits {
        let sizes = self.loaded.sizes;
        Limits {
            services: sizes.services,
            servers: sizes.servers,
            servers_per_service: sizes.servers.min(MAX_MEMBERS),
        }
    }

    fn about(&self) -> About {
        About {
            layout: LAYOUT,
            flows: self.loaded.sizes.flows,
            slots: self.loaded.sizes.buckets() * WAYS as u32,
            interfaces: self.loaded.interfaces(),
        }
    }

    fn claim(&mut self, state: u64) -> anyhow::Result<bool> {
        let word = offset_of!(Control, state);
        let before = self.maps().control.word64(0, word).load(Ordering::Relaxed);
        if before == state {
            return Ok(true);
        }
        if before != 0 {
            self.clear()?;
        }
        self.maps()
            .control
            .word64(0, word)
            .store(state, Ordering::Relaxed);
        Ok(false)
    }

    fn write(&mut self, model: &Model, changes: &[Change]) -> anyhow::Result<()> {
        let everything = changes.contains(&Change::Everything);
        let mut services = BTreeMap::new();
        let mut servers = Vec::new();
        if everything {
            services.extend(model.services().map(|service| (service.id, false)));
            servers.extend(model.servers().map(|server| server.id));
        }
        for change in changes {
            match *change {
                Change::ServiceAdded(id) | Change::ServersChanged(id) => {
                    services.insert(id, true);
                }
                Change::ServiceChanged(id) => {
                    services.entry(id).or_insert(false);
                }
                Change::ServerAdded(id)
                | Change::ServerAdopted(id)
                | Change::ServerChanged(id)
                | Change::ServerRetired(id) => servers.push(id),
                Change::Everything
                | Change::ServiceRemoved(..)
                | Change::ServiceZeroed(_)
                | Change::TimeoutsChanged
                | Change::DaemonsChanged => {}
            }
        }
        let gone: Vec<u32> = self
            .published
            .iter()
            .filter(|(id, old)| {
                model
                    .service(ServiceId(**id))
                    .is_none_or(|service| key(&service.address).ok() != Some(old.key))
            })
            .map(|(id, _)| *id)
            .collect();

        // Nothing of this is seen by a program yet.
        let mut drafts = Vec::new();
        let drafted = services.iter().try_for_each(|(id, touched)| {
            drafts.extend(
                self.draft(model, *id, *touched && !everything)?
                    .map(|draft| (id.0, draft)),
            );
            anyhow::Ok(())
        });
        let live = |id: &&ServerId| {
            model
                .server(**id)
                .is_some_and(|s| matches!(s.standing, Standing::Live { .. }))
        };
        let published = drafted
            .and_then(|()| {
                servers
                    .iter()
                    .filter(live)
                    .try_for_each(|id| self.write_server(model, *id))
            })
            .and_then(|()| {
                let written: Vec<(Key, u32)> = drafts
                    .iter()
                    .map(|(_, draft)| (draft.key, draft.record.first))
                    .collect();
                let removed: Vec<Key> = gone
                    .iter()
                    .map(|id| self.published[id].key)
                    .filter(|key| !written.iter().any(|(new, _)| new == key))
                    .collect();
                self.directory.write(&self.loaded.maps, &removed, &written)
            });
        if let Err(error) = published {
            for (_, draft) in drafts {
                self.members.give(draft.block);
                self.records.give(draft.record);
            }
            return Err(error);
        }

        // From here on programs see the new services, and the old ones' places come free.
        let replaced = gone.iter().chain(drafts.iter().map(|(id, _)| id));
        for old in replaced
            .filter_map(|id| self.published.remove(id))
            .collect::<Vec<_>>()
        {
            self.records.retire(old.record);
            self.members.retire(old.block);
        }
        self.published.extend(drafts);
        if everything {
            model.reserved().for_each(|id| self.sweep.retire(id.0));
            self.zero_unknown(model);
        }
        for id in &servers {
            if live(&id) {
                self.sweep.release(id.0);
            } else {
                self.write_server(model, *id)?;
                self.sweep.retire(id.0);
            }
        }
        Ok(())
    }

    fn set_next_hop(&mut self, server: ServerId, hop: Option<&NextHop>) -> anyhow::Result<()> {
        let servers = &self.maps().servers;
        let word = |i| servers.word64(server.0, offset_of!(Server, way) + i * size_of::<u64>());
        let Some(hop) = hop else {
            // Without its first word a way is none; the others keep the tag.
            word(0).store(0, Ordering::Relaxed);
            return Ok(());
        };
        let way = Way {
            destination: MacAddr::new(hop.destination),
            source: MacAddr::new(hop.source),
            ifindex: hop.ifindex,
            mtu: u16::try_from(hop.mtu).unwrap_or(u16::MAX),
        };
        let now = servers.load(server.0).way;
        if Way::decode(now) == Some(way) {
            return Ok(());
        }
        // Unlike all three: an agent may have been killed between them.
        let tags = now.map(|word| Way::tag([word, 0, 0]));
        let tag = (1..=4).find(|tag| !tags.contains(tag)).unwrap_or(1);
        for (i, bits) in way.encode(tag).into_iter().enumerate() {
            word(i).store(bits, Ordering::Relaxed);
        }
        Ok(())
    }

    fn set_timeouts(&mut self, timeouts: &Timeouts) -> anyhow::Result<()> {
        for number in 0..Class::COUNT as u8 {
            let class = Class::new(number);
            let seconds = match class {
                Class::UDP | Class::UDP_FIRST => Some(timeouts.udp),
                _ if class == tcp::State::Established.into() => Some(timeouts.tcp),
                _ if class == tcp::State::FinWait.into() => Some(timeouts.tcp_fin),
                _ => class.default_timeout(),
            };
            let Some(seconds) = seconds else { continue };
            self.timeouts[usize::from(number)] = seconds;
            let offset = offset_of!(Control, timeouts) + usize::from(number) * size_of::<u32>();
            let ticks = self.loaded.clock.ticks(seconds);
            self.maps()
                .control
                .word32(0, offset)
                .store(ticks, Ordering::Relaxed);
        }
        Ok(())
    }

    fn reading(&self, server: ServerId) -> Reading {
        if server.0 >= self.loaded.sizes.servers {
            return Reading::default();
        }
        let ServerState {
            connections,
            active,
            inactive,
            persistent,
            overloaded: _,
        } = self.maps().server_states.load(server.0);
        let (requests, replies) = (self.traffic(server.0, false), self.traffic(server.0, true));
        Reading {
            active,
            inactive,
            persistent,
            counters: Counters {
                connections,
                in_packets: requests.packets,
                out_packets: replies.packets,
                in_bytes: requests.bytes,
                out_bytes: replies.bytes,
            },
        }
    }

    fn connections(&self) -> Box<dyn Iterator<Item = Flow> + Send> {
        Box::new(Walk {
            flows: Arc::clone(&self.maps().flows),
            details: Arc::clone(&self.maps().flow_details),
            seed: self.maps().control.load(0).flow_seed,
            now: self.tick(),
            clock: self.loaded.clock,
            timeouts: self.timeouts,
            bucket: 0,
            way: 0,
        })
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: Reason| {
            (0..self.loaded.cpus)
                .map(|cpu| self.maps().reasons.load(reason_index(cpu, reason as u32)))
                .sum()
        };
        Reason::ALL
            .iter()
            .map(|reason| (reason.label(), count(*reason)))
            .collect()
    }

    fn sweep(&mut self) -> Vec<ServerId> {
        self.now = self.tick();
        self.loaded.refresh_ports(&self.pins);
        self.sweep.step(&self.loaded.maps, self.now)
    }

    fn punts(&mut self) -> anyhow::Result<Option<Punts>> {
        self.loaded.punts()
    }

    fn clear_server(&mut self, server: ServerId) -> anyhow::Result<()> {
        anyhow::ensure!(
            server.0 < self.loaded.sizes.servers,
            "no entry for server {}",
            server.0
        );
        self.zero_server(server.0);
        self.sweep.release(server.0);
        Ok(())
    }
}
