//! The packets that the program hands to the agent, and those that go through it once more.
#![expect(
    unsafe_code,
    reason = "the ring buffer is waited for by its descriptor"
)]

use super::clock::Moment;
use super::maps::Maps;
use super::table::{Found, Table};
use crate::punt::{Ends, Expectation, Side};
use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::datapath::Packet;
use lb_common::flow::{About, Role, Tuple, Word};
use lb_common::layout::{Control, ServiceState, punt, server_flags};
use lb_common::state::{Class, tcp};
use lb_common::time::{Clock, Tick};
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes as _;

/// A packet that the program handed over.
#[derive(Clone, Debug)]
pub(crate) struct Punt {
    /// Why.
    pub(crate) why: punt::Why,
    /// The interface that it came in by.
    pub(crate) ifindex: u32,
    /// The service's id.
    pub(crate) service: u32,
    /// It, from the Ethernet header on.
    pub(crate) frame: Vec<u8>,
    /// Whether it is longer than the ring buffer's entries.
    pub(crate) cut: bool,
}

/// A packet's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Its ends.
    pub(crate) ends: Ends,
    server: u32,
    back: u32,
}

/// The ring buffer, and what it takes to act on what comes out of it.
pub(crate) struct Punts {
    ring: RingBuf<MapData>,
    director: Xdp,
    clock_program: Xdp,
    clock: Clock,
    maps: Arc<Maps>,
    table: Table,
}

impl Punts {
    /// What the ring buffer holds already is for an agent that is gone, and too old to be sent.
    pub(super) fn new(
        mut ring: RingBuf<MapData>,
        [director, clock_program]: [Xdp; 2],
        clock: Clock,
        maps: Arc<Maps>,
    ) -> Self {
        while ring.next().is_some() {}
        let table = Table::new(Arc::clone(&maps));
        Self {
            ring,
            director,
            clock_program,
            clock,
            maps,
            table,
        }
    }

