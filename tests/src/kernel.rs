//! The object in the kernel, run a frame at a time by BPF_PROG_TEST_RUN.
//!
//! Nothing is attached or pinned: the maps live as long as the value. Where a redirect leads is
//! not to be seen this way, only that there is one.

use crate::arrays::arrays;
use crate::mapped::Mapped;
use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, ProgramArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::layout::{globals, maps};
use lb_common::memory::Memory;
use lb_common::time::Tick;
use std::sync::LazyLock;
use std::{fs, iter};
use zerocopy::FromBytes;

/// A shift of jiffies so wide that the clock stands still: the next tick is years ahead.
/// Tests let time pass by moving deadlines.
pub const STANDSTILL: u32 = 40;

/// The shortest frame that the kernel runs a program over.
pub const SHORTEST: usize = 14;

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct Kernel {
    object: Ebpf,
    /// Kept, because its places are emptied with the last reference from outside the kernel.
    _programs: Map,
    /// In the order of [`arrays`].
    maps: Vec<(Shape, Mapped)>,
    tick_shift: u32,
    output: Vec<u8>,
}

/// What a map holds.
#[derive(Debug)]
struct Shape {
    name: &'static str,
    /// Bytes of the array, or of each CPU's part.
    bytes: usize,
    per_cpu: bool,
}

