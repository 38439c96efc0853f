//! The program into the kernel, with its maps.

use super::accept;
use super::attach::{self, Attached, Port};
use super::checksums;
use super::clock::{self, Moment};
use super::decapsulation;
use super::grace;
use super::helped::Helped;
use super::maps::{self, Maps, Pinned};
use super::object::object;
use super::pin::PinDir;
use super::punts::{self, Punts};
use crate::config::{Config, XdpMode};
use crate::net::{self, Peer};
use anyhow::Context as _;
use aya::maps::{Map, MapData, ProgramArray, RingBuf};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use lb_common::addr::Addr;
use lb_common::api::{AttachMode, Interface, Warning, WarningKind};
use lb_common::layout::{self, Control, LAYOUT, Sizes, globals, port_index};
use lb_common::time::Clock;
use lb_common::wire::MacAddr;
use nix::errno::Errno;
use std::fs;
use std::io::Read as _;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Names of the programs in the object.
pub(crate) const DIRECTOR: &str = "lb";
/// The program that it hands packets to that take more than a look.
const REST: &str = "lb_rest";
const CLOCK: &str = "clock";

/// Everything that is in the kernel now.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) maps: Arc<Maps>,
    /// The ring buffer, until someone reads it.
    punts: Option<Map>,
    pub(crate) sizes: Sizes,
    pub(crate) cpus: u32,
    pub(crate) clock: Clock,
    places: Vec<Place>,
    object: Ebpf,
}

/// A configured interface.
#[derive(Debug)]
struct Place {
    /// Its name when the agent started.
    configured: String,
    /// As it was last found; of index 0 while it is gone.
    port: Port,
    /// How the program is attached.
    mode: AttachMode,
    /// Whether it was made to take packets from own addresses; none before anyone asked.
    accepts: Option<bool>,
    /// The other end of a veth pair.
    peer: Option<Peer>,
}

impl Place {
    fn new(port: Port, mode: AttachMode) -> Self {
        let place = Self {
            configured: port.name.clone(),
            peer: net::peer(port.ifindex),
            port,
            mode,
            accepts: None,
        };
        place.tell_of_checksums();
        place
    }

    /// Logs what may become of packets that come in.
    fn tell_of_checksums(&self) {
        if let Some(warning) = self.checksums() {
            tracing::warn!("{warning}");
        }
    }

    /// What may become of packets that come in.
    fn checksums(&self) -> Option<String> {
        let peer = self.peer.filter(|_| self.port.ifindex != 0)?;
        checksums::warning(&self.port, self.mode, peer)
    }
}

impl Loaded {
    /// Loads the program, makes the maps or adopts the pinned ones, and attaches.
    ///
    /// When it fails, everything is as it was: what was pinned stays, what was made is gone.
    pub(crate) fn open(config: &Config) -> anyhow::Result<(Self, PinDir)> {
        let ports = ports(&config.interfaces)?;
        // Once at the start, so that a kernel on which this does not work is known before anything
        // is done; and for programs that may still read what an agent replaced before it ended.
        grace::wait()?;
        let pins = PinDir::open(&config.pin_path)?;
        let pinned = maps::pinned(&pins)?;
        if pinned.is_none() {
            pins.clear()?;
        }
        match Self::load(config, &ports, &pins, pinned) {
            Ok(loaded) => Ok((loaded, pins)),
            Err(error) => {
                if pinned.is_none()
                    && let Err(left) = pins.remove()
                {
                    tracing::error!("{left:#}");
                }
                Err(error)
            }
        }
    }

