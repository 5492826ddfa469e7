//! The events as `lockstep events --json` prints them, read from the file where they are kept.
//!
//! The file and not the command, because it is there also while no reconciler runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use lockstep_protocol::Revision;
use serde::Deserialize;

/// One event: the fields that scripts may rely on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When it happened.
    pub at: jiff::Timestamp,
    /// The rollout it belongs to.
    pub rollout: Option<String>,
    /// Its kind.
    pub kind: String,
    /// The service it is about.
    pub service: Option<String>,
    /// The instance it is about.
    pub instance: Option<String>,
    /// The revision it is about.
    pub revision: Option<Revision>,
    /// How long the step took.
    pub duration_us: Option<u64>,
    /// For people.
    pub message: String,
    /// Of `Settled`: from the first pause sent to the last unpause confirmed.
    pub pause_us: Option<u64>,
    /// Of `Settled`: from the commit seen to settled.
    pub total_us: Option<u64>,
}

impl Event {
    /// Whether it is of this kind and about this revision.
    #[must_use]
    pub fn is(&self, kind: &str, revision: &Revision) -> bool {
        self.kind == kind && self.revision.as_ref() == Some(revision)
    }

    /// Whether it is of this kind and about this service.
    #[must_use]
    pub fn is_of(&self, kind: &str, service: &str) -> bool {
        self.kind == kind && self.service.as_deref() == Some(service)
    }
}

/// Reads the file of events as it grows.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
    events: Vec<Event>,
}

impl Follower {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: 0,
            rest: Vec::new(),
            events: Vec::new(),
        }
    }

    /// All events so far.
    pub(crate) fn look(&mut self) -> &[Event] {
        let new = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut self.rest)
        });
        if let Ok(new) = new {
            self.read += new as u64;
        }
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            // A line that a crash cut short is no event.
            if let Ok(event) = serde_json::from_slice(&line) {
                self.events.push(event);
            }
        }
        &self.events
    }
}
