//! The events: what happened, one object a line, numbered, kept in the state folder and told to followers.
//!
//! An event is for people and scripts; nothing is decided by reading one back.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lockstep_protocol::{Revision, RolloutId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::lines::{LARGEST_FILE, Lines};
use crate::store::{Desk, StoreError};

/// The log's name in the state folder.
const EVENTS: &str = "events.jsonl";
/// As many events are kept in memory for followers that ask for what they missed.
const KEPT: usize = 10_000;
/// The messages that are kept in memory have at most this size together: what the two files can hold.
const KEPT_BYTES: usize = 2 * LARGEST_FILE as usize;
/// A longer message is cut: it quotes what others wrote, a report of a whole revision at the most.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// One event. The fields are stable: `lockstep events --json` prints them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: grows by one, also across restarts.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The rollout it belongs to.
    pub rollout: Option<RolloutId>,
    /// Its kind, named after the states of a rollout.
    pub kind: String,
    /// The service it is about.
    pub service: Option<String>,
    /// The instance it is about.
    pub instance: Option<String>,
    /// The revision it is about.
    pub revision: Option<Revision>,
    /// How long the step took, in microseconds.
    pub duration_us: Option<u64>,
    /// For people.
    pub message: String,
    /// Of `Settled`: from the first pause sent to the last unpause confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
    /// Of `Settled`: from the commit seen to settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_us: Option<u64>,
}

impl Event {
    /// An event of a kind that happens now; the log numbers it.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self {
            seq: 0,
            at: Timestamp::now(),
            rollout: None,
            kind: kind.to_owned(),
            service: None,
            instance: None,
            revision: None,
            duration_us: None,
            message: String::new(),
            pause_us: None,
            total_us: None,
        }
    }
}

impl Event {
    /// Cuts a message that is longer than the log takes, between two characters.
    fn shorten(&mut self) {
        if self.message.len() <= LONGEST_MESSAGE {
            return;
        }
        let whole = self.message.len();
        let at = self.message.floor_char_boundary(LONGEST_MESSAGE);
        self.message.truncate(at);
        self.message.push_str(&format!("… (cut: it has {whole} bytes)"));
    }

    /// Says it in the log as well, at a level by who must act: `error` somebody, `warn` perhaps, `info` nobody.
    fn log(&self) {
        let Self { kind, message, .. } = self;
        let revision = self.revision.as_ref().map(Revision::short);
        let (rollout, service) = (
            self.rollout.as_ref().map(|id| id.0.as_str()),
            self.service.as_deref(),
        );
        match kind.as_str() {
            "Stuck" | "Alarm" | "Diverged" | "Drift" | "SourceFailed" | "Rejected" => {
                tracing::error!(revision, rollout, service, "{kind}: {message}");
            }
            "Failed" | "Restoring" | "RolledBack" | "Aborted" | "Held" | "Ended" | "Adopted" => {
                tracing::warn!(revision, rollout, service, "{kind}: {message}");
            }
            "Settled" => {
                let (total_us, pause_us) = (self.total_us, self.pause_us);
                tracing::info!(revision, rollout, total_us, pause_us, "Settled: {message}");
            }
            _ => tracing::debug!(revision, rollout, service, "{kind}: {message}"),
        }
    }
}

/// The log of events.
#[derive(Debug)]
pub struct EventLog {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    lines: Lines,
    recent: Recent,
    next: u64,
}

/// The newest events, within a number and a size.
#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Event>,
    bytes: usize,
    /// The numbers of the events about each revision, ascending.
    about: HashMap<Revision, VecDeque<u64>>,
}

impl Recent {
    fn push(&mut self, event: Event) {
        self.bytes += event.message.len();
        if let Some(revision) = &event.revision {
            self.about
                .entry(revision.clone())
                .or_default()
                .push_back(event.seq);
        }
        self.events.push_back(event);
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.message.len();
            if let Some(revision) = oldest.revision
                && let Entry::Occupied(mut numbers) = self.about.entry(revision)
            {
                numbers.get_mut().pop_front();
                if numbers.get().is_empty() {
                    numbers.remove();
                }
            }
        }
    }

    /// Where the first event lies whose number is at least this.
    fn place(&self, seq: u64) -> usize {
        self.events.partition_point(|event| event.seq < seq)
    }

    fn about(&self, revision: &Revision) -> impl Iterator<Item = &Event> {
        let numbers = self.about.get(revision).into_iter().flatten();
        numbers.filter_map(|seq| self.events.get(self.place(*seq)))
    }
}

