//! The persistence engine `sip`: what belongs to one call goes to one server
//! (net/netfilter/ipvs/ip_vs_pe_sip.c).
//!
//! A datagram of no known connection for a persistent service with this engine is scheduled by
//! its [`Template`], which has the Call-ID besides the client's network: so several calls of one
//! client may go to several servers, and one call's datagrams from several ports go to one. A
//! datagram without a usable Call-ID is dropped: ipvs does not fall back on persistence by address
//! (`ip_vs_sched_persist`). Once connected, datagrams follow their connection whatever their
//! Call-ID, unless the service has one-packet scheduling, where each is scheduled.
//!
//! A datagram that a masqueraded server sends, and that belongs to no connection, opens one
//! ([`conn_out`]), so that the client sees the virtual address and its answer finds the server.
//!
//! Like ipvs, nothing here changes or checks anything in a message: servers must name the virtual
//! address in Via, Contact and SDP themselves. Media streams are no part of it. A message in
//! several fragments has to be put together before. TCP has no engine.

#[cfg(test)]
mod tests;

use lb_common::api::{Netmask, Protocol, ServiceAddress, ServiceOptions};
use lb_common::hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The engine's name.
pub(crate) const NAME: &str = "sip";

/// Most bytes of a Call-ID that count; a longer one is none (`IP_VS_PEDATA_MAXLEN`).
pub(crate) const MAX_CALL_ID: usize = 255;

/// The Call-ID of a request or response, given as a UDP datagram's payload.
///
/// The first line of a message is no header. The header is `Call-ID` or its short form `i`, upper
/// or lower case, with spaces, tabs and one continuation of the line on either side of the colon.
/// The value is a word, or two with `@` between them (RFC 3261, section 25.1), and ends with the
/// line: at CR or LF, with nothing before it. A header that begins with these names and goes on
/// otherwise ends the search; one without a value does not. Bodies are searched like headers.
///
/// ipvs: net/netfilter/nf_conntrack_sip.c:ct_sip_get_header,
/// net/netfilter/ipvs/ip_vs_pe_sip.c:get_callid
pub(crate) fn call_id(datagram: &[u8]) -> Option<&[u8]> {
    let mut rest = datagram;
    loop {
        rest = next_line(rest)?;
        let Some(behind) = behind_name(rest) else {
            continue;
        };
        let value = behind_space(behind)?.strip_prefix(b":")?;
        let value = behind_space(value)?;
        match value_len(value) {
            0 => rest = value,
            len => {
                let (value, behind) = value.split_at(len);
                let ends = matches!(behind, [b'\r' | b'\n', ..]);
                return (ends && len <= MAX_CALL_ID).then_some(value);
            }
        }
    }
}

/// What follows the first end of a line: CR, LF or both (RFC 2543 has all three).
fn next_line(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let behind = match &text[end..] {
        [b'\r', b'\n', behind @ ..] | [_, behind @ ..] => behind,
        [] => return None,
    };
    (!behind.is_empty()).then_some(behind)
}

/// What follows the header's name where a line begins with it.
fn behind_name(line: &[u8]) -> Option<&[u8]> {
    const LONG: &[u8] = b"Call-ID";
    const SHORT: &[u8] = b"i";
    let (name, behind) = line.split_at_checked(LONG.len()).unwrap_or_default();
    if name.eq_ignore_ascii_case(LONG) {
        return Some(behind);
    }
    let (name, behind) = line.split_at_checked(SHORT.len())?;
    // The short form is the beginning of other headers' names.
    let ends = behind.first().is_some_and(|byte| !is_letter(*byte));
    (ends && name.eq_ignore_ascii_case(SHORT)).then_some(behind)
}

/// What follows white space, which may hold one end of a line if the next one begins with white
/// space; none if that line is another header, or there is none.
fn behind_space(text: &[u8]) -> Option<&[u8]> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let skip = |text: &'_ [u8]| text.iter().take_while(|byte| is_space(byte)).count();
    let text = &text[skip(text)..];
    if !matches!(text.first(), Some(b'\r' | b'\n')) {
        return Some(text);
    }
    let line = next_line(text)?;
    let spaces = skip(line);
    (spaces > 0).then(|| &line[spaces..])
}

/// How many bytes at the beginning are a Call-ID.
fn value_len(text: &[u8]) -> usize {
    let word = |text: &[u8]| text.iter().take_while(|byte| is_word(**byte)).count();
    let local = word(text);
    if local == 0 || text.get(local) != Some(&b'@') {
        return local;
    }
    match word(&text[local + 1..]) {
        0 => 0,
        host => local + 1 + host,
    }
}

/// Whether a byte may be in a word (RFC 3261, section 25.1), or is a letter of Latin-1.
fn is_word(byte: u8) -> bool {
    const MARKS: &[u8] = b"-.!%*_+`'~()<>:\\\"/[]?{}";
    byte.is_ascii_digit() || is_letter(byte) || MARKS.contains(&byte)
}

/// A letter to the kernel's `isalpha`: of Latin-1.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || (byte >= 0xc0 && byte != 0xd7 && byte != 0xf7)
}

