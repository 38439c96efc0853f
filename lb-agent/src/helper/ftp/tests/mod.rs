//! The helper between a client and a server.

mod bounds;
mod data;
mod numbers;
mod session;

use super::super::frames::{Frame, Said, read};
use super::*;
use std::time::Instant;

const BANNER: &[u8] = b"220 ready\r\n";
const PASV: &[u8] = b"PASV\r\n";
const EPSV: &[u8] = b"EPSV\r\n";
/// The server's address is shorter than the virtual one: the reply grows by [`GROWTH`].
const PASSIVE: &[u8] = b"227 Entering Passive Mode (10,0,0,1,156,64).\r\n";
const PASSIVE_REWRITTEN: &[u8] = b"227 Entering Passive Mode (198,51,100,21,156,64).\r\n";
const GROWTH: u32 = 5;

fn v4() -> Ends {
    ends(["192.0.2.1:50000", "198.51.100.21:21", "10.0.0.1:21"])
}

fn v6() -> Ends {
    ends(["[2001:db8::c]:50000", "[2001:db8::21]:21", "[fd00::1]:21"])
}

fn ends(of: [&str; 3]) -> Ends {
    let [client, address, server] = of.map(|end| end.parse().unwrap());
    Ends {
        client,
        address,
        server,
    }
}

fn expected(mode: Mode, of: [&str; 3]) -> Expectation {
    let Ends {
        client,
        address,
        server,
    } = ends(of);
    Expectation {
        mode,
        client,
        address,
        server,
    }
}

/// What `PASSIVE` lets expect.
fn passive() -> Expectation {
    expected(
        Mode::Passive,
        ["192.0.2.1:0", "198.51.100.21:40000", "10.0.0.1:40000"],
    )
}

/// A helper and one connection, whose ends count their bytes from these numbers on.
struct Wire {
    helper: Helper,
    now: Instant,
    ends: Ends,
}

/// Where client and server begin to count, behind SYN.
const CLIENT: u32 = 1000;
const SERVER: u32 = u32::MAX - 20;

impl Wire {
    fn new(ends: Ends) -> Self {
        Self {
            helper: Helper::new(Limits::DEFAULT),
            now: Instant::now(),
            ends,
        }
    }

    /// The client's frame with data from its `at`th byte on, which has `has` bytes of the server.
    fn client_frame(&self, at: u32, has: u32, data: &[u8]) -> Frame {
        let (seq, ack) = (CLIENT.wrapping_add(at), SERVER.wrapping_add(has));
        Frame::new(self.ends.client, self.ends.address, seq, ack, data)
    }

    /// The server's frame with data from its `at`th byte on.
    fn server_frame(&self, at: u32, data: &[u8]) -> Frame {
        let seq = SERVER.wrapping_add(at);
        Frame::new(self.ends.server, self.ends.client, seq, CLIENT, data)
    }

    fn send_client(&mut self, frame: &Frame) -> Outcome {
        let bytes = frame.bytes();
        self.helper
            .packet(self.now, Side::Client, &bytes, &self.ends)
    }

    fn send_server(&mut self, frame: &Frame) -> Outcome {
        let bytes = frame.bytes();
        self.helper
            .packet(self.now, Side::Server, &bytes, &self.ends)
    }

    /// Sends the client's data, which must go on as they are; gives what is expected then.
    fn client(&mut self, has: u32, data: &[u8]) -> Vec<Expectation> {
        let outcome = self.send_client(&self.client_frame(0, has, data));
        assert_eq!(read(&outcome.frame.unwrap()).data, data);
        outcome.expect
    }

    /// Sends the server's data; gives what the client gets, from which byte on, and what is
    /// expected then. None if they are dropped.
    fn server(&mut self, at: u32, data: &[u8]) -> Option<(u32, Vec<u8>, Vec<Expectation>)> {
        let outcome = self.send_server(&self.server_frame(at, data));
        let Said { seq, data, .. } = read(&outcome.frame?);
        Some((seq.wrapping_sub(SERVER), data, outcome.expect))
    }

    /// What the server is told that the client has when the client says `has`.
    fn acknowledge(&mut self, has: u32) -> u32 {
        let outcome = self.send_client(&self.client_frame(0, has, b""));
        read(&outcome.frame.unwrap()).ack.wrapping_sub(SERVER)
    }
}

/// A connection on which the reply to `PASV` was replaced; it began with the server's first byte.
fn rewritten() -> Wire {
    let mut wire = Wire::new(v4());
    wire.client(0, PASV);
    let (at, text, expect) = wire.server(0, PASSIVE).unwrap();
    assert_eq!(
        (at, &text[..], &expect[..]),
        (0, PASSIVE_REWRITTEN, &[passive()][..])
    );
    wire
}

fn len(text: &[u8]) -> u32 {
    text.len() as u32
}
