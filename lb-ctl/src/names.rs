//! Names of hosts and ports, as the C library tells them.
//!
//! The lookups go through the name service switch like ipvsadm's own, so that both print and
//! accept the same names on the same machine.
#![expect(unsafe_code, reason = "the C library's lookups have no safe form")]

use lb_common::api::Protocol;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Where names come from.
pub trait Names {
    /// The first IPv4 address of a host.
    fn address(&self, host: &str) -> Option<Ipv4Addr>;
    /// The name of an address.
    fn host(&self, address: IpAddr) -> Option<String>;
    /// The port of a protocol's named service.
    fn port(&self, name: &str, protocol: Protocol) -> Option<u16>;
    /// The name of a protocol's port.
    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String>;
}

/// The machine's own names; each is asked for once.
#[derive(Debug, Default)]
pub struct SystemNames {
    hosts: RefCell<HashMap<IpAddr, Option<String>>>,
    ports: RefCell<HashMap<(u16, Protocol), Option<String>>>,
}

impl Names for SystemNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        if host.is_empty() {
            return None;
        }
        (host, 0)
            .to_socket_addrs()
            .ok()?
            .find_map(|address| match address {
                SocketAddr::V4(address) => Some(*address.ip()),
                SocketAddr::V6(_) => None,
            })
    }

    fn host(&self, address: IpAddr) -> Option<String> {
        self.hosts
            .borrow_mut()
            .entry(address)
            .or_insert_with(|| host_name(address))
            .clone()
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let name = CString::new(name).ok()?;
        // SAFETY: both arguments are NUL-terminated strings that outlive the call. The result is
        // null or points to static storage of the C library, which stays as it is until the next
        // such call; this program has one thread, and the port is copied out at once.
        let entry = unsafe {
            libc::getservbyname(name.as_ptr(), protocol_name(protocol).as_ptr()).as_ref()
        };
        entry.map(|entry| network_port(entry.s_port))
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.ports
            .borrow_mut()
            .entry((port, protocol))
            .or_insert_with(|| service_name(port, protocol))
            .clone()
    }
}

fn service_name(port: u16, protocol: Protocol) -> Option<String> {
    let port = i32::from(port.to_be());
    // SAFETY: the protocol is a NUL-terminated string that outlives the call. The result is null
    // or points to static storage of the C library, which stays as it is until the next such
    // call; this program has one thread, and the name is copied out below.
    let entry = unsafe { libc::getservbyport(port, protocol_name(protocol).as_ptr()).as_ref() }?;
    // SAFETY: `s_name` of an entry is a NUL-terminated string in the same storage.
    let name = unsafe { CStr::from_ptr(entry.s_name) };
    Some(name.to_string_lossy().into_owned())
}

fn host_name(address: IpAddr) -> Option<String> {
    let address = socket2::SockAddr::from(SocketAddr::new(address, 0));
    let mut name: [c_char; 1025] = [0; 1025];
    // SAFETY: the address and its length come from `SockAddr`, which keeps them consistent; the
    // name's length is that of the array; no service is asked for.
    let status = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr(),
            name.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if status != 0 {
        return None;
    }
    // SAFETY: on success the array holds a NUL-terminated string.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Some(name.to_string_lossy().into_owned())
}

const fn protocol_name(protocol: Protocol) -> &'static CStr {
    match protocol {
        Protocol::Tcp => c"tcp",
        Protocol::Udp => c"udp",
        Protocol::Sctp => c"sctp",
    }
}

/// A port as `servent` keeps it: network byte order in the low half of an integer.
fn network_port(port: i32) -> u16 {
    u16::from_be(port as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_knows_the_oldest_services() {
        let names = SystemNames::default();
        assert_eq!(names.port("domain", Protocol::Udp), Some(53));
        assert_eq!(names.port("no such service", Protocol::Tcp), None);
        assert_eq!(names.port("nul\0", Protocol::Tcp), None);
        assert_eq!(
            names.port_name(53, Protocol::Tcp).as_deref(),
            Some("domain")
        );
        assert_eq!(names.port_name(0, Protocol::Tcp), None);
    }

    #[test]
    fn the_machine_knows_itself() {
        let names = SystemNames::default();
        assert_eq!(names.address("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(names.address(""), None);
        assert!(names.host(Ipv4Addr::LOCALHOST.into()).is_some());
    }
}
