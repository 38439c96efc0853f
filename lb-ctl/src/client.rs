//! The agent's Unix socket: HTTP/1.1 and JSON, one connection for all requests of a run.

use crate::control::{Control, ControlError};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lb_common::api::{
    Agent, Daemons, Edit, Edits, Marks, Outcomes, Refusal, Services, Settings, Timeouts,
};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead as _};
use std::path::PathBuf;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// How many edits go into one request at most.
const BATCH: usize = 4096;

/// A client of one agent. It connects at its first request, so that `--help` needs no agent.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Prepares for the agent that listens on `socket`.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, open: None }
    }

    fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ControlError> {
        self.exchange(Method::GET, path, Bytes::new())
    }

    fn exchange<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ControlError> {
        let name = format!("{method} {path}");
        let mut answer = Vec::new();
        self.stream(method, path, body, &mut |chunk| {
            answer.extend_from_slice(chunk);
            Ok(())
        })?;
        serde_json::from_slice(&answer).map_err(|source| ControlError::Answer {
            request: name,
            source,
        })
    }

    /// Sends a request and hands the pieces of the answer's body to `each`.
    fn stream(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let socket = self.socket.display().to_string();
        let name = format!("{method} {path}");
        let broken = |source| ControlError::Transport {
            path: socket.clone(),
            request: name.clone(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "lb-agent")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(&socket, io::Error::other(error)))?;
        let Open { runtime, sender } = self.connect(&socket)?;
        runtime.block_on(async {
            sender.ready().await.map_err(broken)?;
            let mut response = sender.send_request(request).await.map_err(broken)?;
            if response.status() != StatusCode::OK {
                return Err(refused(&socket, &name, response).await);
            }
            while let Some(frame) = response.body_mut().frame().await {
                if let Ok(chunk) = frame.map_err(broken)?.into_data() {
                    each(&chunk)?;
                }
            }
            Ok(())
        })
    }

    fn connect(&mut self, socket: &str) -> Result<&mut Open, ControlError> {
        // An agent that restarted since the last request has closed the connection.
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.sender.is_closed())
        {
            self.open = None;
        }
        match &mut self.open {
            Some(open) => Ok(open),
            empty @ None => {
                let open = Open::new(&self.socket, socket)?;
                Ok(empty.insert(open))
            }
        }
    }
}

impl Open {
    fn new(socket: &PathBuf, path: &str) -> Result<Self, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|source| unreachable(path, source))?;
        let sender = runtime.block_on(async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| unreachable(path, source))?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|source| unreachable(path, io::Error::other(source)))?;
            // Its error is also the error of the request under way.
            tokio::spawn(async move { connection.await.ok() });
            Ok::<_, ControlError>(sender)
        })?;
        Ok(Self { runtime, sender })
    }
}

impl Control for Client {
    fn edit(&mut self, edits: Vec<Edit>) -> Result<Vec<Option<Refusal>>, ControlError> {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut edits = edits.into_iter().peekable();
        while edits.peek().is_some() {
            let batch = Edits {
                edits: edits.by_ref().take(BATCH).collect(),
            };
            let sent = batch.edits.len();
            let path = "/v1/edits";
            let body = serde_json::to_vec(&batch).map_err(|source| ControlError::Answer {
                request: format!("POST {path}"),
                source,
            })?;
            let answer: Outcomes = self.exchange(Method::POST, path, body.into())?;
            let answered = answer.outcomes.len();
            if answered != sent {
                return Err(ControlError::Outcomes { sent, answered });
            }
            outcomes.extend(answer.outcomes);
        }
        Ok(outcomes)
    }

    fn services(&mut self) -> Result<Services, ControlError> {
        self.get("/v1/services")
    }

    fn connections(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let mut lines = Lines::default();
        self.stream(Method::GET, "/v1/connections", Bytes::new(), &mut |chunk| {
            lines.push(chunk, each)
        })?;
        lines.finish(each)
    }

    fn timeouts(&mut self) -> Result<Timeouts, ControlError> {
        self.get("/v1/timeouts")
    }

    fn daemons(&mut self) -> Result<Daemons, ControlError> {
        self.get("/v1/daemons")
    }

    fn marks(&mut self) -> Result<Marks, ControlError> {
        self.get("/v1/marks")
    }

    fn settings(&mut self) -> Result<Settings, ControlError> {
        self.get("/v1/settings")
    }

    fn agent(&mut self) -> Result<Agent, ControlError> {
        self.get("/v1/agent")
    }
}

/// Cuts a stream of pieces into lines; only a line that crosses pieces is copied.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(
        &mut self,
        piece: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let mut rest = piece;
        loop {
            let mut behind = rest;
            // Reading from memory does not fail; it is by far the fastest search of the library's.
            let length = behind.skip_until(b'\n').unwrap_or(rest.len());
            let Some(line) = rest[..length].strip_suffix(b"\n") else {
                break;
            };
            if self.begun.is_empty() {
                each(line)?;
            } else {
                self.begun.extend_from_slice(line);
                each(&self.begun)?;
                self.begun.clear();
            }
            rest = behind;
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }

    fn finish(
        self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        if self.begun.is_empty() {
            return Ok(());
        }
        each(&self.begun)
    }
}

async fn refused(path: &str, request: &str, response: Response<Incoming>) -> ControlError {
    let status = response.status().as_u16();
    let body = match response.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    ControlError::Status {
        path: path.to_owned(),
        request: request.to_owned(),
        status,
        body,
    }
}

fn unreachable(path: &str, source: io::Error) -> ControlError {
    ControlError::Unreachable {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = b"one\ntwo\n\nfour";
        for cut in 0..=text.len() {
            let mut got = Vec::new();
            let mut each = |line: &[u8]| {
                got.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            };
            let mut lines = Lines::default();
            lines.push(&text[..cut], &mut each).unwrap();
            lines.push(&text[cut..], &mut each).unwrap();
            lines.finish(&mut each).unwrap();
            assert_eq!(got, ["one", "two", "", "four"], "cut at {cut}");
        }
    }
}