    /// The same, to be waited for: it is readable when there is a packet.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be waited for.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub(crate) fn watched(self) -> std::io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is that of the map which the ring buffer owns: it is open, and
        // the same, as long as `self` is, which only methods of it can reach.
        let watched = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        Ok(watched?)
    }

    /// The next packet; none when there is none now.
    pub(crate) fn next(&mut self) -> Option<Punt> {
        loop {
            let entry = self.ring.next()?;
            if let Some(punt) = read(&entry) {
                return Some(punt);
            }
        }
    }

    /// Sends a frame through the program again, as if it had come in by this interface. The
    /// program forwards it or hands it to the host, but never back to the agent.
    ///
    /// # Errors
    ///
    /// When the interface is gone, or the frame is longer than the kernel takes.
    pub(crate) fn send(&self, ifindex: u32, frame: &[u8]) -> anyhow::Result<()> {
        let token = self.maps.control.load(0).token.to_le_bytes();
        let input = [&token, frame].concat();
        // linux/bpf.h, `struct xdp_md`. The metadata stands before the data.
        let context: [u32; 6] = [token.len() as u32, input.len() as u32, 0, ifindex, 0, 0];
        let context: [u8; 24] = zerocopy::transmute!(context);
        self.director
            .test_run(TestRunOptions {
                data_in: Some(&input),
                ctx_in: Some(&context),
                repeat: 1,
                attrs: TestRunAttrs::new().xdp_live_frames(1),
                ..TestRunOptions::new()
            })
            .map(drop)
            .with_context(|| {
                format!(
                    "sending {} bytes again through interface {ifindex}",
                    frame.len()
                )
            })
    }

    /// The present.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run the program that tells it.
    pub(crate) fn now(&self) -> anyhow::Result<Tick> {
        let moment = Moment::now(&self.clock_program)?;
        Ok(self.clock.tick(moment.jiffies))
    }

    /// Whether the program knows where the fragments go that are found by this.
    pub(crate) fn has(&self, fragments: &Tuple, now: Tick) -> bool {
        self.table.get(fragments, now).is_some()
    }

    /// The connection that a packet is of, as the client or the server sees it.
    pub(crate) fn known(&self, side: Side, packet: &Packet, now: Tick) -> Option<Known> {
        match side {
            Side::Client => {
                let Found { word, .. } = self.table.get(&packet.tuple, now)?;
                let server = self.maps.servers.load(word.server());
                let own = server.port == 0 || word.has(Word::KEEPS_PORT);
                let port = if own {
                    packet.tuple.port()
                } else {
                    Port::new(server.port as u16)
                };
                let reply = Tuple {
                    address: server.addr,
                    ports: Tuple::ports(packet.tuple.client_port(), port),
                    role: Role::Reply,
                    ..packet.tuple
                };
                Some(Known {
                    ends: Ends {
                        client: end(packet.tuple.client, packet.tuple.client_port()),
                        address: end(packet.tuple.address, packet.tuple.port()),
                        server: end(server.addr, port),
                    },
                    server: word.server(),
                    back: self.table.get(&reply, now).map_or(0, |it| it.details.back),
                })
            }
            Side::Server => {
                let reply = packet.tuple.reversed(Role::Reply);
                let Found { word, details } = self.table.get(&reply, now)?;
                let client = Tuple {
                    ports: details.ports,
                    ..reply
                };
                Some(Known {
                    ends: Ends {
                        client: end(details.client, client.client_port()),
                        address: end(details.address, client.port()),
                        server: end(reply.address, reply.port()),
                    },
                    server: word.server(),
                    back: details.back,
                })
            }
        }
    }

    /// Makes the program expect a connection: to it, that is one it knows. `parent` is the one that
    /// led to it.
    ///
    /// # Errors
    ///
    /// When no server of the service has the expected address, or the table has no room.
    pub(crate) fn expect(
        &self,
        service: u32,
        expected: &Expectation,
        parent: Option<&Known>,
        now: Tick,
    ) -> anyhow::Result<()> {
        let Ends {
            client,
            address,
            server,
        } = expected.ends;
        let parent = parent.filter(|parent| parent.ends.server.ip() == server.ip());
        let id = match parent {
            Some(parent) => parent.server,
            None => self
                .server_of(service, server.ip())
                .with_context(|| format!("no server of service {service} is at {server}"))?,
        };
        let class = if expected.protocol == protocol::TCP {
            Class::from(tcp::State::Listen)
        } else {
            Class::UDP
        };
        let lasts = u32::try_from(expected.lasts.as_secs()).unwrap_or(u32::MAX);
        let deadline = now.after(self.clock.ticks(lasts));
        // The server's port is as good as the virtual one where it is the same; its own otherwise.
        let keeps = if server.port() == address.port() {
            Word::KEEPS_PORT
        } else {
            let own = self.maps.servers.load(id).port;
            anyhow::ensure!(
                own == u32::from(server.port()),
                "a connection to {address} cannot go to {server}: its ports would differ"
            );
            0
        };
        let word = Word::new(id, class, deadline).with(Word::CONTROLLED | keeps);
        let tuple = Tuple {
            client: client.ip().into(),
            address: address.ip().into(),
            ports: Tuple::ports(Port::new(client.port()), Port::new(address.port())),
            protocol: expected.protocol,
            role: Role::Connection,
        };
        let about = About {
            service,
            back: 0,
            role: Role::Connection,
        };
        let room = || format!("no room for the connection from {client} to {address}");
        anyhow::ensure!(
            self.table.enter(&tuple, &tuple, word, about, now),
            "{}",
            room()
        );
        let masqueraded =
            self.maps.servers.load(id).flags & server_flags::METHOD == server_flags::MASQUERADE;
        if !masqueraded || client.port() == 0 {
            return Ok(());
        }
        let reply = Tuple {
            address: server.ip().into(),
            ports: Tuple::ports(Port::new(client.port()), Port::new(server.port())),
            role: Role::Reply,
            ..tuple
        };
        let about = About {
            service,
            back: parent.map_or(0, |parent| parent.back),
            role: Role::Reply,
        };
        let word = word.with(Word::REPLY);
        anyhow::ensure!(
            self.table.enter(&reply, &tuple, word, about, now),
            "{}",
            room()
        );
        Ok(())
    }

    /// The newest server of a service at this address.
    fn server_of(&self, service: u32, address: IpAddr) -> Option<u32> {
        let maps = &self.maps;
        if service >= maps.service_states.len() {
            return None;
        }
        let word = maps
            .service_states
            .word32(service, offset_of!(ServiceState, record));
        let record = word.load(Ordering::Acquire).checked_sub(1)?;
        let list = maps.services.load(record);
        let end = list.first.checked_add(list.len)?;
        (list.first..end.min(maps.members.len()))
            .map(|index| maps.members.load(index).server)
            .filter(|id| *id < maps.servers.len())
            .find(|id| maps.servers.load(*id).addr == Addr::from(address))
    }
}

/// Readable when there is a packet.
impl AsRawFd for Punts {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// An entry of the ring buffer; none when it says what no program of this layout says.
fn read(entry: &[u8]) -> Option<Punt> {
    let (header, bytes) = punt::Header::read_from_prefix(entry).ok()?;
    let why = [
        punt::Why::EarlyFragment,
        punt::Why::TunnelError,
        punt::Why::FromClient,
        punt::Why::FromServer,
    ]
    .into_iter()
    .find(|why| *why as u32 == header.why)?;
    let len = header.len as usize;
    Some(Punt {
        why,
        ifindex: header.ifindex,
        service: header.id,
        frame: bytes.get(..len.min(punt::BYTES))?.to_vec(),
        cut: len > punt::BYTES,
    })
}

fn end(address: Addr, port: Port) -> SocketAddr {
    SocketAddr::new(address.into(), port.number())
}

/// Gives the agent a new token, by which the program knows what it sends again.
///
/// # Errors
///
/// When the kernel gives no random numbers.
pub(super) fn write_token(maps: &Maps) -> anyhow::Result<()> {
    use std::io::Read as _;
    let mut token = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut token))
        .context("reading /dev/urandom for the token")?;
    // 0 stands for no agent.
    let token = u64::from_le_bytes(token) | 1;
    maps.control
        .word64(0, offset_of!(Control, token))
        .store(token, Ordering::Relaxed);
    Ok(())
}
