//! `lvs_method`, `lb_kind`, `sorry_server_lvs_method`.

use super::block::Statement;
use super::number;
use lb_common::api::{Forwarding, Tunnel, TunnelChecksum};

/// What a statement makes of the method there was.
pub(super) struct Method {
    pub(super) method: Option<Forwarding>,
    /// Why it is not what the statement says.
    pub(super) complaint: Option<String>,
}

/// Reads `NAT`, `DR` or `TUN [type {ipip|gue port NUMBER|gre} [nocsum|csum|remcsum]]`. A wrong
/// tunnel is keepalived's default one, or the one there was.
pub(super) fn read(statement: &Statement, before: Option<Forwarding>) -> Method {
    let method = match statement.word(1) {
        Some("NAT") => Forwarding::Masquerade,
        Some("DR") => Forwarding::Route,
        Some("TUN") => {
            return match tunnel(&statement.words[2..]) {
                Ok(tunnel) => good(Forwarding::Tunnel(tunnel)),
                Err(why) => {
                    let tunnel = match before {
                        Some(Forwarding::Tunnel(tunnel)) => tunnel,
                        Some(Forwarding::Route | Forwarding::Masquerade | Forwarding::Local)
                        | None => Tunnel::Ipip,
                    };
                    Method {
                        method: Some(Forwarding::Tunnel(tunnel)),
                        complaint: Some(format!("{why}; keepalived keeps its former tunnel")),
                    }
                }
            };
        }
        Some(_) | None => {
            return Method {
                method: before,
                complaint: Some("the method is none of NAT, DR, TUN".to_owned()),
            };
        }
    };
    good(method)
}

const fn good(method: Forwarding) -> Method {
    Method {
        method: Some(method),
        complaint: None,
    }
}

fn tunnel(words: &[String]) -> Result<Tunnel, String> {
    let mut kind = "ipip";
    let mut port = None;
    let mut checksum = TunnelChecksum::None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "type" => kind = words.next().ok_or("the tunnel's type is missing")?,
            "port" => {
                let number = number::read(words.next(), 1, 65535)?.value;
                port = u16::try_from(number).ok();
            }
            "nocsum" => checksum = TunnelChecksum::None,
            "csum" => checksum = TunnelChecksum::Full,
            "remcsum" => checksum = TunnelChecksum::Remote,
            _ => return Err(format!("a tunnel has no `{word}'")),
        }
    }
    match (kind, port, checksum) {
        ("ipip", None, TunnelChecksum::None) => Ok(Tunnel::Ipip),
        ("gue", Some(port), checksum) => Ok(Tunnel::Gue { port, checksum }),
        ("gre", None, TunnelChecksum::None | TunnelChecksum::Full) => Ok(Tunnel::Gre { checksum }),
        ("ipip" | "gue" | "gre", ..) => {
            Err("ipip has no port or checksum, gue needs a port, gre has no remcsum".to_owned())
        }
        _ => Err(format!("there is no tunnel of type `{kind}'")),
    }
}
