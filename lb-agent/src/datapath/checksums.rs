//! Packets whose checksum is still to be made, as the other end of a veth pair may send them: what
//! becomes of them, in words.
//!
//! Measured with Linux 6.18: TCP and UDP over both families, directly routed and masqueraded; what is
//! in a tunnel is the same bytes. In the driver (drivers/net/veth.c), a
//! frame that the program sends on is nothing but its bytes: the note that the checksum is to be
//! made is lost, and whoever gets it drops it, whatever the forwarding method. In the generic path
//! (net/core/dev.c: `generic_xdp_tx`) the note stays, and a checksum that is made later is right,
//! unless an address was translated: what is mended then is not a checksum yet. Packets that came
//! from a network card have theirs.

use super::attach::Port;
use crate::net::Peer;
use lb_common::api::AttachMode;

/// What to tell of an interface with this other end; none when all packets from there have their
/// checksums.
pub(super) fn warning(port: &Port, mode: AttachMode, peer: Peer) -> Option<String> {
    if peer.completes_checksums() == Some(true) {
        return None;
    }
    let name = &port.name;
    let (lost, whose) = match mode {
        AttachMode::Native => ("by every forwarding method", "packets"),
        AttachMode::Generic => (
            "where a network card or another interface makes the checksum after the program",
            "packets to and from masqueraded servers",
        ),
    };
    let cure = match peer.name() {
        Some(peer) => format!("`ethtool -K {peer} tx off`"),
        None => format!(
            "`ethtool -K PEER tx off` in the network namespace of its other end, interface {} \
             there; lb cannot see whether that is done",
            peer.index()
        ),
    };
    Some(format!(
        "{name} is a veth interface: {whose} that hosts on this machine send through it without \
         their TCP or UDP checksum arrive with a wrong one, and are dropped, {lost}: {cure}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_interface_and_the_place_of_the_cure() {
        let port = Port {
            name: "eth0".to_owned(),
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: None,
            v4: None,
            v6: None,
        };
        let told = |mode| warning(&port, mode, Peer::Elsewhere(12)).expect("it may be so");
        let native = told(AttachMode::Native);
        assert!(native.starts_with("eth0 is a veth interface"), "{native}");
        assert!(native.contains("interface 12 there"), "{native}");
        assert!(native.contains("every forwarding method"), "{native}");
        let generic = told(AttachMode::Generic);
        assert!(generic.contains("masqueraded servers"), "{generic}");
    }
}
