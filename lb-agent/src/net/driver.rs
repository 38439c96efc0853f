//! The [`Table`]'s hands: two netlink sockets and a task.
//!
//! Notifications have a socket of their own, so that a burst which overruns it cannot take
//! answers with it. An overrun is answered by reading everything again. Notifications that
//! arrive while the kernel's tables are read wait, and are applied on top before anything is
//! told: they are either contained in what was read or newer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, Stream};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Error, Handle, MulticastGroup, RouteMessageBuilder};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::decide::{Hop, Link, Neighbour, Route};
use super::handle::{Command, Pen};
use super::message::{self, Upkeep};
use super::table::{Effect, Question, Table};
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

/// What came back from the kernel.
enum Answer {
    Route(IpAddr, Question, Route),
    Refused(Hop, i32),
    Found(Hop, Option<Neighbour>),
    Done,
}

struct Driver {
    table: Table,
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
        let requests = self.requests.clone();
        let answer = match effect {
            Effect::LookUp(address, question) if self.table.awaits(address, question) => {
                look_up(requests, address, question).boxed()
            }
            Effect::Keep { hop, exclusive } => keep(requests, hop, exclusive).boxed(),
            Effect::Release(hop) => release(requests, hop).boxed(),
            Effect::LookUp(..) | Effect::Changed(..) => return,
        };
        self.answers.push(answer);
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
        let links = links(&self.requests).await?;
        let neighbours = neighbours(&self.requests).await?;
        self.table.resync(links, neighbours);
        Ok(())
    }
}

async fn look_up(requests: Handle, address: IpAddr, question: Question) -> Result<Answer, Error> {
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, if address.is_ipv4() { 32 } else { 128 })
        .map_err(|error| Error::InvalidNla(error.to_string()))?
        .build();
    let answer = Box::pin(requests.route().get(message).execute())
        .next()
        .await;
    let route = match answer {
        Some(Ok(answer)) => message::route(address, &answer),
        Some(Err(error)) => message::refused_route(errno(error)?),
        None => return Err(Error::RequestFailed),
    };
    Ok(Answer::Route(address, question, route))
}

async fn keep(requests: Handle, hop: Hop, exclusive: bool) -> Result<Answer, Error> {
    let mut refusal = 0;
    for upkeep in [Upkeep::Managed, Upkeep::Once] {
        let mut request = requests.neighbours().add(hop.ifindex, hop.address);
        if !exclusive {
            request = request.replace();
        }
        message::keep(request.message_mut(), upkeep);
        let Err(error) = request.execute().await else {
            return Ok(Answer::Done);
        };
        refusal = errno(error)?;
        match refusal {
            // Entries that are being resolved come without a notification: look before touching.
            libc::EEXIST => return Ok(Answer::Found(hop, entry(requests, hop).await?)),
            libc::EINVAL | libc::EOPNOTSUPP => {
                tracing::debug!(
                    ?hop,
                    ?upkeep,
                    "kernel refuses this way of keeping a neighbour"
                );
            }
            _ => break,
        }
    }
    Ok(Answer::Refused(hop, refusal))
}

async fn release(requests: Handle, hop: Hop) -> Result<Answer, Error> {
    match requests
        .neighbours()
        .del(message::name(hop))
        .execute()
        .await
    {
        Ok(()) => {}
        // Already gone, or gone with its interface: nothing is left to remove.
        Err(error) => tracing::debug!(errno = errno(error)?, ?hop, "neighbour not removed"),
    }
    Ok(Answer::Done)
}

/// One neighbour entry as the kernel has it.
async fn entry(mut requests: Handle, hop: Hop) -> Result<Option<Neighbour>, Error> {
    let message = RouteNetlinkMessage::GetNeighbour(message::name(hop));
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST;
    match requests
        .request(message)?
        .next()
        .await
        .map(|answer| answer.payload)
    {
        Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(m))) => {
            Ok(message::neighbour(&m).map(|(_, neighbour)| neighbour))
        }
        Some(_) => Ok(None),
        None => Err(Error::RequestFailed),
    }
}

async fn links(requests: &Handle) -> Result<HashMap<u32, Link>, Error> {
    let mut answers = Box::pin(requests.link().get().execute());
    let mut links = HashMap::new();
    while let Some(answer) = answers.next().await {
        links.extend(message::link(&answer?));
    }
    Ok(links)
}

async fn neighbours(requests: &Handle) -> Result<HashMap<Hop, Neighbour>, Error> {
    let mut neighbours = HashMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let request = requests.neighbours().get().set_address_family(family);
        let mut answers = Box::pin(request.execute());
        while let Some(answer) = answers.next().await {
            neighbours.extend(message::neighbour(&answer?));
        }
    }
    Ok(neighbours)
}

/// The kernel's `errno` in an error, or the error where the kernel did not speak.
fn errno(error: Error) -> Result<i32, Error> {
    if let Error::NetlinkError(message) = &error {
        Ok(-message.raw_code())
    } else {
        Err(error)
    }
}
