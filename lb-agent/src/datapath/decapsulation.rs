//! The program of real servers: into the kernel, onto its interface, and off again.
//!
//! Its pins are apart from the director's, under `<pin-path>/v<LAYOUT>` with the layout of
//! [`lb_common::decap`]: the two maps and the interface's link.

use super::attach::{self, Port};
use super::load;
use super::object::object;
use super::pin::{PinDir, PinnedPort};
use crate::config::XdpMode;
use anyhow::Context as _;
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::{Ebpf, EbpfLoader};
use lb_common::addr::{Addr, Port as UdpPort};
use lb_common::api::AttachMode;
use lb_common::decap::{
    EVENTS, LAYOUT, MAX_VIRTUAL, Refusal, SETTINGS, Settings, Tunnel, Tunnels, event_index, maps,
};
use lb_common::wire::MacAddr;
use nix::mount::umount;
use nix::sys::statfs::{BPF_FS_MAGIC, SYSFS_MAGIC, statfs};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// The name of the program in the object.
pub(super) const PROGRAM: &str = "real_server";

/// What the program is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) port: &'a Port,
    pub(crate) mode: XdpMode,
    pub(crate) tunnels: Tunnels,
    /// The UDP port of GUE, in host order.
    pub(crate) gue_port: u16,
    pub(crate) vips: &'a [IpAddr],
}

/// Loads the program with these settings and puts it on its interface, in the place of the one
/// that an earlier call put there, without a packet in between seeing none. It leaves every other
/// interface.
///
/// # Errors
///
/// When the machine does not allow it. What carried no program carries none then, and no pin is
/// left of it.
pub(crate) fn attach(pin_path: &Path, wanted: Wanted<'_>) -> anyhow::Result<AttachMode> {
    let mounted = mounts(pin_path)?;
    let pins = PinDir::open_layout(pin_path, LAYOUT)?;
    let fresh = pins.links()?.is_empty();
    match attach_with(&pins, wanted) {
        Ok(mode) => Ok(mode),
        Err(error) => {
            if fresh && let Err(left) = remove(pins, pin_path, mounted) {
                tracing::error!("{left:#}");
            }
            Err(error)
        }
    }
}

fn attach_with(pins: &PinDir, wanted: Wanted<'_>) -> anyhow::Result<AttachMode> {
    let mut object = load(Some(pins), settings(&wanted))?;
    let map = object.take_map(maps::VIRTUAL);
    let mut addresses: Addresses = map.context("the object has no map VIRTUAL")?.try_into()?;
    let before: BTreeSet<[u8; 16]> = addresses.keys().collect::<Result<_, _>>()?;
    let after: BTreeSet<[u8; 16]> = wanted.vips.iter().map(key).collect();
    // New addresses before the program runs, old ones after: none is missed meanwhile.
    for key in &after {
        addresses
            .insert(key, 0_u32, 0)
            .context("writing the virtual addresses to their map")?;
    }
    let program = program(&mut object)?;
    let attached = match attach::attach(program, wanted.port, wanted.mode, pins) {
        Ok(attached) => attached,
        Err(error) => {
            forget(&mut addresses, after.difference(&before))?;
            return Err(error);
        }
    };
    for pinned in pins.links()? {
        if pinned.ifindex != wanted.port.ifindex {
            pins.remove_link(pinned)?;
        }
    }
    forget(&mut addresses, before.difference(&after))?;
    Ok(attached.mode)
}

type Addresses = HashMap<MapData, [u8; 16], u32>;

fn forget<'a>(
    addresses: &mut Addresses,
    keys: impl Iterator<Item = &'a [u8; 16]>,
) -> anyhow::Result<()> {
    for key in keys {
        addresses
            .remove(key)
            .context("removing a virtual address from the map")?;
    }
    Ok(())
}

/// Takes the program off its interface and removes all pins; nothing when there are none. A bpffs
/// that was `mounted` for them goes as well.
///
/// # Errors
///
/// When a pin cannot be removed.
pub(crate) fn detach(pin_path: &Path, mounted: bool) -> anyhow::Result<()> {
    if !exists(&PinDir::path_in(pin_path, LAYOUT))? {
        return Ok(());
    }
    remove(PinDir::open_layout(pin_path, LAYOUT)?, pin_path, mounted)
}

fn remove(pins: PinDir, pin_path: &Path, mounted: bool) -> anyhow::Result<()> {
    pins.remove()?;
    if mounted {
        umount(pin_path).with_context(|| format!("unmounting {}", pin_path.display()))?;
    }
    // Another may keep pins of its own there.
    if let Err(error) = fs::remove_dir(pin_path) {
        tracing::debug!("{} stays: {error}", pin_path.display());
    }
    Ok(())
}

/// The program's id and mode on an interface, by the link that is pinned for it.
///
/// # Errors
///
/// When a pin cannot be read.
pub(crate) fn attached(pin_path: &Path, ifindex: u32) -> anyhow::Result<Option<(u32, AttachMode)>> {
    let directory = PinDir::path_in(pin_path, LAYOUT);
    if !exists(&directory)? {
        return Ok(None);
    }
    let pinned = PinnedPort::all_in(&directory)?
        .into_iter()
        .find(|pinned| pinned.ifindex == ifindex);
    let Some(pinned) = pinned else {
        return Ok(None);
    };
    let path = directory.join(pinned.file_name());
    let link: FdLink = PinnedLink::from_pin(&path)
        .with_context(|| format!("opening the pinned link {}", path.display()))?
        .into();
    let info = link.info().with_context(|| path.display().to_string())?;
    Ok(Some((info.program_id(), pinned.mode)))
}

