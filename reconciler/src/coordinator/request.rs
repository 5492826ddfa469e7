//! What people and scripts ask of the coordinator, over the control socket and the web port.

use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::ledger::{LetThrough, Suspension};
use lockstep_core::plan::Plan;
use lockstep_core::rollout::Phase;
use lockstep_core::status::StatusView;
use lockstep_core::window::GoesOut;
use lockstep_protocol::Revision;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::Coordinator;
use crate::agent::Order;
use crate::candidate::worker::Request as SourceRequest;
use crate::events::{Event, EventLog};
use crate::metrics::Metrics;

/// The coordinator as the web and control tasks see it.
#[derive(Clone)]
pub struct Handle {
    /// Requests.
    pub requests: mpsc::UnboundedSender<Request>,
    /// Wakes when the status changed; carries nothing.
    pub changed: watch::Receiver<u64>,
    /// The events.
    pub events: Arc<EventLog>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// What is asked.
pub enum Request {
    /// The status.
    Status(oneshot::Sender<StatusView>),
    /// Look at the repository now; answered when that is done and what it means is decided.
    Sync(oneshot::Sender<Synced>),
    /// What a revision would change.
    Plan(Option<String>, oneshot::Sender<Result<PlanView, String>>),
    /// Whether a revision, or a descendant of it, is live.
    Reached(String, oneshot::Sender<Result<Reached, String>>),
    /// Forget all verdicts: the head is tried again. Answered with how many there were.
    Retry(oneshot::Sender<Result<usize, String>>),
    /// Let a revision through a closed window.
    Pass(LetThrough, oneshot::Sender<Result<Passed, String>>),
    /// Suspend reconciling, or resume it.
    Suspend(Option<Suspension>, oneshot::Sender<Result<(), String>>),
    /// Commit the way back, or undo a commit.
    Commit(Undo, oneshot::Sender<Result<Committed, String>>),
    /// Stop everything: services, guard, reconciler.
    Down(oneshot::Sender<Result<(), String>>),
}

/// What a look at the repository found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Synced {
    /// The branch that is followed.
    pub branch: String,
    /// The head of the branch; none when the source did not answer.
    pub head: Option<Revision>,
    /// Why there is none.
    pub error: Option<String>,
}

/// A plan, or why there is none.
#[derive(Debug, Clone, Serialize)]
pub struct PlanView {
    /// The plan; none when the revision was refused.
    pub plan: Option<Plan>,
    /// The diagnostics of a refused revision, as `lockstep validate` prints them.
    pub refused: Option<String>,
    /// The warnings about one that is not refused, as `lockstep validate` prints them.
    pub warnings: Option<String>,
    /// When it would go out; none where the settings have no windows, or nothing is to go out.
    pub goes_out: Option<GoesOut>,
}

impl PlanView {
    /// A revision that was refused.
    #[must_use]
    pub fn refused(why: String) -> Self {
        Self {
            plan: None,
            refused: Some(why),
            warnings: None,
            goes_out: None,
        }
    }

    /// The plan for people; none of a refused revision.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = lockstep_core::plan::text(self.plan.as_ref()?);
        if let Some(goes_out) = &self.goes_out {
            text.push_str(&format!("\n{goes_out}\n"));
        }
        if let Some(warnings) = &self.warnings {
            text.push_str(&format!("\n{warnings}\n"));
        }
        Some(text)
    }

    /// The same for a pull request, also of a revision that was refused.
    #[must_use]
    pub fn markdown(&self) -> String {
        let quoted = |text: &str| {
            let lines: Vec<_> = text.lines().map(|line| format!("    {line}\n")).collect();
            lines.concat()
        };
        let mut out = match (&self.plan, &self.refused) {
            (Some(plan), _) => lockstep_core::plan::markdown(plan),
            (None, refused) => format!(
                "### Plan: it would be rejected\n\n{}",
                quoted(refused.as_deref().unwrap_or_default())
            ),
        };
        if let Some(goes_out) = &self.goes_out {
            out.push_str(&format!("\n{goes_out}\n"));
        }
        if let Some(warnings) = &self.warnings {
            out.push_str(&format!("\nWarnings:\n\n{}", quoted(warnings)));
        }
        out
    }
}

/// How letting a revision through ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passed {
    /// Whether a window was closed that it passes now.
    pub passed: bool,
    /// Why it is not tried now all the same.
    pub held: Option<String>,
}

/// Whether a revision is live.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reached {
    /// The revision that was meant.
    pub revision: Revision,
    /// Whether it or a descendant settled.
    pub settled: bool,
}

/// A commit to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Undo {
    /// A commit with an earlier tree.
    Rollback {
        /// Whose tree; the last settled one that differs if none.
        to: Option<String>,
        /// Why.
        message: Option<String>,
    },
    /// A commit that undoes one commit.
    Revert {
        /// Which.
        revision: String,
        /// Why.
        message: Option<String>,
    },
}

