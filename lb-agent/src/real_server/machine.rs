//! What the machine is like, and changing it: addresses and routes by netlink, settings in
//! /proc/sys. All of it in the network namespace of the calling thread.

use crate::net::local_address;
use anyhow::{Context as _, anyhow};
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The loopback interface, which holds the virtual addresses.
pub(super) const LO: &str = "lo";

/// An address far from every network of a real host (RFC 5737, RFC 3849): as clients' are.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// What the machine is like.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    /// Values by their paths below /proc/sys; what does not exist has none.
    pub(super) sysctls: BTreeMap<String, String>,
    /// How answers to clients leave, IPv4's and IPv6's; none without a route.
    pub(super) answers: [Option<Answers>; 2],
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) ifindex: u32,
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// Its Ethernet address.
    pub(super) mac: Option<[u8; 6]>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

/// The route to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// The interface that answers leave by.
    pub(super) interface: String,
    /// The route's own limit of TCP segments from clients, in bytes of payload.
    pub(super) advmss: Option<u32>,
}

/// How many bits the whole of an address has.
pub(super) const fn full(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Machine {
    /// Looks at the machine, and at these settings.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn look(sysctls: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let (links, addresses, answers) = ask(async |handle| {
            let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            let links: Vec<Link> = links.iter().filter_map(link).collect();
            let name = |index| links.iter().find(|link| link.ifindex == index);
            let messages = handle.address().get().execute();
            let messages: Vec<AddressMessage> = messages.try_collect().await?;
            let mut addresses = Vec::new();
            for message in &messages {
                addresses.extend(name(message.header.index).and_then(|link| {
                    Some(Address {
                        interface: link.name.clone(),
                        address: local_address(message)?,
                        prefix: message.header.prefix_len,
                    })
                }));
            }
            let mut answers = [None, None];
            for (answer, far) in answers.iter_mut().zip(FAR) {
                *answer = route(&handle, far).await?.and_then(|(index, advmss)| {
                    Some(Answers {
                        interface: name(index)?.name.clone(),
                        advmss,
                    })
                });
            }
            Ok((links, addresses, answers))
        })
        .context("asking the kernel for interfaces and addresses")?;
        let mut values = BTreeMap::new();
        for key in sysctls {
            if let Some(value) = read_sysctl(&key)? {
                values.insert(key, value);
            }
        }
        Ok(Self {
            links,
            addresses,
            sysctls: values,
            answers,
        })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// A setting's value as a number; 0 where there is none.
    pub(super) fn number(&self, key: &str) -> i64 {
        let value = self.sysctls.get(key);
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// Adds an address to lo, with the prefix of a single host.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn add(address: IpAddr) -> anyhow::Result<()> {
    ask(async |handle| {
        let lo = lo()?;
        let mut request = handle.address().add(lo, address, full(address));
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        Ok(request.execute().await?)
    })
    .with_context(|| format!("adding {address} to {LO}"))
}

/// Removes an address from lo; no error when it is gone already.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove(address: IpAddr) -> anyhow::Result<()> {
    ask(async |handle| {
        let messages = handle
            .address()
            .get()
            .set_link_index_filter(lo()?)
            .set_address_filter(address)
            .execute();
        let messages: Vec<AddressMessage> = messages.try_collect().await?;
        for message in messages {
            if message.header.prefix_len == full(address) {
                handle.address().del(message).execute().await?;
            }
        }
        Ok(())
    })
    .with_context(|| format!("removing {address} from {LO}"))
}

/// Sets a setting.
///
/// # Errors
/// When it cannot be written.
pub(super) fn set_sysctl(key: &str, value: &str) -> anyhow::Result<()> {
    let path = Path::new("/proc/sys").join(key);
    fs::write(&path, value).with_context(|| {
        format!(
            "setting {} to {value}: run lb-agent as root",
            path.display()
        )
    })
}

fn read_sysctl(key: &str) -> anyhow::Result<Option<String>> {
    let path = Path::new("/proc/sys").join(key);
    match fs::read_to_string(&path) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn lo() -> anyhow::Result<u32> {
    nix::net::if_::if_nametoindex(LO).context("there is no interface lo")
}

/// Runs questions to the kernel to their end.
fn ask<T>(work: impl AsyncFnOnce(Handle) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        result
    })
}

fn link(message: &LinkMessage) -> Option<Link> {
    let (mut name, mut mac, mut mtu) = (None, None, None);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            LinkAttribute::IfName(n) => name = Some(n.clone()),
            LinkAttribute::Address(a) => mac = <[u8; 6]>::try_from(a.as_slice()).ok(),
            LinkAttribute::Mtu(m) => mtu = Some(*m),
            _ => {}
        }
    }
    Some(Link {
        name: name?,
        ifindex: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: mtu?,
        mac,
    })
}

/// The egress interface and `advmss` of the route to an address; none without one.
async fn route(handle: &Handle, to: IpAddr) -> anyhow::Result<Option<(u32, Option<u32>)>> {
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to, full(to))
        .map_err(|error| anyhow!("{error}"))?
        .build();
    let answer = Box::pin(handle.route().get(message).execute()).next().await;
    match answer {
        Some(Ok(answer)) if answer.header.kind == RouteType::Unicast => Ok(egress(&answer)),
        // What the kernel refuses to route has no way.
        Some(Ok(_) | Err(rtnetlink::Error::NetlinkError(_))) => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None => Ok(None),
    }
}

fn egress(message: &RouteMessage) -> Option<(u32, Option<u32>)> {
    let (mut ifindex, mut advmss) = (None, None);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Metrics(metrics) => {
                advmss = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Advmss(bytes) if *bytes > 0 => Some(*bytes),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some((ifindex?, advmss))
}
