//! The rows of lb itself: its object with services, and the same over the kernel's hash maps.

use super::layout::CAPACITY;
use super::ruler::{Expect, Flows, PASS};
use super::subject::{Pass, Subject};
use super::traffic::{DIRECTOR, SYN, Traffic, Transport};
use super::{take_map, xdp};
use anyhow::{Context as _, ensure};
use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::{Tables as _, Way};
use lb_common::layout::{
    ColdBucket, Control, Hint, PORTS, REASONS_PER_CPU, ServerState, Sizes, features, globals, maps,
    port_index, server_flags,
};
use lb_common::memory::{Memory, NewServer, NewService};
use lb_common::sched::Kind;
use lb_common::service::Key;
use lb_common::time::Clock;
use lb_common::wire::MacAddr;
use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use zerocopy::{FromBytes as _, Immutable, IntoBytes};

/// Packets of established flows.
pub(super) const TCP: &str = "lb DR TCP";
/// The same with IPv6.
pub(super) const TCP6: &str = "lb DR TCP6";
/// The same through tunnels: IPv4 in IPv4, IPv6 in IPv6.
pub(super) const IPIP: &str = "lb IPIP";
/// Likewise.
pub(super) const IPIP6: &str = "lb IPIP6";
/// The same by GRE and GUE, without checksums.
pub(super) const GRE: &str = "lb GRE";
/// Likewise.
pub(super) const GUE: &str = "lb GUE";
/// IPv6 in GRE and in GUE over IPv6.
const GRE6: &str = "lb GRE6";
const GUE6: &str = "lb GUE6";
/// The same with address and port translated.
pub(super) const NAT: &str = "lb NAT";
/// Likewise with IPv6.
pub(super) const NAT6: &str = "lb NAT6";
/// The server's packets of those flows.
pub(super) const REPLY: &str = "lb NAT reply";
/// The same over IPv6.
pub(super) const REPLY6: &str = "lb NAT6 reply";
/// The same with UDP.
pub(super) const UDP: &str = "lb DR UDP";
/// The same with as many services as a large site has.
pub(super) const SERVICES: &str = "lb 10,000 services";
/// Packets for an address that no service has.
pub(super) const NOT_OURS: &str = "lb not ours";
/// A SYN of another flow in every packet.
pub(super) const NEW: &str = "lb new flows";
/// Packets of established flows, which are in a hash map of the kernel's.
pub(super) const KERNEL_TCP: &str = "lb on kernel maps";
/// A SYN of another flow in every packet, likewise.
pub(super) const KERNEL_NEW: &str = "lb new, kernel map";

/// The sizes of lb's maps: those an agent chooses that is told nothing.
pub(super) const SIZES: Sizes = Sizes::DEFAULT;

/// What the rows are measured with.
pub(super) struct Lb {
    /// The rows.
    pub(super) subjects: Vec<Subject>,
    /// What the maps of lb's object take.
    pub(super) memory: Bytes,
}

