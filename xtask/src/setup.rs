//! `cargo xtask setup`: installs what this machine lacks.
//!
//! Every verb calls [`ensure()`] for the groups it uses, so nobody has to run `setup` by hand. On a
//! complete machine that looks at a few files and starts one program. What is missing comes from
//! Debian's packages, which needs root, from `cargo install` and, where Debian has no suitable
//! compiler, from rustup. What cannot be done from here is handed to the user, see [`ByHand`].

pub(crate) mod apt;

use crate::build::{self, Places, Toolchain};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::Command as Process;
use std::{error, fmt, iter};

/// What a part of the project needs from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Compiler and linker of the eBPF object.
    Build,
    /// Network namespaces, real servers and their clients.
    Lab,
    /// Virtual machines with the kernel's own `ip_vs`.
    Vm,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::Build, Self::Lab, Self::Vm];

    /// Lists the programs of the group and Debian's packages of them.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // Not programs by name: a compiler for the target and a linker that starts.
            Self::Build => &[],
            Self::Lab => &[
                ("ip", "iproute2"),
                ("ethtool", "ethtool"),
                ("curl", "curl"),
                ("nginx", "nginx-light"),
                ("wrk", "wrk"),
                ("dnsmasq", "dnsmasq-base"),
                ("vsftpd", "vsftpd"),
                ("ldirectord", "ldirectord"),
            ],
            Self::Vm => &[
                ("qemu-system-x86_64", "qemu-system-x86"),
                ("depmod", "kmod"),
                ("ip", "iproute2"),
                ("ipvsadm", "ipvsadm"),
            ],
        }
    }
}

/// Debian's compiler that carries `core` for eBPF, and that `core`.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// The oldest compiler that builds the workspace.
const RUST: (u32, u32) = (1, 95);

/// What the linker is built with. It reads what compilers up to this LLVM emit.
const LINKER: [&str; 4] = ["g++", "llvm-22-dev", "libzstd-dev", "zlib1g-dev"];

/// Install what this machine lacks to build, run and test lb.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Only print the commands.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `cargo xtask setup`.
///
/// # Errors
///
/// As [`ensure()`].
pub fn run(command: &Command) -> Result<()> {
    if command.dry_run {
        for step in plan_here(&Group::ALL) {
            println!("{}", line(&step.process()));
        }
        return Ok(());
    }
    ensure(&Group::ALL)?;
    println!("setup: everything is installed");
    Ok(())
}

/// Sees to it that what `groups` need is installed, and says what it installs.
///
/// # Errors
///
/// Fails with [`ByHand`] when something is missing that cannot be installed from here, and when an
/// installation fails.
pub fn ensure(groups: &[Group]) -> Result<()> {
    let mut steps = plan_here(groups);
    if steps.is_empty() {
        return Ok(());
    }
    if apt::is_usable() {
        // What Debian offers decides about the compiler, and stale lists name packages that left.
        apt::update()?;
        steps = plan_here(groups);
    }
    if !steps.iter().all(Step::is_possible) {
        let commands = steps.iter().map(|step| line(&step.process())).collect();
        return Err(ByHand { commands }.into());
    }
    for step in &steps {
        step.run()?;
    }
    let left = plan_here(groups);
    ensure!(
        left.is_empty(),
        "setup: still missing after the installation: {left:?}"
    );
    Ok(())
}

/// Something is missing, and these commands install it.
#[derive(Debug)]
pub struct ByHand {
    commands: Vec<String>,
}

impl fmt::Display for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if apt::is_here() {
            "Run these, apt-get as root"
        } else {
            "There is no apt-get: install what these would"
        };
        write!(
            f,
            "programs are missing that cannot be installed from here. {how}:"
        )?;
        self.commands
            .iter()
            .try_for_each(|command| write!(f, "\n    {command}"))
    }
}

impl error::Error for ByHand {}

fn plan_here(groups: &[Group]) -> Vec<Step> {
    let mut places = Places::of_this_machine();
    // A user's PATH may lack the administrator's directories.
    places
        .programs
        .extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    plan(groups, &places, || apt::candidate(COMPILER[0]))
}