impl EventLog {
    /// Opens the log in the state folder and goes on numbering where it ended.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(state: &Path, desk: &Desk) -> Result<Arc<Self>, StoreError> {
        let mut recent = Recent::default();
        let lines = Lines::open(state, desk, EVENTS, |event| recent.push(event))?;
        let next = recent.events.back().map_or(1, |event| event.seq + 1);
        Ok(Arc::new(Self {
            inner: Mutex::new(Inner { lines, recent, next }),
            newest: watch::Sender::new(next - 1),
        }))
    }

    /// Numbers events, writes them, and wakes followers. Never called while somebody is paused.
    pub fn append(&self, events: impl IntoIterator<Item = Event>) {
        let mut inner = self.lock();
        for mut event in events {
            event.shorten();
            event.seq = inner.next;
            inner.next += 1;
            event.log();
            if let Err(error) = inner.lines.append(&event) {
                tracing::error!(%error, path = %inner.lines.path().display(), "an event cannot be written");
            }
            inner.recent.push(event);
        }
        let newest = inner.next - 1;
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// The events after a number, as far as they are kept.
    #[must_use]
    pub fn since(&self, seq: u64) -> Vec<Event> {
        let inner = self.lock();
        let recent = &inner.recent;
        recent
            .events
            .range(recent.place(seq.saturating_add(1))..)
            .cloned()
            .collect()
    }

    /// Whether an event about a revision is kept that fits. It costs what was told of that revision, not of all.
    #[must_use]
    pub fn any_about(&self, revision: &Revision, fits: impl Fn(&Event) -> bool) -> bool {
        self.lock().recent.about(revision).any(fits)
    }

    /// Wakes whoever follows: carries only the newest number.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is behind the lock is whole between any two statements that may panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_memory_nor_files_grow_beyond_their_limits() {
        let state = tempfile::tempdir().unwrap();
        let desk = Desk::take(state.path(), 1).unwrap();
        let log = EventLog::open(state.path(), &desk).unwrap();
        let long = || Event {
            message: "ä".repeat(LONGEST_MESSAGE * 4),
            ..Event::new("Rejected")
        };
        log.append((0..1_000).map(|_| long()));
        let kept = log.since(0);
        assert!(kept.iter().map(|event| event.message.len()).sum::<usize>() <= KEPT_BYTES);
        assert!(kept.len() > 100, "{}", kept.len());
        assert!(kept[0].message.ends_with("ä… (cut: it has 524288 bytes)"));
        for name in ["events.jsonl", "events.jsonl.1"] {
            let size = std::fs::metadata(state.path().join(name)).unwrap().len();
            assert!(size <= LARGEST_FILE, "{name} has {size} bytes");
        }
    }

    #[test]
    fn what_was_told_of_a_revision_is_found_as_long_as_it_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let log = EventLog::open(state.path(), &Desk::take(state.path(), 1).unwrap()).unwrap();
        let revision = |n: usize| Revision::new(&format!("{n:040x}")).unwrap();
        let event = |n: usize| Event {
            revision: Some(revision(n)),
            message: n.to_string(),
            ..Event::new("Rejected")
        };
        log.append((0..KEPT).map(|n| event(n / 2)));
        let told = |log: &EventLog, n: usize| {
            let messages = std::cell::RefCell::new(Vec::new());
            let found = log.any_about(&revision(n), |event| {
                messages.borrow_mut().push(event.message.clone());
                false
            });
            assert!(!found);
            messages.into_inner()
        };
        assert_eq!(told(&log, 0), ["0", "0"]);
        log.append([Event::new("Started"), event(0)]);
        assert_eq!(told(&log, 0), ["0"], "the two oldest are gone");
        assert_eq!(told(&log, 7), ["7", "7"]);
        assert_eq!(told(&log, KEPT), Vec::<String>::new());
        assert_eq!(log.lock().recent.about.len(), KEPT / 2);
        // Also after a restart, by what the file still holds.
        drop(log);
        let log = EventLog::open(state.path(), &Desk::take(state.path(), 2).unwrap()).unwrap();
        assert_eq!(told(&log, 0), ["0"]);
    }

    #[test]
    fn what_comes_after_a_number_is_given_also_where_that_is_not_kept() {
        let state = tempfile::tempdir().unwrap();
        let log = EventLog::open(state.path(), &Desk::take(state.path(), 1).unwrap()).unwrap();
        log.append((0..KEPT + 5).map(|_| Event::new("Ended")));
        assert_eq!(log.since(0).first().unwrap().seq, 6);
        assert_eq!(log.since(KEPT as u64 + 3).len(), 2);
        assert!(log.since(KEPT as u64 + 5).is_empty());
        assert!(log.since(u64::MAX).is_empty());
    }
}
