//! Every map by name: made or adopted, with its shape checked.

use super::mapped::Mapped;
use super::pin::PinDir;
use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use lb_common::layout::{
    ColdBucket, Control, DirectorySlot, HotBucket, Member, PORTS, REASONS_PER_CPU, Server,
    ServerState, Service, ServiceState, Sizes, Traffic, maps,
};
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
    pub(crate) ports: Mapped<u64>,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// When one is missing or of another shape.
    pub(crate) fn take(object: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
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
        })
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

/// The maps' names with the numbers of values that `sizes` asks for.
#[must_use]
pub(crate) fn lengths(sizes: Sizes, cpus: u32) -> [(&'static str, u32); 13] {
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
    ]
}

/// The sizes that pinned maps were made with; none when nothing is pinned.
///
/// # Errors
///
/// When a pin is no map.
pub(crate) fn pinned_sizes(pins: &PinDir) -> anyhow::Result<Option<Sizes>> {
    let len = |name: &str| -> anyhow::Result<Option<u32>> {
        let path = pins.map(name);
        if !path.exists() {
            return Ok(None);
        }
        let read =
            || -> Result<u32, MapError> { Ok(MapData::from_pin(&path)?.info()?.max_entries()) };
        Ok(Some(read().with_context(|| {
            format!("opening the pinned map {}", path.display())
        })?))
    };
    let (services, servers, buckets) = (
        len(maps::SERVICE_STATES)?,
        len(maps::SERVERS)?,
        len(maps::FLOWS)?,
    );
    Ok(match (services, servers, buckets) {
        (Some(services), Some(servers), Some(buckets)) => Some(Sizes {
            services,
            servers,
            flows: Sizes::flows_of(buckets),
        }),
        _ => None,
    })
}
