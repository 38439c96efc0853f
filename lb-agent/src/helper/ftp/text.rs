//! What FTP's lines say about data connections (RFC 959, RFC 2428).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

/// What a client's line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `PASV`: the server shall listen and say where.
    Passive,
    /// `EPSV`: the server shall listen and say on which port.
    ExtendedPassive,
    /// `PORT` or `EPRT`: the server shall connect to this address.
    Active(SocketAddr),
    /// A `PORT` or `EPRT` that names no usable address.
    Unusable,
    /// Anything else.
    Other,
}

/// Reads a client's line without its end. `EPSV` and `EPRT` count only for the connection's own
/// family, `PASV` and `PORT` only for IPv4. `EPSV ALL` opens nothing and is another command.
///
/// ipvs: net/netfilter/ipvs/ip_vs_ftp.c:ip_vs_ftp_in, which finds PASV and EPSV anywhere in a
/// packet but PORT and EPRT only where it begins.
pub(super) fn command(line: &[u8], v6: bool) -> Command {
    let Some((verb, rest)) = line.split_at_checked(4) else {
        return Command::Other;
    };
    let argument = rest.trim_ascii();
    if !rest.is_empty() && !rest[0].is_ascii_whitespace() {
        return Command::Other;
    }
    let active = |address: Option<SocketAddr>| address.map_or(Command::Unusable, Command::Active);
    match (verb.to_ascii_uppercase().as_slice(), v6) {
        (b"PASV", false) if argument.is_empty() => Command::Passive,
        (b"EPSV", false) if matches!(argument, b"" | b"1") => Command::ExtendedPassive,
        (b"EPSV", true) if matches!(argument, b"" | b"2") => Command::ExtendedPassive,
        (b"PORT", false) => active(port_argument(argument)),
        (b"EPRT", _) => active(eprt_argument(argument, v6)),
        _ => Command::Other,
    }
}

/// Whether an unfinished line may become one of the commands.
pub(super) fn may_be_command(line: &[u8]) -> bool {
    let start = &line[..line.len().min(4)];
    let begins = |verb: &&[u8; 4]| verb[..start.len()].eq_ignore_ascii_case(start);
    !start.is_empty() && [b"PASV", b"EPSV", b"PORT", b"EPRT"].iter().any(begins)
}

fn port_argument(argument: &[u8]) -> Option<SocketAddr> {
    let (address, port, _) = six(argument)?;
    (port != 0).then(|| SocketAddr::new(address.into(), port))
}

fn eprt_argument(argument: &[u8], v6: bool) -> Option<SocketAddr> {
    let delimiter = argument.first().filter(|byte| byte.is_ascii_graphic())?;
    let mut fields = argument[1..].split(|byte| byte == delimiter);
    let family: &[u8] = if v6 { b"2" } else { b"1" };
    fields.next().filter(|field| *field == family)?;
    let address: IpAddr = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let port: u16 = number(fields.next()?)?;
    // The port, too, ends with the delimiter.
    fields.next()?;
    (address.is_ipv6() == v6 && port != 0).then(|| SocketAddr::new(address, port))
}

/// The form of a reply that names a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `227`, to `PASV`.
    Plain,
    /// `229`, to `EPSV`.
    Extended,
}

const PLAIN: &[u8; 4] = b"227 ";
const EXTENDED: &[u8; 4] = b"229 ";

/// Whether what there is of a line is too short to tell that it is no such reply.
pub(super) fn may_be_reply(line: &[u8]) -> bool {
    PLAIN.starts_with(line) || EXTENDED.starts_with(line)
}

/// Where a server says that it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The text to replace, counted from the beginning of the line, and the port.
    Listens(Range<usize>, u16),
    /// The packet ends before the reply says it all.
    Cut,
    /// The reply says nothing that can be used.
    Unusable,
}

impl Form {
    /// The form of the reply that a line begins, as far as there is one.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        match line.first_chunk()? {
            PLAIN => Some(Self::Plain),
            EXTENDED => Some(Self::Extended),
            _ => None,
        }
    }

    /// Reads a line of this form, with as much of its end as there is.
    ///
    /// The address in it is not asked for: what listens is the server of the control connection.
    ///
    /// deviates: ipvs connects clients to whatever address the reply names, which lets a reply
    /// send them through the director to strangers, and fails where servers name the virtual
    /// address.
    ///
    /// ipvs: net/netfilter/ipvs/ip_vs_ftp.c:ip_vs_ftp_get_addrport
    pub(super) fn read(self, line: &[u8]) -> Reply {
        let reply = match self {
            Self::Plain => plain(line),
            Self::Extended => extended(line),
        };
        match reply {
            // Well-known ports are no data ports (RFC 2577, section 3): behind them is what the
            // server does not serve to the world.
            // deviates: ipvs opens them.
            Reply::Listens(_, ..1024) => Reply::Unusable,
            Reply::Unusable if !line.ends_with(b"\n") => Reply::Cut,
            reply @ (Reply::Listens(..) | Reply::Cut | Reply::Unusable) => reply,
        }
    }
}

/// Finds the first six numbers behind the code; parentheses are optional (RFC 1123, section
/// 4.1.2.6).
fn plain(line: &[u8]) -> Reply {
    for at in 4..line.len() {
        if !line[at].is_ascii_digit() || line[at - 1].is_ascii_digit() {
            continue;
        }
        match six(&line[at..]) {
            Some((_, port, len)) if at + len < line.len() => {
                return Reply::Listens(at..at + len, port);
            }
            Some(_) => return Reply::Cut,
            None => {}
        }
    }
    Reply::Unusable
}

/// Finds `(|||port|)`, with any delimiter, maybe with a family and an address in it.
fn extended(line: &[u8]) -> Reply {
    let listens = || {
        let start = line.iter().position(|byte| *byte == b'(')? + 1;
        let delimiter = line.get(start).filter(|byte| byte.is_ascii_graphic())?;
        let mut fields = line[start + 1..].split(|byte| byte == delimiter);
        let (family, address, port) = (fields.next()?, fields.next()?, fields.next()?);
        fields.next()?;
        let end = start + family.len() + address.len() + port.len() + 4;
        Some(Reply::Listens(start..end, number(port)?))
    };
    listens().unwrap_or(Reply::Unusable)
}

/// The text that announces a listener in place of the one that a reply had.
pub(super) fn listener(form: Form, listener: SocketAddr) -> Vec<u8> {
    match (form, listener) {
        (Form::Plain, SocketAddr::V4(listener)) => {
            let [a, b, c, d] = listener.ip().octets();
            let [high, low] = listener.port().to_be_bytes();
            format!("{a},{b},{c},{d},{high},{low}").into_bytes()
        }
        (Form::Plain | Form::Extended, _) => format!("|||{}|", listener.port()).into_bytes(),
    }
}

/// The address and port that six numbers with commas between them say, and how many bytes they
/// take.
fn six(text: &[u8]) -> Option<(Ipv4Addr, u16, usize)> {
    let mut numbers = [0u8; 6];
    let mut at = 0;
    for (n, number) in numbers.iter_mut().enumerate() {
        if n > 0 {
            text.get(at).filter(|byte| **byte == b',')?;
            at += 1;
        }
        let digits = digits(&text[at..]);
        *number = self::number(&text[at..at + digits]).filter(|_| digits <= 3)?;
        at += digits;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    Some((Ipv4Addr::new(a, b, c, d), port, at))
}

/// How many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    end.unwrap_or(text.len())
}

/// The number that a text of nothing but digits says, leading zeros or not.
fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    if digits(text) < text.len() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
