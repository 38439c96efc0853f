//! `-L -c`: the connections, as they come.

use super::address;
use crate::args::request::{Columns, Format};
use crate::control::ControlError;
use crate::names::Names;
use lb_common::api::Protocol;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;

const TITLE: &str = "IPVS connection entries
pro expire state       source             virtual            destination";

/// Prints rows below one title, from lines of the agent's answer.
pub struct Rows<'a> {
    format: Format,
    names: &'a dyn Names,
    titled: bool,
    /// The row that is being made.
    line: String,
}

/// [`lb_common::api::Connection`], without owning its text: a listing may have millions.
#[derive(Debug, Deserialize)]
struct Row<'a> {
    protocol: Option<Protocol>,
    expires: u32,
    state: &'a str,
    client: &'a str,
    client_port: u16,
    address: &'a str,
    port: u16,
    #[serde(borrow)]
    server: RowServer<'a>,
    #[serde(borrow, default)]
    engine: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Debug, Deserialize)]
struct RowServer<'a> {
    address: &'a str,
    port: u16,
}

impl<'a> Rows<'a> {
    /// Prepares a listing.
    #[must_use]
    pub const fn new(format: Format, names: &'a dyn Names) -> Self {
        Self {
            format,
            names,
            titled: false,
            line: String::new(),
        }
    }

    /// Prints the title, once.
    ///
    /// # Errors
    /// Writing fails.
    pub fn title(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.titled, true) {
            return Ok(());
        }
        out.write_all(TITLE.as_bytes())?;
        if self.with_engine() {
            out.write_all(b"        pe name          pe_data")?;
        }
        out.write_all(b"\n")
    }

    /// Prints one connection, the JSON object `line`.
    ///
    /// # Errors
    /// The line is no connection, or writing fails.
    pub fn print(&mut self, line: &[u8], out: &mut dyn Write) -> Result<(), ControlError> {
        self.title(out)?;
        let unreadable = |source| ControlError::Answer {
            request: "GET /v1/connections".to_owned(),
            source,
        };
        let line = std::str::from_utf8(line).map_err(serde::de::Error::custom);
        let row: Row<'_> = line.and_then(serde_json::from_str).map_err(unreadable)?;
        let (protocol, name) = match row.protocol {
            Some(Protocol::Tcp) => (row.protocol, "TCP"),
            Some(Protocol::Udp) => (row.protocol, "UDP"),
            Some(Protocol::Sctp) => (row.protocol, "SCTP"),
            None => (None, "IP"),
        };
        // By hand: formatting machinery would take as long as all the rest.
        self.line.clear();
        self.field(3, |line| line.push_str(name));
        self.field(6, |line| {
            number(line, row.expires / 60, 2);
            line.push(':');
            number(line, row.expires % 60, 2);
        });
        self.field(11, |line| line.push_str(row.state));
        for (address, port) in [(row.client, row.client_port), (row.address, row.port)] {
            self.endpoint(address, port, protocol, 18)
                .map_err(unreadable)?;
        }
        let server = (row.server.address, row.server.port);
        match row.engine {
            Some((engine, data)) if self.with_engine() => {
                self.endpoint(server.0, server.1, protocol, 16)
                    .map_err(unreadable)?;
                self.field(18, |line| line.push_str(&engine));
                self.line.push_str(&data);
            }
            Some(_) | None => {
                self.endpoint(server.0, server.1, protocol, 0)
                    .map_err(unreadable)?;
                // A last field has no blank behind it.
                self.line.pop();
            }
        }
        self.line.push('\n');
        out.write_all(self.line.as_bytes())?;
        Ok(())
    }

    fn with_engine(&self) -> bool {
        self.format.columns == Columns::Persistent
    }

    /// Adds an address and port, and a blank.
    fn endpoint(
        &mut self,
        address: &str,
        port: u16,
        protocol: Option<Protocol>,
        width: usize,
    ) -> Result<(), serde_json::Error> {
        // Numeric IPv4 text is the agent's own.
        if self.format.numeric && is_numeric_v4(address) {
            self.field(width, |line| {
                line.push_str(address);
                line.push(':');
                number(line, port.into(), 1);
            });
            return Ok(());
        }
        let address: IpAddr = address.parse().map_err(serde::de::Error::custom)?;
        let text = address::endpoint(address, port, protocol, self.format.numeric, self.names);
        self.field(width, |line| line.push_str(&text));
        Ok(())
    }

    /// Adds a field, filled up with blanks to its width, and a blank.
    fn field(&mut self, width: usize, write: impl FnOnce(&mut String)) {
        let start = self.line.len();
        write(&mut self.line);
        let field = &self.line[start..];
        let length = if field.is_ascii() {
            field.len()
        } else {
            field.chars().count()
        };
        for _ in length..=width.max(length) {
            self.line.push(' ');
        }
    }
}

/// Whether a text can be an IPv4 address and nothing else.
fn is_numeric_v4(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte == b'.' || byte.is_ascii_digit())
}

/// Adds a number of at least so many digits.
fn number(line: &mut String, number: u32, least: usize) {
    let mut digits = [b'0'; 10];
    let (mut left, mut first) = (number, digits.len());
    while left > 0 || digits.len() - first < least {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    line.extend(digits[first..].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_written_as_printf_writes_them() {
        for (value, least) in [
            (0, 1),
            (0, 2),
            (7, 2),
            (59, 2),
            (100, 2),
            (65535, 1),
            (u32::MAX, 2),
        ] {
            let mut line = String::new();
            number(&mut line, value, least);
            assert_eq!(line, format!("{value:0least$}"));
        }
    }
}
