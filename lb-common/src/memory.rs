//! [`Tables`] in ordinary memory: the reference model.
//!
//! [`Memory`] has the same arrays as the maps, value by value, so that a test can run a packet
//! through [`process`](crate::datapath::process) here and through the object in the kernel, and
//! compare everything they leave behind.

use crate::addr::Addr;
use crate::datapath::stages::parse;
use crate::datapath::{Packet, Stages, Tables, Tunnel, Way};
use crate::flow::{self, About, Buckets, Counts, Place, Tuple, Word};
use crate::layout::{
    Answers, BACK_WAYS, BackWay, ColdBucket, Control, Directory, DirectorySlot, FlowDetails,
    HINT_WORDS, Hint, HotBucket, Interface, LAYOUT, MARK_RULES, MarkRule, Member, REASONS_PER_CPU,
    Server, ServerState, Service, ServiceState, Sizes, TableWord, Traffic, WAYS, hint_bit,
    port_index, punt, server_flags, settings, traffic_index,
};
use crate::reason::Reason;
use crate::repeat::{Body, Repeat};
use crate::sched::{Kind, Turn, Weights, build};
use crate::service::{Key, directory};
use crate::state::Class;
use crate::time::{Clock, Tick};
use crate::wire::{Frame, MacAddr};
use std::cell::{Cell, RefCell};

/// The maps' arrays. Fields have the names of the maps.
#[derive(Debug)]
#[expect(missing_docs, reason = "crate::layout::maps documents each")]
pub struct Memory {
    pub control: Control,
    pub displacements: Vec<u32>,
    pub slots: Vec<DirectorySlot>,
    pub services: Vec<Service>,
    pub service_states: Vec<Cell<ServiceState>>,
    pub members: Vec<Member>,
    pub servers: Vec<Server>,
    pub server_states: Vec<Cell<ServerState>>,
    pub traffic: Vec<Cell<Traffic>>,
    pub reasons: Vec<Cell<u64>>,
    pub flows: Vec<Cell<HotBucket>>,
    pub flow_details: Vec<Cell<ColdBucket>>,
    pub ports: Vec<Interface>,
    pub tables: Vec<TableWord>,
    pub hints: Vec<u64>,
    pub rules: Vec<MarkRule>,
    pub back_ways: Vec<Cell<BackWay>>,
    pub answers: Vec<Cell<u64>>,
    /// What was handed to the agent.
    pub punts: RefCell<Vec<(punt::Why, u32)>>,
    /// What the kernel's routing says of every client.
    pub route: Option<BackWay>,
    /// The packet is one that the agent sends again.
    pub resent: bool,
    /// The state of the random numbers.
    pub random: Cell<u32>,
    /// What a sender is to be told of the way's MTU.
    pub mtu: Cell<u16>,
    /// The time.
    pub now: Tick,
    /// The interface that packets come in by.
    pub ingress: u32,
    /// The sizes the arrays were made with.
    pub sizes: Sizes,
}

/// A service to make [`Memory`] with.
#[derive(Clone, Debug)]
pub struct NewService {
    /// The key.
    pub key: Key,
    /// The scheduler.
    pub scheduler: Kind,
    /// Its servers, newest first.
    pub servers: Vec<NewServer>,
}

/// A server to make [`Memory`] with.
#[derive(Clone, Copy, Debug)]
pub struct NewServer {
    /// Its address.
    pub addr: Addr,
    /// Its weight.
    pub weight: u32,
    /// The way to it, if it is known.
    pub way: Option<Way>,
}

