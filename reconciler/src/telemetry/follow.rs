//! Following the events until a rollout has ended, and then sending its trace.

use std::collections::BTreeMap;

use lockstep_protocol::RolloutId;

use super::Steps;
use super::spans::{self, Span};
use crate::events::{Event, EventLog};

/// As many events of one rollout are kept: one that is stuck for days says something again and again.
const LONGEST: usize = 1_000;

/// Whoever traces are sent to.
pub(super) trait Receiver {
    /// Takes one. Whether and how that fails is its own affair.
    fn receive(&mut self, trace: Vec<Span>) -> impl Future<Output = ()> + Send;
}

/// The rollouts that have not ended yet, with what was told of them.
#[derive(Debug, Default)]
struct Open(BTreeMap<RolloutId, Vec<Event>>);

impl Open {
    /// Takes an event; gives all of its rollout if that has ended with it.
    fn take(&mut self, event: Event) -> Option<Vec<Event>> {
        let last = spans::is_last(&event);
        let Some(id) = event.rollout.clone() else {
            // A commit that was rejected, or that changed no file: it had no rollout.
            return (last && event.revision.is_some()).then(|| vec![event]);
        };
        let told = self.0.entry(id.clone()).or_default();
        if told.len() < LONGEST || last {
            told.push(event);
        }
        last.then(|| self.0.remove(&id)).flatten()
    }
}

/// Follows until the log is gone.
pub(super) async fn follow(events: &EventLog, steps: &Steps, mut receiver: impl Receiver) {
    let mut newest = events.follow();
    let mut open = Open::default();
    let mut seen = 0;
    // What ended before this began was sent then, or never will be. One under way was taken up.
    for event in events.since(0) {
        seen = event.seq;
        open.take(event);
    }
    while newest.changed().await.is_ok() {
        for event in events.since(seen) {
            seen = event.seq;
            if let Some(told) = open.take(event) {
                let revision = told.first().and_then(|event| event.revision.as_ref());
                let steps = revision.map(|revision| steps.of(revision)).unwrap_or_default();
                receiver.receive(spans::of(&told, &steps)).await;
            }
        }
    }
}