/// A commit that was made and pushed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// The new commit.
    pub revision: Revision,
    /// Its subject.
    pub subject: String,
    /// The branch that it was pushed to.
    pub branch: String,
}

impl Coordinator {
    pub(super) fn answer(&mut self, request: Request) {
        // Whoever asked may be gone by now: then nobody waits for the answer.
        match request {
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Sync(answer) => self.source.sync(answer),
            Request::Plan(None, answer) => {
                let view = match &self.head {
                    None => Err("no revision was fetched yet: see `lockstep status`".to_owned()),
                    Some(head) => Ok(self.outlook().view(&head.judged)),
                };
                drop(answer.send(view));
            }
            Request::Plan(Some(text), answer) => {
                let (sender, receiver) = oneshot::channel();
                self.source.ask(SourceRequest::Judge(text, sender));
                let outlook = self.outlook();
                self.aside.spawn(async move {
                    let judged = receiver
                        .await
                        .unwrap_or_else(|_| Err("the reconciler is ending".to_owned()));
                    drop(answer.send(judged.map(|judged| outlook.view(&judged))));
                });
            }
            Request::Reached(text, answer) => {
                let live = self.live.as_ref().map(|live| live.live.revision.clone());
                self.source.ask(SourceRequest::Work(Box::new(move |mirror| {
                    let reached = mirror.resolve(&text).and_then(|revision| {
                        let settled = match &live {
                            None => false,
                            Some(live) => *live == revision || mirror.is_ancestor(&revision, live)?,
                        };
                        Ok(Reached { revision, settled })
                    });
                    drop(answer.send(reached.map_err(|error| error.to_string())));
                })));
            }
            Request::Retry(answer) if self.active.is_some() => {
                let why = "a rollout is under way: `lockstep retry` when it has ended (`lockstep status`)";
                drop(answer.send(Err(why.to_owned())));
            }
            Request::Retry(answer) => {
                self.aborted = None;
                self.unhealed = None;
                let forgotten = self.store.change(lockstep_core::ledger::Ledger::retry);
                drop(answer.send(forgotten.map_err(|error| error.to_string())));
            }
            Request::Pass(wanted, answer) => drop(answer.send(self.let_through(wanted))),
            Request::Suspend(suspension, answer) => {
                let kind = if suspension.is_some() {
                    "Suspended"
                } else {
                    "Resumed"
                };
                let message = suspension
                    .as_ref()
                    .map(|suspension| suspension.reason.clone())
                    .unwrap_or_default();
                let changed = self.store.change(|ledger| ledger.suspended = suspension);
                if changed.is_ok() {
                    self.events.append([Event {
                        message,
                        ..Event::new(kind)
                    }]);
                }
                drop(answer.send(changed.map_err(|error| error.to_string())));
            }
            Request::Commit(undo, answer) => self.commit(undo, answer),
            Request::Down(answer) => {
                self.down = Some(answer);
                self.shut_down();
            }
        }
    }

    /// Has everything stopped, if that was asked for. A rollout that is under way ends first, for it has limits: whom
    /// we stop in the midst of one would count as dead of it. Stuck has none, and without the guard nobody is stopped.
    pub(super) fn shut_down(&mut self) {
        let active = self.active.as_ref().map(|active| &active.rollout.phase);
        let under_way = active.is_some_and(|phase| !matches!(phase, Phase::Stuck { .. }));
        if self.down.is_none() || self.stopping || (under_way && self.connected) {
            return;
        }
        self.stopping = true;
        // An order is dropped only while the program ends anyway.
        self.orders.give(Order::Shutdown);
    }

    /// Has the source thread make a commit; the look that follows takes it up at once.
    fn commit(&mut self, undo: Undo, answer: oneshot::Sender<Result<Committed, String>>) {
        let ledger = self.store.ledger();
        let live = self.live.as_ref().map(|live| live.live.clone());
        let live_digest = live.as_ref().map(|live| live.digest);
        let differs = ledger
            .settled
            .iter()
            .rev()
            .find(|tree| Some(tree.digest) != live_digest)
            .map(|tree| tree.revision.clone());
        let settled = ledger.last_settled().map(|tree| tree.revision.clone());
        // The live tree if the head is not live, else the newest settled one that differs. Which head that is, is known
        // only where the commit is made: what was pushed a moment ago is not seen yet.
        let default = {
            let settled = settled.clone();
            move |head: &Revision| match live {
                Some(live) if live.revision == *head => differs,
                Some(_) | None => settled,
            }
        };
        self.source.commit(move |mirror, branch| {
            let made = super::conclude::make_commit(mirror, &undo, default, settled.as_ref());
            drop(answer.send(made.map(|(revision, subject)| Committed {
                revision,
                subject,
                branch: branch.to_owned(),
            })));
        });
    }
}

/// A suspension that begins now.
#[must_use]
pub fn suspension(reason: String, until: Option<Timestamp>) -> Suspension {
    Suspension {
        reason,
        until,
        since: Timestamp::now(),
    }
}
