//! The control API on its Unix socket; [`lb_common::api`] says what it consists of.

mod answer;
mod connections;
mod daemons;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use socket::Socket;

use crate::director::{Director, Shared};
use crate::net::{Changes, NextHops};
use answer::{Refused, json};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use lb_common::api::{Edit, Edits, Outcomes, SettingValues};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;

/// The longest body of a request, in bytes: some 130,000 edits.
const BODY_MAX: usize = 32 << 20;

/// How long an answer to new servers waits for their ways, so that packets flow once it is there.
const SETTLE: Duration = Duration::from_millis(200);

/// What finds out the ways to servers, and what it found.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    /// Asks.
    pub(crate) hops: NextHops,
    /// The answers.
    pub(crate) changes: Changes,
}

/// What requests are answered from.
#[derive(Clone)]
struct Served {
    director: Shared,
    ways: Ways,
}

impl FromRef<Served> for Shared {
    fn from_ref(served: &Served) -> Self {
        served.director.clone()
    }
}

impl FromRef<Served> for Ways {
    fn from_ref(served: &Served) -> Self {
        served.ways.clone()
    }
}

/// Serves until `stopped` turns true and the requests under way are answered.
pub(crate) async fn serve(
    mut socket: Socket,
    director: Shared,
    ways: Ways,
    mut stopped: watch::Receiver<bool>,
) {
    let file = socket.file();
    let served = axum::serve(socket, router(Served { director, ways }))
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, which also is the end.
            let _ = stopped.wait_for(|stopped| *stopped).await;
            drop(file);
        })
        .await;
    if let Err(error) = served {
        tracing::error!("the control socket failed: {error}");
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/v1/agent", get(agent))
        .route("/v1/edits", post(edits))
        .route("/v1/services", get(services))
        .route("/v1/connections", get(connections::connections))
        .route("/v1/timeouts", get(timeouts))
        .route("/v1/daemons", get(daemons))
        .route("/v1/marks", get(marks))
        .route("/v1/settings", get(settings).post(set))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(served)
}

async fn agent(State(director): State<Shared>) -> Response {
    director.with(|director| json(&director.agent())).await
}

async fn services(State(director): State<Shared>) -> Response {
    let services = director.with(|director| director.services()).await;
    json(&services)
}

async fn timeouts(State(director): State<Shared>) -> Response {
    director.with(|director| json(&director.timeouts())).await
}

async fn daemons(State(director): State<Shared>) -> Response {
    director.with(|director| json(&director.daemons())).await
}

async fn marks(State(director): State<Shared>) -> Response {
    director.with(|director| json(&director.marks())).await
}

async fn settings(State(director): State<Shared>) -> Response {
    director.with(|director| json(&director.settings())).await
}

async fn set(
    State(director): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection, BODY_MAX))?;
    let SettingValues { settings } = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not a list of settings: {error}"),
        )
    })?;
    let set = |(name, value)| Edit::Set { name, value };
    let edits: Vec<Edit> = settings.into_iter().map(set).collect();
    let outcomes = director.with(move |director| director.edit(&edits)).await;
    Ok(json(&Outcomes { outcomes }))
}

async fn edits(
    State(director): State<Shared>,
    State(ways): State<Ways>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused::body(&rejection, BODY_MAX))?;
    let Edits { edits } = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not a list of edits: {error}"),
        )
    })?;
    let (edits, refused) = daemons::settled(edits).await;
    let servers: Vec<IpAddr> = edits
        .iter()
        .filter_map(|edit| {
            if let Edit::AddServer { server, .. } = edit {
                Some(server.address)
            } else {
                None
            }
        })
        .collect();
    let (outcomes, new) = director
        .with(move |director: &mut Director| {
            let new: Vec<IpAddr> = servers
                .into_iter()
                .filter(|server| !director.is_wanted(*server))
                .collect();
            let outcomes = director.edit(&edits);
            daemons::tell(&edits, &outcomes);
            (outcomes, new)
        })
        .await;
    let outcomes = daemons::joined(outcomes, refused);
    if !new.is_empty() {
        ways.hops.settled(new, SETTLE).await;
        let changes = ways.changes.clone();
        director
            .with(move |director| director.take_ways(&changes))
            .await;
    }
    Ok(json(&Outcomes { outcomes }))
}

async fn no_such_path(uri: Uri) -> Refused {
    let paths = "/v1/agent, /v1/edits, /v1/services, /v1/connections, /v1/timeouts, \
                 /v1/daemons, /v1/marks, /v1/settings";
    let message = format!("no path {}: there are {paths}", uri.path());
    Refused::new(StatusCode::NOT_FOUND, message)
}

async fn no_such_method(method: Method, uri: Uri) -> Refused {
    let cure = match uri.path() {
        "/v1/edits" => "POST",
        "/v1/settings" => "GET or POST",
        _ => "GET",
    };
    let message = format!("{} does not take {method}: use {cure}", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
