//! Debian's kernel packages, fetched and unpacked, not installed.

use super::initramfs::Archive;
use super::{cache, host_program};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A line of kernels that lb supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Series {
    /// Debian 12's kernel, and the oldest supported.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's kernel, which Debian 12 has too.
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    fn as_str(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }
}

/// An unpacked kernel in a directory of its own: `vmlinuz`, those of its modules that tests use,
/// and a static `busybox`.
#[derive(Debug)]
pub(super) struct Kernel {
    directory: PathBuf,
    release: String,
}

/// Modules that are taken along, with all they depend on. Those of `ip_vs` are not listed: every
/// scheduler and helper comes. The kernel loads most by itself when they are first used.
const MODULES: &[&str] = &[
    // The machine: bus, control port, network card; what checksums in ip_vs and sctp ask for.
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "af_packet",
    "crc32c_generic",
    "crc32c_intel",
    // Devices.
    "veth",
    "bridge",
    "dummy",
    "tun",
    "8021q",
    "macvlan",
    "bonding",
    "vxlan",
    "geneve",
    // Tunnels towards real servers.
    "ipip",
    "ip_gre",
    "ip6_gre",
    "fou",
    "fou6",
    "ip6_tunnel",
    "sit",
    // Transports, loss, marks, ip_vs NAT.
    "sctp",
    "sch_netem",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nf_conntrack",
    "nf_nat",
    "nf_conntrack_ftp",
    "nf_conntrack_sip",
    "ip_tables",
    "iptable_mangle",
    "xt_mark",
    "xt_multiport",
    "xt_tcpudp",
];

