//! The handlers: each asks the coordinator and gives what it says.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use jiff::Timestamp;
use lockstep_core::admission::CandidateState;
use lockstep_core::ledger::LetThrough;
use lockstep_core::status::StatusView;
use lockstep_protocol::Revision;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::control::Peer;
use crate::coordinator::Handle;
use crate::coordinator::request::{Passed, PlanView, Reached, Request, Synced, Undo, suspension};

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
    Failed(
        StatusCode::SERVICE_UNAVAILABLE,
        "the reconciler ends, or begins anew with other settings; ask again".to_owned(),
    )
}

/// What is told while nobody can work: not to be asked again at once.
pub(super) fn standing_in(why: &str) -> Router {
    let why = why.to_owned();
    Router::new().fallback(async move || Failed(StatusCode::BAD_GATEWAY, why))
}

fn refused(error: String) -> Failed {
    Failed(StatusCode::CONFLICT, error)
}

/// What the handlers have: the coordinator, and the word that the doors close.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) handle: Handle,
    pub(super) stop: watch::Receiver<bool>,
}

impl Door {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Failed> {
        let (answer, answered) = oneshot::channel();
        self.handle.requests.send(request(answer)).map_err(|_| ending())?;
        tokio::select! {
            // An answer that is there already counts, also when it was the last one.
            biased;
            answer = answered => answer.map_err(|_| ending()),
            // The coordinator has ended: nobody will answer any more.
            () = self.closed() => Err(ending()),
        }
    }

    async fn status(&self) -> Result<StatusView, Failed> {
        self.ask(Request::Status).await
    }

    /// Until the doors close. Whoever waits without this would hold up the end of the program.
    async fn closed(&self) {
        // An error says that the sender is gone, which means the same.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }
}

/// Documents, one a line, that are made until the client leaves or the doors close.
struct Lines(mpsc::Sender<Result<Bytes, Infallible>>);

impl Lines {
    /// Answers with what `make` writes.
    fn answer<F: Future<Output = ()> + Send + 'static>(
        door: &Door,
        make: impl FnOnce(Self) -> F,
    ) -> Response {
        let (sender, receiver) = mpsc::channel(64);
        let left = sender.clone();
        let (door, made) = (door.clone(), make(Self(sender)));
        tokio::spawn(async move {
            tokio::select! {
                () = made => {}
                () = left.closed() => {}
                () = door.closed() => {}
            }
        });
        let body = Body::from_stream(ReceiverStream::new(receiver));
        ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
    }

