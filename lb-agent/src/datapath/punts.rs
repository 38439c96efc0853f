//! The packets that the program hands to the agent, and those that go through it once more.
#![expect(
    unsafe_code,
    reason = "the ring buffer is waited for by its descriptor"
)]

use super::clock::Moment;
use super::helped::{Helped, HelpedService};
use super::maps::Maps;
use super::table::{Found, Table};
use crate::helper::ftp::Expectation;
use crate::helper::sip::{Template as Call, digest};
use crate::model::ServerId;
use crate::punt::{Ends, Side};
use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use lb_common::addr::{Addr, Port, protocol};
use lb_common::api::ServiceAddress;
use lb_common::datapath::{Packet, stages};
use lb_common::flow::{About, Role, Tuple, Word};
use lb_common::layout::{Control, Server, ServerState, punt, server_flags, settings};
use lb_common::state::{Class, tcp};
use lb_common::time::{Clock, Tick};
use std::mem::offset_of;
use std::net::SocketAddr;
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
    /// Its server.
    pub(crate) server: ServerId,
    /// [`lb_common::layout::helper_marks`].
    pub(crate) marks: u32,
    /// Its server is masqueraded.
    pub(crate) is_masqueraded: bool,
    connection: Tuple,
    reply: Tuple,
    back: u32,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEvent {
    /// A connection more.
    Connection,
    /// A client's datagram on a known connection.
    Datagram,
    /// A server's datagram.
    Answer,
}

/// An entry to make: the client's half, and with a masqueraded server the other one.
struct Opening {
    connection: Tuple,
    word: Word,
    /// [`FlowDetails::back`](lb_common::layout::FlowDetails::back) of the server's half.
    back: u32,
}

/// What interfaces mostly have, in bytes.
const DEFAULT_MTU: u16 = 1500;

/// The ring buffer, and what it takes to act on what comes out of it.
pub(crate) struct Punts {
    ring: RingBuf<MapData>,
    director: Xdp,
    clock_program: Xdp,
    clock: Clock,
    maps: Arc<Maps>,
    table: Table,
    helped: Arc<Helped>,
}