impl Kernel {
    /// Returns the newest unpacked kernel of `series`, or fetches the newest that Debian offers.
    pub(super) fn get(series: Series) -> Result<Self> {
        let cache = cache();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Two tests may want the same kernel at once.
        let lock = File::create(cache.join("lock"))?;
        lock.lock()?;
        let unpacked = fs::read_dir(&cache)?.flatten().filter_map(|entry| {
            entry
                .file_name()
                .into_string()
                .ok()
                .filter(|name| is_release_of(name, series))
        });
        let release = match unpacked.max_by_key(|release| version(release)) {
            Some(release) => release,
            None => fetch(series).with_context(|| {
                format!(
                    "there is no kernel {} below {}",
                    series.as_str(),
                    cache.display()
                )
            })?,
        };
        Ok(Self {
            directory: cache.join(&release),
            release,
        })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// Adds the modules, their index, and busybox.
    pub(super) fn add_to(&self, archive: &mut Archive) -> Result<()> {
        archive.file(
            Path::new("bin/busybox"),
            0o755,
            &fs::read(self.directory.join("busybox"))?,
        );
        let modules = Path::new("lib/modules").join(&self.release);
        for entry in fs::read_dir(self.directory.join(&modules))? {
            let entry = entry?;
            archive.file(
                &modules.join(entry.file_name()),
                0o644,
                &fs::read(entry.path())?,
            );
        }
        Ok(())
    }
}

/// Tells whether `name` is a release of the plain kernel for PCs, such as `6.1.0-56-amd64` or
/// `6.12.117+deb12-amd64`: neither the real-time nor the cloud one, which lack modules.
fn is_release_of(name: &str, series: Series) -> bool {
    let rest = name
        .strip_prefix(series.as_str())
        .and_then(|rest| rest.strip_prefix('.'));
    let number = rest.and_then(|rest| rest.strip_suffix("-amd64"));
    number.is_some_and(|number| {
        !["-rt", "-cloud", "-unsigned"]
            .iter()
            .any(|flavour| number.ends_with(flavour))
    })
}

/// Returns what releases are ordered by: their numbers.
fn version(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Fetches and unpacks the newest kernel of `series` and returns its release.
fn fetch(series: Series) -> Result<String> {
    let offered = stdout(Command::new("apt-cache").args(["pkgnames", "linux-image-"]))?;
    let release = offered
        .lines()
        .filter_map(|package| package.strip_prefix("linux-image-"))
        .filter(|release| is_release_of(release, series))
        .max_by_key(|release| version(release))
        .with_context(|| format!("apt-cache knows no linux-image-{}*-amd64", series.as_str()))?
        .to_owned();

    let partial = cache().join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    println!("vm: fetching linux-image-{release} and busybox-static");
    // As root: apt's own user may not write below a home directory.
    stdout(
        Command::new("apt-get")
            .args([
                "-qq",
                "-o",
                "APT::Sandbox::User=root",
                "download",
                "busybox-static",
            ])
            .arg(format!("linux-image-{release}"))
            .current_dir(&partial),
    )?;
    let unpacked = partial.join("unpacked");
    for package in fs::read_dir(&partial)? {
        stdout(
            Command::new("dpkg-deb")
                .arg("-x")
                .args([&package?.path(), &unpacked]),
        )?;
    }

    let ready = partial.join("ready");
    fs::create_dir(&ready)?;
    fs::rename(unpacked.join("bin/busybox"), ready.join("busybox"))?;
    fs::rename(
        unpacked.join(format!("boot/vmlinuz-{release}")),
        ready.join("vmlinuz"),
    )?;
    select_modules(&unpacked, &ready, &release)?;
    fs::rename(&ready, cache().join(&release))?;
    fs::remove_dir_all(&partial)?;
    Ok(release)
}

/// Copies [`MODULES`] and what they depend on, uncompressed, and indexes them.
fn select_modules(unpacked: &Path, ready: &Path, release: &str) -> Result<()> {
    let depmod = host_program("depmod")?;
    stdout(Command::new(&depmod).arg("-b").arg(unpacked).arg(release))?;
    let all = unpacked.join("lib/modules").join(release);
    let index = fs::read_to_string(all.join("modules.dep")).context("depmod wrote no index")?;

    let selected = ready.join("lib/modules").join(release);
    fs::create_dir_all(&selected)?;
    for path in with_dependencies(&index) {
        let bytes = read_module(&all.join(path), &ready.join("busybox"))?;
        fs::write(selected.join(format!("{}.ko", stem(path))), bytes)?;
    }
    for list in [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ] {
        fs::copy(all.join(list), selected.join(list))?;
    }
    stdout(Command::new(&depmod).arg("-b").arg(ready).arg(release))?;
    Ok(())
}

/// Returns the paths of the wanted modules and of those they depend on, from `modules.dep`, whose
/// lines read `path: path path...` with all dependencies, direct or not.
fn with_dependencies(index: &str) -> BTreeSet<&str> {
    let lines: BTreeMap<&str, &str> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    lines
        .iter()
        .filter(|(path, _)| {
            let name = stem(path).replace('-', "_");
            name == "ip_vs" || name.starts_with("ip_vs_") || MODULES.contains(&name.as_str())
        })
        .flat_map(|(path, needs)| std::iter::once(*path).chain(needs.split_whitespace()))
        .collect()
}

/// Returns a module's name, without directory, `.ko` and the suffix of its compression.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

fn read_module(path: &Path, busybox: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        Some("xz") => {
            let output = Command::new(busybox).arg("xzcat").arg(path).output()?;
            ensure!(
                output.status.success(),
                "cannot decompress {}",
                path.display()
            );
            Ok(output.stdout)
        }
        _ => bail!("{} is compressed in an unknown way", path.display()),
    }
}

/// Runs `command` and returns its output.
fn stdout(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_kernel_is_taken() {
        let offered = [
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.1.0-60-rt-amd64",
            "6.1.0-60-cloud-amd64",
            "6.1.0-60-amd64-dbg",
            "6.12.117+deb12-amd64",
            "6.10.3-amd64",
            "amd64",
        ];
        let newest = |series| {
            let of_series = offered.iter().filter(|name| is_release_of(name, series));
            of_series.max_by_key(|name| version(name)).copied()
        };
        assert_eq!(newest(Series::V6_1), Some("6.1.0-56-amd64"));
        assert_eq!(newest(Series::V6_12), Some("6.12.117+deb12-amd64"));
    }

    #[test]
    fn modules_come_with_what_they_depend_on() {
        let index = "kernel/net/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz\n\
                     kernel/net/ip_vs_rr.ko.xz: kernel/net/ip_vs.ko.xz kernel/lib/libcrc32c.ko.xz\n\
                     kernel/lib/libcrc32c.ko.xz:\n\
                     kernel/x/crc32c-intel.ko.xz:\n\
                     kernel/drivers/usb.ko.xz: kernel/drivers/usb-core.ko.xz\n";
        let names: Vec<_> = with_dependencies(index).into_iter().map(stem).collect();
        assert_eq!(names, ["libcrc32c", "ip_vs", "ip_vs_rr", "crc32c-intel"]);
    }
}
