//! FTP control connections of masqueraded servers (net/netfilter/ipvs/ip_vs_ftp.c, RFC 959,
//! RFC 2428).
//!
//! | line | what becomes of it | expected |
//! |---|---|---|
//! | `PORT`, `EPRT` | goes on as it is | the server, from the port before its own, to the client's address: as from the port before the virtual one |
//! | `PASV`, `EPSV` | goes on as it is | nothing yet |
//! | `227` after `PASV` | virtual address and port replace the server's | the client, from any port, to that virtual port: to the server's port of the same number |
//! | `229` after `EPSV` | `\|\|\|port\|` replaces the like | the same |
//!
//! As in ipvs, a passive listener keeps its port's number, whether or not another server of the
//! same service offers the same client that number at the same moment: the later one counts.
//!
//! # Segments
//!
//! Every packet of both directions comes here, before its addresses are translated. Where a
//! replaced text is longer or shorter than the old one, the numbers of all that follows are
//! shifted: sequence numbers from the server, acknowledgements and SACK blocks from the client
//! ([`stream`]).
//!
//! A line counts if one segment holds it whole. One that is cut by the end of a segment goes on as
//! it is, is counted ([`Counters::split`]), and has no data connection, as in ipvs. Sent again in
//! one piece it counts if the address was not handed on before.
//!
//! A connection that was met in its middle is taken up as it is. One whose numbers are shifted
//! needs its [`State`], which is to be kept where it outlives the agent, and before a frame goes on
//! that makes another one of it.
//!
//! # Differences
//!
//! deviates: a reply is replaced again when it is sent again; ipvs does so once, and the client of
//! a lost reply gets the server's own address.
//!
//! deviates: while a reply is due, segments from the server that leave a hole are dropped
//! ([`Counters::held`]), and sent again: the reply may be in it, and must not be replaced once a
//! byte behind it was handed on. ipvs hands them on, under numbers that are wrong then. A reply
//! that the server refuses to give stays due.
//!
//! deviates: a line counts wherever in a segment it begins, and nowhere else. ipvs takes `PORT`,
//! `EPRT` and replies only at the beginning of a segment, `PASV` and `EPSV` within other lines too.
//!
//! deviates: `PORT` does not take back a `PASV` before it: it may be an old one that comes late.

mod connection;
mod machine;
mod memory;
mod stream;
mod text;

#[cfg(test)]
mod tests;

use crate::punt::{Ends, Side};
use connection::Replies;
use memory::Memory;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use stream::Stream;

/// Who will open a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// The server, from the port below its own. Servers that open them from other ports are not
    /// served, as with ipvs.
    Active,
    /// The client, from any port.
    Passive,
}

/// A data connection to expect, for the timeout of LISTEN. The control connection must not expire
/// before it (`ip_vs_control_add`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Expectation {
    /// Who will open it.
    pub(crate) mode: Mode,
    /// The client's end; port 0 for any. With [`Mode::Active`] the client chose the address, which
    /// need not be its own.
    pub(crate) client: SocketAddr,
    /// The virtual end.
    pub(crate) address: SocketAddr,
    /// The server's end.
    pub(crate) server: SocketAddr,
}

/// What is to be done about a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The frame that goes on to translation; none if the packet is dropped.
    pub(crate) frame: Option<Vec<u8>>,
    /// What to expect, to be installed before the frame goes on. If that fails, drop the frame:
    /// the packet comes again, and says so again. What is expected already is renewed.
    pub(crate) expect: Vec<Expectation>,
}

/// Bounds of a [`Helper`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most connections remembered, not 0.
    pub(crate) connections: usize,
    /// How long a connection without packets is remembered. Choose no less than what flows in
    /// ESTABLISHED have, and more where transfers are long: meanwhile control connections idle.
    pub(crate) idle: Duration,
    /// Longest IP packet in bytes that a longer text may make of a shorter packet; the rest is
    /// left for the server to send again.
    pub(crate) mtu: u16,
}

impl Limits {
    /// What is right for most.
    pub(crate) const DEFAULT: Self = Self {
        connections: 65_536,
        idle: Duration::from_secs(2 * 3600),
        mtu: 1500,
    };
}

/// What another helper has to know to go on with a connection.
///
/// The stream's position may be older than the connection's is: then what lies between may be
/// replaced once more, alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    stream: Stream,
    /// Replies that are asked for.
    due: Replies,
}

impl State {
    /// Whether a state is as good as another.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.due == other.due && self.stream.is_like(&other.stream)
    }

    /// Whether the connection's numbers differ on both sides.
    pub(crate) fn is_changed(&self) -> bool {
        self.stream.is_changed()
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Active data connections announced, repetitions included.
    pub(crate) active: u64,
    /// Passive data connections announced, repetitions included.
    pub(crate) passive: u64,
    /// Segments whose numbers were translated and nothing else.
    pub(crate) shifted: u64,
    /// Segments whose text changed.
    pub(crate) rewritten: u64,
    /// Segments that were shortened to fit the MTU.
    pub(crate) shortened: u64,
    /// Segments that end within what is, or may become, a line of interest.
    pub(crate) split: u64,
    /// Lines that name no usable address or port.
    pub(crate) unusable: u64,
    /// Segments dropped because they leave a hole where a reply is due.
    pub(crate) held: u64,
    /// Segments passed on although they leave such a hole, because it stayed: the reply in it goes
    /// on as it is.
    pub(crate) abandoned: u64,
    /// Segments dropped because too many changed texts await acknowledgement.
    pub(crate) crowded: u64,
    /// Packets passed on that are no TCP of the connection they were said to be of.
    pub(crate) foreign: u64,
    /// Fragments passed on.
    pub(crate) fragments: u64,
    /// Frames dropped because their lengths are impossible.
    pub(crate) malformed: u64,
    /// Frames dropped because a checksum is wrong.
    pub(crate) checksum: u64,
    /// Packets passed on without a look because too many connections are remembered.
    pub(crate) full: u64,
    /// Connections forgotten before their time to make room; none whose numbers were shifted.
    pub(crate) evicted: u64,
}

/// The helper for FTP. Time and packets come to it from outside, and it has no I/O.
#[derive(Debug)]
pub(crate) struct Helper {
    mtu: u16,
    memory: Memory,
    counters: Counters,
}