impl Lb {
    /// Loads an object for each row that has flows of its own.
    ///
    /// # Errors
    ///
    /// When an object does not build, load, or take its services.
    pub(super) fn open() -> anyhow::Result<Self> {
        let syn = Traffic {
            transport: Transport::Tcp(SYN),
            ..Traffic::TCP
        };
        let many = Traffic {
            services: 10_000,
            ..Traffic::TCP
        };
        let stranger = Traffic {
            peer: IpAddr::V4(Ipv4Addr::new(172, 31, 0, 1)),
            ..Traffic::TCP
        };
        let established = |name, object: &mut Object, traffic, passes| {
            let mut subject = object.subject(name, traffic)?;
            for _ in 0..passes {
                subject.fill.push(object.pass(traffic)?);
            }
            subject.counted = Some(object.counted()?);
            anyhow::Ok(subject)
        };
        let new = |name, object: &Object| {
            anyhow::Ok(Subject {
                flows: vec![Flows::New],
                fill: vec![object.pass(syn)?],
                ..object.subject(name, syn)?
            })
        };

        let method = |name, method, traffic, growth| {
            let mut object = Object::load_with(LB, traffic, 128, method)?;
            let mut subject = established(name, &mut object, traffic, 1)?;
            subject.expect.growth = growth;
            subject
                .fill
                .iter_mut()
                .for_each(|pass| pass.expect.growth = growth);
            anyhow::Ok(subject)
        };
        let mut tcp = Object::load(LB, Traffic::TCP, 128)?;
        let memory = tcp.bytes;
        let not_ours = Subject {
            flows: vec![Flows::Known(1), Flows::Known(1 << 20)],
            expect: Expect {
                action: PASS,
                growth: 0,
                readdressed: false,
            },
            ..tcp.subject(NOT_OURS, stranger)?
        };
        let subjects = vec![
            not_ours,
            established(TCP, &mut tcp, Traffic::TCP, 1)?,
            // The first packet of a UDP flow is not what its second one is.
            established(
                UDP,
                &mut Object::load(LB, Traffic::UDP, 128)?,
                Traffic::UDP,
                2,
            )?,
            method(TCP6, server_flags::ROUTE, Traffic::TCP6, 0)?,
            method(IPIP, server_flags::IPIP, Traffic::TCP, 20)?,
            method(IPIP6, server_flags::IPIP, Traffic::TCP6, 40)?,
            method(GRE, server_flags::GRE, Traffic::TCP, 24)?,
            method(GUE, server_flags::GUE, Traffic::TCP, 32)?,
            method(GRE6, server_flags::GRE, Traffic::TCP6, 44)?,
            method(GUE6, server_flags::GUE, Traffic::TCP6, 52)?,
            method(NAT, server_flags::MASQUERADE, Traffic::TCP, 0)?,
            method(NAT6, server_flags::MASQUERADE, Traffic::TCP6, 0)?,
            replies(REPLY, Traffic::TCP, true, established)?,
            replies(REPLY6, Traffic::TCP6, false, established)?,
            established(SERVICES, &mut Object::load(LB, many, 10)?, many, 1)?,
            established(
                KERNEL_TCP,
                &mut Object::load(KERNEL, Traffic::TCP, 128)?,
                Traffic::TCP,
                1,
            )?,
            new(NEW, &Object::load(LB, Traffic::TCP, 128)?)?,
            new(KERNEL_NEW, &Object::load(KERNEL, Traffic::TCP, 128)?)?,
        ];
        Ok(Self { subjects, memory })
    }
}