impl Kernel {
    /// Loads the object with maps of `memory`'s sizes, and copies its arrays into them.
    ///
    /// # Errors
    ///
    /// When the object cannot be built or loaded; loading takes root.
    pub fn load(memory: &Memory, tick_shift: u32) -> Result<Self> {
        static OBJECT: LazyLock<Result<Vec<u8>, String>> = LazyLock::new(|| {
            let path = xtask::build::object("lb").map_err(|error| error.to_string())?;
            fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))
        });
        let bytes = match &*OBJECT {
            Ok(bytes) => bytes,
            Err(error) => bail!("{error}"),
        };

        let sizes = memory.sizes;
        let (buckets, slots) = (sizes.buckets(), sizes.slots());
        let displacements = sizes.displacements();
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| {
            anyhow::Error::new(error).context(format!("reading the number of CPUs from {path}"))
        })?;
        let arrays = arrays(memory);
        let mut loader = EbpfLoader::new();
        loader
            .override_global(globals::TICK_SHIFT, &tick_shift, true)
            .override_global(globals::BUCKETS, &buckets, true)
            .override_global(globals::SERVERS, &sizes.servers, true)
            .override_global(globals::DIRECTORY_SLOTS, &slots, true)
            .override_global(globals::DIRECTORY_DISPLACEMENTS, &displacements, true);
        loader.map_max_entries(maps::SCRATCH, u32::try_from(cpus)?);
        for array in &arrays {
            let len = array.len() * if array.per_cpu { cpus } else { 1 };
            loader.map_max_entries(array.name, u32::try_from(len)?);
        }
        let mut object = loader
            .load(bytes)
            .context("loading the object: are you root?")?;
        for name in ["lb", "lb_rest", "clock"] {
            let program: &mut Xdp = object
                .program_mut(name)
                .with_context(|| format!("the object has no program {name}"))?
                .try_into()?;
            program
                .load()
                .with_context(|| format!("loading the program {name}"))?;
        }
        let mut programs = object
            .take_map(maps::PROGRAMS)
            .context("the object has no map of programs")?;
        let rest: &Xdp = object
            .program("lb_rest")
            .context("the object has no program lb_rest")?
            .try_into()?;
        ProgramArray::try_from(&mut programs)?.set(0, rest.fd()?, 0)?;
        let maps: Result<Vec<_>> = arrays
            .iter()
            .map(|array| {
                let map = object
                    .take_map(array.name)
                    .with_context(|| format!("the object has no map {}", array.name))?;
                let Map::Array(map) = map else {
                    bail!("map {} is no array", array.name)
                };
                let shape = Shape {
                    name: array.name,
                    bytes: array.bytes.len(),
                    per_cpu: array.per_cpu,
                };
                let map = Mapped::new(map, array.value);
                Ok((shape, map.with_context(|| format!("map {}", array.name))?))
            })
            .collect();
        let mut kernel = Self {
            object,
            _programs: programs,
            maps: maps?,
            tick_shift,
            output: vec![0; 1 << 16],
        };
        kernel.write(memory);
        Ok(kernel)
    }

    /// Copies every array into its map. What is counted on each CPU is all the first one's then.
    pub fn write(&mut self, memory: &Memory) {
        for (array, (_, map)) in iter::zip(arrays(memory), &mut self.maps) {
            map.write(&array.bytes);
        }
    }

    /// Says where the maps differ from `memory`'s arrays. What is counted on each CPU is summed.
    #[must_use]
    pub fn differences(&self, memory: &Memory) -> Vec<String> {
        iter::zip(arrays(memory), &self.maps)
            .filter_map(|(array, (shape, map))| array.difference(&content(shape, map)))
            .collect()
    }

    /// The values of the map with this name, one behind the other, and summed over CPUs where
    /// each has a part.
    ///
    /// # Panics
    ///
    /// When there is no such map.
    #[must_use]
    pub fn values<T: FromBytes + Copy>(&self, name: &str) -> Vec<T> {
        let (shape, map) = self
            .maps
            .iter()
            .find(|(shape, _)| shape.name == name)
            .expect("the layout has the map");
        content(shape, map)
            .chunks_exact(size_of::<T>())
            .map(|bytes| T::read_from_bytes(bytes).expect("a whole value"))
            .collect()
    }

    /// The present on the program's clock.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run the program.
    pub fn now(&mut self) -> Result<Tick> {
        let (_, frame) = self.test_run("clock", &[0; 64], None)?;
        let jiffies = frame.first_chunk().context("the clock gave no time")?;
        let jiffies = u64::from_le_bytes(*jiffies);
        Ok(Tick::new((jiffies >> self.tick_shift) as u32))
    }

    /// Runs a frame through the director, as if it came in by the loopback interface. Returns
    /// the XDP action and the frame as the program left it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to: a frame has at least [`SHORTEST`] bytes, and fits a page with
    /// room for its head.
    pub fn run(&mut self, frame: &[u8]) -> Result<(u32, &[u8])> {
        self.test_run("lb", frame, None)
    }

    /// The same with these bytes as the frame's metadata, as the agent sends frames again.
    ///
    /// # Errors
    ///
    /// As [`Kernel::run`].
    pub fn run_again(&mut self, frame: &[u8], token: u64) -> Result<(u32, &[u8])> {
        self.test_run("lb", frame, Some(token))
    }

    fn test_run(&mut self, name: &str, frame: &[u8], token: Option<u64>) -> Result<(u32, &[u8])> {
        let program = self
            .object
            .program(name)
            .with_context(|| format!("the object has no program {name}"))?;
        let meta = token.map_or(Vec::new(), |token| token.to_le_bytes().to_vec());
        let input = [&meta, frame].concat();
        // linux/bpf.h, `struct xdp_md`: data, data_end, data_meta, and the interface.
        let mut context = [0; 24];
        context[..4].copy_from_slice(&(meta.len() as u32).to_le_bytes());
        context[4..8].copy_from_slice(&(input.len() as u32).to_le_bytes());
        let result = <&Xdp>::try_from(program)?
            .test_run(TestRunOptions {
                data_in: Some(&input),
                ctx_in: token.is_some().then_some(&context[..]),
                data_out: Some(&mut self.output),
                repeat: 1,
                ..TestRunOptions::new()
            })
            .with_context(|| format!("running {name} over {} bytes", frame.len()))?;
        let len = result.data_size_out as usize;
        Ok((result.return_value, &self.output[meta.len()..len]))
    }
}

/// A map's values as its array has them.
fn content(shape: &Shape, map: &Mapped) -> Vec<u8> {
    let bytes = map.read();
    if !shape.per_cpu {
        return bytes;
    }
    // These are made of 64-bit counters alone.
    let counter = |part: &[u8], at: usize| {
        let word = part[at..].first_chunk().expect("a whole counter");
        u64::from_le_bytes(*word)
    };
    let parts = || bytes.chunks(shape.bytes);
    let sums = (0..shape.bytes).step_by(8);
    sums.flat_map(|at| {
        parts()
            .map(|part| counter(part, at))
            .sum::<u64>()
            .to_le_bytes()
    })
    .collect()
}
