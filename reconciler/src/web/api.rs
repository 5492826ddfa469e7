//! The handlers: each asks the coordinator and gives what it says.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lockstep_core::admission::CandidateState;
use lockstep_core::status::StatusView;
use lockstep_protocol::Revision;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::coordinator::Handle;
use crate::coordinator::request::{Reached, Request, Synced, Undo, suspension};

/// What went wrong, for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// The message, with the next step.
    pub error: String,
}

/// An answer that is not the one asked for.
pub(super) struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

fn ending() -> Failed {
    Failed(StatusCode::SERVICE_UNAVAILABLE, "the reconciler is ending".to_owned())
}

fn refused(error: String) -> Failed {
    Failed(StatusCode::CONFLICT, error)
}

impl Handle {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Failed> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }

    async fn status(&self) -> Result<StatusView, Failed> {
        self.ask(Request::Status).await
    }
}

pub(super) async fn status(State(handle): State<Handle>) -> Result<Json<StatusView>, Failed> {
    handle.status().await.map(Json)
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    follow: bool,
}

/// Events, one JSON object a line; with `follow` the answer goes on until the client leaves.
pub(super) async fn events(State(handle): State<Handle>, Query(query): Query<EventsQuery>) -> Response {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(64);
    let log = handle.events.clone();
    let mut newest = log.follow();
    // Ends when the client leaves or the log does: sending then fails, or nothing changes any more.
    tokio::spawn(async move {
        let mut since = query.since;
        loop {
            newest.mark_unchanged();
            for event in log.since(since) {
                since = event.seq;
                let Ok(mut line) = serde_json::to_vec(&event) else { continue };
                line.push(b'\n');
                if sender.send(Ok(line.into())).await.is_err() {
                    return;
                }
            }
            if !query.follow {
                return;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct PlanQuery {
    rev: Option<String>,
}

pub(super) async fn plan(
    State(handle): State<Handle>,
    Query(query): Query<PlanQuery>,
) -> Result<Response, Failed> {
    let view = handle.ask(|answer| Request::Plan(query.rev, answer)).await?.map_err(refused)?;
    Ok(Json(view).into_response())
}

pub(super) async fn sync(State(handle): State<Handle>) -> Result<Json<Synced>, Failed> {
    handle.ask(Request::Sync).await.map(Json)
}

/// What is waited for.
#[derive(Debug, Serialize, Deserialize)]
pub struct WaitFor {
    /// A revision; the head after a sync if none.
    pub revision: Option<String>,
    /// How long, in milliseconds.
    pub timeout_ms: u64,
}

/// How waiting ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Waited {
    /// Whether it settled.
    pub settled: bool,
    /// Which revision was waited for.
    pub revision: Option<Revision>,
    /// Why it did not settle.
    pub reason: Option<String>,
}

pub(super) async fn wait(
    State(handle): State<Handle>,
    Json(wanted): Json<WaitFor>,
) -> Result<Json<Waited>, Failed> {
    let waiting = wait_until(&handle, wanted.revision);
    match tokio::time::timeout(Duration::from_millis(wanted.timeout_ms), waiting).await {
        Ok(waited) => waited.map(Json),
        Err(_) => {
            let status = handle.status().await?;
            let reason = status
                .held
                .map(|held| held.reason)
                .or_else(|| status.candidate.and_then(|candidate| candidate.reason))
                .or_else(|| status.rollout.map(|rollout| format!("the rollout is {}", rollout.state)))
                .or(status.source.error)
                .unwrap_or_else(|| "it did not arrive".to_owned());
            Ok(Json(Waited { settled: false, revision: None, reason: Some(format!("not in time: {reason}")) }))
        }
    }
}

async fn wait_until(handle: &Handle, revision: Option<String>) -> Result<Waited, Failed> {
    let mut changed = handle.changed.clone();
    let synced = handle.ask(Request::Sync).await?;
    let text = match (revision, synced) {
        (Some(text), _) => text,
        (None, Synced { head: Some(head), .. }) => head.to_string(),
        (None, Synced { error, .. }) => {
            return Err(refused(error.unwrap_or_else(|| "there is no revision to wait for".to_owned())));
        }
    };
    loop {
        // Registered before the look, so that no change falls between.
        changed.mark_unchanged();
        if let Ok(Reached { revision, settled }) =
            handle.ask(|answer| Request::Reached(text.clone(), answer)).await?
        {
            if settled {
                return Ok(Waited { settled: true, revision: Some(revision), reason: None });
            }
            let status = handle.status().await?;
            if let Some(candidate) = status.candidate.filter(|candidate| candidate.revision == revision)
                && matches!(candidate.state, CandidateState::Rejected | CandidateState::Quarantined)
            {
                return Ok(Waited { settled: false, revision: Some(revision), reason: candidate.reason });
            }
        }
        changed.changed().await.map_err(|_| ending())?;
    }
}

pub(super) async fn retry(State(handle): State<Handle>) -> Result<Json<usize>, Failed> {
    handle.ask(Request::Retry).await?.map(Json).map_err(refused)
}

/// A suspension that is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Suspend {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Option<Timestamp>,
}

pub(super) async fn suspend(
    State(handle): State<Handle>,
    Json(wanted): Json<Suspend>,
) -> Result<Json<()>, Failed> {
    let suspension = suspension(wanted.reason, wanted.until);
    handle.ask(|answer| Request::Suspend(Some(suspension), answer)).await?.map(Json).map_err(refused)
}

pub(super) async fn resume(State(handle): State<Handle>) -> Result<Json<()>, Failed> {
    handle.ask(|answer| Request::Suspend(None, answer)).await?.map(Json).map_err(refused)
}

pub(super) async fn commit(State(handle): State<Handle>, Json(undo): Json<Undo>) -> Result<Response, Failed> {
    let made = handle.ask(|answer| Request::Commit(undo, answer)).await?.map_err(refused)?;
    Ok(Json(made).into_response())
}

pub(super) async fn down(State(handle): State<Handle>) -> Result<Json<()>, Failed> {
    handle.ask(Request::Down).await.map(Json)
}

/// Whether the program lives.
pub(super) async fn healthz(State(handle): State<Handle>) -> Result<&'static str, Failed> {
    handle.status().await.map(|_| "ok\n")
}

/// Whether it does its work: something is live, and no rollout is stuck.
pub(super) async fn readyz(State(handle): State<Handle>) -> Result<&'static str, Failed> {
    let status = handle.status().await?;
    let stuck = status.rollout.as_ref().is_some_and(|rollout| rollout.state == "Stuck");
    match (status.live, stuck) {
        (Some(_), false) => Ok("ok\n"),
        (None, _) => Err(Failed(StatusCode::SERVICE_UNAVAILABLE, "no release is live yet".to_owned())),
        (Some(_), true) => Err(Failed(StatusCode::SERVICE_UNAVAILABLE, "a rollout is stuck".to_owned())),
    }
}

pub(super) async fn metrics(State(handle): State<Handle>) -> Result<Response, Failed> {
    let status = handle.status().await?;
    handle.metrics.follow(&status);
    let text = handle
        .metrics
        .text()
        .map_err(|error| Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
