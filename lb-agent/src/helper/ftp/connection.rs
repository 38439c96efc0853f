//! What is remembered of one control connection.

use super::stream::{EDITS, Edit, Stream};
use super::text::{self, Command, Form, Reply};
use super::{Counters, Ends, Expectation, Mode, Side, State};
use crate::helper::segment::flags;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a connection is remembered that was reset, or closed from both sides: as long as ipvs
/// keeps it in TIME_WAIT.
const CLOSED: Duration = Duration::from_secs(120);

/// Most segments in a row that are dropped for the hole they leave: after so many the hole is not
/// the network's.
const HOLDS: u8 = 4;

/// Most lines of one segment that announce a connection; what lies behind is not looked at.
const ANNOUNCEMENTS: usize = EDITS;

/// How many replies of each [`Form`].
pub(super) type Replies = [u8; 2];

/// What a client's segment asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Active data connections.
    pub(super) active: Vec<Expectation>,
    /// Replies that name a listener.
    passive: Replies,
}

impl Asked {
    /// Reads a client's data. Each segment may begin a line: what a client means by its own lines
    /// is its own affair.
    pub(super) fn read(data: &[u8], ends: &Ends, counters: &mut Counters) -> Self {
        let mut asked = Self::default();
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") && !line.ends_with(b"\r") {
                counters.split += u64::from(text::may_be_command(line));
                continue;
            }
            match text::command(line.trim_ascii_end(), ends.address.is_ipv6()) {
                Command::Passive => asked.ask(Form::Plain),
                Command::ExtendedPassive => asked.ask(Form::Extended),
                Command::Active(client) => match active(client, ends) {
                    Some(expectation) if asked.active.len() < ANNOUNCEMENTS => {
                        asked.active.push(expectation);
                    }
                    Some(_) | None => counters.unusable += 1,
                },
                Command::Unusable => counters.unusable += 1,
                Command::Other => {}
            }
        }
        asked
    }

    fn ask(&mut self, form: Form) {
        let due = &mut self.passive[form as usize];
        *due = due.saturating_add(1);
    }

    /// Whether a reply is asked for.
    pub(super) fn is_passive(&self) -> bool {
        self.passive != Replies::default()
    }
}

/// What to expect after `PORT` or `EPRT`: both ports are one below those of the control
/// connection (RFC 959, section 5.2), so that none below is possible below 2.
fn active(client: SocketAddr, ends: &Ends) -> Option<Expectation> {
    let below = |control: SocketAddr| {
        let port = control.port().checked_sub(1).filter(|port| *port != 0)?;
        Some(SocketAddr::new(control.ip(), port))
    };
    Some(Expectation {
        mode: Mode::Active,
        client,
        address: below(ends.address)?,
        server: below(ends.server)?,
    })
}

/// A control connection, remembered from the first data or `PASV` on.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// What the server says.
    pub(super) stream: Stream,
    due: Replies,
    /// Segments in a row that were dropped for the hole they leave.
    holds: u8,
    seen: Instant,
    /// Whether client and server have closed.
    closed: [bool; 2],
}

impl Connection {
    /// A connection of which nothing before `next` in the server's stream will need a change.
    pub(super) fn new(next: u32, now: Instant) -> Self {
        Self {
            stream: Stream::new(next),
            due: Replies::default(),
            holds: 0,
            seen: now,
            closed: [false; 2],
        }
    }

    /// A connection that another helper remembered.
    pub(super) fn restored(State { stream, due }: State, now: Instant) -> Self {
        Self {
            stream,
            due,
            ..Self::new(0, now)
        }
    }

    /// What another helper has to know of it.
    pub(super) fn state(&self) -> Option<State> {
        let matters = self.due != Replies::default() || self.stream.is_changed();
        matters.then(|| State {
            stream: self.stream.clone(),
            due: self.due,
        })
    }

    /// When a packet was seen last.
    pub(super) fn seen(&self) -> Instant {
        self.seen
    }

    /// Whether the connection is closed or was not seen for long.
    pub(super) fn is_expired(&self, now: Instant, idle: Duration) -> bool {
        let closed = self.closed == [true; 2];
        let life = if closed { CLOSED } else { idle };
        now.saturating_duration_since(self.seen) > life
    }

    /// Takes in when a packet came, and whether it ends the connection.
    pub(super) fn see(&mut self, now: Instant, side: Side, flags: u8) {
        self.seen = now;
        if flags & flags::RST != 0 {
            self.closed = [true; 2];
        } else if flags & flags::FIN != 0 {
            self.closed[side as usize] = true;
        }
    }

    /// Takes in what the client asks for.
    pub(super) fn ask(&mut self, asked: &Asked) {
        for (due, asked) in self.due.iter_mut().zip(asked.passive) {
            *due = due.saturating_add(asked);
        }
    }

    /// Whether to drop a server's segment that begins at `start`, because the reply that is due
    /// may be in the hole before it.
    pub(super) fn hold(&mut self, start: u32, counters: &mut Counters) -> bool {
        let doubtful = self.due != Replies::default() && self.stream.leaves_hole(start);
        let hold = doubtful && self.holds < HOLDS;
        self.holds = if hold { self.holds + 1 } else { 0 };
        counters.held += u64::from(hold);
        counters.abandoned += u64::from(doubtful && !hold);
        hold
    }

    /// Takes in the server's data that are to be handed on. False if they cannot be: too many
    /// texts are changed already. Then nothing is taken in.
    pub(super) fn say(
        &mut self,
        start: u32,
        data: &[u8],
        ends: &Ends,
        counters: &mut Counters,
    ) -> bool {
        let mut due = self.due;
        let edits = self.find(start, data, ends, &mut due, counters);
        if !edits.is_empty() && self.stream.edits() + edits.len() > EDITS {
            return false;
        }
        self.due = due;
        for edit in edits {
            self.stream.replace(edit);
        }
        self.stream.advance(start, data);
        true
    }

    /// Finds replies that are due, and takes them from `due`.
    fn find(
        &self,
        start: u32,
        data: &[u8],
        ends: &Ends,
        due: &mut Replies,
        counters: &mut Counters,
    ) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut next = (start, self.stream.is_line_start(start));
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let (at, whole) = next;
            next = (at.wrapping_add(line.len() as u32), true);
            if !whole || edits.len() == ANNOUNCEMENTS {
                continue;
            }
            let Some(form) = Form::of(line) else {
                let cut = *due != Replies::default() && text::may_be_reply(line);
                counters.split += u64::from(cut);
                continue;
            };
            if due[form as usize] == 0 || !self.stream.is_news(next.0) {
                continue;
            }
            match form.read(line) {
                Reply::Listens(text, port) => {
                    let edit = passive(form, at, text, port, ends);
                    // One that was handed on stays what it was.
                    if self.stream.is_open(edit.start) {
                        due[form as usize] -= 1;
                        edits.push(edit);
                    }
                }
                Reply::Cut => counters.split += 1,
                Reply::Unusable => counters.unusable += 1,
            }
        }
        edits
    }
}

/// The change of a reply to `PASV` or `EPSV` whose line begins at `line`.
fn passive(form: Form, line: u32, text: std::ops::Range<usize>, port: u16, ends: &Ends) -> Edit {
    let address = SocketAddr::new(ends.address.ip(), port);
    Edit {
        start: line.wrapping_add(text.start as u32),
        len: text.len() as u32,
        text: text::listener(form, address).into(),
        expectation: Expectation {
            mode: Mode::Passive,
            client: SocketAddr::new(ends.client.ip(), 0),
            address,
            server: SocketAddr::new(ends.server.ip(), port),
        },
    }
}