/// Replies of the one server that has all flows.
fn replies(
    name: &'static str,
    traffic: Traffic,
    is_v4: bool,
    established: impl Fn(&'static str, &mut Object, Traffic, u32) -> anyhow::Result<Subject>,
) -> anyhow::Result<Subject> {
    let mut object = Object::load_with(LB, traffic, 1, server_flags::MASQUERADE)?;
    let mut subject = established(name, &mut object, traffic, 1)?;
    subject.ways = Some(Ways(RefCell::new(take_map(
        &mut object.object,
        maps::FLOW_DETAILS,
    )?)));
    subject.traffic = Traffic {
        peer: new_server(0, is_v4).addr.into(),
        port: SERVER_PORT,
        reply: true,
        ..traffic
    };
    Ok(subject)
}

/// lb's object.
const LB: &str = "lb";
/// The object that differs from it in its flow table only.
const KERNEL: &str = "bench_kernel_maps";
/// lb's flow table.
const FLOW_MAPS: [&str; 2] = [maps::FLOWS, maps::FLOW_DETAILS];
/// That object's flow table.
const KERNEL_FLOWS: &str = "KERNEL_FLOWS";

/// The shift of a clock whose tick is a second or less: nothing here is to expire, so that the
/// kernel's true rate does not matter.
const CLOCK: Clock = Clock::new(250);
/// The timeout of all states, in ticks; longer than any measurement.
const TIMEOUT: u32 = 100_000;

/// Test runs come in by the loopback interface.
const INGRESS: u32 = 1;

/// A loaded object with services.
struct Object {
    object: Ebpf,
    servers: u32,
    bytes: Bytes,
}

impl Object {
    /// Loads an object with the services that the traffic is for, each with so many servers.
    fn load(bin: &str, traffic: Traffic, servers: u32) -> anyhow::Result<Self> {
        Self::load_with(bin, traffic, servers, server_flags::ROUTE)
    }

    /// The same with another forwarding method.
    fn load_with(bin: &str, traffic: Traffic, servers: u32, method: u32) -> anyhow::Result<Self> {
        let sizes = sizes(method);
        let mut object = load(bin, &sizes)?;
        let bytes = Bytes::of(&object)?;
        let mut memory = Memory::new(Sizes { flows: 1, ..SIZES })
            .with_services(&services(traffic, servers))
            .with_ingress(INGRESS, MacAddr::new([DIRECTOR, 0, 0, 0, 0, 1]));
        memory.control.timeouts.fill(TIMEOUT);
        forward_by(&mut memory, method, traffic.services * servers);
        // As after a moment without room for a flow: packets of connections that began unseen
        // are accepted, and one packet makes an established flow.
        let now = CLOCK.tick(jiffies(xdp(&object, "clock")?)?);
        for service in 0..traffic.services {
            memory.set_untracked(service, now.after(TIMEOUT));
        }
        write(&mut object, &memory).with_context(|| format!("object {bin}"))?;
        Ok(Self {
            object,
            servers: traffic.services * servers,
            bytes,
        })
    }

    fn subject(&self, name: &'static str, traffic: Traffic) -> anyhow::Result<Subject> {
        let subject = Subject::new(name, xdp(&self.object, "lb")?)?;
        Ok(Subject { traffic, ..subject })
    }

    fn pass(&self, traffic: Traffic) -> anyhow::Result<Pass> {
        let Subject {
            program, expect, ..
        } = self.subject("", traffic)?;
        Ok(Pass {
            program,
            traffic,
            expect,
        })
    }

    fn counted(&mut self) -> anyhow::Result<Counted> {
        Ok(Counted {
            states: take_map(&mut self.object, maps::SERVER_STATES)?,
            servers: self.servers,
        })
    }
}

/// The counts of flows that lb keeps for its servers.
pub(super) struct Counted {
    states: Array<MapData, [u8; size_of::<ServerState>()]>,
    servers: u32,
}

impl Counted {
    /// Refuses to measure flows that are not in the table: 99.9 % of them must be.
    ///
    /// # Errors
    ///
    /// When fewer are.
    pub(super) fn check(&self, flows: u32) -> anyhow::Result<()> {
        let mut known = 0;
        for server in 0..self.servers {
            let state = self.states.get(&server, 0)?;
            let state = ServerState::read_from_bytes(&state).expect("as many bytes");
            known += u64::from(state.active) + u64::from(state.inactive);
        }
        ensure!(
            known * 1000 >= u64::from(flows) * 999,
            "only {known} of {flows} flows are known"
        );
        Ok(())
    }
}

/// What flows are. No interface of the bench leads to a client, so replies would be left to the
/// host to route.
pub(super) struct Ways(RefCell<Array<MapData, [u8; size_of::<ColdBucket>()]>>);

impl Ways {
    /// Gives every reply the first way back to clients.
    ///
    /// # Errors
    ///
    /// When the map cannot be read or written.
    pub(super) fn give(&self) -> anyhow::Result<()> {
        for index in 0..sizes(server_flags::MASQUERADE).buckets() {
            let bytes = self.0.borrow().get(&index, 0)?;
            let mut bucket = ColdBucket::read_from_bytes(&bytes).expect("as many bytes");
            for entry in &mut bucket.entries {
                entry.back = 1;
            }
            let bytes: [u8; size_of::<ColdBucket>()] = bucket.as_bytes().try_into()?;
            if bytes.iter().any(|byte| *byte != 0) {
                self.0.borrow_mut().set(index, bytes, 0)?;
            }
        }
        Ok(())
    }
}

/// Loads an object with maps of lb's sizes, and its programs.
fn load(bin: &str, sizes: &Sizes) -> anyhow::Result<Ebpf> {
    let path = crate::build::object(bin)?;
    let (buckets, slots, displacements) = (sizes.buckets(), sizes.slots(), sizes.displacements());
    let mut loader = EbpfLoader::new();
    loader
        .override_global(globals::TICK_SHIFT, &CLOCK.shift, true)
        .override_global(globals::BUCKETS, &buckets, true)
        .override_global(globals::SERVERS, &sizes.servers, true)
        .override_global(globals::DIRECTORY_SLOTS, &slots, true)
        .override_global(globals::DIRECTORY_DISPLACEMENTS, &displacements, true);
    loader.map_max_entries(maps::SCRATCH, cpus()?);
    if bin == KERNEL {
        loader.map_max_entries(KERNEL_FLOWS, CAPACITY);
    }
    for (name, len) in lengths(sizes)? {
        if bin == LB || !FLOW_MAPS.contains(&name) {
            loader.map_max_entries(name, len);
        }
    }
    let mut object = loader
        .load_file(&path)
        .with_context(|| format!("cannot load the eBPF object {}", path.display()))?;
    super::load_programs(&mut object)?;
    let mut programs: ProgramArray<MapData> = take_map(&mut object, maps::PROGRAMS)?;
    programs.set(0, xdp(&object, "lb_rest")?.fd()?, 0)?;
    // Its places are emptied when the last program that holds it is closed with it.
    std::mem::forget(programs);
    Ok(object)
}

/// The sizes of the maps of a row: a masqueraded connection takes two entries.
fn sizes(method: u32) -> Sizes {
    let entries = if method == server_flags::MASQUERADE {
        2
    } else {
        1
    };
    Sizes {
        flows: SIZES.flows * entries,
        ..SIZES
    }
}

/// The lengths of lb's maps.
fn lengths(sizes: &Sizes) -> anyhow::Result<[(&'static str, u32); 15]> {
    let cpus = cpus()?;
    Ok([
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
        (maps::ANSWERS, cpus),
    ])
}

/// The number of CPUs that programs may run on.
pub(super) fn cpus() -> anyhow::Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("cannot read {path}"))
    })?;
    Ok(u32::try_from(cpus)?)
}