/// Lists the steps after which `groups` have what they need, in order. `offer` tells the version
/// of [`COMPILER`] that Debian has, if any; it is asked only when a compiler is missing.
fn plan(groups: &[Group], places: &Places, offer: impl Fn() -> Option<(u32, u32)>) -> Vec<Step> {
    let has = |program: &str| {
        places
            .programs
            .iter()
            .any(|path| path.join(program).is_file())
    };
    let mut packages = Vec::new();
    let mut others = Vec::new();
    for group in groups {
        let absent = group.programs().iter().filter(|(program, _)| !has(program));
        packages.extend(absent.map(|(_, package)| *package));
    }
    if groups.contains(&Group::Build) {
        for missing in Toolchain::missing_in(places) {
            if !matches!(missing, build::Error::NoCompiler { .. }) {
                packages.extend(LINKER);
                others.push(Step::Linker);
            } else if offer() >= Some(RUST) {
                packages.extend(COMPILER);
            } else {
                others.push(Step::Sources);
            }
        }
    }
    packages.sort_unstable();
    packages.dedup();
    let packages = (!packages.is_empty()).then_some(Step::Packages(packages));
    packages.into_iter().chain(others).collect()
}

/// One installation.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Debian's packages of these names.
    Packages(Vec<&'static str>),
    /// The library's sources for rustup's default compiler, to compile `core` from.
    Sources,
    /// `bpf-linker`, built on Debian's LLVM.
    Linker,
}

impl Step {
    fn is_possible(&self) -> bool {
        match self {
            Self::Packages(_) => apt::is_usable(),
            Self::Sources => starts("rustup"),
            Self::Linker => starts("cargo"),
        }
    }

    fn process(&self) -> Process {
        match self {
            Self::Packages(names) => apt::install(names),
            Self::Sources => {
                let mut rustup = Process::new("rustup");
                rustup.args(["component", "add", "rust-src"]);
                rustup
            }
            Self::Linker => {
                let mut cargo = Process::new("cargo");
                cargo
                    .env("LLVM_PREFIX", "/usr/lib/llvm-22")
                    .args(["install", "bpf-linker", "--locked", "--force"])
                    .args(["--version", build::LINKER_VERSION])
                    .args(["--no-default-features", "--features", "llvm-22"]);
                cargo
            }
        }
    }

    fn run(&self) -> Result<()> {
        // Services stay down until this is dropped, after the installation.
        let _idle = matches!(self, Self::Packages(_))
            .then(apt::Idle::new)
            .transpose()?;
        apt::run(&mut self.process())
    }
}

fn starts(program: &str) -> bool {
    Process::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Writes a command as one would type it.
fn line(process: &Process) -> String {
    let variables = process.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={}",
            name.to_string_lossy(),
            value?.to_string_lossy()
        ))
    });
    let words = iter::once(process.get_program()).chain(process.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::{env, process};

    #[test]
    fn an_empty_machine_gets_debians_packages_and_then_the_linker() {
        let steps = plan(&Group::ALL, &Places::default(), || Some((1, 96)));
        let [Step::Packages(names), Step::Linker] = &steps[..] else {
            panic!("{steps:?}");
        };
        for name in [
            "rustc-web",
            "libstd-rust-web-dev-bpf",
            "llvm-22-dev",
            "wrk",
            "ipvsadm",
        ] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        assert_eq!(names.iter().filter(|name| **name == "iproute2").count(), 1);
    }

    #[test]
    fn without_a_suitable_compiler_on_offer_rustup_brings_the_sources() {
        for offer in [None, Some((1, 85))] {
            let steps = plan(&[Group::Build], &Places::default(), || offer);
            let [Step::Packages(names), Step::Sources, Step::Linker] = &steps[..] else {
                panic!("{steps:?}");
            };
            assert!(!names.contains(&"rustc-web"), "{names:?}");
        }
    }

    #[test]
    fn only_the_groups_asked_for_are_looked_at() {
        let bin = env::temp_dir().join(format!("lb-setup-{}", process::id()));
        fs::create_dir_all(&bin).unwrap();
        for (program, _) in Group::Lab.programs() {
            symlink("/bin/true", bin.join(program)).unwrap();
        }
        let places = Places {
            programs: vec![bin.clone()],
            ..Places::default()
        };
        let steps = plan(&[Group::Lab], &places, || {
            panic!("no compiler was asked for")
        });
        let vm = plan(&[Group::Vm], &places, || None);
        fs::remove_dir_all(&bin).unwrap();
        assert_eq!(steps, []);
        assert_eq!(
            vm,
            [Step::Packages(vec!["ipvsadm", "kmod", "qemu-system-x86"])]
        );
    }

    #[test]
    fn commands_can_be_copied_from_the_message() {
        assert_eq!(
            line(&Step::Linker.process()),
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --locked --force --version \
             0.13.0 --no-default-features --features llvm-22"
        );
    }
}
