//! What the rest of the agent holds: a handle to ask with and a place where changes gather.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::driver;
use super::duplicates::Duplicate;
use super::way::Way;

/// The ways to all wanted addresses; a handle, cheap to clone. The work ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct NextHops {
    commands: mpsc::UnboundedSender<Command>,
}

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Want(Vec<IpAddr>),
    Unwant(Vec<IpAddr>),
    Settled(Vec<IpAddr>, oneshot::Sender<()>),
    #[cfg(test)]
    Way(IpAddr, oneshot::Sender<Option<Way>>),
}

impl NextHops {
    /// Starts to listen to the kernel, in the network namespace of the calling thread; must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails where netlink sockets cannot be opened.
    pub(crate) fn spawn() -> io::Result<(Self, Changes)> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let board = Arc::new(Board::default());
        driver::spawn(receiver, Pen(Arc::clone(&board)))?;
        Ok((Self { commands }, Changes { board }))
    }

    /// Adds one interest in each address; an address is followed while it has any. Takes time
    /// in proportion to `addresses` only, however many are followed.
    pub(crate) fn want(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.send(Command::Want(addresses.into_iter().collect()));
    }

    /// Takes one interest in each address back. A change of it may still be delivered.
    pub(crate) fn unwant(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.send(Command::Unwant(addresses.into_iter().collect()));
    }

    /// Waits until all these addresses are known to be reachable or known not to be, at most
    /// `bound`; returns whether they are. An address that is not wanted is not waited for.
    ///
    /// When this returns true, the ways are in [`Changes`] already: [`Changes::take`] after it
    /// yields them.
    pub(crate) async fn settled(
        &self,
        addresses: impl IntoIterator<Item = IpAddr>,
        bound: Duration,
    ) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Settled(addresses.into_iter().collect(), sender));
        matches!(tokio::time::timeout(bound, receiver).await, Ok(Ok(())))
    }

    #[cfg(test)]
    /// The way to an address as it is known; `None` where the address is not wanted.
    pub(crate) async fn way(&self, address: IpAddr) -> Option<Way> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Way(address, sender));
        receiver.await.ok().flatten()
    }

    fn send(&self, command: Command) {
        // The driver ends only after every handle is gone, or by a panic that it has reported;
        // then nothing settles any more and callers see their bound pass.
        if self.commands.send(command).is_err() {
            tracing::error!("next hops are not followed any more; restart lb-agent");
        }
    }
}

/// Changes to take over into the datapath. Only the latest way of each address is kept, so a
/// slow reader costs memory in proportion to the addresses, never to the changes.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    board: Arc<Board>,
}

impl Changes {
    /// Waits until there are changes to take; false when the driver has ended and there will be
    /// none.
    pub(crate) async fn ready(&self) -> bool {
        loop {
            {
                let sheet = self.board.lock();
                if !sheet.ways.is_empty() || sheet.duplicates.is_some() {
                    return true;
                }
                if sheet.ended {
                    return false;
                }
            }
            self.board.news.notified().await;
        }
    }

    /// Waits for changes and takes them all; `None` when the driver has ended.
    #[cfg(test)]
    pub(crate) async fn recv(&self) -> Option<Vec<(IpAddr, Way)>> {
        self.ready().await.then(|| self.take())
    }

    /// Takes what there is without waiting.
    pub(crate) fn take(&self) -> Vec<(IpAddr, Way)> {
        std::mem::take(&mut self.board.lock().ways)
            .into_iter()
            .collect()
    }

    /// Takes the own IPv6 addresses that another machine has, if they are others than before.
    pub(crate) fn take_duplicates(&self) -> Option<BTreeSet<Duplicate>> {
        self.board.lock().duplicates.take()
    }
}

/// The driver's end of [`Changes`].
#[derive(Debug)]
pub(super) struct Pen(Arc<Board>);

impl Pen {
    /// Hands over changes, all at once: no reader sees a part of them.
    pub(super) fn write(&self, changes: Vec<(IpAddr, Way)>) {
        if !changes.is_empty() {
            self.0.lock().ways.extend(changes);
            self.0.news.notify_one();
        }
    }

    /// Hands over all duplicate addresses.
    pub(super) fn tell_duplicates(&self, duplicates: BTreeSet<Duplicate>) {
        self.0.lock().duplicates = Some(duplicates);
        self.0.news.notify_one();
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.news.notify_one();
    }
}

#[derive(Debug, Default)]
struct Board {
    sheet: Mutex<Sheet>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Sheet {
    ways: HashMap<IpAddr, Way>,
    /// All that there are, until they are taken.
    duplicates: Option<BTreeSet<Duplicate>>,
    ended: bool,
}

impl Board {
    fn lock(&self) -> std::sync::MutexGuard<'_, Sheet> {
        // Nothing panics while it holds the lock, and a map is whole after any of its methods.
        self.sheet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