/// Services at consecutive addresses, as the feeder addresses them.
fn services(traffic: Traffic, servers: u32) -> Vec<NewService> {
    let protocol = match traffic.transport {
        Transport::Tcp(_) => protocol::TCP,
        Transport::Udp => protocol::UDP,
    };
    let address = |service| match traffic.peer {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + service)),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + u128::from(service))),
    };
    (0..traffic.services)
        .map(|service| NewService {
            key: Key::new(
                Addr::from(address(service)),
                Port::new(traffic.port),
                protocol,
            ),
            scheduler: Kind::Rr,
            servers: (0..servers)
                .map(|server| new_server(service * servers + server, traffic.peer.is_ipv4()))
                .collect(),
        })
        .collect()
}

/// The port of masqueraded servers.
const SERVER_PORT: u16 = 8080;

/// Sets the forwarding method of the first servers, and what belongs to it.
fn forward_by(memory: &mut Memory, method: u32, servers: u32) {
    let mut addresses = Vec::new();
    for server in memory.servers.iter_mut().take(servers as usize) {
        server.flags |= method;
        server.tunnel_port = 6080;
        server.port = u32::from(SERVER_PORT);
        server.source = if server.addr.is_v4() {
            Addr::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        } else {
            Addr::from(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 1)))
        };
        addresses.push(server.addr);
    }
    if method == server_flags::MASQUERADE {
        let client = MacAddr::new([0x06, 0xff, 0, 0, 0, 1]);
        memory.back_ways[0].set(client.word() | u64::from(port_index(INGRESS) + 1) << 48);
        memory.control.features |= features::MASQUERADE;
        for address in addresses {
            memory.add_hint(Hint::Masqueraded, address);
        }
    }
}

