//! The Unix socket: who may come in, how many at once, and for how long.

use crate::cli::Conflict;
use anyhow::{Context, bail};
use axum::serve::Listener;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream, unix};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// The most clients at once; others wait in the kernel's queue.
const CLIENTS: usize = 64;

/// How long a connection lives on which nothing moves.
const IDLE: Duration = Duration::from_secs(10);

/// A listening control socket.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    file: Option<SocketFile>,
    room: Arc<Semaphore>,
    idle: Duration,
}

/// The socket in the file system; dropping removes it.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Socket {
    /// Listens at `path`, for the owner only. Makes the directory, and replaces a socket on which
    /// no one listens any more.
    ///
    /// # Errors
    /// [`Conflict`] when someone listens there; others when the path is something else or cannot
    /// be made.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        Self::bind_with(path, CLIENTS, IDLE)
    }

    pub(super) fn bind_with(path: &Path, clients: usize, idle: Duration) -> anyhow::Result<Self> {
        check_free(path)?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        // Renamed into place when its mode is set, so that no one else gets in before.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let bind = || -> io::Result<UnixListener> {
            if let Err(error) = fs::remove_file(&new)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            fs::rename(&new, path)?;
            Ok(listener)
        };
        let listener = bind().with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self {
            listener,
            file: Some(SocketFile(path.to_owned())),
            room: Arc::new(Semaphore::new(clients)),
            idle,
        })
    }

    /// Hands over the file, for it to be removed at the beginning of the end.
    pub(super) fn file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

impl Listener for Socket {
    type Io = Client;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Client, unix::SocketAddr) {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.expect("the semaphore is never closed");
        // The listener's own accept waits out what passes, such as too many open files.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let client = Client {
            stream,
            idle: self.idle,
            timer: Box::pin(tokio::time::sleep(self.idle)),
            _room: room,
        };
        (client, address)
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.listener.local_addr()
    }
}

/// A client's connection, which ends when nothing moves on it for a while.
pub(crate) struct Client {
    stream: UnixStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    _room: OwnedSemaphorePermit,
}

impl Client {
    /// Passes on what moved and restarts the timer; fails when it has run out.
    fn watch<T>(&mut self, task: &mut Task<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.timer.as_mut().reset(Instant::now() + self.idle);
            return moved;
        }
        self.timer
            .as_mut()
            .poll(task)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_read(task, buffer);
        self.watch(task, moved)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.watch(task, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(task, bytes);
        self.watch(task, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Refuses a path that is in use.
fn check_free(path: &Path) -> anyhow::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(data) => data.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", path.display()));
        }
    };
    if !kind.is_socket() {
        bail!(
            "{} is there and is no socket: move it away, or choose another path with --socket",
            path.display()
        );
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(Conflict(format!(
            "another agent listens on {}: stop it, or choose another path with --socket",
            path.display()
        ))
        .into()),
        // No one listens, or went just this moment.
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused
                || error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell who listens on {}", path.display()))
        }
    }
}
