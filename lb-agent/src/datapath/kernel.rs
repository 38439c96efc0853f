//! [`Datapath`] over the maps of a loaded program.

use super::asked::{self, Asked};
use super::clock::Moment;
use super::flows::{self, Seconds, Sweep, Walk};
use super::helped::Helped;
use super::load::Loaded;
use super::maps::Maps;
use super::pin::PinDir;
use super::pool::Block;
use super::punts::Punts;
use super::schedule::{self, Pools, Which};
use super::servers::{Entry, Servers};
use super::{describe, directory, grace, rules};
use crate::model::{
    About, Change, Datapath, Flow, Limits, Model, NO_SCHEDULER, Outlet, Reading, ServerId,
    ServiceId, Standing,
};
use anyhow::Context as _;
use lb_common::addr::Addr;
use lb_common::api::{Counters, ServerAddress, Timeouts};
use lb_common::datapath::Way;
use lb_common::layout::{
    Control, Hint, LAYOUT, MAX_MEMBERS, Member, Server, ServerState, Service, ServiceState,
    Traffic, WAYS, features, reason_index, server_flags, service_flags, traffic_index,
};
use lb_common::reason::Reason;
use lb_common::sched::{Kind, Turn, Weights, threshold};
use lb_common::service::Key;
use lb_common::state::{Class, tcp};
use lb_common::time::Tick;
use lb_common::wire::MacAddr;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// Deleted services of which flows are left.
    deleted: HashMap<Key, Deleted>,
    /// What those two ask for.
    asked: Asked,
    /// Servers as the maps have them.
    servers: Servers,
    rules: rules::Writer,
    pools: Pools,
    sweep: Sweep,
    timeouts: Seconds,
    /// The timeouts of persistent services in seconds.
    persistence: BTreeMap<u32, u32>,
    /// The ports on which FTP is spoken.
    ftp_ports: Vec<u16>,
    helped: Arc<Helped>,
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
    /// Its lookup table, if its scheduler has one.
    table: Option<Block>,
    members: Vec<Member>,
    /// The record.
    service: Service,
}

/// A deleted service as the maps have it: its flows' packets are dropped, not passed.
#[derive(Clone, Copy, Debug)]
struct Deleted {
    record: Block,
    description: Service,
}