/// A number for a Call-ID under a seed, to find templates by. Equal numbers do not make equal
/// Call-IDs: compare [`Template`]s.
///
/// ipvs, too, hashes nothing but the Call-ID (`ip_vs_sip_hashkey_raw`).
pub(crate) fn digest(call_id: &[u8], seed: u64) -> u64 {
    let (words, rest) = call_id.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let state = words.iter().chain([&last]).fold(seed, |state, word| {
        hash::fold(state, u64::from_le_bytes(*word))
    });
    hash::finish(hash::fold(state, call_id.len() as u64))
}

/// What a persistence template of this engine is known by (`ip_vs_sip_ct_match`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    /// The service: its address, port and protocol, or its mark.
    pub(crate) service: ServiceAddress,
    /// The client's network: its address under the service's mask.
    pub(crate) client: IpAddr,
    /// The Call-ID, exactly as it is written; 1 to [`MAX_CALL_ID`] bytes.
    pub(crate) call_id: Box<[u8]>,
}

impl Template {
    /// The template of a datagram from, or for, `client`; none without a usable Call-ID.
    pub(crate) fn of(
        service: ServiceAddress,
        netmask: Option<Netmask>,
        client: IpAddr,
        datagram: &[u8],
    ) -> Option<Self> {
        Some(Self {
            service,
            client: network(client, netmask),
            call_id: call_id(datagram)?.into(),
        })
    }
}

/// An address under a service's mask; all of it where the mask is missing or of the other family.
fn network(address: IpAddr, netmask: Option<Netmask>) -> IpAddr {
    match (address, netmask) {
        (IpAddr::V4(v4), Some(Netmask::Mask(mask))) => {
            Ipv4Addr::from_bits(v4.to_bits() & mask.to_bits()).into()
        }
        (IpAddr::V6(v6), Some(Netmask::Prefix(prefix))) => {
            let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !host).into()
        }
        (IpAddr::V4(_), Some(Netmask::Prefix(_)) | None)
        | (IpAddr::V6(_), Some(Netmask::Mask(_)) | None) => address,
    }
}

/// What becomes of a client's datagram. `S` names servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision<S> {
    /// It goes where it goes: its connection is known, or does not persist.
    Follow,
    /// It goes to the server of its call's template, by a new connection.
    Join(S),
    /// It begins a call, with the server that it is scheduled to. Its connection is known and does
    /// not count if `reopen`.
    Begin {
        /// See there.
        reopen: bool,
    },
    /// It goes nowhere, for want of a Call-ID.
    Drop,
}

/// Decides on a client's datagram: `known` is the server of its connection, `template` that of its
/// call's template, if they have one; `has_call_id` says whether it belongs to a call at all.
///
/// ipvs: net/netfilter/ipvs/ip_vs_core.c:ip_vs_sched_persist
pub(crate) fn decide<S: Copy + PartialEq>(
    options: &ServiceOptions,
    has_call_id: bool,
    known: Option<S>,
    template: Option<S>,
) -> Decision<S> {
    if options.persistent.is_none() || known.is_some() && !options.one_packet {
        return Decision::Follow;
    }
    if !has_call_id {
        return Decision::Drop;
    }
    match template {
        Some(server) if known == Some(server) => Decision::Follow,
        Some(server) => Decision::Join(server),
        None => Decision::Begin {
            reopen: known.is_some(),
        },
    }
}

/// A connection that a server opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outbound {
    /// The template to create for the service's persistence timeout, unless there is one whose
    /// server is available; the connection hangs on it. None without persistence.
    pub(crate) template: Option<Template>,
    /// Whom the server sends to.
    pub(crate) client: SocketAddr,
    /// The service, which the client sees as the sender.
    pub(crate) address: SocketAddr,
    /// The server.
    pub(crate) server: SocketAddr,
    /// The connection is for this datagram only.
    pub(crate) one_packet: bool,
}

/// What to open for a datagram that `server` sends to `client` and that belongs to no connection;
/// nothing where it goes on as it is. `service` is the one that has a masqueraded server of that
/// address and port.
///
/// Nothing is opened for services of other engines and protocols, of a mark, or of every port,
/// nor, with persistence, without a Call-ID.
///
/// ipvs: net/netfilter/ipvs/ip_vs_core.c:__ip_vs_rs_conn_out, ip_vs_new_conn_out
pub(crate) fn conn_out(
    service: ServiceAddress,
    options: &ServiceOptions,
    server: SocketAddr,
    client: SocketAddr,
    datagram: &[u8],
) -> Option<Outbound> {
    let ServiceAddress::Address {
        protocol: Protocol::Udp,
        address,
        port: port @ 1..,
    } = service
    else {
        return None;
    };
    if options.persistence_engine.as_deref() != Some(NAME) || server.port() == 0 {
        return None;
    }
    let template = match options.persistent {
        Some(_) => Some(Template::of(
            service,
            options.netmask,
            client.ip(),
            datagram,
        )?),
        None => None,
    };
    Some(Outbound {
        template,
        client,
        address: SocketAddr::new(address, port),
        server,
        one_packet: options.one_packet,
    })
}
