//! Addresses as ipvsadm reads them.

use super::number::{decimal, is_space};
use crate::names::Names;
use lb_common::api::Protocol;
use std::net::{IpAddr, Ipv4Addr};

/// An address, and the port if the text had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// Reads `host`, `host:port`, `v6` or `[v6]:port`; hosts are IPv4, ports numbers or names of
/// `protocol`.
pub fn endpoint(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<Endpoint> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, behind) = inside.split_once(']')?;
            (host, Some(behind.strip_prefix(':')?))
        }
        None => (text, None),
    };
    if let Ok(address) = host.parse() {
        let address = IpAddr::V6(address);
        return match port {
            Some(port) => port_number(port, protocol, names).map(|port| Endpoint {
                address,
                port: Some(port),
            }),
            None => Some(Endpoint {
                address,
                port: None,
            }),
        };
    }
    // A port behind brackets counts with an IPv6 address only.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    };
    let address = IpAddr::V4(ipv4(host, names)?);
    match port {
        Some(port) => port_number(port, protocol, names).map(|port| Endpoint {
            address,
            port: Some(port),
        }),
        None => Some(Endpoint {
            address,
            port: None,
        }),
    }
}

/// Reads an IPv4 address in any of `inet_aton`'s forms, or a host name.
pub fn ipv4(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    aton(text).or_else(|| names.address(text))
}

fn port_number(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<u16> {
    match decimal(text, 0..=65535) {
        Some(port) => u16::try_from(port).ok(),
        None => names.port(text, protocol?),
    }
}

/// `inet_aton`: one to four numbers, decimal, octal (`0…`) or hexadecimal (`0x…`), of which the
/// last fills the remaining bytes; anything may follow a blank.
fn aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(is_space).next()?;
    let mut parts = [0_u32; 4];
    let mut count = 0;
    for part in text.split('.') {
        *parts.get_mut(count)? = aton_part(part)?;
        count += 1;
    }
    let (last, bytes) = parts[..count].split_last()?;
    if bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let room = 32 - 8 * (count as u32 - 1);
    if room < 32 && last >> room != 0 {
        return None;
    }
    let high = bytes
        .iter()
        .zip([24, 16, 8])
        .fold(0, |high, (byte, shift)| high | byte << shift);
    Some(Ipv4Addr::from(high | last))
}

fn aton_part(text: &str) -> Option<u32> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::aton;

    #[test]
    fn aton_takes_every_form() {
        for (text, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.6", "10.0.0.6"),
            ("10.0.7", "10.0.0.7"),
            ("1234", "0.0.4.210"),
            ("0x0a000005", "10.0.0.5"),
            ("012.0.0.8", "10.0.0.8"),
            ("10.0.0.9 and more", "10.0.0.9"),
            ("255.255", "255.0.0.255"),
            ("4294967295", "255.255.255.255"),
            ("0", "0.0.0.0"),
        ] {
            assert_eq!(aton(text), address.parse().ok(), "{text}");
        }
        for text in [
            "",
            " 10.0.0.1",
            "10.0.0.256",
            "10.0.0.1.1",
            "10.0.0.",
            ".1",
            "08.0.0.1",
            "0x",
            "+1",
            "4294967296",
            "256.1",
            "1.16777216",
            "10.0.0.1x",
        ] {
            assert_eq!(aton(text), None, "{text}");
        }
    }
}
