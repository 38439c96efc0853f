//! The program on interfaces.

use super::load::DIRECTOR;
use super::pin::{PinDir, PinnedPort};
use crate::cli::Conflict;
use crate::config::XdpMode;
use crate::net::{self, interface_address};
use anyhow::{Context as _, bail};
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya_obj::programs::XdpAttachType;
use lb_common::api::{AttachMode, Family};
use nix::errno::Errno;
use std::net::IpAddr;

/// An interface and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name.
    pub(crate) name: String,
    /// Its index.
    pub(crate) ifindex: u32,
    /// Its Ethernet address.
    pub(crate) mac: [u8; 6],
    /// The longest packet that it sends, in bytes from the network header on; none when unknown.
    pub(crate) mtu: Option<u32>,
    /// The IPv4 address by which others know it.
    pub(crate) v4: Option<IpAddr>,
    /// The IPv6 address by which others know it.
    pub(crate) v6: Option<IpAddr>,
}

impl Port {
    /// Looks an interface up.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or it is no Ethernet interface.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        let Ok(ifindex) = nix::net::if_::if_nametoindex(name) else {
            bail!("no interface {name} here; `ip link` lists what there is");
        };
        Self::look(name, ifindex)
    }

    /// Looks an interface up that was known once, by its index: it may have another name by now.
    /// None when it is gone.
    ///
    /// # Errors
    ///
    /// When it is not found by its name, as while it gets another one.
    pub(crate) fn find_again(ifindex: u32) -> anyhow::Result<Option<Self>> {
        match name_of(ifindex) {
            Some(name) => Self::look(&name, ifindex).map(Some),
            None => Ok(None),
        }
    }

    fn look(name: &str, ifindex: u32) -> anyhow::Result<Self> {
        let Some(mac) = link_address(name) else {
            bail!("interface {name} has no Ethernet address; lb needs Ethernet");
        };
        Ok(Self {
            name: name.to_owned(),
            ifindex,
            mac,
            mtu: net::mtu(name),
            v4: interface_address(name, Family::Ipv4),
            v6: interface_address(name, Family::Ipv6),
        })
    }
}

/// The name of the interface of an index; none when there is none.
pub(super) fn name_of(ifindex: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(ifindex).ok()?;
    let name = name.into_string().ok()?;
    // What nix 0.31 makes of the C library's null pointer.
    (!name.is_empty()).then_some(name)
}

/// An interface's Ethernet address, through getifaddrs(3): /sys may be of another network
/// namespace.
fn link_address(name: &str) -> Option<[u8; 6]> {
    let addresses = nix::ifaddrs::getifaddrs().ok()?;
    addresses
        .filter(|ifaddr| ifaddr.interface_name == name)
        .find_map(|ifaddr| ifaddr.address?.as_link_addr()?.addr())
}

/// A program on an interface.
#[derive(Debug)]
pub(crate) struct Attached {
    /// How it is attached.
    pub(crate) mode: AttachMode,
    /// What of lb's the interface carried before.
    before: Option<Before>,
}

/// A program that was on an interface.
#[derive(Debug)]
struct Before {
    mode: AttachMode,
    /// None when the kernel does not tell.
    program: Option<Xdp>,
}

impl Before {
    /// What is on the interface of a pinned link.
    fn find(pinned: PinnedPort) -> Self {
        let id = crate::net::program_id(pinned.ifindex);
        let info = id.and_then(|id| {
            let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
            programs.find(|program| program.id() == id)
        });
        let program = info.and_then(|info| {
            let name = info.name_as_str().unwrap_or_default().to_owned();
            Xdp::from_program_info(info, name.into(), XdpAttachType::Interface).ok()
        });
        Self {
            mode: pinned.mode,
            program,
        }
    }

    /// Puts it back in the place of what is attached in the mode `now`, if anything is.
    fn put_back(self, port: &Port, now: Option<AttachMode>, pins: &PinDir) -> anyhow::Result<()> {
        let pin = |mode| PinnedPort {
            ifindex: port.ifindex,
            mode,
        };
        let mut program = self.program.with_context(|| {
            format!("the program that was on {} before is not found", port.name)
        })?;
        if now == Some(self.mode) && adopt(&mut program, port, pin(self.mode), pins)? {
            return Ok(());
        }
        if let Some(now) = now {
            pins.remove_link(pin(now))?;
        }
        attach_anew(&mut program, port, self.mode, pins)
            .map_err(|error| explain(error, port, self.mode))
    }
}

impl Attached {
    /// Makes the interface carry what it did before.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub(crate) fn undo(self, port: &Port, pins: &PinDir) -> anyhow::Result<()> {
        match self.before {
            Some(before) => before.put_back(port, Some(self.mode), pins),
            None => pins.remove_link(PinnedPort {
                ifindex: port.ifindex,
                mode: self.mode,
            }),
        }
    }
}

/// Puts the program on an interface, or in the place of the program that an earlier agent put
/// there, without a packet in between seeing none. Only a change of mode leaves a gap.
///
/// # Errors
///
/// When the interface cannot carry it; the message says why and what to do. What was on the
/// interface still is.
pub(crate) fn attach(
    program: &mut Xdp,
    port: &Port,
    want: XdpMode,
    pins: &PinDir,
) -> anyhow::Result<Attached> {
    let modes: &[AttachMode] = match want {
        XdpMode::Native => &[AttachMode::Native],
        XdpMode::Generic => &[AttachMode::Generic],
        XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
    };
    let mut before = None;
    for pinned in pins
        .links()?
        .into_iter()
        .filter(|pinned| pinned.ifindex == port.ifindex)
    {
        let found = Before::find(pinned);
        if modes.contains(&pinned.mode) {
            if adopt(program, port, pinned, pins)? {
                return Ok(Attached {
                    mode: pinned.mode,
                    before: Some(found),
                });
            }
        } else {
            before = Some(found);
        }
        pins.remove_link(pinned)?;
    }
    match attach_first(program, port, modes, pins) {
        Ok(mode) => Ok(Attached { mode, before }),
        Err(error) => {
            if let Some(before) = before
                && let Err(worse) = before.put_back(port, None, pins)
            {
                tracing::error!("{worse:#}");
            }
            Err(error)
        }
    }
}