/// What the program has counted, by label; none when it is not there.
///
/// # Errors
///
/// When the pinned map cannot be read.
pub(crate) fn events(pin_path: &Path) -> anyhow::Result<Option<Vec<(&'static str, u64)>>> {
    let path = PinDir::path_in(pin_path, LAYOUT).join(maps::EVENTS);
    if !exists(&path)? {
        return Ok(None);
    }
    let place = || format!("reading the pinned map {}", path.display());
    let map = Map::PerCpuArray(MapData::from_pin(&path).with_context(place)?);
    let counters: PerCpuArray<MapData, u64> = map.try_into().with_context(place)?;
    anyhow::ensure!(
        counters.len() == EVENTS,
        "the pinned map {} has {} counters, not {EVENTS}: it is another version's",
        path.display(),
        counters.len()
    );
    let tunnels = Tunnel::ALL.map(|tunnel| (Ok(tunnel), tunnel.name()));
    let refusals = Refusal::ALL
        .iter()
        .map(|refusal| (Err(*refusal), refusal.label()));
    tunnels
        .into_iter()
        .chain(refusals)
        .map(|(outcome, label)| {
            let values = counters.get(&event_index(outcome), 0).with_context(place)?;
            Ok((label, values.iter().sum()))
        })
        .collect::<anyhow::Result<_>>()
        .map(Some)
}

/// Loads the program without attaching, with every tunnel, and tells what the verifier says.
///
/// # Errors
///
/// When the kernel refuses it.
pub(crate) fn verify(out: &mut dyn std::io::Write) -> anyhow::Result<()> {
    let every = Settings {
        tunnels: Tunnel::ALL
            .into_iter()
            .fold(Tunnels::default(), Tunnels::with),
        gue_port: UdpPort::new(1),
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
    };
    let mut object = load(None, every)?;
    load::report(PROGRAM, program(&mut object)?, out)
}

/// Whether there is such a path; an error where one may not look.
fn exists(path: &Path) -> anyhow::Result<bool> {
    path.try_exists()
        .with_context(|| format!("looking at {}: run lb-agent as root", path.display()))
}

fn settings(wanted: &Wanted<'_>) -> Settings {
    Settings {
        tunnels: wanted.tunnels,
        gue_port: UdpPort::new(wanted.gue_port),
        mac: MacAddr::new(wanted.port.mac),
    }
}

fn key(address: &IpAddr) -> [u8; 16] {
    zerocopy::transmute!(Addr::from(*address))
}

/// The object with the program loaded; its maps are pinned, or found where they are.
fn load(pins: Option<&PinDir>, settings: Settings) -> anyhow::Result<Ebpf> {
    let words = settings.encode();
    let mut loader = EbpfLoader::new();
    loader
        .override_global(SETTINGS, &words, true)
        .map_max_entries(maps::VIRTUAL, MAX_VIRTUAL);
    if let Some(pins) = pins {
        for name in [maps::VIRTUAL, maps::EVENTS] {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    let mut object = loader
        .load(object())
        .map_err(|error| load::explain(error.into(), "making the maps"))?;
    load::load_program(&mut object, PROGRAM)?;
    Ok(object)
}

fn program(object: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    load::program(object, PROGRAM)
}

/// Whether a bpffs has to be mounted for the pins.
///
/// # Errors
///
/// Where none can be, and where it would go with this process, and the program with it: in a mount
/// namespace of its own, as `ip netns exec` makes one for each command.
pub(crate) fn mounts(pin_path: &Path) -> anyhow::Result<bool> {
    let place = || format!("pin path {}", pin_path.display());
    super::pin::check(pin_path)?;
    let existing = pin_path.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.with_context(place)?;
    let kind = statfs(existing).with_context(place)?.filesystem_type();
    if kind == BPF_FS_MAGIC {
        return Ok(false);
    }
    anyhow::ensure!(
        kind != SYSFS_MAGIC,
        "{}: there is no bpffs at {}: `mount -t bpf bpf {1}`, or, under `ip netns exec`, which has \
         a /sys of its own, name a --pin-path on one that was mounted outside",
        place(),
        existing.display()
    );
    anyhow::ensure!(
        !is_own_mount_namespace(),
        "{}: there is no bpffs, and one mounted now would go with this command's mount namespace: \
         name a --pin-path on one that was mounted outside (`mount -t bpf bpf DIR`)",
        place()
    );
    Ok(true)
}

/// Whether this process has a mount namespace that neither its parent nor the first process has,
/// as far as one can tell.
fn is_own_mount_namespace() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let own = namespace("self");
    let parent = nix::unistd::getppid().to_string();
    ["1", &parent]
        .into_iter()
        .filter_map(namespace)
        .any(|other| Some(other) != own)
}
