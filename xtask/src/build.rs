//! Builds the eBPF objects, and knows which compilers and linkers can.
//!
//! Only `std` is used here: `lb-agent/build.rs` includes this file, so the object embedded in the
//! agent and the ones that tests and benches load are built in one way.
//!
//! Two kinds of compiler will do:
//!
//! - one that carries a compiled `core` for the target, as Debian's `rustc-web` with
//!   `libstd-rust-web-dev-bpf` does;
//! - one that carries the library's sources (rustup's `rust-src`), from which cargo's `build-std`
//!   compiles `core`.
//!
//! Neither target nor inline assembly for it is stable, hence `RUSTC_BOOTSTRAP`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error, fmt, fs, io};

/// The target of every object: the kernel runs little-endian eBPF on all hosts lb supports.
pub const TARGET: &str = "bpfel-unknown-none";

/// The linker `cargo xtask setup` installs.
pub const LINKER_VERSION: &str = "0.13.0";

/// Returns the path of the eBPF object `bin`, a binary of `lb-ebpf`, built in release.
///
/// The object lies under the workspace's `target/ebpf`; an up-to-date one costs a fraction of a
/// second.
///
/// # Errors
///
/// As [`object_in`].
pub fn object(bin: &str) -> Result<PathBuf, Error> {
    object_in(bin, &workspace().join("target/ebpf"))
}

