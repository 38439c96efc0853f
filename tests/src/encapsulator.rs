//! A director by hand: a thread that puts a host's packets for virtual addresses into tunnels.

use crate::tunnel::{self, Shim};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use xtask::lab::host::Host;

/// A tunnel to a real server.
#[derive(Clone, Debug)]
pub struct Path {
    /// The host's own address.
    pub from: IpAddr,
    /// The real server's, of the same family.
    pub to: IpAddr,
    /// The real server's Ethernet address.
    pub mac: [u8; 6],
    /// What stands between the headers.
    pub shim: Shim,
    /// The outer header's type of service, or traffic class.
    pub traffic_class: u8,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Encapsulator {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Encapsulator {
    /// Puts all packets for one of `vips` that come to the host by `eth0` into a tunnel.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn start(host: &Host, vips: &[IpAddr], path: Path) -> Result<Self> {
        let (socket, link) = host.inside(open)?.context("an AF_PACKET socket")?;
        let (sent, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = thread::spawn({
            let (sent, stop, vips) = (Arc::clone(&sent), Arc::clone(&stop), vips.to_vec());
            move || {
                let mut frame = vec![0; 1 << 16];
                while !stop.load(Ordering::Relaxed) {
                    match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
                        Ok((len, Some(from)))
                            if from.ifindex() == link.ifindex()
                                && from.pkttype() == libc::PACKET_HOST =>
                        {
                            if let Some(outer) = tunnelled(&frame[..len], &vips, &path) {
                                sendto(socket.as_raw_fd(), &outer, &link, MsgFlags::empty())
                                    .expect("the frame goes out");
                                sent.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                        Err(error) => panic!("cannot read frames: {error}"),
                    }
                }
            }
        });
        Ok(Self {
            sent,
            stop,
            thread: Some(thread),
        })
    }

    /// How many packets went into the tunnel so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Encapsulator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the encapsulator panicked: {panic:?}");
        }
    }
}

/// A socket for all frames, and `eth0` as one sends to it.
fn open() -> Result<(OwnedFd, LinkAddr)> {
    let link = getifaddrs()?
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .context("there is no eth0")?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    // So that the thread notices the end.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    Ok((socket, link))
}

/// The frame with the packet in a tunnel; none when it is for none of `vips`.
fn tunnelled(frame: &[u8], vips: &[IpAddr], path: &Path) -> Option<Vec<u8>> {
    let packet = frame.get(14..)?;
    let (destination, len) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let octets = <[u8; 4]>::try_from(packet.get(16..20)?).ok()?;
            let len = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?);
            (IpAddr::from(octets), usize::from(len))
        }
        [0x86, 0xdd] => {
            let octets = <[u8; 16]>::try_from(packet.get(24..40)?).ok()?;
            let len = u16::from_be_bytes(*packet.get(4..)?.first_chunk()?);
            (IpAddr::from(octets), 40 + usize::from(len))
        }
        _ => return None,
    };
    if !vips.contains(&destination) {
        return None;
    }
    let (from, to) = (path.from.to_string(), path.to.to_string());
    let mut outer = tunnel::tunnelled(&from, &to, path.shim.clone(), packet.get(..len)?)
        .traffic_class(path.traffic_class);
    outer.source_mac = *frame.first_chunk()?;
    outer.destination_mac = path.mac;
    Some(outer.bytes())
}
