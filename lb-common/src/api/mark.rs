//! Mark rules: which packets belong to a mark service.

use super::{Family, Protocol};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network; none when the length is more than the family has, or the address has bits
    /// beyond it.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let clear = match address {
            IpAddr::V4(v4) => length <= 32 && u64::from(v4.to_bits()) << length & 0xffff_ffff == 0,
            IpAddr::V6(v6) => {
                length <= 128 && v6.to_bits().checked_shl(length.into()).unwrap_or(0) == 0
            }
        };
        clear.then_some(Self { address, length })
    }

    /// The network's first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The length in the 128-bit form, where IPv4 addresses are mapped.
    #[must_use]
    pub const fn mapped_length(&self) -> u32 {
        match self.address {
            IpAddr::V4(_) => 96 + self.length as u32,
            IpAddr::V6(_) => self.length as u32,
        }
    }

    /// Whether the network is one address.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.mapped_length() == 128
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAPrefix(String);

impl fmt::Display for NotAPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}' is no network such as 192.0.2.0/24 or 2001:db8::/32, with no bit set behind its \
             length",
            self.0
        )
    }
}

impl std::error::Error for NotAPrefix {}

impl FromStr for Prefix {
    type Err = NotAPrefix;

    /// An address alone is a network of that one.
    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let prefix = || {
            let address: IpAddr = address.parse().ok()?;
            let length = match (text.contains('/'), address) {
                (true, _) => length.parse().ok()?,
                (false, IpAddr::V4(_)) => 32,
                (false, IpAddr::V6(_)) => 128,
            };
            Self::new(address, length)
        };
        prefix().ok_or_else(|| NotAPrefix(text.to_owned()))
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which packets get a mark: those of which everything that is said here is true.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRule {
    /// The transport protocol; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The network of the source address; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Prefix>,
    /// The network of the destination address; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Prefix>,
    /// The first and the last destination port; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// The name of the interface that packets come in by; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The mark, not 0.
    pub mark: u32,
}

impl MarkRule {
    /// The families of the packets that it matches.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let said = self.from.or(self.to);
        match said.map(|prefix| Family::of(prefix.address)) {
            Some(family) => vec![family],
            None => vec![Family::Ipv4, Family::Ipv6],
        }
    }
}

impl fmt::Display for MarkRule {
    /// As `lb-ctl mark add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            from,
            to,
            ports,
            interface,
            mark,
        } = self;
        if let Some(protocol) = protocol {
            write!(f, "--protocol {} ", protocol.to_string().to_lowercase())?;
        }
        if let Some(from) = from {
            write!(f, "--from {from} ")?;
        }
        if let Some(to) = to {
            write!(f, "--to {to} ")?;
        }
        match ports {
            Some((first, last)) if first == last => write!(f, "--port {first} ")?,
            Some((first, last)) => write!(f, "--port {first}-{last} ")?,
            None => {}
        }
        if let Some(interface) = interface {
            write!(f, "--interface {interface} ")?;
        }
        write!(f, "{mark}")
    }
}

/// The answer to `GET /v1/marks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The rules, in the order in which packets meet them; the first that matches counts.
    pub rules: Vec<MarkRule>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_as_they_are_written() {
        for text in [
            "192.0.2.0/24",
            "0.0.0.0/0",
            "10.1.2.3/32",
            "2001:db8::/32",
            "::/0",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
            let json = serde_json::to_string(&prefix).unwrap();
            assert_eq!(serde_json::from_str::<Prefix>(&json).unwrap(), prefix);
        }
        assert_eq!(
            "10.0.0.1".parse::<Prefix>().unwrap().to_string(),
            "10.0.0.1/32"
        );
        assert!("::1".parse::<Prefix>().unwrap().is_host());
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in [
            "10.0.0.1/24",
            "10.0.0.0/33",
            "::/129",
            "::1/64",
            "x",
            "10.0.0.0/",
            "/8",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_without_networks_is_for_both_families() {
        let mut rule = MarkRule {
            protocol: Some(Protocol::Udp),
            from: None,
            to: None,
            ports: Some((5000, 5010)),
            interface: None,
            mark: 7,
        };
        assert_eq!(rule.families(), [Family::Ipv4, Family::Ipv6]);
        assert_eq!(rule.to_string(), "--protocol udp --port 5000-5010 7");
        rule.to = "2001:db8::/32".parse().ok();
        assert_eq!(rule.families(), [Family::Ipv6]);
    }
}