impl Memory {
    /// Tables of these sizes, without services, on a clock of 250 Hz.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        let clock = Clock::new(250);
        let mut control = Control {
            layout: LAYOUT,
            settings: settings::DEFAULT,
            flow_seed: [0x5eed_0001_0203_0405, 0x5eed_0607_0809_0a0b],
            ..Control::default()
        };
        for number in 0..Class::COUNT as u8 {
            if let Some(seconds) = Class::new(number).default_timeout() {
                control.timeouts[usize::from(number)] = clock.ticks(seconds);
            }
        }
        fn zeroed<T: Clone + Default>(count: u32) -> Vec<T> {
            vec![T::default(); count as usize]
        }
        Self {
            control,
            displacements: zeroed(2 * sizes.displacements()),
            slots: zeroed(2 * sizes.slots()),
            services: zeroed(sizes.records()),
            service_states: zeroed(sizes.services),
            members: zeroed(sizes.members()),
            servers: zeroed(sizes.servers),
            server_states: zeroed(sizes.servers),
            traffic: zeroed(2 * sizes.servers),
            reasons: zeroed(REASONS_PER_CPU),
            flows: zeroed(sizes.buckets()),
            flow_details: zeroed(sizes.buckets()),
            ports: zeroed(crate::layout::PORTS),
            tables: zeroed(sizes.table_words()),
            hints: zeroed(HINT_WORDS),
            rules: zeroed(2 * MARK_RULES),
            back_ways: zeroed(BACK_WAYS),
            answers: zeroed(1),
            punts: RefCell::default(),
            route: None,
            resent: false,
            random: Cell::new(1),
            mtu: Cell::default(),
            now: Tick::new(1000),
            ingress: 1,
            sizes,
        }
    }

    /// Adds an address to a hint.
    pub fn add_hint(&mut self, hint: Hint, address: Addr) {
        let (word, bit) = hint_bit(hint, address);
        self.hints[word as usize] |= 1 << bit;
    }

    /// The same with these services; server ids count up over all of them in order.
    #[must_use]
    pub fn with_services(mut self, services: &[NewService]) -> Self {
        let (mut first, mut server, mut table) = (0, 0, 0);
        for (id, new) in services.iter().enumerate() {
            let weights = Weights::of(new.servers.iter().map(|s| s.weight));
            let len = new.servers.len() as u32;
            self.services[id] = Service {
                turn: Turn {
                    weight: weights.max,
                    ..Turn::default()
                }
                .bits(),
                id: id as u32,
                first,
                len,
                scheduler: new.scheduler as u32,
                weight_max: weights.max,
                weight_step: weights.step,
                generation: 1,
                address: new.key.addr(),
                port: new.key.port().number().into(),
                prefix: 128,
                mask: u32::MAX,
                ..Service::default()
            };
            update(&self.service_states[id], |state| {
                state.record = id as u32 + 1;
            });
            self.add_hint(Hint::Virtual, new.key.addr());
            table = self.put_table(id, table, new);
            for new in &new.servers {
                self.members[first as usize] = Member {
                    server,
                    weight: new.weight,
                };
                self.servers[server as usize] = Server {
                    way: new.way.map_or([0; 3], |way| way.encode(1)),
                    flags: server_flags::AVAILABLE,
                    service: id as u32,
                    addr: new.addr,
                    weight: new.weight,
                    ..Server::default()
                };
                first += 1;
                server += 1;
            }
        }
        let keys: Vec<Key> = services.iter().map(|s| s.key).collect();
        let (displacements, slots) = (self.sizes.displacements(), self.sizes.slots());
        let plan = directory::plan(&keys, 0x5eed, displacements, slots);
        self.control.directories[0] = plan.directory;
        self.displacements[..plan.displacements.len()].copy_from_slice(&plan.displacements);
        for (slot, index) in plan.slots.iter().enumerate() {
            if let Some(index) = index {
                self.slots[slot] = DirectorySlot {
                    key: keys[*index as usize],
                    record: index + 1,
                    zero: [0; 2],
                };
            }
        }
        self
    }

    /// Puts a service's lookup table, if it has one, behind the first `words` words; returns
    /// where the next one may begin.
    fn put_table(&mut self, id: usize, words: u32, new: &NewService) -> u32 {
        let servers: Vec<build::Server> = new
            .servers
            .iter()
            .map(|server| build::Server {
                weight: server.weight,
                last_weight: server.weight,
                address: server.addr,
                port: new.key.port().number(),
            })
            .collect();
        let Some(table) = build::table(new.scheduler, &servers) else {
            return words;
        };
        let service = &mut self.services[id];
        (service.table, service.table_len) = (words * 4, table.len() as u32);
        let mut next = words;
        for slots in table.chunks(4) {
            let word = &mut self.tables[next as usize];
            *word = TableWord::default();
            word[..slots.len()].copy_from_slice(slots);
            next += 1;
        }
        next
    }

    /// The same with an Ethernet address on the interface that packets come in by.
    #[must_use]
    pub fn with_ingress(mut self, ifindex: u32, mac: MacAddr) -> Self {
        self.ingress = ifindex;
        self.ports[port_index(ifindex) as usize] = Interface {
            mac_and_mtu: mac.word(),
            ifindex,
            ..Interface::default()
        };
        self
    }

    /// Every live flow with its details, in table order.
    pub fn live_flows(&self) -> impl Iterator<Item = (Word, FlowDetails)> + '_ {
        self.flows
            .iter()
            .zip(&self.flow_details)
            .flat_map(move |(hot, cold)| {
                let (hot, cold) = (hot.get(), cold.get());
                (0..WAYS).filter_map(move |way| {
                    let word = Word::from_bits(hot.entries[way][1]);
                    word.is_live(self.now).then(|| (word, cold.entries[way]))
                })
            })
    }

    /// How often a reason was counted.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].get()
    }
}

