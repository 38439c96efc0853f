//! A UDP service on a real server of the lab.

use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xtask::lab::host::Host;

/// The answer of a host with a name to a datagram.
pub type Answer = fn(&str, &[u8]) -> Vec<u8>;

/// Answers every datagram, if not told otherwise with the host's name, until it is dropped.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts on an address that the host holds.
    ///
    /// # Errors
    /// When the address is taken or not there.
    pub fn start(host: &Host, listen: SocketAddr) -> Result<Self> {
        Self::start_with(host, listen, |name, _| name.as_bytes().to_vec())
    }

    /// Starts one that answers with what `answer` makes of the host's name and the datagram.
    ///
    /// # Errors
    /// When the address is taken or not there.
    pub fn start_with(host: &Host, listen: SocketAddr, answer: Answer) -> Result<Self> {
        let socket = host
            .inside(|| UdpSocket::bind(listen))?
            .with_context(|| format!("{} cannot listen on {listen}", host.name()))?;
        // So that the thread notices the end.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let name = host.name().to_owned();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || respond(&socket, &name, answer, &stop)
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the responder panicked: {panic:?}");
        }
    }
}

fn respond(socket: &UdpSocket, name: &str, answer: Answer, stop: &AtomicBool) {
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut datagram) {
            Ok((len, client)) => {
                let answer = answer(name, &datagram[..len]);
                socket
                    .send_to(&answer, client)
                    .expect("the client can be reached");
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}
