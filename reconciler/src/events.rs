//! The events: what happened, one object a line, numbered, kept in the state folder and told to followers.
//!
//! An event is for people and scripts; nothing is decided by reading one back.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lockstep_protocol::{Revision, RolloutId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// As many events are kept in memory for followers that ask for what they missed.
const KEPT: usize = 10_000;
/// The file is begun anew at this size; one old file is kept beside it.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

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

/// The log of events.
#[derive(Debug)]
pub struct EventLog {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    size: u64,
    recent: VecDeque<Event>,
    next: u64,
}

impl EventLog {
    /// Opens the log in the state folder and goes on numbering where it ended.
    ///
    /// # Errors
    /// When it cannot be read or opened for appending.
    pub fn open(state: &Path) -> std::io::Result<Arc<Self>> {
        let path = state.join("events.jsonl");
        let mut recent = VecDeque::new();
        for old in [path.with_extension("jsonl.1"), path.clone()] {
            let Ok(file) = File::open(&old) else { continue };
            for line in BufReader::new(file).lines() {
                // A line that a crash cut short is no event.
                let Ok(event) = serde_json::from_str::<Event>(&line?) else { continue };
                push(&mut recent, event);
            }
        }
        let next = recent.back().map_or(1, |event| event.seq + 1);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // Whatever was cut short before ends here, so that it takes no new event with it.
        if file.metadata()?.len() > 0 && !ends_with_newline(&path)? {
            file.write_all(b"\n")?;
        }
        let size = file.metadata()?.len();
        Ok(Arc::new(Self {
            inner: Mutex::new(Inner { path, file, size, recent, next }),
            newest: watch::Sender::new(next - 1),
        }))
    }

    /// Numbers events, writes them, and wakes followers. Never called while somebody is paused.
    pub fn append(&self, events: impl IntoIterator<Item = Event>) {
        let mut inner = self.lock();
        for mut event in events {
            event.seq = inner.next;
            inner.next += 1;
            if let Err(error) = inner.write(&event) {
                tracing::error!(%error, path = %inner.path.display(), "an event cannot be written");
            }
            push(&mut inner.recent, event);
        }
        let newest = inner.next - 1;
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// The events after a number, as far as they are kept.
    #[must_use]
    pub fn since(&self, seq: u64) -> Vec<Event> {
        self.lock().recent.iter().filter(|event| event.seq > seq).cloned().collect()
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

impl Inner {
    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.size + line.len() as u64 > LARGEST_FILE {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

fn push(recent: &mut VecDeque<Event>, event: Event) {
    if recent.len() == KEPT {
        recent.pop_front();
    }
    recent.push_back(event);
}

fn ends_with_newline(path: &Path) -> std::io::Result<bool> {
    Ok(std::fs::read(path)?.last() == Some(&b'\n'))
}
