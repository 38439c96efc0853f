//! Reads what `lb-ctl -L -n` prints, for tests and the demo; the forms are ipvsadm's.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;

/// A server's line of `-L -n --stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStats {
    /// The server.
    pub server: SocketAddr,
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

/// A line of `-L -n -c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The state's name, e.g. `ESTABLISHED`.
    pub state: String,
    /// The client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
}

/// The servers of `-L -n --stats --exact`.
///
/// # Errors
/// When a server's line has another form.
pub fn stats(listing: &str) -> Result<Vec<ServerStats>> {
    let servers = listing
        .lines()
        .filter_map(|line| line.strip_prefix("  -> "));
    servers
        .filter(|line| !line.starts_with("RemoteAddress"))
        .map(|line| {
            let mut fields = line.split_whitespace();
            let server = fields.next().and_then(|field| field.parse().ok());
            let numbers: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
            match (server, numbers.as_slice()) {
                (Some(server), &[connections, in_packets, out_packets, in_bytes, out_bytes]) => {
                    Ok(ServerStats {
                        server,
                        connections,
                        in_packets,
                        out_packets,
                        in_bytes,
                        out_bytes,
                    })
                }
                _ => bail!("no server's line of --stats --exact: {line:?}"),
            }
        })
        .collect()
}

/// The entries of `-L -n -c`.
///
/// # Errors
/// When a line has another form.
pub fn connections(listing: &str) -> Result<Vec<Connection>> {
    listing
        .lines()
        .skip(2)
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_protocol, _expires, state, client, _service, server] = fields[..] else {
                bail!("no line of -L -n -c: {line:?}");
            };
            let address = |field: &str| {
                field
                    .parse()
                    .with_context(|| format!("no address of -L -n -c: {field:?}"))
            };
            Ok(Connection {
                state: state.to_owned(),
                client: address(client)?,
                server: address(server)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_of_ipvsadm_are_read() {
        let listing = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                  123456789 1234567890       12 98765432101        5
  -> 192.168.0.1:80               61728394 617283945        6 49382716050        2
";
        let read = stats(listing).unwrap();
        assert_eq!(
            read,
            [ServerStats {
                server: "192.168.0.1:80".parse().unwrap(),
                connections: 61_728_394,
                in_packets: 617_283_945,
                out_packets: 6,
                in_bytes: 49_382_716_050,
                out_bytes: 2,
            }]
        );
        assert!(stats("  -> 192.168.0.1:80    61728K 1 2 3 4").is_err());
    }

    #[test]
    fn connections_of_ipvsadm_are_read() {
        let listing = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.168.10.10:8080 10.0.0.1:80        192.168.0.1:80
TCP 119:59 ESTABLISHED [2001:db8::63]:54321 [2001:db8::1]:80   [2001:db8::2]:80
";
        let read = connections(listing).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].state, "ESTABLISHED");
        assert_eq!(read[0].client, "192.168.10.10:8080".parse().unwrap());
        assert_eq!(read[1].server, "[2001:db8::2]:80".parse().unwrap());
        assert!(connections("\n\nTCP 14:59").is_err());
    }
}
