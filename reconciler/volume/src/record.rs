//! What the journal remembers of a rollout: its intent, written before the pause, and its outcome, written
//! after the unpause. These are the only records that recovering a rollout needs, and they are not facts:
//! after a crash, `current` and the instances' status say what is; the journal says what was meant.

use jiff::Timestamp;
use lockstep_protocol::{Digest, Revision, RolloutId, SwitchNumber};
use serde::{Deserialize, Serialize};

use crate::names::{ReleaseName, Term};

/// The version of the records that this build writes. It refuses higher ones and reads all lower ones.
pub const JOURNAL_VERSION: u32 = 1;

/// One side of a rollout: what `current` pointed to before it, or what it points to after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The switch.
    pub switch: SwitchNumber,
    /// The commit.
    pub revision: Revision,
    /// The digest over the published files.
    pub digest: Digest,
    /// The folder of the release.
    pub release: ReleaseName,
}

/// What a rollout is about to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// The rollout.
    pub rollout: RolloutId,
    /// The term of the coordinator that wrote this.
    pub term: Term,
    /// What was live; none for a first rollout.
    pub from: Option<Side>,
    /// What shall be live.
    pub to: Side,
    /// The number that the switch of the way back will have, should it be needed.
    pub back: SwitchNumber,
    /// The services that the plan touches.
    pub services: Vec<String>,
    /// When it began. For people: nothing is decided by it.
    pub started: Timestamp,
    /// Whatever else the coordinator wants to find again: the plan, the participants.
    #[serde(default)]
    pub detail: serde_json::Value,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// Every participant reached its tier on the new release.
    Settled,
    /// The previous release is live again; of a first rollout: `current` was taken away again.
    RolledBack,
    /// Given up before the switch.
    Aborted,
}

/// The end of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// The rollout.
    pub rollout: RolloutId,
    /// The term of the coordinator that wrote this: not always the one that wrote the intent.
    pub term: Term,
    /// How it ended.
    pub kind: OutcomeKind,
    /// When it ended. For people: nothing is decided by it.
    pub ended: Timestamp,
    /// Whatever else the coordinator wants to find again: the reason, the restored switch.
    #[serde(default)]
    pub detail: serde_json::Value,
}

/// The last that the journals tell.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalRecord {
    /// A rollout was begun and its end was not recorded: look at the facts, then abort it, carry on or restore.
    InFlight(Intent),
    /// The last rollout ended.
    Ended {
        /// What it was about to do; none when the folder that had it is gone.
        intent: Option<Intent>,
        /// How it ended.
        outcome: Outcome,
    },
}

impl JournalRecord {
    /// The intent, if it is known.
    #[must_use]
    pub fn intent(&self) -> Option<&Intent> {
        match self {
            Self::InFlight(intent) => Some(intent),
            Self::Ended { intent, .. } => intent.as_ref(),
        }
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::InFlight(_) => None,
            Self::Ended { outcome, .. } => Some(outcome),
        }
    }
}

/// A record as it lies in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    Intent(Intent),
    Outcome(Outcome),
}

impl Record {
    /// The version it says it has.
    pub(crate) fn version(&self) -> u32 {
        match self {
            Self::Intent(intent) => intent.version,
            Self::Outcome(outcome) => outcome.version,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An intent like a real one.
    pub(crate) fn intent(rollout: &str) -> Intent {
        let side = |switch: u64| {
            let (digest, revision) = (Digest::of_bytes(b"x"), Revision::new(&"ab".repeat(20)).unwrap());
            let release = ReleaseName::new(&digest, &revision, 1);
            Side {
                switch: SwitchNumber(switch),
                revision,
                digest,
                release,
            }
        };
        Intent {
            version: JOURNAL_VERSION,
            rollout: RolloutId(rollout.to_owned()),
            term: Term(3),
            from: Some(side(4)),
            to: side(5),
            back: SwitchNumber(6),
            services: vec!["scanner".to_owned()],
            started: Timestamp::UNIX_EPOCH,
            detail: serde_json::Value::Null,
        }
    }

    /// Its outcome.
    pub(crate) fn outcome(rollout: &str) -> Outcome {
        Outcome {
            version: JOURNAL_VERSION,
            rollout: RolloutId(rollout.to_owned()),
            term: Term(3),
            kind: OutcomeKind::Settled,
            ended: Timestamp::UNIX_EPOCH,
            detail: serde_json::Value::Null,
        }
    }
}
