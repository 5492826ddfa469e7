//! The history: how each candidate ended, one record a line, flushed before it is reported.
//!
//! Events are steps and pass quickly; the history answers weeks later what was live when, and why something was not.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use lockstep_core::rollout::{Effect, Rollout};
use lockstep_core::service::ServiceName;
use lockstep_protocol::{Digest, Revision, RolloutId, SwitchNumber};
use serde::{Deserialize, Serialize};

use crate::candidate::Validated;
use crate::lines::{self, Lines};
use crate::store::{Desk, StoreError};

/// The file's name in the state folder.
const HISTORY: &str = "history.jsonl";

/// How one candidate ended. The fields are stable: `lockstep history --json` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended.
    pub at: Timestamp,
    /// The rollout; none when there was none: judged bad, or no published file changed.
    pub rollout: Option<RolloutId>,
    /// The commit.
    pub revision: Revision,
    /// The digest of its published files; none when it was not judged to be publishable.
    pub digest: Option<Digest>,
    /// Its author, if the commit could be read.
    pub author: Option<String>,
    /// The first line of its message.
    pub subject: Option<String>,
    /// The revision that was live before.
    pub from: Option<Revision>,
    /// `Settled`, `RolledBack`, `Rejected`, `Aborted` or `Superseded`.
    pub outcome: String,
    /// Why, unless it went as it should.
    pub reason: String,
    /// By what it passed a window that was closed, if it did: who let it through, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<String>,
    /// The switch under which it, or what was restored, is live since; none when nothing was switched.
    pub switch: Option<SwitchNumber>,
    /// Whom it touched, and how: `reload`, `restart` or `start`.
    pub services: BTreeMap<ServiceName, String>,
    /// For how long services were paused.
    pub pause_us: Option<u64>,
    /// From the commit seen to its end.
    pub total_us: Option<u64>,
}

impl Entry {
    /// A candidate that ended now, without a rollout.
    #[must_use]
    pub fn new(revision: &Revision, outcome: &str) -> Self {
        Self {
            at: Timestamp::now(),
            rollout: None,
            revision: revision.clone(),
            digest: None,
            author: None,
            subject: None,
            from: None,
            outcome: outcome.to_owned(),
            reason: String::new(),
            passed: None,
            switch: None,
            services: BTreeMap::new(),
            pause_us: None,
            total_us: None,
        }
    }

    /// With what the commit says of itself.
    #[must_use]
    pub fn of(self, candidate: &Validated) -> Self {
        let commit = candidate.commit();
        Self {
            digest: Some(candidate.digest()),
            author: Some(commit.author.clone()),
            subject: Some(commit.subject.clone()),
            ..self
        }
    }

    /// With what its rollout says.
    #[must_use]
    pub fn by(self, rollout: &Rollout, switch: Option<SwitchNumber>) -> Self {
        let effect = |effect: Effect| match effect {
            Effect::Reload => "reload",
            Effect::Restart => "restart",
            Effect::Start => "start",
        };
        let members = rollout.members.iter();
        Self {
            rollout: Some(rollout.id.clone()),
            digest: Some(rollout.to.digest),
            from: rollout.from.as_ref().map(|from| from.revision.clone()),
            switch,
            services: members
                .map(|(id, member)| (id.service.clone(), effect(member.effect).to_owned()))
                .collect(),
            ..self
        }
    }
}

/// The history that is written.
#[derive(Debug)]
pub struct History {
    lines: Lines,
    last: Option<Entry>,
    /// The newest rollout in it.
    rollout: Option<RolloutId>,
}

impl History {
    /// Opens it in the state folder.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(state: &Path, desk: &Desk) -> Result<Self, StoreError> {
        let (mut last, mut rollout) = (None, None);
        let lines = Lines::open(state, desk, HISTORY, |entry: Entry| {
            rollout = entry.rollout.clone().or(rollout.take());
            last = Some(entry);
        })?;
        Ok(Self { lines, last, rollout })
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<&Entry> {
        self.last.as_ref()
    }

    /// Whether a rollout is the newest one in it.
    #[must_use]
    pub fn ends_with(&self, rollout: &RolloutId) -> bool {
        self.rollout.as_ref() == Some(rollout)
    }

    /// Adds an entry, and returns when it is flushed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, entry: Entry) -> Result<(), StoreError> {
        let written = self.lines.append(&entry).and_then(|()| self.lines.flush());
        self.rollout = entry.rollout.clone().or(self.rollout.take());
        self.last = Some(entry);
        written.map_err(|source| StoreError::Io {
            doing: "append to",
            path: self.lines.path().to_owned(),
            source,
        })
    }
}

/// The whole history, the oldest entry first.
///
/// # Errors
/// When it cannot be read.
pub fn read(state: &Path) -> Result<Vec<Entry>, StoreError> {
    lines::read(state, HISTORY)
}