fn update<T: Copy>(cell: &Cell<T>, change: impl FnOnce(&mut T)) {
    let mut value = cell.get();
    change(&mut value);
    cell.set(value);
}

impl flow::Bucket for &Cell<HotBucket> {
    fn digest(&self, way: usize) -> u64 {
        self.get().entries[way][0]
    }

    fn word(&self, way: usize) -> Word {
        Word::from_bits(self.get().entries[way][1])
    }

    fn swap_digest(&self, way: usize, old: u64, new: u64) -> bool {
        let same = self.digest(way) == old;
        if same {
            update(self, |bucket| bucket.entries[way][0] = new);
        }
        same
    }

    fn set_digest(&self, way: usize, new: u64) {
        update(self, |bucket| bucket.entries[way][0] = new);
    }

    fn swap_word(&self, way: usize, old: Word, new: Word) -> bool {
        let same = self.word(way) == old;
        if same {
            update(self, |bucket| bucket.entries[way][1] = new.bits());
        }
        same
    }
}

impl Repeat for Memory {
    fn repeat<B: Body>(&self, turns: u32, body: &mut B) {
        for _ in 0..turns {
            if body.turn() {
                return;
            }
        }
    }
}

impl Buckets for Memory {
    type Bucket<'a> = &'a Cell<HotBucket>;

    fn buckets(&self) -> u32 {
        self.sizes.buckets()
    }

    fn bucket(&self, index: u32) -> Option<Self::Bucket<'_>> {
        self.flows.get(index as usize)
    }

    fn describe(&self, place: Place, tuple: &Tuple, about: About) {
        update(&self.flow_details[place.bucket as usize], |bucket| {
            bucket.entries[place.way as usize] = FlowDetails {
                client: tuple.client,
                address: tuple.address,
                ports: tuple.ports,
                service: about.service,
                protocol: tuple.protocol_and(about.role),
                back: about.back,
            };
        });
    }

    fn details(&self, place: Place) -> Option<FlowDetails> {
        let bucket = self.flow_details.get(place.bucket as usize)?;
        Some(bucket.get().entries[place.way as usize])
    }

    fn set_back(&self, place: Place, back: u32) {
        update(&self.flow_details[place.bucket as usize], |bucket| {
            bucket.entries[place.way as usize].back = back;
        });
    }
}

impl Stages for Memory {
    type Parsed = Packet;

    fn parse<F: Frame>(&self, frame: &mut F) -> Result<Packet, u32> {
        parse(frame).map_err(|reason| reason as u32)
    }
}

impl Tables for Memory {
    fn now(&self) -> Tick {
        self.now
    }

    fn flow_seed(&self) -> [u64; 2] {
        self.control.flow_seed
    }

    fn timeout(&self, class: Class) -> u32 {
        self.control.timeouts[usize::from(class.number())]
    }

    fn directory(&self) -> Directory {
        self.control.directories[self.control.directory as usize]
    }

    fn displacement(&self, index: u32) -> Option<u32> {
        let base = self.control.directory * self.sizes.displacements();
        self.displacements.get((base + index) as usize).copied()
    }

    fn slot(&self, index: u32) -> Option<DirectorySlot> {
        let base = self.control.directory * self.sizes.slots();
        self.slots.get((base + index) as usize).copied()
    }

    fn service(&self, record: u32) -> Option<&Service> {
        self.services.get(record as usize)
    }

    fn turn(&self, service: u32) -> u64 {
        self.service_states[service as usize].get().turn
    }

    fn swap_turn(&self, service: u32, old: u64, new: u64) -> bool {
        let same = self.turn(service) == old;
        if same {
            update(&self.service_states[service as usize], |state| {
                state.turn = new
            });
        }
        same
    }

    fn untracked(&self, service: u32) -> Option<Tick> {
        self.service_states[service as usize]
            .get()
            .untracked
            .checked_sub(1)
            .map(Tick::new)
    }

    fn set_untracked(&self, service: u32, until: Tick) {
        update(&self.service_states[service as usize], |state| {
            state.untracked = until.bits() + 1
        });
    }

    fn member(&self, index: u32) -> Option<Member> {
        self.members.get(index as usize).copied()
    }

    fn server(&self, server: u32) -> Option<(u32, [u64; 3])> {
        self.servers
            .get(server as usize)
            .map(|server| (server.flags, server.way))
    }

