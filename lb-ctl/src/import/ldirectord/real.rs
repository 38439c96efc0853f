//! Real servers and fallbacks, as lines name them.

use crate::args::address::ipv4;
use crate::import::Place;
use crate::names::Names;
use lb_common::api::Protocol;
use std::net::Ipv4Addr;

/// How many servers a range may have.
const MOST: u32 = 4096;

#[derive(Clone)]
pub(super) struct Fallback {
    pub(super) place: Place,
    pub(super) host: String,
    pub(super) port: Option<String>,
    pub(super) method: &'static str,
}

/// One server of a `real` line.
pub(super) struct Real {
    /// What the line says.
    pub(super) text: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) method: &'static str,
    pub(super) weight: String,
    pub(super) lower: String,
    pub(super) upper: String,
    /// Request and answer of its check.
    pub(super) check: Option<String>,
}

impl Real {
    pub(super) fn words(&self) -> Vec<String> {
        let server = format!("{}:{}", self.host, self.port);
        let thresholds = ["-x", &self.upper, "-y", &self.lower];
        let server = ["-r", &server, self.method, "-w", &self.weight];
        let words = thresholds.into_iter().chain(server);
        words.map(str::to_owned).collect()
    }
}

const METHOD: &str = "the forwarding method is none of gate, masq, ipip";

/// Reads `host[->host][:port] gate|masq|ipip [weight] ["request","receive"] [l:N] [u:N]`.
pub(super) fn real(text: &str, names: &dyn Names) -> Result<Vec<Real>, String> {
    let (address, rest) = text
        .split_once([' ', '\t'])
        .ok_or("a real server is an address, a port and a method, e.g. 192.168.0.1:80 gate")?;
    let (hosts, port) = endpoint(address);
    let port = port_number(port.unwrap_or("0"), names)?;
    let rest = rest.trim();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, mut rest) = rest.split_at(end);
    let method = method(word)?;

    let mut weight = "1".to_owned();
    let (word, behind) = first_word(rest);
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        (weight, rest) = (word.to_owned(), behind);
    }
    let (check, behind) = quoted_pair(rest)?;
    rest = behind;
    let mut threshold = |name: &str| {
        let (word, behind) = first_word(rest);
        match word.strip_prefix(name) {
            Some(number) => {
                rest = behind;
                number.to_owned()
            }
            None => "0".to_owned(),
        }
    };
    let (lower, upper) = (threshold("l:"), threshold("u:"));
    if !rest.trim().is_empty() {
        return Err(format!(
            "the line goes on with `{}'; behind the method may stand a weight, \
             \"request\", \"receive\", l:number and u:number, in this order",
            rest.trim()
        ));
    }
    let hosts = match hosts.split_once("->") {
        Some((first, last)) => range(first, last, names)?,
        None => vec![hosts.to_owned()],
    };
    let real = |host| Real {
        text: text.to_owned(),
        host,
        port,
        method,
        weight: weight.clone(),
        lower: lower.clone(),
        upper: upper.clone(),
        check: check.clone(),
    };
    Ok(hosts.into_iter().map(real).collect())
}

fn range(first: &str, last: &str, names: &dyn Names) -> Result<Vec<String>, String> {
    let address = |host: &str| {
        ipv4(host, names).ok_or_else(|| format!("`{host}' is no IPv4 address, as ranges need"))
    };
    let (low, high) = (address(first)?.to_bits(), address(last)?.to_bits());
    if low > high {
        return Err(format!("{first} is above {last}; exchange them"));
    }
    if high - low >= MOST {
        return Err(format!(
            "the range has more than {MOST} servers; write fewer"
        ));
    }
    Ok((low..=high)
        .map(|address| Ipv4Addr::from_bits(address).to_string())
        .collect())
}

/// Reads `"request","receive"`, and returns what is behind it.
fn quoted_pair(text: &str) -> Result<(Option<String>, &str), String> {
    let trimmed = text.trim_start();
    if !trimmed.starts_with('"') {
        return Ok((None, text));
    }
    // Both may have quotes inside: ldirectord looks for the last one.
    let end = trimmed.rfind('"').unwrap_or_default();
    let (pair, behind) = trimmed.split_at(end + 1);
    let parts = ["\",", "\" "];
    if pair.len() > 2 && parts.iter().any(|middle| pair[1..].contains(middle)) {
        Ok((Some(pair.to_owned()), behind))
    } else {
        Err("a check has a request and a receive, each in quotes: \"/\", \"OK\"".to_owned())
    }
}

/// Reads `host[:port] [gate|masq|ipip]`.
pub(super) fn fallback(text: &str, place: &Place) -> Result<Fallback, String> {
    let mut words = text.split_whitespace();
    let address = words
        .next()
        .ok_or("a fallback is an address, e.g. 127.0.0.1:80 gate")?;
    let method = words.next().map_or(Ok("-g"), method)?;
    if let Some(word) = words.next() {
        return Err(format!("a fallback ends before `{word}'"));
    }
    let (host, port) = endpoint(address);
    Ok(Fallback {
        place: place.clone(),
        host: host.to_owned(),
        port: port.map(str::to_owned),
        method,
    })
}

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(super) fn endpoint(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    }
}

/// A port by number or name, whatever the protocol.
pub(super) fn port_number(text: &str, names: &dyn Names) -> Result<u16, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map_err(|_| format!("`{text}' is no port; the last is 65535"));
    }
    names
        .port(text, Protocol::Tcp)
        .or_else(|| names.port(text, Protocol::Udp))
        .ok_or_else(|| format!("`{text}' is no port that this machine knows by name"))
}

fn method(word: &str) -> Result<&'static str, String> {
    match word {
        "gate" => Ok("-g"),
        "masq" => Ok("-m"),
        "ipip" => Ok("-i"),
        _ => Err(METHOD.to_owned()),
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}