/// Attaches in the first of the modes that the interface's driver has.
fn attach_first(
    program: &mut Xdp,
    port: &Port,
    modes: &[AttachMode],
    pins: &PinDir,
) -> anyhow::Result<AttachMode> {
    let mut refusal = None;
    for (left, mode) in (0..modes.len()).rev().zip(modes) {
        let Err(error) = attach_anew(program, port, *mode, pins) else {
            return Ok(*mode);
        };
        let unsupported = errno(&error) == Some(Errno::EOPNOTSUPP);
        let error = explain(error, port, *mode);
        if !unsupported || left == 0 {
            return Err(error);
        }
        tracing::warn!("{error:#}");
        refusal = Some(error);
    }
    Err(refusal.unwrap_or_else(|| anyhow::anyhow!("interface {}: no mode to try", port.name)))
}

/// Puts the program in the place of the one that a pinned link holds; false when the link's
/// interface is gone.
fn adopt(
    program: &mut Xdp,
    port: &Port,
    pinned: PinnedPort,
    pins: &PinDir,
) -> anyhow::Result<bool> {
    let path = pins.link(pinned);
    let place = || {
        format!(
            "replacing the program on {} through {}",
            port.name,
            path.display()
        )
    };
    let link: FdLink = PinnedLink::from_pin(&path).with_context(place)?.into();
    let link = XdpLink::try_from(link).with_context(place)?;
    match program.attach_to_link(link).map_err(anyhow::Error::from) {
        Ok(_) => Ok(true),
        // net/core/dev.c: bpf_xdp_link_update
        Err(error) if errno(&error) == Some(Errno::ENOLINK) => Ok(false),
        Err(error) => Err(error).with_context(place),
    }
}

fn attach_anew(
    program: &mut Xdp,
    port: &Port,
    mode: AttachMode,
    pins: &PinDir,
) -> anyhow::Result<()> {
    let flags = match mode {
        AttachMode::Native => aya::programs::xdp::XdpMode::Driver,
        AttachMode::Generic => aya::programs::xdp::XdpMode::Skb,
    };
    let id = program.attach_to_if_index(port.ifindex, flags)?;
    let link = FdLink::try_from(program.take_link(id)?)
        .context("this kernel has no BPF links for XDP; lb needs Linux 6.1")?;
    let path = pins.link(PinnedPort {
        ifindex: port.ifindex,
        mode,
    });
    // Its own words, without the errno that `explain` would read as the interface's.
    link.pin(&path)
        .map_err(|error| anyhow::anyhow!("pinning {}: {error}", path.display()))?;
    Ok(())
}

/// The error with the cure.
fn explain(error: anyhow::Error, port: &Port, mode: AttachMode) -> anyhow::Error {
    let name = &port.name;
    match (errno(&error), mode) {
        (Some(Errno::EBUSY | Errno::EEXIST), _) => anyhow::Error::from(Conflict(format!(
            "interface {name} already carries another XDP program{}: take it off with `ip link \
             set dev {name} xdp off` (one on a BPF link goes with whoever made it), or choose \
             another --interface",
            other_program(port.ifindex)
        ))),
        (Some(Errno::EOPNOTSUPP), AttachMode::Native) => error.context(format!(
            "interface {name}: its driver has no native XDP; `--xdp-mode generic` works with \
             every driver, but only after the kernel has allocated each packet"
        )),
        (Some(Errno::EINVAL | Errno::ERANGE), AttachMode::Native) => error.context(format!(
            "interface {name}: the driver refuses the program; an MTU above about 3,500 bytes or \
             LRO is the usual cause: `ip link set dev {name} mtu 1500`, `ethtool -K {name} lro off`"
        )),
        (Some(Errno::EPERM | Errno::EACCES), _) => error.context(format!(
            "interface {name}: attaching needs CAP_NET_ADMIN and CAP_BPF; run as root"
        )),
        _ => error.context(format!("interface {name}: attaching the XDP program")),
    }
}

/// The program on an interface, as far as it can be told, in brackets.
fn other_program(ifindex: u32) -> String {
    let Some(id) = crate::net::program_id(ifindex) else {
        return String::new();
    };
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .filter(|name| !name.is_empty());
    match name {
        Some(name) => format!(" (id {id}, name {name})"),
        None => format!(" (id {id})"),
    }
}

/// The interfaces here that carry the director's program, whoever attached it; none when the kernel
/// does not tell.
pub(super) fn carriers() -> Option<Vec<String>> {
    let mut carriers = net::program_ids()?;
    // Asked of those that are on an interface alone: a machine may have very many programs.
    carriers.retain(|(_, id)| {
        aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == *id)
            .is_some_and(|program| program.name_as_str() == Some(DIRECTOR))
    });
    // The kernel tells a program twice: by itself, and by its mode.
    carriers.dedup_by_key(|(ifindex, _)| *ifindex);
    let names = carriers.iter().filter_map(|(ifindex, _)| name_of(*ifindex));
    Some(names.collect())
}

/// The errno at the bottom of an error.
pub(crate) fn errno(error: &anyhow::Error) -> Option<Errno> {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>())?;
    io.raw_os_error().map(Errno::from_raw)
}
