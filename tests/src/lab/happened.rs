//! Waiting for what happens.

use lockstep_protocol::Revision;

use super::Lab;
use crate::events::{Event, Follower};
use crate::wait::{PATIENCE, until};

impl Lab {
    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().look().to_vec()
    }

    /// The number of the newest event: what comes later is greater.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.events
            .borrow_mut()
            .look()
            .last()
            .map_or(0, |event| event.seq)
    }

    /// Begins anew with a file of events, after it was removed.
    pub fn forget_events(&self) {
        *self.events.borrow_mut() = Follower::new(self.state().join("events.jsonl"));
    }

    /// Waits for the first event that fits, from the beginning on.
    ///
    /// # Panics
    /// With `what` when there is none in time.
    #[track_caller]
    pub fn wait_event(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        self.wait_event_after(0, what, fits)
    }

    /// Waits for the first event after a number that fits.
    ///
    /// # Panics
    /// With `what` when there is none in time.
    #[track_caller]
    pub fn wait_event_after(&self, seq: u64, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let found = until(PATIENCE, || {
            self.events
                .borrow_mut()
                .look()
                .iter()
                .find(|event| event.seq > seq && fits(event))
                .cloned()
        });
        found.unwrap_or_else(|| panic!("this event did not come: {what}"))
    }

    /// Waits until a revision settled.
    #[track_caller]
    pub fn wait_settled(&self, revision: &Revision) -> Event {
        self.wait_kind("Settled", revision)
    }

    /// Waits for an event of a kind about a revision.
    #[track_caller]
    pub fn wait_kind(&self, kind: &str, revision: &Revision) -> Event {
        self.wait_event(&format!("{kind} of {}", revision.short()), |event| {
            event.is(kind, revision)
        })
    }

    /// Waits until a rollout of a revision ended by going back, and gives the event.
    #[track_caller]
    pub fn wait_rolled_back(&self, revision: &Revision) -> Event {
        let found = until(PATIENCE, || {
            let mut follower = self.events.borrow_mut();
            let events = follower.look();
            // What is told on the way back is about the revision before; the rollout names the one that failed.
            let of_it = |end: &&Event| {
                events
                    .iter()
                    .any(|event| event.is("Preparing", revision) && event.rollout == end.rollout)
            };
            events
                .iter()
                .filter(|event| event.kind == "RolledBack")
                .find(of_it)
                .cloned()
        });
        found.unwrap_or_else(|| panic!("{} was not rolled back", revision.short()))
    }
}
