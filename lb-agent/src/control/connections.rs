//! The flow table as a stream of lines.

use crate::director::{Connections, Shared};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

/// How many bytes of lines are sent at once.
const CHUNK: usize = 64 << 10;

/// `GET /v1/connections`. The walk runs on a thread of its own, as fast as the client reads.
pub(super) async fn connections(State(director): State<Shared>) -> Response {
    let connections = director.with(|director| director.connections()).await;
    let (chunks, lines) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || walk(connections, &chunks));
    let body = stream::unfold(lines, |mut lines| async {
        let chunk: std::io::Result<Bytes> = lines.recv().await?;
        Some((chunk, lines))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(body)).into_response()
}

/// Sends every connection; stops when the client is gone.
fn walk(connections: Connections, chunks: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut lines = Vec::with_capacity(CHUNK + 512);
    for connection in connections {
        if let Err(error) = serde_json::to_writer(&mut lines, &connection) {
            // Ends the answer without its last chunk, so that the client sees it is not whole.
            let _ = chunks.blocking_send(Err(error.into()));
            return;
        }
        lines.push(b'\n');
        if lines.len() >= CHUNK {
            let full = std::mem::replace(&mut lines, Vec::with_capacity(CHUNK + 512));
            if chunks.blocking_send(Ok(full.into())).is_err() {
                return;
            }
        }
    }
    // The receiver is gone only when the client is.
    let _ = chunks.blocking_send(Ok(lines.into()));
}
