//! Decapsulation, twice: `decapsulate` over ordinary memory, and the object in the kernel.

use crate::packet::DIRECTOR_MAC;
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::addr::{Addr, Port};
use lb_common::decap::{
    self, Action, EVENTS, Host, Refusal, SETTINGS, Settings, Tunnel, Tunnels, decapsulate,
    event_index, maps,
};
use lb_common::wire::{Buffer, MacAddr};
use nix::sched::{CloneFlags, unshare};
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::LazyLock;
use std::{fs, thread};

/// The UDP port of GUE in the tests.
pub const GUE_PORT: u16 = 6080;

/// Every tunnel, on an interface with the Ethernet address of [`DIRECTOR_MAC`].
#[must_use]
pub fn settings() -> Settings {
    Settings {
        tunnels: Tunnel::ALL
            .into_iter()
            .fold(Tunnels::default(), Tunnels::with),
        gue_port: Port::new(GUE_PORT),
        mac: MacAddr::new(DIRECTOR_MAC),
    }
}

/// Destinations that the namespace of [`in_namespace`] forwards, by their first octets.
const FORWARDED: [&str; 2] = ["198.51.100.", "2001:db8:f:"];

/// Runs a test on a thread in a network namespace of its own, which has the addresses 10.0.0.11
/// and fd00::11. When it is to forward, it has routes to 198.51.100.0/24 and 2001:db8:f::/48.
///
/// # Panics
///
/// When the test does, and when the namespace cannot be made, which takes root.
pub fn in_namespace(forwards: bool, test: impl FnOnce() + Send) {
    let enter = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: are you root?")?;
        for line in [
            "link set lo up",
            "address add 10.0.0.11/32 dev lo",
            "address add fd00::11/128 dev lo nodad",
            "route add 198.51.100.0/24 dev lo",
            "route add 2001:db8:f::/48 dev lo",
        ] {
            let output = Command::new("ip").args(line.split(' ')).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip {line}: {said}");
        }
        for key in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
            let value = if forwards { "1" } else { "0" };
            fs::write(format!("/proc/sys/net/{key}"), value).context(key)?;
        }
        Ok(())
    };
    let run = || {
        enter().unwrap_or_else(|error| panic!("{error:#}"));
        test();
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic));
}

/// A host in memory.
#[derive(Debug)]
struct Memory {
    settings: Settings,
    virtual_addresses: Vec<Addr>,
    forwards: bool,
}

impl Host for Memory {
    fn settings(&self) -> Settings {
        self.settings
    }

    fn is_virtual(&self, address: &Addr) -> bool {
        self.virtual_addresses.contains(address)
    }

    fn is_own(&self, _source: &Addr, destination: &Addr) -> bool {
        let destination = IpAddr::from(*destination).to_string();
        !self.forwards || !FORWARDED.iter().any(|net| destination.starts_with(net))
    }
}

/// Both, with equal settings.
pub struct Twin {
    memory: Memory,
    object: Ebpf,
    events: PerCpuArray<MapData, u64>,
    output: Vec<u8>,
}

/// What became of a frame, in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What `decapsulate` said.
    pub result: std::result::Result<Tunnel, Refusal>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl std::fmt::Debug for Twin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Twin")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl Twin {
    /// Both, in a namespace that forwards or does not, see [`in_namespace`].
    ///
    /// # Panics
    ///
    /// When the object cannot be built or loaded; loading takes root.
    #[must_use]
    pub fn new(settings: Settings, virtual_addresses: &[IpAddr], forwards: bool) -> Self {
        let memory = Memory {
            settings,
            virtual_addresses: virtual_addresses.iter().map(|a| Addr::from(*a)).collect(),
            forwards,
        };
        Self::load(memory).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn load(memory: Memory) -> Result<Self> {
        static OBJECT: LazyLock<std::result::Result<Vec<u8>, String>> = LazyLock::new(|| {
            let path = xtask::build::object("lb").map_err(|error| error.to_string())?;
            fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))
        });
        let bytes = match &*OBJECT {
            Ok(bytes) => bytes,
            Err(error) => bail!("{error}"),
        };
        let settings = memory.settings.encode();
        let mut object = EbpfLoader::new()
            .override_global(SETTINGS, &settings, true)
            .map_max_entries(maps::VIRTUAL, decap::MAX_VIRTUAL)
            .load(bytes)
            .context("loading the object: are you root?")?;
        program(&mut object)?
            .load()
            .context("loading the program")?;
        let map = object.take_map(maps::VIRTUAL).context(maps::VIRTUAL)?;
        let mut virtual_addresses: HashMap<_, [u8; 16], u32> = map.try_into()?;
        for address in &memory.virtual_addresses {
            let key: [u8; 16] = zerocopy::transmute!(*address);
            virtual_addresses.insert(key, 0_u32, 0)?;
        }
        let events = object.take_map(maps::EVENTS).context(maps::EVENTS)?;
        Ok(Self {
            memory,
            object,
            events: events.try_into()?,
            output: vec![0; 1 << 16],
        })
    }

    /// Runs a frame through both.
    ///
    /// # Panics
    ///
    /// When they differ in what becomes of the frame, in its bytes, or in what is counted.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        let mut buffer = Buffer::new(frame);
        let result = decapsulate(&mut buffer, &self.memory);
        let after = buffer.frame().to_vec();
        if let Err(refusal) = result {
            assert_eq!(after, frame, "the frame changed although {refusal:?}");
        }
        let before = self.events();
        let (action, len) = self.test_run(frame).unwrap_or_else(|e| panic!("{e:#}"));
        // include/uapi/linux/bpf.h: `enum xdp_action`.
        let wanted = match result.map_err(Refusal::action) {
            Ok(_) | Err(Action::Pass) => 2,
            Err(Action::Drop) => 1,
        };
        assert_eq!(action, wanted, "the kernel's action for {result:?}");
        assert_eq!(
            &self.output[..len],
            after,
            "the kernel's frame for {result:?}"
        );
        let counted: Vec<u32> = (0..)
            .zip(self.events().iter().zip(&before))
            .filter(|(_, (now, before))| now != before)
            .map(|(index, _)| index)
            .collect();
        assert_eq!(counted, [event_index(result)], "counted for {result:?}");
        Outcome {
            result,
            frame: after,
        }
    }

    fn test_run(&mut self, frame: &[u8]) -> Result<(u32, usize)> {
        let result = program(&mut self.object)?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut self.output),
                repeat: 1,
                ..TestRunOptions::new()
            })
            .with_context(|| format!("running the program over {} bytes", frame.len()))?;
        Ok((result.return_value, result.data_size_out as usize))
    }

    fn events(&self) -> Vec<u64> {
        (0..EVENTS)
            .map(|index| {
                let values = self.events.get(&index, 0).expect("an event's counter");
                values.iter().sum()
            })
            .collect()
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp> {
    let program = object.program_mut("real_server");
    Ok(program.context("the object has no program")?.try_into()?)
}
