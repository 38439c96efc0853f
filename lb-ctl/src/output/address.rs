//! Addresses and ports, as numbers or by name.

use crate::names::Names;
use lb_common::api::Protocol;
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest text ipvsadm makes of an address and a port.
const LONGEST: usize = 59;
/// The width of an address column; an IPv4 name is cut to it, an IPv6 name runs over.
pub(super) const COLUMN: usize = 28;

/// An address with its port, `10.0.0.1:80` or `[2001:db8::1]:http`. Ports have names only in
/// the context of a protocol.
#[must_use]
pub fn endpoint(
    address: IpAddr,
    port: u16,
    protocol: Option<Protocol>,
    numeric: bool,
    names: &dyn Names,
) -> String {
    let host = match numeric {
        true => None,
        false => names.host(address),
    };
    let host = host.unwrap_or_else(|| number(address));
    let service = match protocol {
        Some(protocol) if !numeric => names.port_name(port, protocol),
        Some(_) | None => None,
    };
    let mut text = match address {
        IpAddr::V4(_) => host,
        IpAddr::V6(_) => format!("[{host}]"),
    };
    let _ = match service {
        Some(service) => write!(text, ":{service}"),
        None => write!(text, ":{port}"),
    };
    cut(&text, LONGEST).to_owned()
}

/// An endpoint's text as far as an address column takes it.
pub(super) fn column(address: IpAddr, text: &str) -> &str {
    match address {
        IpAddr::V4(_) => cut(text, COLUMN),
        IpAddr::V6(_) => text,
    }
}

/// An address as `inet_ntop` writes it.
fn number(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => ipv6(address).into_owned(),
    }
}

/// Rust writes the deprecated IPv4-compatible addresses in hexadecimal, C does not.
fn ipv6(address: Ipv6Addr) -> Cow<'static, str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let ipv4 = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
            Cow::Owned(format!("::{ipv4}"))
        }
        _ => Cow::Owned(address.to_string()),
    }
}

fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::ipv6;

    #[test]
    fn ipv6_is_written_as_c_does() {
        for text in [
            "::",
            "::1",
            "::ffff:10.0.0.12",
            "::10.0.0.12",
            "2001:db8::a",
            "1:0:2::3",
            "2001:db8:0:1:1:1:1:1",
            "::1:0",
            "fe80::1",
        ] {
            let address: std::net::Ipv6Addr = text.parse().unwrap();
            let expected = if text == "::1:0" { "::0.1.0.0" } else { text };
            assert_eq!(ipv6(address), expected);
        }
    }
}