    /// False when nobody reads any more.
    async fn write(&self, document: &impl Serialize) -> bool {
        let Ok(mut line) = serde_json::to_vec(document) else {
            return true;
        };
        line.push(b'\n');
        self.0.send(Ok(line.into())).await.is_ok()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusQuery {
    #[serde(default)]
    follow: bool,
}

/// The status; with `follow` again at each change, one JSON object a line.
pub(super) async fn status(
    State(door): State<Door>,
    Query(query): Query<StatusQuery>,
) -> Result<Response, Failed> {
    if !query.follow {
        return Ok(Json(door.status().await?).into_response());
    }
    let mut changed = door.handle.changed.clone();
    let follower = door.clone();
    Ok(Lines::answer(&door, async move |lines| {
        loop {
            // Registered before the look, so that no change falls between.
            changed.mark_unchanged();
            let Ok(status) = follower.status().await else {
                return;
            };
            if !lines.write(&status).await || changed.changed().await.is_err() {
                return;
            }
        }
    }))
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    follow: bool,
}

/// Events, one JSON object a line; with `follow` the answer goes on with what happens.
pub(super) async fn events(State(door): State<Door>, Query(query): Query<EventsQuery>) -> Response {
    let log = Arc::clone(&door.handle.events);
    let mut newest = log.follow();
    Lines::answer(&door, async move |lines| {
        let mut since = query.since;
        loop {
            newest.mark_unchanged();
            for event in log.since(since) {
                since = event.seq;
                if !lines.write(&event).await {
                    return;
                }
            }
            if !query.follow || newest.changed().await.is_err() {
                return;
            }
        }
    })
}

/// Which plan, and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanQuery {
    /// The revision; the head if none.
    pub rev: Option<String>,
    /// Whether the text for people is wanted as well.
    #[serde(default)]
    pub text: bool,
    /// Whether the same for a pull request is wanted.
    #[serde(default)]
    pub markdown: bool,
}

/// A plan, with the text for people if it was asked for.
#[derive(Debug, Serialize)]
struct PlanAnswer {
    #[serde(flatten)]
    view: PlanView,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
}

pub(super) async fn plan(
    State(door): State<Door>,
    Query(query): Query<PlanQuery>,
) -> Result<Response, Failed> {
    let view = door
        .ask(|answer| Request::Plan(query.rev, answer))
        .await?
        .map_err(refused)?;
    let text = query.text.then(|| view.text()).flatten();
    let markdown = query.markdown.then(|| view.markdown());
    Ok(Json(PlanAnswer { view, text, markdown }).into_response())
}

pub(super) async fn sync(State(door): State<Door>) -> Result<Json<Synced>, Failed> {
    door.ask(Request::Sync).await.map(Json)
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
    State(door): State<Door>,
    Json(wanted): Json<WaitFor>,
) -> Result<Json<Waited>, Failed> {
    let waiting = wait_until(&door, wanted.revision);
    match tokio::time::timeout(Duration::from_millis(wanted.timeout_ms), waiting).await {
        Ok(waited) => waited.map(Json),
        Err(_) => {
            let status = door.status().await?;
            let reason = status
                .held
                .map(|held| held.reason)
                .or_else(|| status.candidate.and_then(|candidate| candidate.reason))
                .or_else(|| {
                    status
                        .rollout
                        .map(|rollout| format!("the rollout is {}", rollout.state))
                })
                .or(status.source.error)
                .unwrap_or_else(|| "it did not arrive".to_owned());
            Ok(Json(Waited {
                settled: false,
                revision: None,
                reason: Some(format!("not in time: {reason}")),
            }))
        }
    }
}

async fn wait_until(door: &Door, revision: Option<String>) -> Result<Waited, Failed> {
    let mut changed = door.handle.changed.clone();
    let synced = door.ask(Request::Sync).await?;
    let text = match (&revision, &synced) {
        (Some(text), _) => text.clone(),
        (None, Synced { head: Some(head), .. }) => head.to_string(),
        (None, Synced { error, .. }) => {
            let nothing = || "there is no revision to wait for".to_owned();
            return Err(refused(error.clone().unwrap_or_else(nothing)));
        }
    };
    loop {
        // Registered before the look, so that no change falls between.
        changed.mark_unchanged();
        match door.ask(|answer| Request::Reached(text.clone(), answer)).await? {
            Ok(Reached {
                revision: meant,
                settled,
            }) => {
                let status = door.status().await?;
                let candidate = status.candidate.filter(|candidate| candidate.revision == meant);
                let state = candidate.as_ref().map(|candidate| candidate.state);
                // The head of a rewound branch is held although a descendant of it settled once: who waits for
                // the head waits for what it says now.
                if settled && (revision.is_some() || state.is_none()) {
                    return Ok(Waited {
                        settled: true,
                        revision: Some(meant),
                        reason: None,
                    });
                }
                if let Some(CandidateState::Rejected | CandidateState::Quarantined) = state {
                    let reason = candidate.and_then(|candidate| candidate.reason);
                    return Ok(Waited {
                        settled: false,
                        revision: Some(meant),
                        reason,
                    });
                }
            }
            // A whole id may still arrive; anything else names nothing in what was just fetched.
            Err(error) if synced.error.is_none() && Revision::new(&text).is_err() => {
                return Err(refused(error));
            }
            Err(_) => {}
        }
        tokio::select! {
            changed = changed.changed() => changed.map_err(|_| ending())?,
            () = door.closed() => return Err(ending()),
        }
    }
}

pub(super) async fn retry(State(door): State<Door>) -> Result<Json<usize>, Failed> {
    door.ask(Request::Retry).await?.map(Json).map_err(refused)
}

/// A revision that is to be let through a closed window.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pass {
    /// The revision: the head as whoever asks saw it.
    pub revision: Revision,
    /// Why.
    pub reason: String,
}

pub(super) async fn pass(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(wanted): Json<Pass>,
) -> Result<Json<Passed>, Failed> {
    if wanted.reason.trim().is_empty() {
        return Err(refused("a reason is expected: it is recorded".to_owned()));
    }
    let wanted = LetThrough {
        revision: wanted.revision,
        reason: wanted.reason,
        by: peer.to_string(),
        at: Timestamp::now(),
    };
    door.ask(|answer| Request::Pass(wanted, answer))
        .await?
        .map(Json)
        .map_err(refused)
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
    State(door): State<Door>,
    Json(wanted): Json<Suspend>,
) -> Result<Json<()>, Failed> {
    let suspension = suspension(wanted.reason, wanted.until);
    door.ask(|answer| Request::Suspend(Some(suspension), answer))
        .await?
        .map(Json)
        .map_err(refused)
}

pub(super) async fn resume(State(door): State<Door>) -> Result<Json<()>, Failed> {
    door.ask(|answer| Request::Suspend(None, answer))
        .await?
        .map(Json)
        .map_err(refused)
}

pub(super) async fn commit(State(door): State<Door>, Json(undo): Json<Undo>) -> Result<Response, Failed> {
    let made = door
        .ask(|answer| Request::Commit(undo, answer))
        .await?
        .map_err(refused)?;
    Ok(Json(made).into_response())
}

pub(super) async fn down(State(door): State<Door>) -> Result<Json<()>, Failed> {
    door.ask(Request::Down).await?.map(Json).map_err(refused)
}

/// Whether the program lives.
pub(super) async fn healthz(State(door): State<Door>) -> Result<&'static str, Failed> {
    door.status().await.map(|_| "ok\n")
}

/// Whether it does its work: something is live, and no rollout is stuck.
pub(super) async fn readyz(State(door): State<Door>) -> Result<&'static str, Failed> {
    let status = door.status().await?;
    let stuck = status
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.state == "Stuck");
    match (status.live, stuck) {
        (Some(_), false) => Ok("ok\n"),
        (None, _) => Err(Failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "no release is live yet".to_owned(),
        )),
        (Some(_), true) => Err(Failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "a rollout is stuck".to_owned(),
        )),
    }
}

pub(super) async fn metrics(State(door): State<Door>) -> Result<Response, Failed> {
    let status = door.status().await?;
    door.handle.metrics.follow(&status);
    let text = door
        .handle
        .metrics
        .text()
        .map_err(|error| Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