impl Kernel {
    /// Takes over what the maps hold already.
    pub(crate) fn new(loaded: Loaded, pins: PinDir, ftp_ports: &[u16]) -> anyhow::Result<Self> {
        let (maps, sizes) = (&loaded.maps, loaded.sizes);
        let (directory, records) = directory::Writer::read(maps, sizes);
        let mut published = BTreeMap::new();
        let mut deleted = HashMap::new();
        for (key, record) in records {
            let service = maps.services.load(record);
            if service.flags & service_flags::DELETED != 0 {
                let record = Block::new(record, 1);
                let description = service;
                deleted.insert(
                    key,
                    Deleted {
                        record,
                        description,
                    },
                );
                continue;
            }
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
                    table: schedule::table_of(kind, &service),
                    members,
                    service,
                },
            );
        }
        let taken = published.values().map(|p: &Published| p.record);
        let taken = taken.chain(deleted.values().map(|deleted: &Deleted| deleted.record));
        let pools = Pools::new(
            sizes,
            taken,
            published.values().map(|p| p.block),
            published.values().filter_map(|p| p.table),
        );
        let sweep = Sweep::new(sizes.servers);
        let now = loaded.clock.tick(loaded.moment()?.jiffies);
        let timeouts = [0; Class::COUNT as usize];
        let rules = rules::Writer::read(maps);
        let mut servers = Servers::default();
        let live = published.values().map(|p: &Published| p.service.address);
        for address in live.chain(deleted.values().map(|d| d.description.address)) {
            servers.hints.add(maps, Hint::Virtual, address);
        }
        let mut asked = Asked::default();
        for Published { key, service, .. } in published.values() {
            asked.add(key, service);
        }
        for (key, Deleted { description, .. }) in &deleted {
            asked.add(key, description);
        }
        Ok(Self {
            loaded,
            pins,
            directory,
            published,
            deleted,
            asked,
            servers,
            rules,
            pools,
            sweep,
            timeouts,
            persistence: BTreeMap::new(),
            ftp_ports: ftp_ports.to_vec(),
            helped: Arc::default(),
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
    fn draft(&mut self, model: &Model, id: ServiceId) -> anyhow::Result<Option<Published>> {
        let service = model
            .service(id)
            .context("a changed service that the model does not have")?;
        let key = describe::key(&service.address);
        match service.options.persistent {
            Some(seconds) => self.persistence.insert(id.0, seconds),
            None => self.persistence.remove(&id.0),
        };
        // No scheduler is one with nothing to choose from.
        let name = service.options.scheduler.as_str();
        let chooses = name != NO_SCHEDULER;
        let kind = Kind::from_name(if chooses { name } else { Kind::Rr.name() })
            .with_context(|| format!("{}: no scheduler {name}", service.address))?;
        let members: Vec<Member> = model
            .servers_of(id)
            .filter(|_| chooses)
            .map(|server| Member {
                server: server.id.0,
                weight: server.options.weight,
            })
            .collect();
        let old = self.published.get(&id.0).filter(|old| old.key == key);
        let before = old.map(|old| schedule::Before {
            kind: old.kind,
            turn: self.turn(id.0, old),
            members: &old.members,
            memory: old.service.table,
        });
        let weights = Weights::of(members.iter().map(|member| member.weight));
        let plan = schedule::plan(kind, &members, before, model.steps_of(id));
        let len = members.len() as u32;
        let mut service_record = Service {
            len,
            scheduler: kind as u32,
            weight_max: weights.max,
            weight_step: weights.step,
            table: plan.memory,
            ..describe::service(
                service,
                model.servers_of(id),
                &self.ftp_ports,
                self.loaded.clock,
            )
        };
        if let Some(old) = old
            && model.steps_of(id).is_empty()
            && old.members == members
            && schedule::is_same(&old.service, &service_record)
        {
            return Ok(None);
        }
        if old.is_none() {
            // The id may have been another service's.
            let untracked = offset_of!(ServiceState, untracked);
            self.maps()
                .service_states
                .word32(id.0, untracked)
                .store(0, Ordering::Relaxed);
        }
        let generation = self.generation(id.0).wrapping_add(1);
        let table = schedule::table(service, kind, model.servers_of(id))?;

        let mut taken = Vec::new();
        let mut take = |which, len: u32, what: &dyn Fn() -> String| {
            let block = self.pools.take(which, len).with_context(what)?;
            taken.push((which, block));
            anyhow::Ok(block)
        };
        let address = &service.address;
        let blocks = take(Which::Members, len, &|| {
            format!("{address}: no room for its list of {len} servers")
        })
        .and_then(|block| {
            let table = table.as_ref().map(|table| {
                take(Which::Tables, schedule::words(table), &|| {
                    format!("{address}: no room for another lookup table")
                })
            });
            let record = take(Which::Records, 1, &|| {
                format!("{address}: no room for another service")
            })?;
            Ok((block, table.transpose()?, record))
        });
        let (block, table_block, record) = match blocks {
            Ok(blocks) => blocks,
            Err(error) => {
                taken
                    .into_iter()
                    .for_each(|(which, block)| self.pools.give(which, block));
                return Err(error);
            }
        };
        let maps = &self.loaded.maps;
        for (index, member) in (block.first..).zip(&members) {
            maps.members.store(index, *member);
        }
        if let (Some(block), Some(table)) = (table_block, table) {
            schedule::store(&maps.tables, block, &table);
            service_record.table = schedule::first_slot(block);
            service_record.table_len = table.len() as u32;
        }
        service_record.first = block.first;
        service_record.generation = generation;
        service_record.turn = Turn {
            generation: generation as u16,
            ..plan.turn
        }
        .bits();
        maps.services.store(record.first, service_record);
        Ok(Some(Published {
            key,
            kind,
            record,
            block,
            table: table_block,
            members,
            service: service_record,
        }))
    }

    /// Takes the places of a service out of use.
    fn retire(&mut self, old: &Published) {
        self.pools.retire(Which::Records, old.record);
        self.pools.retire(Which::Members, old.block);
        if let Some(table) = old.table {
            self.pools.retire(Which::Tables, table);
        }
    }

    /// Gives back the places of a service that no program saw.
    fn give(&mut self, draft: &Published) {
        self.pools.give(Which::Records, draft.record);
        self.pools.give(Which::Members, draft.block);
        if let Some(table) = draft.table {
            self.pools.give(Which::Tables, table);
        }
    }

    /// The turn that a published service stands at.
    fn turn(&self, id: u32, old: &Published) -> Turn {
        let bits = self
            .maps()
            .service_states
            .word64(id, offset_of!(ServiceState, turn))
            .load(Ordering::Relaxed);
        match Turn::from_bits(bits) {
            turn if turn.generation == old.service.generation as u16 => turn,
            _ => Turn::from_bits(old.service.turn),
        }
    }

    /// The last generation that a service id had, whichever service had the id.
    fn generation(&self, id: u32) -> u32 {
        let bits = self.maps().service_states.load(id).turn;
        let state = u32::from(Turn::from_bits(bits).generation);
        let published = self.published.get(&id);
        published.map_or(state, |old| old.service.generation)
    }

    /// Notes a server before its entry is written: what packets need to find it is there first.
    fn enter_server(&mut self, model: &Model, id: ServerId) -> anyhow::Result<()> {
        let server = model
            .server(id)
            .context("a changed server that the model does not have")?;
        let maps = &self.loaded.maps;
        let here = match self.servers.get(id.0) {
            Some(known) => known.here,
            None => {
                // It was so before this agent started, and may be so still.
                let flags = maps.servers.load(id.0).flags;
                flags & server_flags::METHOD == server_flags::LOCAL
            }
        };
        let entry = Entry {
            key: Some(describe::key(&server.service)),
            address: Addr::from(server.address.address),
            method: describe::method(&server.options),
            here,
        };
        self.servers.put(maps, id.0, entry);
        self.raise_features(self.servers.features());
        Ok(())
    }

    /// Makes a server's entry the model's, but for its way.
    fn write_server(&mut self, model: &Model, id: ServerId) -> anyhow::Result<()> {
        self.enter_server(model, id)?;
        let server = model
            .server(id)
            .context("a changed server that the model does not have")?;
        let (service, available) = match server.standing {
            Standing::Live { service, .. } => (service.0, server_flags::AVAILABLE),
            Standing::Retired { service } => (service.map_or(u32::MAX, |service| service.0), 0),
        };
        let quiesced = match server.options.weight {
            0 => server_flags::QUIESCED,
            _ => 0,
        };
        let (addr, port) = (
            Addr::from(server.address.address),
            u32::from(server.address.port),
        );
        let (upper, lower) = describe::thresholds(&server.options);
        let servers = &self.loaded.maps.servers;
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
        let set = |offset, value| servers.word32(id.0, offset).store(value, Ordering::Relaxed);
        set(offset_of!(Server, service), service);
        set(
            offset_of!(Server, tunnel_port),
            describe::tunnel_port(&server.options),
        );
        set(offset_of!(Server, weight), server.options.weight);
        self.write_thresholds(id, (now.upper, now.lower), (upper, lower));
        let method = self.servers.method(id.0);
        self.tell_of_method(&server.address, id, now.flags, method);
        servers
            .word32(id.0, offset_of!(Server, flags))
            .store(available | quiesced | method, Ordering::Release);
        self.servers.settle(&self.loaded.maps, id.0);
        Ok(())
    }

    /// Logs that connections go on by another method than they began by.
    ///
    /// deviates: ipvs binds the method when a connection begins (`ip_vs_bind_xmit`). A flow here has
    /// its server's of the moment: its entry has no room for one of its own.
    fn tell_of_method(&self, address: &ServerAddress, id: ServerId, before: u32, now: u32) {
        let method = |flags| flags & server_flags::METHOD;
        let state = self.maps().server_states.load(id.0);
        let connections = state.active.wrapping_add(state.inactive);
        if method(before) != method(now) && connections != 0 {
            tracing::warn!(
                "server {address} is forwarded to by another method from now on, and so are its \
                 {connections} connections: those that the other does not suit end"
            );
        }
    }

    /// Sets whether a server is the director itself.
    fn set_here(&mut self, id: u32, here: bool) {
        let Some(entry) = self
            .servers
            .get(id)
            .copied()
            .filter(|entry| entry.here != here)
        else {
            return;
        };
        let maps = &self.loaded.maps;
        self.servers.put(maps, id, Entry { here, ..entry });
        let flags = maps.servers.word32(id, offset_of!(Server, flags));
        let others = flags.load(Ordering::Relaxed) & !Servers::METHOD;
        flags.store(others | self.servers.method(id), Ordering::Release);
        self.servers.settle(maps, id);
    }

    /// The features that services and servers ask for.
    fn features(&self, drafts: &[(u32, Published)]) -> u32 {
        let drafts = drafts.iter().map(|(_, draft)| draft);
        let drafted = drafts.map(|draft| asked::by(&draft.key, &draft.service));
        let all = drafted.fold(self.asked.bits(), |all, bits| all | bits);
        // Someone must take the packets.
        let helpers = match self.loaded.maps.punts {
            None => asked::HELPERS,
            Some(_) => 0,
        };
        all & (helpers | !asked::HELPERS) | self.servers.features()
    }

    /// Adds features, before what they stand for.
    fn raise_features(&self, bits: u32) {
        self.maps()
            .control
            .word32(0, offset_of!(Control, features))
            .fetch_or(bits, Ordering::SeqCst);
    }

    /// Leaves no feature but those that are asked for, after what the others stood for.
    fn settle_features(&self) {
        self.maps()
            .control
            .word32(0, offset_of!(Control, features))
            .store(self.features(&[]), Ordering::SeqCst);
    }

    /// Lets the host's stack have the replies of masqueraded servers, while there are any.
    fn accept_own(&mut self) {
        let masquerade = self.servers.features() & features::MASQUERADE != 0;
        self.loaded.accept_own(masquerade, &self.pins);
    }

    /// Says where a service's record is, to whoever knows the service by its id.
    fn point(&self, id: u32, record: Option<Block>) {
        self.maps()
            .service_states
            .word32(id, offset_of!(ServiceState, record))
            .store(record.map_or(0, |block| block.first + 1), Ordering::Release);
    }

    /// Plans records for services that go while flows of theirs are left.
    fn draft_deleted(&mut self, gone: &[u32], drafts: &[(u32, Published)]) -> Vec<(Key, Deleted)> {
        let new: HashSet<Key> = drafts.iter().map(|(_, draft)| draft.key).collect();
        let mut drafted = Vec::new();
        for id in gone {
            let Published {
                key,
                service: description,
                ..
            } = self.published[id];
            if new.contains(&key) || !self.servers.has_of(&key) {
                continue;
            }
            let Some(record) = self.pools.take(Which::Records, 1) else {
                continue;
            };
            let description = describe::deleted(description);
            self.loaded.maps.services.store(record.first, description);
            let deleted = Deleted {
                record,
                description,
            };
            drafted.push((key, deleted));
        }
        drafted
    }

    /// Lets programs see new services, and deleted ones in the place of some that go. When the
    /// directory has no room for all, services that were deleted longer ago are left out: returns
    /// which; those of `ghosts` that find no room are taken out of it.
    fn publish(
        &mut self,
        model: &Model,
        gone: &[u32],
        drafts: &[(u32, Published)],
        ghosts: &mut Vec<(Key, Deleted)>,
    ) -> anyhow::Result<Vec<Key>> {
        let new: HashSet<Key> = drafts.iter().map(|(_, draft)| draft.key).collect();
        let room = self.loaded.sizes.services as usize;
        let room = room.saturating_sub(model.services().count());
        for (_, ghost) in ghosts.drain(room.min(ghosts.len())..) {
            self.pools.give(Which::Records, ghost.record);
        }
        let kept: HashSet<Key> = ghosts.iter().map(|(key, _)| *key).collect();
        let older = self
            .deleted
            .keys()
            .filter(|key| !new.contains(key) && !kept.contains(key));
        let (with_flows, mut evicted): (Vec<Key>, Vec<Key>) =
            older.copied().partition(|key| self.servers.has_of(key));
        evicted.extend(with_flows.into_iter().skip(room - ghosts.len()));

        let gone = gone.iter().map(|id| self.published[id].key);
        let gone = gone.filter(|key| !new.contains(key) && !kept.contains(key));
        let removed: Vec<Key> = gone.chain(evicted.iter().copied()).collect();
        let records = drafts
            .iter()
            .map(|(_, draft)| (draft.key, draft.record.first));
        let ghostly = ghosts.iter().map(|(key, ghost)| (*key, ghost.record.first));
        let written: Vec<(Key, u32)> = records.chain(ghostly).collect();

        let described = drafts.iter().map(|(_, draft)| &draft.service);
        let described = described.chain(ghosts.iter().map(|(_, ghost)| &ghost.description));
        let addresses: Vec<Addr> = described.map(|description| description.address).collect();
        let maps = &self.loaded.maps;
        for address in &addresses {
            self.servers.hints.add(maps, Hint::Virtual, *address);
        }
        self.hint_marks(drafts);
        self.raise_features(self.features(drafts));
        for (id, draft) in drafts {
            self.point(*id, Some(draft.record));
        }
        let result = self.directory.write(&self.loaded.maps, &removed, &written);
        if result.is_err() {
            for (id, _) in drafts {
                self.point(
                    *id,
                    self.published.get(id).map(|published| published.record),
                );
            }
            let maps = &self.loaded.maps;
            for address in &addresses {
                self.servers.hints.remove(maps, Hint::Virtual, *address);
            }
            self.hint_marks(&[]);
        }
        result.map(|()| evicted)
    }

    /// Makes a server's entry what it was before an edit that came to nothing.
    fn restore_server(&mut self, id: u32, known: Option<Entry>, before: &Server) {
        let maps = &self.loaded.maps;
        let word = |offset| maps.servers.word32(id, offset);
        for (offset, value) in [
            (offset_of!(Server, service), before.service),
            (offset_of!(Server, tunnel_port), before.tunnel_port),
            (offset_of!(Server, weight), before.weight),
            (offset_of!(Server, upper), before.upper),
            (offset_of!(Server, lower), before.lower),
            (offset_of!(Server, flags), before.flags),
        ] {
            word(offset).store(value, Ordering::Release);
        }
        match known {
            Some(entry) => {
                self.servers.put(maps, id, entry);
                self.servers.settle(maps, id);
            }
            None => drop(self.servers.forget(maps, id)),
        }
    }

    /// Notes a server that only flows know.
    fn enter_reserved(&mut self, id: u32) {
        let maps = &self.loaded.maps;
        if id >= maps.servers.len() {
            return;
        }
        let server = maps.servers.load(id);
        let entry = Entry {
            key: None,
            address: server.addr,
            method: server.flags & Servers::METHOD,
            here: false,
        };
        self.servers.put(maps, id, entry);
        self.servers.settle(maps, id);
    }

    /// Forgets a deleted service.
    fn forget_deleted(&mut self, key: &Key) {
        if let Some(deleted) = self.deleted.remove(key) {
            self.asked.remove(key, &deleted.description);
            self.pools.retire(Which::Records, deleted.record);
            let address = deleted.description.address;
            let maps = &self.loaded.maps;
            self.servers.hints.remove(maps, Hint::Virtual, address);
        }
    }

    /// Tells whether every address may be virtual, as of mark services nobody knows.
    fn hint_marks(&mut self, drafts: &[(u32, Published)]) {
        let any = self.features(drafts) & features::MARKS != 0;
        self.servers.hints.set_any_virtual(&self.loaded.maps, any);
    }

    /// Gives a server thresholds in the place of those that it had.
    fn write_thresholds(&self, id: ServerId, old: (u32, u32), new: (u32, u32)) {
        let maps = self.maps();
        let state = maps.server_states.load(id.0);
        let connections = state.active.wrapping_add(state.inactive);
        // With the old ones first: the program looks only when a connection begins.
        let overloaded = threshold::after(state.overloaded != 0, connections, old);
        let overloaded = threshold::after(overloaded, connections, new);
        let word = |offset| maps.servers.word32(id.0, offset);
        word(offset_of!(Server, upper)).store(new.0, Ordering::Relaxed);
        word(offset_of!(Server, lower)).store(new.1, Ordering::Relaxed);
        maps.server_states
            .word32(id.0, offset_of!(ServerState, overloaded))
            .store(overloaded.into(), Ordering::Relaxed);
    }

    /// Empties every table.
    fn clear(&mut self) -> anyhow::Result<()> {
        let live = self.published.values().map(|old| old.key);
        let keys: Vec<Key> = live.chain(self.deleted.keys().copied()).collect();
        self.directory.write(&self.loaded.maps, &keys, &[])?;
        for deleted in std::mem::take(&mut self.deleted).into_values() {
            self.pools.retire(Which::Records, deleted.record);
        }
        for old in std::mem::take(&mut self.published).into_values() {
            self.retire(&old);
        }
        self.asked = Asked::default();
        grace::wait()?;
        self.pools.reclaim();
        let maps = self.maps();
        flows::clear(&maps.flows);
        for id in 0..maps.service_states.len() {
            maps.service_states.store(id, ServiceState::default());
        }
        for id in 0..maps.servers.len() {
            self.zero_server(id);
        }
        self.servers = Servers::default();
        self.servers.hints.clear_others(&self.loaded.maps);
        self.settle_features();
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

/// The tag for a way in the place of one whose words have these tags: the one after the last, so
/// that a program that was held up between two words does not meet the same tag on the words of
/// different ways. Words have different tags where an agent was killed between them; a lost way's
/// first word has none.
fn next_tag(tags: [u16; 3]) -> u16 {
    let last = tags.into_iter().find(|tag| *tag != 0).unwrap_or(0);
    let after = |tag: &u16| Some(tag.wrapping_add(1));
    let mut following = std::iter::successors(Some(last.wrapping_add(1)), after);
    let unused = following.find(|tag| *tag != 0 && !tags.contains(tag));
    unused.unwrap_or(1)
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
            missing: self.loaded.missing(),
            warnings: self.loaded.warnings(),
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
        let (mut services, mut removed) = (BTreeSet::new(), Vec::new());
        let mut servers = Vec::new();
        if everything {
            services.extend(model.services().map(|service| service.id));
            servers.extend(model.servers().map(|server| server.id));
        }
        for change in changes {
            match *change {
                Change::ServiceAdded(id)
                | Change::ServersChanged(id)
                | Change::ServiceChanged(id) => {
                    services.insert(id);
                }
                Change::ServerAdded(id)
                | Change::ServerAdopted(id)
                | Change::ServerChanged(id)
                | Change::ServerRetired(id) => servers.push(id),
                Change::ServiceRemoved(id, _) => removed.push(id),
                Change::Everything
                | Change::ServiceZeroed(_)
                | Change::TimeoutsChanged
                | Change::DaemonsChanged
                | Change::MarksChanged
                | Change::SettingsChanged => {}
            }
        }
        let rules_before = if everything || changes.contains(&Change::MarksChanged) {
            Some(self.rules.set(&self.loaded.maps, model.marks())?)
        } else {
            None
        };
        if everything {
            for id in &servers {
                self.enter_server(model, *id)?;
            }
            model.reserved().for_each(|id| self.enter_reserved(id.0));
        }
        // Those of which a change tells: looking at every service would cost each edit dearly.
        let named: BTreeSet<u32> = if everything {
            self.published.keys().copied().collect()
        } else {
            removed.iter().chain(&services).map(|id| id.0).collect()
        };
        let is_gone = |id: &u32| {
            let service = model.service(ServiceId(*id));
            self.published.get(id).is_some_and(|old| {
                service.is_none_or(|service| describe::key(&service.address) != old.key)
            })
        };
        let gone: Vec<u32> = named.into_iter().filter(is_gone).collect();

        // Nothing of this is seen by a program yet.
        let mut drafts = Vec::new();
        let drafted = services.iter().try_for_each(|id| {
            drafts.extend(self.draft(model, *id)?.map(|draft| (id.0, draft)));
            anyhow::Ok(())
        });
        let live = |id: &&ServerId| {
            model
                .server(**id)
                .is_some_and(|s| matches!(s.standing, Standing::Live { .. }))
        };
        // What programs may see of it from here on is taken back should the rest fail.
        let mut ghosts = Vec::new();
        let mut before = Vec::new();
        let published = drafted
            .and_then(|()| {
                servers.iter().filter(live).try_for_each(|id| {
                    let (known, entry) = (self.servers.get(id.0), &self.loaded.maps.servers);
                    before.push((id.0, known.copied(), entry.load(id.0)));
                    self.write_server(model, *id)
                })
            })
            .and_then(|()| {
                ghosts = self.draft_deleted(&gone, &drafts);
                self.publish(model, &gone, &drafts, &mut ghosts)
            });
        let evicted = match published {
            Ok(evicted) => evicted,
            Err(error) => {
                for (_, draft) in drafts {
                    self.give(&draft);
                }
                for (_, ghost) in ghosts {
                    self.pools.give(Which::Records, ghost.record);
                }
                for (id, known, entry) in before {
                    self.restore_server(id, known, &entry);
                }
                if let Some(rules) = rules_before {
                    self.rules.set(&self.loaded.maps, &rules)?;
                }
                self.settle_features();
                return Err(error);
            }
        };

        // From here on programs see the new services, and the old ones' places come free.
        let new: HashSet<u32> = drafts.iter().map(|(id, _)| *id).collect();
        for id in &gone {
            if !new.contains(id) {
                self.point(*id, None);
                self.persistence.remove(id);
            }
        }
        let replaced = gone.iter().chain(drafts.iter().map(|(id, _)| id));
        for old in replaced
            .filter_map(|id| self.published.remove(id))
            .collect::<Vec<_>>()
        {
            self.retire(&old);
            self.asked.remove(&old.key, &old.service);
            let address = old.service.address;
            let maps = &self.loaded.maps;
            self.servers.hints.remove(maps, Hint::Virtual, address);
        }
        for key in evicted
            .iter()
            .chain(drafts.iter().map(|(_, draft)| &draft.key))
        {
            self.forget_deleted(key);
        }
        for (_, draft) in &drafts {
            self.asked.add(&draft.key, &draft.service);
        }
        for (key, ghost) in &ghosts {
            self.asked.add(key, &ghost.description);
        }
        self.published.extend(drafts);
        self.deleted.extend(ghosts);
        if everything {
            model.reserved().for_each(|id| self.sweep.retire(id.0));
            self.zero_unknown(model);
            for id in 0..self.maps().service_states.len() {
                self.point(
                    id,
                    self.published.get(&id).map(|published| published.record),
                );
            }
            self.servers.hints.clear_others(&self.loaded.maps);
        }
        for id in &servers {
            if live(&id) {
                self.sweep.release(id.0);
            } else {
                self.write_server(model, *id)?;
                self.sweep.retire(id.0);
            }
        }
        self.hint_marks(&[]);
        self.settle_features();
        let changed = services.into_iter().chain(gone.into_iter().map(ServiceId));
        self.helped.update(model, changed, &self.ftp_ports);
        self.accept_own();
        Ok(())
    }

    fn set_outlet(&mut self, server: ServerId, outlet: Outlet<'_>) -> anyhow::Result<()> {
        let hop = match outlet {
            Outlet::Hop(hop) => Some(hop),
            Outlet::Here => {
                self.set_here(server.0, true);
                None
            }
            Outlet::Nowhere => None,
        };
        let servers = &self.loaded.maps.servers;
        let word = |i| servers.word64(server.0, offset_of!(Server, way) + i * size_of::<u64>());
        let Some(hop) = hop else {
            // Without its first word a way is none; the others keep the tag.
            word(0).store(0, Ordering::Relaxed);
            if outlet == Outlet::Nowhere {
                self.set_here(server.0, false);
            }
            return Ok(());
        };
        let way = Way {
            destination: MacAddr::new(hop.destination),
            source: MacAddr::new(hop.source),
            ifindex: hop.ifindex,
            mtu: u16::try_from(hop.mtu).unwrap_or(u16::MAX),
        };
        let source = hop.preferred_source.map_or_else(Addr::default, Addr::from);
        let entry = servers.load(server.0);
        let now = entry.way;
        if entry.source != source {
            // No packet goes by the new way with the old source, or by half a source.
            word(0).store(0, Ordering::Relaxed);
            if entry.source != Addr::default() {
                grace::wait()?;
            }
            for (i, part) in source.words().into_iter().enumerate() {
                servers
                    .word32(server.0, offset_of!(Server, source) + i * size_of::<u32>())
                    .store(part, Ordering::Release);
            }
        } else if Way::decode(now) == Some(way) {
            self.set_here(server.0, false);
            return Ok(());
        }
        let tag = next_tag(now.map(|word| Way::tag([word, 0, 0])));
        for (i, bits) in way.encode(tag).into_iter().enumerate() {
            word(i).store(bits, Ordering::Relaxed);
        }
        self.set_here(server.0, false);
        Ok(())
    }

    fn set_settings(&mut self, bits: u32) -> anyhow::Result<()> {
        self.maps()
            .control
            .word32(0, offset_of!(Control, settings))
            .store(bits, Ordering::Relaxed);
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
            persistence: self.persistence.clone(),
            helped: Arc::clone(&self.helped),
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
        self.accept_own();
        if let Err(error) = self.rules.refresh(&self.loaded.maps) {
            tracing::error!("the mark rules stay as they are: {error:#}");
        }
        self.settle_features();
        self.sweep.step(&self.loaded.maps, self.now)
    }

    fn punts(&mut self) -> anyhow::Result<Option<Punts>> {
        self.loaded.punts(&self.helped)
    }

    fn clear_server(&mut self, server: ServerId) -> anyhow::Result<()> {
        anyhow::ensure!(
            server.0 < self.loaded.sizes.servers,
            "no entry for server {}",
            server.0
        );
        self.zero_server(server.0);
        self.sweep.release(server.0);
        let before = self.servers.features();
        let last_of = self.servers.forget(&self.loaded.maps, server.0);
        // Looking at every service for each of many servers would take seconds.
        let mut settled = before == self.servers.features();
        if let Some(key) = last_of
            && let Some(deleted) = self.deleted.get(&key)
        {
            let was_marked = deleted.description.mark != 0;
            settled &= asked::by(&key, &deleted.description) == 0;
            self.directory.write(&self.loaded.maps, &[key], &[])?;
            self.forget_deleted(&key);
            if was_marked {
                self.hint_marks(&[]);
            }
        }
        if !settled {
            self.settle_features();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::next_tag;

    #[test]
    fn a_tag_is_used_again_after_all_others() {
        let mut tag = next_tag([0; 3]);
        assert_eq!(tag, 1);
        for wanted in (2..=u16::MAX).chain([1, 2]) {
            tag = next_tag([tag; 3]);
            assert_eq!(tag, wanted);
        }
    }

    #[test]
    fn what_is_left_of_a_way_has_its_tag_still() {
        assert_eq!(next_tag([0, 7, 7]), 8);
        // An agent was killed when it had written one word, or two; and the way was lost then.
        assert_eq!(next_tag([8, 7, 7]), 9);
        assert_eq!(next_tag([8, 8, 7]), 9);
        assert_eq!(next_tag([0, 8, 7]), 9);
        assert_eq!(next_tag([1, u16::MAX, u16::MAX]), 2);
        assert_eq!(next_tag([u16::MAX, u16::MAX, 1]), 2);
    }
}