    fn load(
        config: &Config,
        ports: &[Port],
        pins: &PinDir,
        pinned: Option<Pinned>,
    ) -> anyhow::Result<Self> {
        let wanted = Sizes {
            flows: config.flows,
            ..Sizes::DEFAULT
        };
        let sizes = pinned.map_or(wanted, |pinned| pinned.sizes);
        if sizes.buckets() != wanted.buckets() {
            tracing::warn!(
                "the pinned flow table is for {} flows, not {}; it stays, with its connections: \
                 `lb-agent detach` removes it",
                sizes.flows,
                wanted.flows
            );
        }
        let cpus = cpus()?;
        let clock = match pinned.and_then(|pinned| pinned.clock) {
            Some(clock) => clock,
            None => measure_clock()?,
        };
        let mut object = load_object(sizes, cpus, clock, Some(pins))?;
        // Programs first: they refer to the maps by descriptors that taking the maps may close.
        load_program(&mut object, CLOCK)?;
        load_program(&mut object, DIRECTOR)?;
        load_program(&mut object, REST)?;
        let mut programs = programs(&mut object)?;
        let mut maps = Maps::take(&mut object, sizes, cpus)?;
        prepare(&maps, clock)?;
        if pinned.is_none() {
            // Before the first packet; a program that is there already keeps its own until all of
            // the new one is in its place.
            put_rest(&mut object, &mut programs)?;
        }
        let mut loaded = Self {
            punts: maps.punts.take(),
            maps: Arc::new(maps),
            sizes,
            cpus,
            clock,
            places: Vec::new(),
            object,
        };
        let before = loaded.maps.control.load(0).token;
        let entries: Vec<(u32, layout::Interface)> = ports
            .iter()
            .map(|port| port_index(port.ifindex))
            .map(|index| (index, loaded.maps.ports.load(index)))
            .collect();
        for port in ports {
            loaded.write_port(port);
        }
        let mut made = Vec::new();
        let taken = loaded
            .attach_all(config, ports, pins, &mut made)
            .and_then(|()| punts::write_token(&loaded.maps))
            .and_then(|()| put_rest(&mut loaded.object, &mut programs));
        if let Err(error) = taken {
            for (port, attached) in made {
                if let Err(left) = attached.undo(&port, pins) {
                    tracing::error!("{left:#}");
                }
            }
            for (index, entry) in entries {
                loaded.maps.ports.store(index, entry);
            }
            let token = offset_of!(Control, token);
            let token = loaded.maps.control.word64(0, token);
            token.store(before, Ordering::Relaxed);
            return Err(error);
        }
        for (port, attached) in made {
            loaded.places.push(Place::new(port, attached.mode));
        }
        loaded.forget_others(pins)?;
        Ok(loaded)
    }

    fn attach_all(
        &mut self,
        config: &Config,
        ports: &[Port],
        pins: &PinDir,
        made: &mut Vec<(Port, Attached)>,
    ) -> anyhow::Result<()> {
        for port in ports {
            let program = program(&mut self.object, DIRECTOR)?;
            let attached = attach::attach(program, port, config.xdp_mode, pins)?;
            made.push((port.clone(), attached));
        }
        Ok(())
    }

    /// Takes the program off interfaces that are not configured any more.
    fn forget_others(&self, pins: &PinDir) -> anyhow::Result<()> {
        for left in pins.links()? {
            if !self.is_known(left.ifindex) {
                tracing::info!(ifindex = left.ifindex, "not configured any more: detaching");
                pins.remove_link(left)?;
            }
        }
        let known: Vec<u32> = self
            .places
            .iter()
            .map(|place| port_index(place.port.ifindex))
            .collect();
        for index in (0..self.maps.ports.len()).filter(|index| !known.contains(index)) {
            self.maps.ports.store(index, layout::Interface::default());
        }
        Ok(())
    }

    /// Looks at the interfaces again: one may have another name or Ethernet address, or be gone, or
    /// be back under another index.
    pub(crate) fn refresh_ports(&mut self, pins: &PinDir) {
        for index in 0..self.places.len() {
            let known = self.places[index].port.ifindex;
            let found = match known {
                0 => Ok(None),
                _ => Port::find_again(known),
            };
            match found {
                Ok(Some(found)) => self.update(index, found),
                Ok(None) => self.find_anew(index, pins),
                Err(error) => tracing::warn!("{error:#}; it is looked for again"),
            }
        }
    }

