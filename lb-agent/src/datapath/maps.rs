//! Every map by name: made or adopted, with its shape checked.

use super::mapped::Mapped;
use super::pin::PinDir;
use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Map, MapData};
use lb_common::layout::{
    BACK_WAYS, BackWay, ColdBucket, Control, DirectorySlot, HINT_WORDS, HotBucket, Interface,
    MARK_RULES, MarkRule, Member, PORTS, REASONS_PER_CPU, Server, ServerState, Service,
    ServiceState, Sizes, TableWord, Traffic, maps, punt,
};
use lb_common::time::Clock;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The maps as memory of this process. Fields have the names of the maps.
#[derive(Debug)]
pub(crate) struct Maps {
    /// [`maps::CONTROL`].
    pub(crate) control: Mapped<Control>,
    /// [`maps::DISPLACEMENTS`].
    pub(crate) displacements: Mapped<u32>,
    /// [`maps::SLOTS`].
    pub(crate) slots: Mapped<DirectorySlot>,
    /// [`maps::SERVICES`].
    pub(crate) services: Mapped<Service>,
    /// [`maps::SERVICE_STATES`].
    pub(crate) service_states: Mapped<ServiceState>,
    /// [`maps::MEMBERS`].
    pub(crate) members: Mapped<Member>,
    /// [`maps::SERVERS`].
    pub(crate) servers: Mapped<Server>,
    /// [`maps::SERVER_STATES`].
    pub(crate) server_states: Mapped<ServerState>,
    /// [`maps::TRAFFIC`].
    pub(crate) traffic: Mapped<Traffic>,
    /// [`maps::REASONS`].
    pub(crate) reasons: Mapped<u64>,
    /// [`maps::FLOWS`]; shared with listings, which outlive the lock they were begun under.
    pub(crate) flows: Arc<Mapped<HotBucket>>,
    /// [`maps::FLOW_DETAILS`], likewise.
    pub(crate) flow_details: Arc<Mapped<ColdBucket>>,
    /// [`maps::PORTS`].
    pub(crate) ports: Mapped<Interface>,
    /// [`maps::TABLES`].
    pub(crate) tables: Mapped<TableWord>,
    /// [`maps::HINTS`].
    pub(crate) hints: Mapped<u64>,
    /// [`maps::RULES`].
    pub(crate) rules: Mapped<MarkRule>,
    /// [`maps::BACK_WAYS`].
    pub(crate) back_ways: Mapped<BackWay>,
    /// [`maps::PUNTS`].
    pub(crate) punts: Option<Map>,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// When one is missing or of another shape.
    pub(crate) fn take(object: &mut Ebpf, sizes: Sizes, cpus: u32) -> anyhow::Result<Self> {
        let maps = Self {
            control: one(object, maps::CONTROL)?,
            displacements: one(object, maps::DISPLACEMENTS)?,
            slots: one(object, maps::SLOTS)?,
            services: one(object, maps::SERVICES)?,
            service_states: one(object, maps::SERVICE_STATES)?,
            members: one(object, maps::MEMBERS)?,
            servers: one(object, maps::SERVERS)?,
            server_states: one(object, maps::SERVER_STATES)?,
            traffic: one(object, maps::TRAFFIC)?,
            reasons: one(object, maps::REASONS)?,
            flows: Arc::new(one(object, maps::FLOWS)?),
            flow_details: Arc::new(one(object, maps::FLOW_DETAILS)?),
            ports: one(object, maps::PORTS)?,
            tables: one(object, maps::TABLES)?,
            hints: one(object, maps::HINTS)?,
            rules: one(object, maps::RULES)?,
            back_ways: one(object, maps::BACK_WAYS)?,
            punts: Some(ring(object)?),
        };
        let found = [
            maps.control.len(),
            maps.displacements.len(),
            maps.slots.len(),
            maps.services.len(),
            maps.service_states.len(),
            maps.members.len(),
            maps.servers.len(),
            maps.server_states.len(),
            maps.traffic.len(),
            maps.reasons.len(),
            maps.flows.len(),
            maps.flow_details.len(),
            maps.ports.len(),
            maps.tables.len(),
            maps.hints.len(),
            maps.rules.len(),
            maps.back_ways.len(),
        ];
        for ((name, wanted), found) in lengths(sizes, cpus).into_iter().zip(found) {
            anyhow::ensure!(
                found == wanted,
                "the pinned map {name} has {found} values where the others ask for {wanted}: \
                 `lb-agent detach` removes them all, with their connections"
            );
        }
        Ok(maps)
    }
}

