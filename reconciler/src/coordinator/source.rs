//! The repository as the loop knows it: how the last look at it went, who waits for which look, and whether a commit
//! is being made.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockstep_core::status::SourceView;
use lockstep_protocol::Revision;
use lockstep_source::Mirror;
use tokio::sync::oneshot;

use super::request::Synced;
use crate::candidate::worker::{Request, Worker};
use crate::events::{Event, EventLog};

/// The source thread, and what it has told.
pub(super) struct Source {
    worker: Worker,
    branch: String,
    view: SourceView,
    /// How often a look was asked for.
    looks: u64,
    /// Who waits for the look of which number.
    syncs: BTreeMap<u64, oneshot::Sender<Synced>>,
    /// How many commits are being made.
    committing: usize,
}

impl Source {
    pub(super) fn new(worker: Worker, branch: String) -> Self {
        Self {
            worker,
            branch,
            view: SourceView::default(),
            looks: 0,
            syncs: BTreeMap::new(),
            committing: 0,
        }
    }

    /// Has the thread do something.
    pub(super) fn ask(&self, request: Request) {
        self.worker.ask(request);
    }

    /// Has the repository looked at, and gives the number under which the end of that look is told.
    pub(super) fn look(&mut self) -> u64 {
        self.looks += 1;
        self.worker.ask(Request::Look(self.looks));
        self.looks
    }

    /// Has it looked at for somebody who wants to know how that went.
    pub(super) fn sync(&mut self, answer: oneshot::Sender<Synced>) {
        let number = self.look();
        self.syncs.insert(number, answer);
    }

    /// Has a commit made; the thread looks at the repository right after it.
    pub(super) fn commit(&mut self, make: impl FnOnce(&mut Mirror, &str) + Send + 'static) {
        let branch = self.branch.clone();
        let make = move |mirror: &mut Mirror| make(mirror, &branch);
        self.worker.ask(Request::Commit(Box::new(make)));
        self.committing += 1;
    }

    /// One was made, or could not be, and was answered.
    pub(super) fn committed(&mut self) {
        self.committing = self.committing.saturating_sub(1);
    }

    /// Whether a commit may be under way: whoever asked for it waits to hear what became of it.
    pub(super) fn is_committing(&self) -> bool {
        self.committing > 0
    }

    /// How the last look went.
    pub(super) fn view(&self) -> &SourceView {
        &self.view
    }

    /// The look of this number has ended: whoever asked for it, or for one before, is answered with what is known
    /// now. Whoever asked later may mean a commit that was not there yet.
    pub(super) fn looked(&mut self, number: u64, head: Option<&Revision>) {
        let later = self.syncs.split_off(&(number + 1));
        let synced = Synced {
            branch: self.branch.clone(),
            head: head.filter(|_| self.view.error.is_none()).cloned(),
            error: self.view.error.clone(),
        };
        for answer in std::mem::replace(&mut self.syncs, later).into_values() {
            // Whoever asked may be gone by now.
            drop(answer.send(synced.clone()));
        }
    }

    /// It answered.
    pub(super) fn answered(&mut self, events: &EventLog) {
        self.view.last_success = Some(Timestamp::now());
        if self.view.error.take().is_some() {
            events.append([Event::new("SourceAnswers")]);
        }
    }

    /// It did not answer, or not well. The same reason is told once.
    pub(super) fn failed(&mut self, reason: String, events: &EventLog) {
        if self.view.error.as_ref() != Some(&reason) {
            events.append([Event {
                message: reason.clone(),
                ..Event::new("SourceFailed")
            }]);
        }
        self.view.error = Some(reason);
    }
}