    /// Notes what an interface is like now.
    fn update(&mut self, index: usize, found: Port) {
        let known = &self.places[index].port;
        if found == *known {
            return;
        }
        if found.name == known.name {
            tracing::info!(
                interface = found.name,
                mtu = found.mtu,
                "has other addresses or another MTU"
            );
        } else {
            tracing::info!(interface = found.name, before = known.name, "was renamed");
        }
        self.write_port(&found);
        self.places[index].port = found;
    }

    /// Looks for an interface of the configured name in the place of one that is gone.
    fn find_anew(&mut self, index: usize, pins: &PinDir) {
        let Place {
            configured,
            port,
            mode,
            ..
        } = &mut self.places[index];
        let (configured, mode) = (configured.clone(), *mode);
        // Said once: a port of index 0 is known to be gone.
        if port.ifindex != 0 {
            tracing::error!(
                interface = port.name,
                "is gone: no packet is balanced there until there is an interface {configured} \
                 again"
            );
            let gone = std::mem::take(&mut port.ifindex);
            self.maps
                .ports
                .store(port_index(gone), layout::Interface::default());
        }
        let Ok(found) = Port::find(&configured) else {
            return;
        };
        let place = port_index(found.ifindex);
        let is_place =
            |other: &Place| other.port.ifindex != 0 && port_index(other.port.ifindex) == place;
        // Another configured one may have the name now.
        if self.places.iter().any(is_place) {
            return;
        }
        match self.attach_again(&found, mode, pins) {
            Ok(()) => {
                tracing::info!(interface = found.name, "is back: attached again");
                let place = Place::new(found, mode);
                self.places[index] = Place {
                    configured,
                    ..place
                };
            }
            Err(error) => {
                self.maps.ports.store(place, layout::Interface::default());
                tracing::error!("{error:#}");
            }
        }
    }

    fn attach_again(&mut self, port: &Port, mode: AttachMode, pins: &PinDir) -> anyhow::Result<()> {
        let want = match mode {
            AttachMode::Native => XdpMode::Native,
            AttachMode::Generic => XdpMode::Generic,
        };
        self.write_port(port);
        attach::attach(program(&mut self.object, DIRECTOR)?, port, want, pins)?;
        self.forget_others_but(port, pins)
    }

    /// After an interface came back: the pin of its former self goes.
    fn forget_others_but(&self, back: &Port, pins: &PinDir) -> anyhow::Result<()> {
        for left in pins.links()? {
            if !self.is_known(left.ifindex) && left.ifindex != back.ifindex {
                pins.remove_link(left)?;
            }
        }
        Ok(())
    }

