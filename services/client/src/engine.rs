//! One attempt after the other to run what `current` points to.
//!
//! Attempts never overlap. A refused one changes nothing but the status. What was loaded while `current` moved on
//! is dropped, neither applied nor reported: it is of the past, and what is current now is attempted instead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use lockstep_protocol::{Attempt, InstanceToken, Offer, PROTOCOL, RolloutId, Status, StatusState, Vote};

use crate::place::{Place, Sighting};
use crate::statement::Statement;
use crate::{Refusal, Snapshot};

/// Parses and validates one release.
pub(crate) type Load<T> = Box<dyn Fn(&Snapshot) -> Result<T, Refusal> + Send + Sync>;
/// Judges (and may prepare) the way from what runs to what comes.
pub(crate) type Check<T> = Box<dyn Fn(&T, &T) -> Result<(), Refusal> + Send + Sync>;

/// What the service brings along.
pub(crate) struct Hooks<T> {
    pub(crate) load: Load<T>,
    pub(crate) on_change: Option<Check<T>>,
    pub(crate) on_offer: Option<Check<T>>,
}

/// The live value and everything that may replace it.
pub(crate) struct Engine<T> {
    place: Place,
    hooks: Hooks<T>,
    live: ArcSwap<T>,
    statement: Statement,
    /// What the last attempt looked at; held while one is under way, so that they never overlap.
    attempted: Mutex<Sighting>,
}

/// When an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Somebody asked: also if nothing moved, for what was refused may be accepted now.
    Asked,
    /// Only if something moved since the last attempt.
    Moved,
}

/// One release, loaded or refused.
struct Tried<T> {
    seen: Sighting,
    attempt: Attempt,
    loaded: Result<(T, Snapshot), Refusal>,
}

impl<T> Engine<T> {
    /// Loads the first value and publishes the first status, also when it is refused.
    pub(crate) fn first(
        place: Place,
        hooks: Hooks<T>,
        status_file: Option<PathBuf>,
        instance: String,
    ) -> Result<Self, Refusal> {
        let Tried {
            seen,
            attempt,
            loaded,
        } = try_current(&place, &hooks);
        let mut status = Status {
            protocol: PROTOCOL,
            instance: InstanceToken(instance),
            switch: None,
            revision: None,
            digest: None,
            state: StatusState::Applied,
            attempted: attempt,
            error: None,
            vote: None,
            at: Timestamp::now(),
        };
        match loaded {
            Ok((value, snapshot)) => {
                runs(&mut status, &snapshot);
                log_applied(&status);
                let (live, attempted) = (ArcSwap::from_pointee(value), Mutex::new(seen));
                let statement = Statement::first(status_file, status);
                Ok(Self {
                    place,
                    hooks,
                    live,
                    statement,
                    attempted,
                })
            }
            Err(refusal) => {
                refused(&mut status, &refusal);
                Statement::first(status_file, status);
                Err(refusal)
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.place.folder
    }

    pub(crate) fn live(&self) -> &ArcSwap<T> {
        &self.live
    }

    pub(crate) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Attempts what is current, round after round until it did not move meanwhile.
    pub(crate) fn reload(&self, mut when: When) -> Result<(), Refusal> {
        // A sighting is whole at any time, so a panic during an attempt leaves nothing half-done behind.
        let mut attempted = self.attempted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Ok(());
        while when == When::Asked || self.place.look() != *attempted {
            let tried = try_current(&self.place, &self.hooks);
            *attempted = tried.seen;
            outcome = self.settle(tried.attempt, tried.loaded);
            // Signals merge and events are missed, so it is looked at once more after each attempt.
            when = When::Moved;
        }
        outcome
    }

    fn settle(&self, attempt: Attempt, loaded: Result<(T, Snapshot), Refusal>) -> Result<(), Refusal> {
        let accepted = loaded.and_then(|(value, snapshot)| {
            if let Some(on_change) = &self.hooks.on_change {
                shielded("on_change", || on_change(&self.live.load(), &value))?;
            }
            Ok((value, snapshot))
        });
        match accepted {
            Ok((value, snapshot)) => {
                self.live.store(value.into());
                self.statement.change(|status| {
                    status.attempted = attempt;
                    runs(status, &snapshot);
                    log_applied(status);
                });
                Ok(())
            }
            Err(refusal) => {
                self.statement.change(|status| {
                    status.attempted = attempt;
                    refused(status, &refusal);
                });
                Err(refusal)
            }
        }
    }

    /// Answers an offer, without touching what runs.
    pub(crate) fn vote(&self, offer: &Offer) {
        let judged = self.place.open_offered(offer).and_then(|snapshot| {
            let value = shielded("the loader", || (self.hooks.load)(&snapshot))?;
            match &self.hooks.on_offer {
                Some(on_offer) => shielded("on_offer", || on_offer(&self.live.load(), &value)),
                None => Ok(()),
            }
        });
        let RolloutId(rollout) = &offer.rollout;
        let revision = offer.revision.short();
        match &judged {
            Ok(()) => tracing::info!(%rollout, revision, "offer accepted"),
            Err(refusal) => tracing::warn!(%rollout, revision, %refusal, "offer refused"),
        }
        let error = judged.err().map(|refusal| refusal.error().clone());
        let vote = Vote {
            rollout: offer.rollout.clone(),
            accept: error.is_none(),
            error,
        };
        self.statement.change(|status| status.vote = Some(vote));
    }
}

/// Loads what is current, again if that moved meanwhile.
fn try_current<T>(place: &Place, hooks: &Hooks<T>) -> Tried<T> {
    loop {
        let seen = place.look();
        let mut attempt = Attempt {
            switch: seen.switch(),
            revision: None,
        };
        let loaded = place.open(&seen).and_then(|snapshot| {
            attempt.revision = snapshot.revision().cloned();
            let value = shielded("the loader", || (hooks.load)(&snapshot))?;
            Ok((value, snapshot))
        });
        if place.look() == seen {
            return Tried {
                seen,
                attempt,
                loaded,
            };
        }
        tracing::debug!(switch = ?attempt.switch, "current moved during the load; going round again");
    }
}

fn runs(status: &mut Status, snapshot: &Snapshot) {
    status.switch = snapshot.switch();
    status.revision = snapshot.revision().cloned();
    status.digest = snapshot.digest();
    status.state = StatusState::Applied;
    status.error = None;
}

fn refused(status: &mut Status, refusal: &Refusal) {
    status.state = StatusState::Rejected;
    status.error = Some(refusal.error().clone());
    let switch = status.attempted.switch.map(|switch| switch.0);
    tracing::warn!(switch, %refusal, "configuration refused; what ran before goes on");
}

fn log_applied(status: &Status) {
    let (switch, revision) = (status.switch.map(|switch| switch.0), status.revision.as_ref());
    tracing::info!(
        switch,
        revision = revision.map(|revision| revision.short()),
        "configuration applied"
    );
}

/// A panic in the service's own code on some unexpected value is a refusal of that value, not the silent end of
/// the thread that would have acknowledged everything that follows.
fn shielded<R>(who: &str, run: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Refusal::new(format!(
            "{who} panicked: {}",
            text.unwrap_or("no message")
        )))
    })
}
