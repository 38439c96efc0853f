//! An agent of a few lines: a [`Table`] behind HTTP/1.1 on a Unix socket.

use super::table::Table;
use lb_common::api::{Edits, Outcomes};
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running agent; its socket goes away with it.
pub struct Server {
    pub socket: PathBuf,
    pub table: Arc<Mutex<Table>>,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Server {
    pub fn start() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lb-ctl-test-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).expect("a fresh socket");
        let table = Arc::new(Mutex::new(Table::default()));
        let shared = Arc::clone(&table);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away ends its thread.
                thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Self { socket, table }
    }

    pub fn path(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Another test may have removed the whole folder.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: UnixStream, table: &Mutex<Table>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = answer(&request, &body, table);
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        )?;
        stream.write_all(&answer)?;
    }
}

fn answer(request: &str, body: &[u8], table: &Mutex<Table>) -> (&'static str, Vec<u8>) {
    let mut table = table
        .lock()
        .expect("no test panics while it holds the table");
    let mut words = request.split(' ');
    let answer = match (words.next(), words.next()) {
        (Some("POST"), Some("/v1/edits")) => match serde_json::from_slice::<Edits>(body) {
            Ok(edits) => json(&Outcomes {
                outcomes: table.apply(&edits.edits),
            }),
            Err(error) => return ("400 Bad Request", error.to_string().into_bytes()),
        },
        (Some("GET"), Some("/v1/services")) => json(&table.services),
        (Some("GET"), Some("/v1/timeouts")) => json(&table.timeouts),
        (Some("GET"), Some("/v1/daemons")) => json(&table.daemons),
        (Some("GET"), Some("/v1/agent")) => json(&table.about()),
        (Some("GET"), Some("/v1/connections")) => table.connections.clone().into_bytes(),
        _ => return ("404 Not Found", b"no such path".to_vec()),
    };
    ("200 OK", answer)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the API's types are JSON")
}