    fn count_flow(&self, server: u32, counts: Counts) {
        if let Some(cell) = self.server_states.get(server as usize) {
            update(cell, |state| {
                state.connections += u64::from(counts.connections);
                state.active = state.active.wrapping_add_signed(counts.active);
                state.inactive = state.inactive.wrapping_add_signed(counts.inactive);
                state.persistent = state.persistent.wrapping_add_signed(counts.persistent);
            });
        }
    }

    fn count_packet(&self, server: u32, bytes: u32, reply: bool) {
        if let Some(cell) = self
            .traffic
            .get(traffic_index(0, self.sizes.servers, server, reply) as usize)
        {
            update(cell, |traffic| {
                traffic.packets += 1;
                traffic.bytes += u64::from(bytes);
            });
        }
    }

    fn count_event(&self, reason: Reason) {
        update(&self.reasons[reason as usize], |count| *count += 1);
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn ingress_mac(&self) -> MacAddr {
        MacAddr::from_word(self.ports[port_index(self.ingress) as usize].mac_and_mtu)
    }

    fn egress(&self, port: u32) -> Option<(u32, u64)> {
        let interface = self.interface(port)?;
        Some((interface.ifindex, interface.mac_and_mtu))
    }

    fn interface(&self, port: u32) -> Option<Interface> {
        self.ports.get(port as usize).copied()
    }

    fn random(&self) -> u32 {
        let hash = crate::hash::finish(u64::from(self.random.get()));
        self.random.set(hash as u32);
        hash as u32
    }

    fn features(&self) -> u32 {
        self.control.features
    }

    fn settings(&self) -> u32 {
        self.control.settings
    }

    fn rules(&self) -> u32 {
        self.control.rules >> 1
    }

    fn rule(&self, index: u32) -> Option<MarkRule> {
        let base = (self.control.rules & 1) * MARK_RULES;
        self.rules.get((base + index) as usize).copied()
    }

    fn hint(&self, hint: Hint, address: Addr) -> bool {
        let (word, bit) = hint_bit(hint, address);
        self.hints[word as usize] >> bit & 1 != 0
    }

    fn record(&self, service: u32) -> Option<u32> {
        let state = self.service_states.get(service as usize)?.get();
        state.record.checked_sub(1)
    }

    fn table_slot(&self, index: u32) -> Option<u16> {
        let word = self.tables.get(index as usize / 4)?;
        Some(word[index as usize % 4])
    }

    fn server_end(&self, server: u32) -> Option<(Addr, u16)> {
        let server = self.servers.get(server as usize)?;
        Some((server.addr, server.port as u16))
    }

    fn server_service(&self, server: u32) -> Option<u32> {
        Some(self.servers.get(server as usize)?.service)
    }

    fn tunnel(&self, server: u32) -> Option<Tunnel> {
        let server = self.servers.get(server as usize)?;
        Some(Tunnel {
            destination: server.addr,
            source: server.source,
            port: server.tunnel_port as u16,
        })
    }

    fn server_weight(&self, server: u32) -> Option<u32> {
        Some(self.servers.get(server as usize)?.weight)
    }

    fn thresholds(&self, server: u32) -> Option<(u32, u32)> {
        let server = self.servers.get(server as usize)?;
        Some((server.upper, server.lower))
    }

    fn server_state(&self, server: u32) -> Option<ServerState> {
        Some(self.server_states.get(server as usize)?.get())
    }

    fn set_overloaded(&self, server: u32, overloaded: bool) {
        if let Some(cell) = self.server_states.get(server as usize) {
            update(cell, |state| state.overloaded = overloaded.into());
        }
    }

    fn route(&self, _: Addr, _: Addr, _: u16) -> Option<BackWay> {
        self.route
    }

    fn back_way(&self, index: u32) -> BackWay {
        self.back_ways.get(index as usize).map_or(0, Cell::get)
    }

    fn set_back_way(&self, index: u32, way: BackWay) -> bool {
        let place = self.back_ways.get(index as usize);
        let place = place.filter(|place| place.get() == 0);
        place.inspect(|place| place.set(way)).is_some()
    }

    fn set_mtu(&self, bytes: u16) {
        self.mtu.set(bytes);
    }

    fn mtu(&self) -> u16 {
        self.mtu.get()
    }

    fn may_answer(&self, now: Tick) -> bool {
        let seen = Answers::from_bits(self.answers[0].get());
        let next = seen.another(now);
        self.answers[0].set(next.unwrap_or(seen).bits());
        next.is_some()
    }

    fn punt(&self, why: punt::Why, id: u32) -> bool {
        self.punts.borrow_mut().push((why, id));
        true
    }

    fn is_resent(&self) -> bool {
        self.resent
    }
}