/// Returns the path of the eBPF object `bin`, built in release below the directory `target`.
///
/// A caller that runs under cargo names a directory which that cargo does not hold locked.
///
/// # Errors
///
/// Fails when no [`Toolchain`] is found and when `bin` does not compile.
pub fn object_in(bin: &str, target: &Path) -> Result<PathBuf, Error> {
    let toolchain = Toolchain::find()?;
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(workspace())
        .args(["build", "--package", "lb-ebpf", "--bin", bin])
        .args(["--release", "--target", TARGET, "--target-dir"])
        .arg(target);
    let output = cargo.output().map_err(|source| Error::Start {
        program: toolchain.cargo.clone(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::Build {
            bin: bin.to_owned(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(target.join(TARGET).join("release").join(bin))
}

/// Returns the root of the workspace.
pub fn workspace() -> &'static Path {
    // Of xtask or of lb-agent, whichever includes this file: both lie directly below the root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a member's directory has a parent")
}

/// A compiler and a linker that yield eBPF objects.
#[derive(Debug, PartialEq, Eq)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    /// `core` comes as source and is compiled with the object.
    build_std: bool,
}

impl Toolchain {
    /// Finds the first usable compiler and the linker on this machine.
    ///
    /// # Errors
    ///
    /// Fails when either is missing and when the linker does not start.
    pub fn find() -> Result<Self, Error> {
        Self::find_in(&Places::of_this_machine())
    }

    /// Finds the first usable compiler and the linker among `places`.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn find_in(places: &Places) -> Result<Self, Error> {
        let (sysroot, build_std) = find_sysroot(places)?;
        // build-std wants the cargo that came with the sources; else the running one will do.
        let own = sysroot.join("bin/cargo");
        let cargo = if build_std && own.is_file() {
            own
        } else {
            env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
        };
        Ok(Self {
            cargo,
            rustc: sysroot.join("bin/rustc"),
            linker: find_linker(places)?,
            build_std,
        })
    }

    /// Lists what keeps [`Self::find_in`] from succeeding: nothing, a compiler, a linker or both.
    pub fn missing_in(places: &Places) -> Vec<Error> {
        [find_sysroot(places).err(), find_linker(places).err()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Returns cargo, set up to build for [`TARGET`] and shielded from the environment that a
    /// cargo around it made.
    fn cargo(&self) -> Command {
        let flags = [
            // From v3 on there are 32-bit operations; without them each costs two shifts.
            "-Ctarget-cpu=v3".to_owned(),
            // Packet fields are seldom aligned; without this each is read byte by byte. JITs of 64-bit
            // machines load them as they lie, and the verifier knows which machines do not.
            "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
            // Line numbers for the verifier's log.
            "-Cdebuginfo=2".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
        ];
        let mut cargo = Command::new(&self.cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| is_cargos_own(name)) {
            cargo.env_remove(name);
        }
        cargo
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
        if self.build_std {
            cargo.arg("-Zbuild-std=core");
        }
        cargo
    }
}

/// Where compilers and programs are looked for, most preferred first.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Directories that hold `bin/rustc` and `lib/rustlib`.
    pub sysroots: Vec<PathBuf>,
    /// Directories of programs.
    pub programs: Vec<PathBuf>,
}

impl Places {
    /// Lists this machine's: the distribution's compiler, then rustup's, the active one first.
    pub fn of_this_machine() -> Self {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let home_or = |name, default: &str| {
            env::var_os(name).map_or_else(|| home.join(default), PathBuf::from)
        };
        let rustup = home_or("RUSTUP_HOME", ".rustup").join("toolchains");

        let mut sysroots = vec![PathBuf::from("/usr"), PathBuf::from("/usr/local")];
        sysroots.extend(env::var_os("RUSTUP_TOOLCHAIN").map(|name| rustup.join(name)));
        let mut others: Vec<PathBuf> = fs::read_dir(&rustup)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| !sysroots.contains(path))
            .collect();
        others.sort();
        sysroots.extend(others);

        let mut programs: Vec<PathBuf> = env::var_os("PATH")
            .iter()
            .flat_map(env::split_paths)
            .collect();
        programs.push(home_or("CARGO_HOME", ".cargo").join("bin"));
        Self { sysroots, programs }
    }
}

/// Why there is no object.
#[derive(Debug)]
pub enum Error {
    /// No compiler carries `core` for the target, compiled or as source.
    NoCompiler {
        /// The directories looked at.
        tried: Vec<PathBuf>,
    },
    /// There is no `bpf-linker`.
    NoLinker,
    /// There is a `bpf-linker` that fails at once, mostly for want of its LLVM library.
    BrokenLinker {
        /// The linker found.
        linker: PathBuf,
        /// What it said.
        output: String,
    },
    /// A program could not be started.
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `lb-ebpf` does not compile.
    Build {
        /// The binary asked for.
        bin: String,
        /// What cargo said.
        output: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCompiler { tried } => {
                let tried: Vec<_> = tried
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "no Rust compiler can build the eBPF object: none below {} has a compiled core \
                     for {TARGET} or the library's sources. Run `cargo xtask setup`, or by hand \
                     `apt-get install rustc-web libstd-rust-web-dev-bpf` (Debian) or `rustup \
                     component add rust-src` (elsewhere)",
                    tried.join(", ")
                )
            }
            Self::NoLinker => write!(
                f,
                "bpf-linker, which links the eBPF object, is not installed. Run `cargo xtask \
                 setup`, or by hand `cargo install bpf-linker --version {LINKER_VERSION}`, which \
                 needs LLVM's development files"
            ),
            Self::BrokenLinker { linker, output } => write!(
                f,
                "{} does not start ({output}). Run `cargo xtask setup`, or reinstall it with \
                 `cargo install --force bpf-linker --version {LINKER_VERSION}`",
                linker.display()
            ),
            Self::Start { program, .. } => write!(f, "{} cannot be started", program.display()),
            Self::Build { bin, output } => {
                write!(f, "the eBPF object {bin} does not compile:\n{output}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            Self::NoCompiler { .. }
            | Self::NoLinker
            | Self::BrokenLinker { .. }
            | Self::Build { .. } => None,
        }
    }
}

/// Returns the compiler's sysroot, and whether `core` has to be compiled from source.
fn find_sysroot(places: &Places) -> Result<(&Path, bool), Error> {
    let first = |usable: fn(&Path) -> bool| {
        places
            .sysroots
            .iter()
            .map(PathBuf::as_path)
            .find(|path| usable(path))
    };
    first(has_compiled_core)
        .map(|sysroot| (sysroot, false))
        .or_else(|| first(has_core_source).map(|sysroot| (sysroot, true)))
        .ok_or_else(|| Error::NoCompiler {
            tried: places.sysroots.clone(),
        })
}

/// Returns the first `bpf-linker`, having seen it start.
fn find_linker(places: &Places) -> Result<PathBuf, Error> {
    let linker = places
        .programs
        .iter()
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
        .ok_or(Error::NoLinker)?;
    let output = Command::new(&linker)
        .arg("--version")
        .output()
        .map_err(|source| Error::Start {
            program: linker.clone(),
            source,
        })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::BrokenLinker { linker, output });
    }
    Ok(linker)
}

fn has_compiled_core(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(libraries)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
}

fn has_core_source(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .is_file()
}

/// Tells the variables by which one cargo would bend another's build from those of the user's
/// that say where crates come from.
fn is_cargos_own(name: &OsString) -> bool {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    let name = name.to_string_lossy();
    let compiler = name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS");
    let cargo = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
    compiler || cargo || name == "RUSTUP_TOOLCHAIN"
}

// By path, because lb-agent's build script includes this file from elsewhere.
#[cfg(test)]
#[path = "build/tests.rs"]
mod tests;
