//! What only ioctl(2) tells of an interface, or tells without a netlink socket and a runtime.
#![expect(unsafe_code, reason = "these requests have no wrapper")]

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsRawFd as _;

/// The longest packet that an interface sends, in bytes from the network header on; none when it
/// cannot be asked.
pub(crate) fn mtu(name: &str) -> Option<u32> {
    let mut request = request(name);
    ask(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: the kernel has answered this request, and this is the field that it answers in.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).ok()
}

/// Whether an interface leaves checksums of what it sends to be made by others; none when it cannot
/// be asked.
pub(super) fn tx_checksum_offload(name: &str) -> Option<bool> {
    /// linux/sockios.h
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    /// linux/ethtool.h
    const ETHTOOL_GTXCSUM: u32 = 0x16;

    /// linux/ethtool.h: `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        cmd: u32,
        data: u32,
    }

    let mut value = Value {
        cmd: ETHTOOL_GTXCSUM,
        data: 0,
    };
    let value_at: *mut Value = &mut value;
    let mut request = request(name);
    request.ifr_ifru.ifru_data = value_at.cast();
    ask(SIOCETHTOOL, &mut request)?;
    Some(value.data != 0)
}

/// A request about the interface of this name.
fn request(name: &str) -> libc::ifreq {
    let mut asked = [0; libc::IFNAMSIZ];
    // The last byte stays: the name ends there at the latest.
    for (to, from) in asked[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    libc::ifreq {
        ifr_name: asked,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: std::ptr::null_mut(),
        },
    }
}

/// Asks; none when the kernel refuses.
fn ask(command: libc::c_ulong, request: &mut libc::ifreq) -> Option<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .ok()?;
    let request: *mut libc::ifreq = request;
    // SAFETY: the kernel reads and writes an ifreq, and for SIOCETHTOOL an ethtool_value where that
    // points to; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), command as _, request) };
    (result == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_an_mtu_and_nothing_has_none() {
        assert_eq!(mtu("lo"), Some(65_536));
        assert_eq!(mtu("a-name-longer-than-any"), None);
    }
}