    /// A program that reads meanwhile may see an old address with a new one: an answer of the
    /// moment when the interface changed has a wrong sender.
    fn write_port(&self, port: &Port) {
        let address = |own: Option<IpAddr>| own.map_or_else(Addr::default, Addr::from);
        let mtu = port
            .mtu
            .map_or(0, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
        self.maps.ports.store(
            port_index(port.ifindex),
            layout::Interface {
                mac_and_mtu: layout::Interface::mac_and_mtu(MacAddr::new(port.mac), mtu),
                ifindex: port.ifindex,
                v4: address(port.v4).v4_word(),
                v6: address(port.v6),
            },
        );
    }

    /// Where the program is attached.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let interface = |place: &Place| Interface {
            name: place.port.name.clone(),
            mode: place.mode,
        };
        let here = self.places.iter().filter(|place| place.port.ifindex != 0);
        here.map(interface).collect()
    }

    /// The configured interfaces that are gone.
    pub(crate) fn missing(&self) -> Vec<String> {
        let gone = self.places.iter().filter(|place| place.port.ifindex == 0);
        gone.map(|place| place.configured.clone()).collect()
    }

    /// What may become of packets that come in.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let warning = |message| Warning {
            kind: WarningKind::PartialChecksums,
            message,
        };
        let told = self.places.iter().filter_map(Place::checksums);
        told.map(warning).collect()
    }

    fn is_known(&self, ifindex: u32) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.port.ifindex == ifindex)
    }

    /// Makes the interfaces take packets from own addresses, or no more, as masqueraded servers
    /// ask for it. It is tried once for each interface: what is logged then stays true.
    pub(crate) fn accept_own(&mut self, wanted: bool, pins: &PinDir) {
        let here = self.places.iter_mut();
        let here = here.filter(|place| place.port.ifindex != 0 && place.accepts != Some(wanted));
        for Place { port, accepts, .. } in here {
            *accepts = Some(wanted);
            let done = match wanted {
                true => accept::start(port, pins),
                false => pins.stop_accepting(port.ifindex),
            };
            if let Err(error) = done {
                tracing::error!(
                    "{error:#}: what masqueraded servers answer to clients beyond interfaces \
                     without lb, or that the kernel has no neighbour entry of, may be dropped"
                );
            }
        }
    }

    /// The packets that the program hands over; none when they were asked for before.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a descriptor, or memory for the ring buffer.
    pub(crate) fn punts(&mut self, helped: &Arc<Helped>) -> anyhow::Result<Option<Punts>> {
        let Some(map) = self.punts.take() else {
            return Ok(None);
        };
        let ring = RingBuf::try_from(map).context("reading the program's packets")?;
        let [director, clock] = [DIRECTOR, CLOCK].map(|name| -> anyhow::Result<Xdp> {
            let info = program(&mut self.object, name)?.info()?;
            Ok(Xdp::from_program_info(
                info,
                name.into(),
                XdpAttachType::Interface,
            )?)
        });
        let maps = Arc::clone(&self.maps);
        let programs = [director?, clock?];
        let helped = Arc::clone(helped);
        Ok(Some(Punts::new(ring, programs, self.clock, maps, helped)))
    }

    /// The present on the kernel's clock.
    pub(crate) fn moment(&self) -> anyhow::Result<Moment> {
        let program = self
            .object
            .program(CLOCK)
            .context("the object has no program `clock`")?;
        Moment::now(program.try_into()?)
    }
}

/// Loads every program of the director without attaching, and tells what the verifier says.
pub(crate) fn verify(out: &mut dyn std::io::Write) -> anyhow::Result<()> {
    let clock = measure_clock()?;
    let sizes = Sizes {
        services: 16,
        servers: 16,
        flows: 1024,
    };
    let mut object = load_object(sizes, cpus()?, clock, None)?;
    let names: Vec<String> = object.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| *name != decapsulation::PROGRAM) {
        report(name, load_program(&mut object, name)?, out)?;
    }
    Ok(())
}

/// Tells what the verifier said of a loaded program.
pub(super) fn report(
    name: &str,
    program: &Xdp,
    out: &mut dyn std::io::Write,
) -> anyhow::Result<()> {
    let info = program.info()?;
    writeln!(
        out,
        "{name}: {} instructions verified, {} bytes translated, {} bytes of machine code",
        info.verified_instruction_count()
            .map_or("?".to_owned(), |count| count.to_string()),
        info.size_translated()
            .map_or("?".to_owned(), |size| size.to_string()),
        info.size_jitted(),
    )?;
    Ok(())
}

fn ports(names: &[String]) -> anyhow::Result<Vec<Port>> {
    let ports: Vec<Port> = names
        .iter()
        .map(|name| Port::find(name))
        .collect::<Result<_, _>>()?;
    for (i, a) in ports.iter().enumerate() {
        for b in &ports[..i] {
            anyhow::ensure!(
                port_index(a.ifindex) != port_index(b.ifindex),
                "interfaces {} and {} have indices {} and {}, which share a place in the map of \
                 interfaces: create one of them anew",
                a.name,
                b.name,
                a.ifindex,
                b.ifindex
            );
        }
    }
    Ok(ports)
}

/// The number of CPUs that programs may ever run on.
fn cpus() -> anyhow::Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("reading the number of CPUs from {path}"))
    })?;
    Ok(u32::try_from(cpus)?)
}

/// The rate of the kernel's clock, by a copy of the object with the smallest of maps.
fn measure_clock() -> anyhow::Result<Clock> {
    let sizes = Sizes {
        services: 1,
        servers: 1,
        flows: 1,
    };
    let mut object = load_object(sizes, 1, Clock::new(1000), None)?;
    clock::measure(load_program(&mut object, CLOCK)?)
}

