//! The [`Table`]'s hands: two netlink sockets and a task.
//!
//! Notifications have a socket of their own, so that a burst which overruns it cannot take
//! answers with it. An overrun is answered by reading everything again. Notifications that
//! arrive while the kernel's tables are read wait, and are applied on top before anything is
//! told: they are either contained in what was read or newer.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, Stream};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Error, Handle, MulticastGroup};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::duplicates::{Duplicate, Duplicates, Place};
use super::handle::{Command, Pen};
use super::message;
use super::requests::{self, Answer};
use super::table::{Effect, Table};
use super::way::Way;

/// Requests on their way to the kernel at one time.
const IN_FLIGHT: usize = 64;
/// Shortest time between two rounds of route lookups caused by changes: a first change is
/// followed at once, a storm of them at this pace.
const ROUND: Duration = Duration::from_millis(50);
/// How often links and neighbours are read again, against notifications that were never sent.
const CHECK: Duration = Duration::from_secs(30);
/// Routes looked up again at each check, in turn.
const CHECKED_ROUTES: usize = 4096;
/// Receive buffer of the notification socket, in bytes; the kernel's limit may lower it.
const EVENT_BUFFER: usize = 4 << 20;
/// How long to wait before opening lost sockets again.
const REOPEN: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

/// Opens the sockets and starts the task that follows `commands` until all senders are gone.
///
/// # Errors
///
/// Fails where netlink sockets cannot be opened.
pub(super) fn spawn(commands: mpsc::UnboundedReceiver<Command>, pen: Pen) -> io::Result<()> {
    let kernel = Kernel::open()?;
    tokio::spawn(run(kernel, commands, pen));
    Ok(())
}

async fn run(mut kernel: Kernel, mut commands: mpsc::UnboundedReceiver<Command>, pen: Pen) {
    let mut driver = Driver::new(kernel.requests.clone(), pen);
    while let Err(error) = driver.follow(&mut kernel, &mut commands).await {
        tracing::error!(%error, "netlink: lost the kernel; reading everything again");
        kernel = loop {
            tokio::time::sleep(REOPEN).await;
            match Kernel::open() {
                Ok(kernel) => break kernel,
                Err(error) => tracing::error!(%error, "netlink: cannot open a socket"),
            }
        };
        driver.requests = kernel.requests.clone();
    }
}

type Messages = Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Unpin>;

/// Two netlink sockets: one to ask, one to listen.
struct Kernel {
    requests: Handle,
    notifications: Messages,
}

impl Kernel {
    fn open() -> io::Result<Self> {
        // Listening begins before anything is asked, so that no change falls between.
        let (mut connection, _, notifications) = rtnetlink::new_multicast_connection(&GROUPS)?;
        connection
            .socket_mut()
            .socket_ref()
            .set_rx_buf_sz(EVENT_BUFFER)?;
        tokio::spawn(connection);
        let (connection, requests, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let notifications = Box::new(notifications.map(|(message, _)| message));
        Ok(Self {
            requests,
            notifications,
        })
    }
}

struct Driver {
    table: Table,
    duplicates: Duplicates,
    requests: Handle,
    pen: Pen,
    waiting: Vec<Waiting>,
    queue: VecDeque<Effect>,
    answers: FuturesUnordered<BoxFuture<'static, Result<Answer, Error>>>,
    next_round: Instant,
    checks: u64,
}

/// Somebody who waits for addresses to settle.
struct Waiting {
    addresses: Vec<IpAddr>,
    done: oneshot::Sender<()>,
}

impl Driver {
    fn new(requests: Handle, pen: Pen) -> Self {
        Self {
            table: Table::default(),
            duplicates: Duplicates::default(),
            requests,
            pen,
            waiting: Vec::new(),
            queue: VecDeque::new(),
            answers: FuturesUnordered::new(),
            next_round: Instant::now(),
            checks: 0,
        }
    }