fn new_server(index: u32, v4: bool) -> NewServer {
    let [_, a, b, c] = index.to_be_bytes();
    NewServer {
        addr: Addr::from(if v4 {
            IpAddr::V4(Ipv4Addr::new(192, a, b, c))
        } else {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 3, 0, 0, index as u16, 1))
        }),
        weight: 1,
        way: Some(Way {
            destination: MacAddr::new([0x06, 0, 0, a, b, c]),
            source: MacAddr::new([DIRECTOR, 0, 0, 0, 0, 1]),
            ifindex: INGRESS,
            mtu: 1500,
        }),
    }
}

/// Writes services, servers and settings into an object's maps.
fn write(object: &mut Ebpf, memory: &Memory) -> anyhow::Result<()> {
    let states = memory
        .service_states
        .iter()
        .map(std::cell::Cell::get)
        .collect::<Vec<_>>();
    fill::<_, { size_of::<Control>() }>(object, maps::CONTROL, &[memory.control])?;
    fill::<_, 4>(object, maps::DISPLACEMENTS, &memory.displacements)?;
    fill::<_, 32>(object, maps::SLOTS, &memory.slots)?;
    fill::<_, 128>(object, maps::SERVICES, &memory.services)?;
    fill::<_, 16>(object, maps::SERVICE_STATES, &states)?;
    fill::<_, 8>(object, maps::MEMBERS, &memory.members)?;
    fill::<_, 128>(object, maps::SERVERS, &memory.servers)?;
    fill::<_, 32>(object, maps::PORTS, &memory.ports)?;
    fill::<_, 8>(object, maps::HINTS, &memory.hints)?;
    let ways: Vec<u64> = memory.back_ways.iter().map(std::cell::Cell::get).collect();
    fill::<_, 8>(object, maps::BACK_WAYS, &ways)
}

/// Writes values of `N` bytes into a map of zeroes.
fn fill<T: IntoBytes + Immutable, const N: usize>(
    object: &mut Ebpf,
    name: &str,
    values: &[T],
) -> anyhow::Result<()> {
    let mut map: Array<MapData, [u8; N]> = take_map(object, name)?;
    for (index, value) in (0..).zip(values) {
        let bytes: [u8; N] = value.as_bytes().try_into()?;
        if bytes != [0; N] {
            map.set(index, bytes, 0)?;
        }
    }
    Ok(())
}

/// The kernel's jiffies, asked of lb's own program for that.
fn jiffies(clock: &Xdp) -> anyhow::Result<u64> {
    let mut out = [0; 16];
    clock.test_run(TestRunOptions {
        data_in: Some(&[0; 16]),
        data_out: Some(&mut out),
        repeat: 1,
        ..TestRunOptions::new()
    })?;
    let (jiffies, _) = out.split_first_chunk().expect("16 bytes");
    Ok(u64::from_le_bytes(*jiffies))
}

/// What an object's maps take, in bytes, as the kernel accounts for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    /// All of them.
    pub(super) all: u64,
    /// Those that grow with the number of flows.
    pub(super) flows: u64,
    /// Those that each CPU adds.
    pub(super) cpu: u64,
}

impl Bytes {
    fn of(object: &Ebpf) -> anyhow::Result<Self> {
        let mut bytes = Self {
            all: 0,
            flows: 0,
            cpu: 0,
        };
        let cpus = u64::from(cpus()?);
        for (name, map) in object.maps() {
            // The others are of the real servers' program, which is loaded elsewhere.
            let (Map::Array(data) | Map::LruHashMap(data) | Map::RingBuf(data)) = map else {
                continue;
            };
            let accounted = accounted(data)?;
            bytes.all += accounted;
            if FLOW_MAPS.contains(&name) {
                bytes.flows += accounted;
            }
            if [maps::TRAFFIC, maps::REASONS].contains(&name) {
                bytes.cpu += accounted / cpus;
            }
        }
        Ok(bytes)
    }
}

/// Bytes that the kernel accounts to a map.
fn accounted(map: &MapData) -> anyhow::Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .with_context(|| format!("{path} says nothing of memlock"))
}