fn load_object(
    sizes: Sizes,
    cpus: u32,
    clock: Clock,
    pins: Option<&PinDir>,
) -> anyhow::Result<Ebpf> {
    let (buckets, slots) = (sizes.buckets(), sizes.slots());
    let displacements = sizes.displacements();
    let mut loader = EbpfLoader::new();
    loader
        .override_global(globals::TICK_SHIFT, &clock.shift, true)
        .override_global(globals::BUCKETS, &buckets, true)
        .override_global(globals::SERVERS, &sizes.servers, true)
        .override_global(globals::DIRECTORY_SLOTS, &slots, true)
        .override_global(globals::DIRECTORY_DISPLACEMENTS, &displacements, true);
    loader.map_max_entries(layout::maps::SCRATCH, cpus);
    for (name, len) in maps::lengths(sizes, cpus) {
        loader.map_max_entries(name, len);
        if let Some(pins) = pins {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader
        .load(object())
        .map_err(|error| explain(error.into(), "making the maps"))
}

pub(super) fn load_program<'a>(object: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = program(object, name)?;
    program
        .load()
        .map_err(|error| explain(error.into(), &format!("loading the program {name}")))?;
    Ok(program)
}

pub(super) fn program<'a>(object: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = object.program_mut(name);
    let program = program.with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// Where the director's program finds the one that it hands packets to. The map is pinned, for its
/// places are emptied with the last reference from outside the kernel.
fn programs(object: &mut Ebpf) -> anyhow::Result<ProgramArray<MapData>> {
    let map = object
        .take_map(layout::maps::PROGRAMS)
        .with_context(|| format!("the object has no map {}", layout::maps::PROGRAMS))?;
    Ok(ProgramArray::try_from(map)?)
}

/// Puts the program for packets that take more than a look in its place.
fn put_rest(object: &mut Ebpf, programs: &mut ProgramArray<MapData>) -> anyhow::Result<()> {
    let rest = program(object, REST)?.fd()?.try_clone()?;
    programs
        .set(0, &rest, 0)
        .context("putting the program lb_rest in its place")
}

/// The error with the cure, as far as the kernel's answer tells one.
pub(super) fn explain(error: anyhow::Error, doing: &str) -> anyhow::Error {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let version: Vec<u32> = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok())
        .collect();
    if version
        .get(..2)
        .is_some_and(|version| version < [6, 1].as_slice())
    {
        return error.context(format!(
            "{doing}: this is Linux {release}; lb needs 6.1 or newer"
        ));
    }
    let verifier = error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<ProgramError>() {
            Some(ProgramError::LoadError {
                io_error,
                verifier_log,
            }) => Some((io_error, verifier_log)),
            _ => None,
        });
    if let Some((io_error, log)) = verifier
        && io_error.raw_os_error() != Some(libc::EPERM)
    {
        tracing::debug!("the verifier's log:\n{log}");
        return anyhow::anyhow!(
            "{doing}: the verifier of Linux {release} refuses it ({io_error}); please report this \
             with the log that LB_LOG=debug shows"
        );
    }
    if super::attach::errno(&error) == Some(Errno::EPERM) {
        return error.context(format!(
            "{doing}: not permitted; run lb-agent as root, or with CAP_BPF, CAP_NET_ADMIN and \
             CAP_PERFMON"
        ));
    }
    error.context(doing.to_owned())
}

/// Writes what the program needs before its first packet, in maps that are new.
fn prepare(maps: &Maps, clock: Clock) -> anyhow::Result<()> {
    let control = maps.control.load(0);
    if control.layout != 0 {
        return Ok(());
    }
    let mut random = [0; 24];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("reading /dev/urandom for the seeds")?;
    let word = |i: usize| {
        random
            .iter()
            .skip(i * 8)
            .take(8)
            .fold(0, |w, b| w << 8 | u64::from(*b))
    };
    let mut control = Control {
        layout: LAYOUT,
        hz: clock.hz,
        flow_seed: [word(0), word(1)],
        ..control
    };
    control.directories[0].seed = word(2);
    maps.control.store(0, control);
    Ok(())
}