impl Punts {
    /// What the ring buffer holds already is for an agent that is gone, and too old to be sent.
    pub(super) fn new(
        mut ring: RingBuf<MapData>,
        [director, clock_program]: [Xdp; 2],
        clock: Clock,
        maps: Arc<Maps>,
        helped: Arc<Helped>,
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
            helped,
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

    /// The services with a helper.
    pub(crate) fn helped(&self) -> &Helped {
        &self.helped
    }

    /// The longest IP packet in bytes that every interface with the program takes.
    pub(crate) fn mtu(&self) -> u16 {
        let interfaces = (0..self.maps.ports.len()).map(|port| self.maps.ports.load(port).ifindex);
        let mtus = interfaces.filter(|ifindex| *ifindex != 0).filter_map(mtu);
        mtus.min().unwrap_or(DEFAULT_MTU)
    }

    /// The connection that a packet is of, as the client or the server sees it.
    pub(crate) fn known(&self, side: Side, packet: &Packet, now: Tick) -> Option<Known> {
        match side {
            Side::Client => self.connection(packet.tuple, now),
            Side::Server => {
                let reply = packet.tuple.reversed(Role::Reply);
                let Found { details, .. } = self.table.get(&reply, now)?;
                let connection = Tuple {
                    client: details.client,
                    address: details.address,
                    ports: details.ports,
                    protocol: reply.protocol,
                    role: Role::Connection,
                };
                let known = self.connection(connection, now)?;
                (known.reply == reply).then_some(known)
            }
        }
    }

    /// The connection that is found by this tuple.
    fn connection(&self, connection: Tuple, now: Tick) -> Option<Known> {
        let Found { word, details } = self.table.get(&connection, now)?;
        let server = self.maps.servers.load(word.server());
        let port = server_port(&connection, word, &server);
        let reply = reply_of(&connection, &server, port);
        Some(Known {
            ends: Ends {
                client: end(connection.client, connection.client_port()),
                address: end(connection.address, connection.port()),
                server: end(server.addr, port),
            },
            server: ServerId(word.server()),
            marks: details.back,
            is_masqueraded: server.flags & server_flags::METHOD == server_flags::MASQUERADE,
            connection,
            reply,
            back: self.table.get(&reply, now).map_or(0, |it| it.details.back),
        })
    }

    /// Whether there is a connection between these ends.
    pub(crate) fn has_connection(&self, ends: &Ends, protocol: u8, now: Tick) -> bool {
        let connection = self.connection(connection(ends.client, ends.address, protocol), now);
        connection.is_some_and(|known| known.ends == *ends)
    }

    /// Gives a connection other [`lb_common::layout::helper_marks`], where whoever comes after this agent finds them.
    pub(crate) fn mark(&self, known: &Known, marks: u32, now: Tick) {
        if marks != known.marks {
            self.table.mark(&known.connection, marks, now);
        }
    }

    /// Lets an established connection live for so many seconds more, whoever is silent.
    pub(crate) fn hold(&self, known: &Known, seconds: u32, now: Tick) {
        let deadline = now.after(self.clock.ticks(seconds));
        let established = Class::from(tcp::State::Established);
        for half in [&known.connection, &known.reply] {
            self.table.change(half, now, |word| {
                let longer = deadline.remaining(now) > word.deadline().remaining(now);
                if longer && word.class() == established {
                    word.moved(established, deadline)
                } else {
                    word
                }
            });
        }
    }

    /// Makes the program expect an FTP data connection of a control connection: to it, that is one
    /// it knows. With port 0, the client may come from any port.
    ///
    /// ipvs: net/netfilter/ipvs/ip_vs_ftp.c
    ///
    /// # Errors
    ///
    /// When the program cannot be told of such ports, or the table has no room.
    pub(crate) fn expect(
        &self,
        service: u32,
        expected: &Expectation,
        control: &Known,
        now: Tick,
    ) -> anyhow::Result<()> {
        const LISTEN: tcp::State = tcp::State::Listen;

        let Expectation {
            mode: _,
            client,
            address,
            server,
        } = *expected;
        let own = self.maps.servers.load(control.server.0).port;
        let port = if server.port() == address.port() {
            Word::KEEPS_PORT
        } else if own == u32::from(server.port()) + 1 {
            Word::PORT_BELOW
        } else {
            anyhow::bail!("a connection to {address} cannot go to {server}: its ports differ");
        };
        let deadline = now.after(self.clock.ticks(LISTEN.default_timeout()));
        let word = Word::new(control.server.0, LISTEN.into(), deadline);
        // Another host is another way.
        let same_client = client.ip() == control.ends.client.ip();
        let opening = Opening {
            connection: connection(client, address, protocol::TCP),
            word: word.with(Word::CONTROLLED | port),
            back: if same_client { control.back } else { 0 },
        };
        self.open(service, &opening, now)
    }

    /// Opens a datagram's connection to a server, before the datagram comes.
    ///
    /// # Errors
    ///
    /// When the table has no room.
    pub(crate) fn connect(
        &self,
        service: &HelpedService,
        connection: Tuple,
        server: ServerId,
        now: Tick,
    ) -> anyhow::Result<()> {
        let timeouts = self.maps.control.load(0).timeouts;
        let first = Class::UDP_FIRST;
        let deadline = now.after(timeouts[usize::from(first.number())]);
        let other_port = match service.address {
            ServiceAddress::Address { port, .. } => port != connection.port().number(),
            ServiceAddress::Mark { .. } => false,
        };
        let port = if other_port { Word::KEEPS_PORT } else { 0 };
        let opening = Opening {
            connection,
            word: Word::new(server.0, first, deadline).with(port),
            back: 0,
        };
        self.open(service.id, &opening, now)?;
        self.maps
            .server_states
            .word64(server.0, offset_of!(ServerState, connections))
            .fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a connection, so that the next packet opens another one.
    pub(crate) fn close(&self, known: &Known, now: Tick) {
        // The tick before this one.
        let over = now.after(u32::MAX);
        for half in [&known.connection, &known.reply] {
            self.table
                .change(half, now, |word| word.moved(word.class(), over));
        }
    }

    /// Enters both halves of a connection.
    fn open(&self, service: u32, opening: &Opening, now: Tick) -> anyhow::Result<()> {
        let Opening {
            connection,
            word,
            back,
        } = *opening;
        let no_room = || {
            format!(
                "no room for the connection from {} to {}",
                end(connection.client, connection.client_port()),
                end(connection.address, connection.port()),
            )
        };
        let about = About {
            service,
            back: 0,
            role: Role::Connection,
        };
        let entered = self.table.enter(&connection, &connection, word, about, now);
        anyhow::ensure!(entered, "{}", no_room());
        let server = self.maps.servers.load(word.server());
        let masqueraded = server.flags & server_flags::METHOD == server_flags::MASQUERADE;
        // Of one from any port, the program makes the other half.
        if !masqueraded || connection.client_port() == Port::default() {
            return Ok(());
        }
        let reply = reply_of(
            &connection,
            &server,
            server_port(&connection, word, &server),
        );
        let about = About {
            service,
            back,
            role: Role::Reply,
        };
        let word = word.with(Word::REPLY);
        let entered = self.table.enter(&reply, &connection, word, about, now);
        anyhow::ensure!(entered, "{}", no_room());
        Ok(())
    }

    /// The server of a call's template, if it still gets new connections (`ip_vs_check_template`).
    pub(crate) fn template(&self, template: &Tuple, now: Tick) -> Option<ServerId> {
        let Found { word, .. } = self.table.get(template, now)?;
        let flags = self.maps.servers.load(word.server()).flags;
        let expires = self.maps.control.load(0).settings & settings::EXPIRE_QUIESCENT_TEMPLATE != 0;
        let quiesced = expires && flags & server_flags::QUIESCED != 0;
        (flags & server_flags::AVAILABLE != 0 && !quiesced).then_some(ServerId(word.server()))
    }

    /// What a call's template is found by.
    ///
    /// The address and the ports are a keyed digest, of 64 bits at least: as unlikely to be
    /// another's as the table's own digests.
    pub(crate) fn template_of(&self, service: u32, call: &Call) -> Tuple {
        let [left, right] = self.maps.control.load(0).flow_seed;
        let seeded = |seed: u64| digest(&call.call_id, seed ^ u64::from(service));
        let (first, second) = (seeded(left), seeded(right.rotate_left(32)));
        let (high, low) = ((first >> 32) as u32, first as u32);
        let address = if call.client.is_ipv4() {
            Addr::from_v4_word(low)
        } else {
            Addr::from_words([low, (second >> 32) as u32, second as u32, low])
        };
        Tuple {
            client: call.client.into(),
            address,
            ports: high,
            protocol: protocol::UDP,
            role: Role::Call,
        }
    }

    /// Makes a call's template, or gives the one that is there this server.
    pub(crate) fn begin_call(
        &self,
        service: &HelpedService,
        template: &Tuple,
        call: &Call,
        server: ServerId,
        now: Tick,
    ) {
        let deadline = now.after(self.persistence(service));
        let word = Word::new(server.0, Class::TEMPLATE, deadline);
        let about = About {
            service: service.id,
            back: 0,
            role: Role::Call,
        };
        if self.table.enter(template, template, word, about, now) {
            self.helped.name_call(template, &call.call_id);
        }
    }

    /// Lets a call's template live on: for a new connection the time that the service says, and
    /// never less than the connection. A server's answer assures it.
    ///
    /// deviates: ipvs looks at a template again a minute after its time, as long as it has
    /// connections; here every datagram of the call moves its template's deadline along.
    pub(crate) fn continue_call(
        &self,
        service: &HelpedService,
        template: &Tuple,
        call: &Call,
        event: CallEvent,
        now: Tick,
    ) {
        let timeouts = self.maps.control.load(0).timeouts;
        let connection = timeouts[usize::from(Class::UDP.number())];
        let least = match event {
            CallEvent::Connection => connection.max(self.persistence(service)),
            CallEvent::Datagram | CallEvent::Answer => connection,
        };
        self.table.change(template, now, |word| {
            let class = match event {
                CallEvent::Answer => Class::ASSURED,
                CallEvent::Connection | CallEvent::Datagram => word.class(),
            };
            let left = word.deadline().remaining(now).max(least);
            word.moved(class, now.after(left))
        });
        self.helped.name_call(template, &call.call_id);
    }

    /// Forgets what names calls that are over.
    pub(crate) fn sweep(&self, now: Tick) {
        self.helped.sweep(|template| self.has(template, now));
    }

    /// Ticks that a service's templates live after their last connection began.
    fn persistence(&self, service: &HelpedService) -> u32 {
        let seconds = service.options.persistent.unwrap_or_default();
        self.clock.ticks(seconds).max(1)
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

/// The tuple of a connection.
pub(crate) fn connection(client: SocketAddr, address: SocketAddr, protocol: u8) -> Tuple {
    Tuple {
        client: client.ip().into(),
        address: address.ip().into(),
        ports: Tuple::ports(Port::new(client.port()), Port::new(address.port())),
        protocol,
        role: Role::Connection,
    }
}

/// What the server's half of a connection is found by.
fn reply_of(connection: &Tuple, server: &Server, port: Port) -> Tuple {
    Tuple {
        address: server.addr,
        ports: Tuple::ports(connection.client_port(), port),
        role: Role::Reply,
        ..*connection
    }
}

/// A connection's port at its server, as the program has it.
fn server_port(connection: &Tuple, word: Word, server: &Server) -> Port {
    stages::server_port(connection, word, server.port as u16)
}

/// The longest IP packet that an interface takes, as far as sysfs tells.
fn mtu(ifindex: u32) -> Option<u16> {
    let name = nix::net::if_::if_indextoname(ifindex).ok()?;
    let path = format!("/sys/class/net/{}/mtu", name.to_str().ok()?);
    let mtu: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
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
