//! Veth pairs: who is at the other end, and whether what it sends has its checksums.
//!
//! What is sent through a veth pair has no checksum while the sending end has TX checksum offload:
//! the kernel notes in the packet's metadata that it is still to make (`CHECKSUM_PARTIAL`), and
//! leaves the sum of the pseudo header in its place. That is told to nobody beyond an XDP program.

use super::ioctl::tx_checksum_offload;
use futures_util::stream::TryStreamExt as _;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

/// The other end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The interface of this index was found here.
    Here(u32),
    /// The interface of this index in another network namespace.
    Elsewhere(u32),
}

impl Peer {
    /// Its index, wherever it is.
    pub(crate) fn index(self) -> u32 {
        match self {
            Self::Here(index) | Self::Elsewhere(index) => index,
        }
    }

    /// Its name at present; none where it is not here, or no more.
    pub(crate) fn name(self) -> Option<String> {
        match self {
            Self::Here(index) => interface_name(index),
            Self::Elsewhere(_) => None,
        }
    }

    /// Whether packets that come from there have their checksums; none where that cannot be seen.
    pub(crate) fn completes_checksums(self) -> Option<bool> {
        tx_checksum_offload(&self.name()?).map(|offload| !offload)
    }
}

fn interface_name(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?;
    let name = name.into_string().ok()?;
    // What nix 0.31 makes of the C library's null pointer.
    (!name.is_empty()).then_some(name)
}

/// The other end of an interface that is one of a veth pair, as far as the kernel tells.
///
/// From code without a runtime at hand: it asks on a thread of its own.
pub(crate) fn peer(ifindex: u32) -> Option<Peer> {
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .ok()?;
        runtime.block_on(async move {
            let (connection, requests, _) = rtnetlink::new_connection().ok()?;
            let connection = tokio::spawn(connection);
            let mut links = requests.link().get().match_index(ifindex).execute();
            let link = links.try_next().await.ok()??;
            connection.abort();
            of(&link)
        })
    };
    let (index, is_here) = std::thread::spawn(ask).join().ok()??;
    Some(match is_here {
        true => Peer::Here(index),
        false => Peer::Elsewhere(index),
    })
}

/// The index of the other end of a veth pair, and whether it is in the same network namespace.
fn of(link: &LinkMessage) -> Option<(u32, bool)> {
    let (mut is_veth, mut peer, mut is_here) = (false, None, true);
    for attribute in &link.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign, non-exhaustive enum"
        )]
        match attribute {
            LinkAttribute::LinkInfo(info) => {
                is_veth |= info.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            LinkAttribute::Link(index) => peer = Some(*index),
            LinkAttribute::LinkNetNsId(_) => is_here = false,
            _ => {}
        }
    }
    peer.filter(|_| is_veth).map(|peer| (peer, is_here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::process::Command;

    fn run(command: &str) {
        let mut words = command.split(' ');
        let mut program = Command::new(words.next().expect("a program"));
        let status = program.args(words).status().expect("it runs");
        assert!(status.success(), "{command}");
    }

    #[test]
    fn root_the_other_end_of_a_veth_pair_is_found_and_asked() {
        let body = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, as root");
            run("ip link add v0 type veth peer name v1");
            run("ip link add d0 type bridge");
            let index = |name| nix::net::if_::if_nametoindex(name).expect("an interface");
            let found = peer(index("v0")).expect("a veth pair");
            assert_eq!(found, Peer::Here(index("v1")));
            assert_eq!(peer(index("d0")), None);
            assert_eq!(peer(index("lo")), None);
            assert_eq!(found.completes_checksums(), Some(false));
            run("ethtool -K v1 tx off");
            assert_eq!(found.completes_checksums(), Some(true));
            run("ip link set v1 name v2");
            assert_eq!(found.name(), Some("v2".to_owned()));
            assert_eq!(found.completes_checksums(), Some(true));

            let other = format!("lb-veth-{}", std::process::id());
            run(&format!("ip netns add {other}"));
            let peer_index = index("v2");
            run(&format!("ip link set v2 netns {other}"));
            let moved = peer(index("v0"));
            let names = [found.name(), moved.and_then(Peer::name)];
            let told = found.completes_checksums();
            run(&format!("ip netns delete {other}"));
            assert_eq!(moved, Some(Peer::Elsewhere(peer_index)));
            assert_eq!(names, [None, None]);
            assert_eq!(told, None);
        };
        std::thread::spawn(body).join().expect("the test passes");
    }
}