    /// Follows commands and notifications until the last handle is gone.
    ///
    /// # Errors
    ///
    /// Fails where a socket is lost or the kernel's tables cannot be read.
    async fn follow(
        &mut self,
        kernel: &mut Kernel,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Error> {
        self.queue.clear();
        self.answers.clear();
        self.resync().await?;
        self.table.doubt_all();
        let mut check = tokio::time::interval_at(Instant::now() + CHECK, CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // One wake-up takes all notifications there are before anybody is told anything.
            while let Some(message) = kernel.notifications.next().now_or_never() {
                self.notified(message.ok_or(Error::RequestFailed)?).await?;
            }
            if self.table.is_in_doubt() && Instant::now() >= self.next_round {
                self.next_round = Instant::now() + ROUND;
                self.table.look_up_doubtful();
            }
            self.perform();
            tokio::select! {
                message = kernel.notifications.next() => {
                    self.notified(message.ok_or(Error::RequestFailed)?).await?;
                }
                Some(answer) = self.answers.next() => self.answered(answer?),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(self.next_round), if self.table.is_in_doubt() => {}
                _ = check.tick() => {
                    self.resync().await?;
                    self.table.doubt_some(CHECKED_ROUTES);
                    if self.checks == 0 {
                        self.table.release_leftovers();
                    }
                    self.checks += 1;
                    self.waiting.retain(|waiting| !waiting.done.is_closed());
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Want(addresses) => addresses.into_iter().for_each(|a| self.table.want(a)),
            Command::Unwant(addresses) => addresses.into_iter().for_each(|a| self.table.unwant(a)),
            Command::Settled(addresses, done) => self.waiting.push(Waiting { addresses, done }),
            #[cfg(test)]
            Command::Way(address, answer) => {
                // A caller that has gone away does not want the answer.
                let _ = answer.send(self.table.way(address).cloned());
            }
        }
    }

    async fn notified(
        &mut self,
        message: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<(), Error> {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => {
                if let Some(event) = message::event(&message) {
                    self.table.event(event);
                }
                if let Some((place, is_duplicate)) = message::detected(&message) {
                    self.duplicates.note(place, is_duplicate);
                }
            }
            NetlinkPayload::Overrun(_) => {
                tracing::warn!("netlink: notifications were lost; reading everything again");
                self.resync().await?;
                self.table.doubt_all();
            }
            NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | NetlinkPayload::Noop | _ => {}
        }
        Ok(())
    }

    /// Carries out what the table wants, tells what has changed, answers who waits for that.
    fn perform(&mut self) {
        let mut changes = Vec::new();
        for effect in self.table.effects() {
            match effect {
                Effect::Changed(address, way) => changes.push((address, way)),
                Effect::LookUp(..) | Effect::Keep { .. } | Effect::Release(_) => {
                    self.queue.push_back(effect);
                }
            }
        }
        self.pen.write(changes);
        if let Some(duplicates) = self.duplicates.news() {
            self.pen
                .tell_duplicates(duplicates.iter().map(named).collect());
        }
        self.tell_waiting();
        while self.answers.len() < IN_FLIGHT
            && let Some(effect) = self.queue.pop_front()
        {
            self.ask(effect);
        }
    }

    fn tell_waiting(&mut self) {
        let settled = |address: &IpAddr| self.table.way(*address).is_none_or(Way::is_settled);
        let waiting = std::mem::take(&mut self.waiting);
        for mut one in waiting {
            // Looking stops at the first address that is not settled, so that waiting for many
            // costs one look a time; what has settled once is not looked at again.
            while one.addresses.last().is_some_and(settled) {
                one.addresses.pop();
            }
            if one.addresses.is_empty() {
                // A caller whose bound has passed does not listen any more.
                let _ = one.done.send(());
            } else {
                self.waiting.push(one);
            }
        }
    }

    fn ask(&mut self, effect: Effect) {
        let kernel = self.requests.clone();
        self.answers.push(match effect {
            Effect::LookUp(address, question) if self.table.awaits(address, question) => {
                requests::look_up(kernel, address, question).boxed()
            }
            Effect::Keep { hop, exclusive } => requests::keep(kernel, hop, exclusive).boxed(),
            Effect::Release(hop) => requests::release(kernel, hop).boxed(),
            Effect::LookUp(..) | Effect::Changed(..) => return,
        });
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Route(address, question, route) => {
                self.table.answered(address, question, route);
            }
            Answer::Found(hop, neighbour) => self.table.found(hop, neighbour),
            Answer::Refused(hop, errno) => self.table.refused(hop, errno),
            Answer::Done => {}
        }
    }

    async fn resync(&mut self) -> Result<(), Error> {
        let links = requests::links(&self.requests).await?;
        let neighbours = requests::neighbours(&self.requests).await?;
        let duplicates = requests::duplicates(&self.requests).await?;
        self.table.resync(links, neighbours);
        self.duplicates.replace(duplicates);
        Ok(())
    }
}

/// A duplicate address by the name of its interface.
fn named(place: &Place) -> Duplicate {
    let Place {
        ifindex,
        address,
        length,
    } = *place;
    let name = nix::net::if_::if_indextoname(ifindex).ok();
    let interface = name.and_then(|name| name.into_string().ok());
    Duplicate {
        address,
        length,
        interface: interface.unwrap_or_else(|| format!("interface {ifindex}")),
    }
}
