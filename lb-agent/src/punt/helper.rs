//! Where application helpers plug in: what they are given, and what they ask for.
//!
//! A helper is a machine without I/O. It sees the packets of its services' connections as they come
//! in, before any address is translated, and may change them, hold them back, and say what
//! connections they lead to. Those are ordinary entries of the flow table then.

use lb_common::addr::protocol;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the client, to the virtual address.
    Client,
    /// From the server, to the client.
    Server,
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) client: SocketAddr,
    /// The virtual one.
    pub(crate) address: SocketAddr,
    /// The server's.
    pub(crate) server: SocketAddr,
}

/// A packet of a service with a helper.
#[derive(Clone, Copy, Debug)]
#[expect(
    dead_code,
    reason = "the helper that passes everything on looks at nothing"
)]
pub(crate) struct Helped<'a> {
    /// Where it comes from.
    pub(crate) side: Side,
    /// The service's id.
    pub(crate) service: u32,
    /// The connection that it is of; none when it is of none yet.
    pub(crate) ends: Option<Ends>,
    /// The packet, from the Ethernet header on.
    pub(crate) frame: &'a [u8],
}

/// A connection to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expectation {
    /// Its IP protocol number.
    pub(crate) protocol: u8,
    /// Its ends. The server is one of the service's by its address; its port may be another.
    pub(crate) ends: Ends,
    /// How long it is expected.
    pub(crate) lasts: Duration,
}

/// What is to become of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The frames that go on to translation, in order; none when the packet ends here.
    pub(crate) frames: Vec<Vec<u8>>,
    /// The connections to expect, all installed before the frames go on. If one cannot be, no
    /// frame goes: the packet comes again, and says so again.
    pub(crate) expect: Vec<Expectation>,
}

/// One of ipvs's application helpers.
pub(crate) trait Helper: Send {
    /// Takes a packet.
    fn packet(&mut self, packet: &Helped<'_>, now: Instant) -> Outcome;

    /// The packet's frames went on, and this is the connection that they are of now: for helpers
    /// that let the program choose the server.
    fn sent(&mut self, packet: &Helped<'_>, ends: Ends, now: Instant);

    /// Forgets what is over. Called every few seconds.
    fn sweep(&mut self, now: Instant);
}

/// The helpers by the protocol of their services. A service without one is helped by nobody: its
/// packets go on as they are.
#[derive(Default)]
pub(crate) struct Helpers {
    tcp: Option<Box<dyn Helper>>,
    udp: Option<Box<dyn Helper>>,
}

impl Helpers {
    /// The helper of a protocol's services.
    pub(crate) fn of(&mut self, protocol: u8) -> Option<&mut Box<dyn Helper>> {
        match protocol {
            protocol::TCP => self.tcp.as_mut(),
            protocol::UDP => self.udp.as_mut(),
            _ => None,
        }
    }

    /// Lets every helper forget what is over.
    pub(crate) fn sweep(&mut self, now: Instant) {
        for helper in self.tcp.iter_mut().chain(&mut self.udp) {
            helper.sweep(now);
        }
    }
}
