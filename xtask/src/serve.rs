//! A small HTTP server that answers every request with its own name.

use anyhow::{Context, Result};
use clap::Args;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Answers every HTTP request with a name.
#[derive(Debug, Args)]
pub struct Command {
    /// Where to listen.
    #[arg(long, default_value = "[::]:80")]
    listen: SocketAddr,
    /// What to answer.
    name: String,
}

/// Serves until the process is killed.
///
/// # Errors
/// When the address is taken or not allowed.
pub fn run(command: &Command) -> Result<()> {
    let Command { listen, name } = command;
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    println!("{name} listens on {listen}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{name}\n",
        name.len() + 1
    );
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let answer = &answer;
            match stream {
                Ok(stream) => {
                    scope.spawn(move || {
                        if let Err(error) = converse(stream, answer.as_bytes()) {
                            eprintln!("{error}");
                        }
                    });
                }
                // The client went away between its SYN and now, or descriptors ran out: the
                // next one may fare better.
                Err(error) => eprintln!("cannot accept: {error}"),
            }
        }
    });
    Ok(())
}

/// Answers the requests of one connection until the client closes it.
fn converse(stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(&stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Requests have no body here, so an empty line ends each.
        if line == b"\r\n" {
            (&stream).write_all(answer)?;
        }
    }
}
