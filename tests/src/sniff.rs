//! Watches what a host sends into the bridge.

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use xtask::lab::Lab;

/// One TCP segment over IPv4 that the host sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The Ethernet address that it was sent to.
    pub mac: [u8; 6],
    /// Its source.
    pub from: SocketAddrV4,
    /// Its destination.
    pub to: SocketAddrV4,
}

/// A watch that goes on until it is dropped.
#[derive(Debug)]
pub struct Sniffer {
    seen: Arc<Mutex<Vec<Segment>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sniffer {
    /// Watches what the host of this name sends, from now on.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn start(lab: &Lab, host: &str) -> Result<Self> {
        let (socket, port) = lab
            .host("bridge")
            .inside(|| open(host))?
            .with_context(|| format!("cannot watch {host}"))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || watch(&socket, port, &seen, &stop)
        });
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// When the watch did.
    #[must_use]
    pub fn seen(&self) -> Vec<Segment> {
        self.seen.lock().expect("the watch does not panic").clone()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the watch panicked: {panic:?}");
        }
    }
}

/// A socket that sees all frames of the bridge's namespace, and the index of the host's port.
fn open(host: &str) -> Result<(OwnedFd, usize)> {
    let port = if_nametoindex(host)?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    )?;
    // So that the watch notices the end.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    Ok((socket, port as usize))
}

fn watch(socket: &OwnedFd, port: usize, seen: &Mutex<Vec<Segment>>, stop: &AtomicBool) {
    // Longer than any segment that the kernel may have merged.
    let mut frame = vec![0; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            // What the bridge sends to the host passes the same port.
            Ok((len, Some(from)))
                if from.ifindex() == port && from.pkttype() != libc::PACKET_OUTGOING =>
            {
                if let Some(segment) = parse(&frame[..len]) {
                    seen.lock().expect("readers do not panic").push(segment);
                }
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => panic!("cannot read frames: {error}"),
        }
    }
}

fn parse(frame: &[u8]) -> Option<Segment> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let link = packet.link?.to_header()?.ethernet2()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport)
    else {
        return None;
    };
    Some(Segment {
        mac: link.destination,
        from: SocketAddrV4::new(ip.header().source_addr(), tcp.source_port()),
        to: SocketAddrV4::new(ip.header().destination_addr(), tcp.destination_port()),
    })
}