fn one<T: FromBytes + IntoBytes + Immutable + Copy>(
    object: &mut Ebpf,
    name: &str,
) -> anyhow::Result<Mapped<T>> {
    let map = object
        .take_map(name)
        .with_context(|| format!("the object has no map {name}"))?;
    let Map::Array(map) = map else {
        anyhow::bail!("map {name} is no array")
    };
    Mapped::new(name, &map)
}

fn ring(object: &mut Ebpf) -> anyhow::Result<Map> {
    object
        .take_map(maps::PUNTS)
        .with_context(|| format!("the object has no map {}", maps::PUNTS))
}

/// The maps' names with the numbers of values that `sizes` asks for.
#[must_use]
pub(crate) fn lengths(sizes: Sizes, cpus: u32) -> [(&'static str, u32); 20] {
    [
        (maps::CONTROL, 1),
        (maps::DISPLACEMENTS, 2 * sizes.displacements()),
        (maps::SLOTS, 2 * sizes.slots()),
        (maps::SERVICES, sizes.records()),
        (maps::SERVICE_STATES, sizes.services),
        (maps::MEMBERS, sizes.members()),
        (maps::SERVERS, sizes.servers),
        (maps::SERVER_STATES, sizes.servers),
        (maps::TRAFFIC, 2 * sizes.servers * cpus),
        (maps::REASONS, REASONS_PER_CPU * cpus),
        (maps::FLOWS, sizes.buckets()),
        (maps::FLOW_DETAILS, sizes.buckets()),
        (maps::PORTS, PORTS),
        (maps::TABLES, sizes.table_words()),
        (maps::HINTS, HINT_WORDS),
        (maps::RULES, 2 * MARK_RULES),
        (maps::BACK_WAYS, BACK_WAYS),
        (maps::ANSWERS, cpus),
        (maps::PUNTS, punt::RING),
        (maps::PROGRAMS, 1),
    ]
}

/// What is pinned already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// The sizes that the maps were made with.
    pub(crate) sizes: Sizes,
    /// The rate of the clock that their deadlines are by; none before an agent wrote it.
    pub(crate) clock: Option<Clock>,
}

/// Looks at the pinned maps; none when there are none, or not all: what an agent left that was
/// killed while it made them.
///
/// # Errors
///
/// When a pin is no map.
pub(crate) fn pinned(pins: &PinDir) -> anyhow::Result<Option<Pinned>> {
    let open = |name: &str| -> anyhow::Result<MapData> {
        let path = pins.map(name);
        MapData::from_pin(&path)
            .with_context(|| format!("opening the pinned map {}", path.display()))
    };
    let len = |name: &str| anyhow::Ok(open(name)?.info()?.max_entries());
    if lengths(Sizes::DEFAULT, 1)
        .iter()
        .any(|(name, _)| !pins.map(name).exists())
    {
        return Ok(None);
    }
    let sizes = Sizes {
        services: len(maps::SERVICE_STATES)?,
        servers: len(maps::SERVERS)?,
        flows: Sizes::flows_of(len(maps::FLOWS)?),
    };
    let control: Mapped<Control> = Mapped::new(maps::CONTROL, &open(maps::CONTROL)?)?;
    let hz = control.load(0).hz;
    Ok(Some(Pinned {
        sizes,
        clock: (hz != 0).then(|| Clock::new(hz)),
    }))
}
