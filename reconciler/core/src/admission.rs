//! Which candidate is tried, and what becomes of the others: one function from facts to a verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_protocol::{Digest, Revision, SwitchNumber};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, LetThrough, back_off};
use crate::rollout::Moment;
use crate::service::ServiceName;
use crate::window::Closed;

/// What is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The commit that settled last: what people mean by "what is live".
    pub revision: Revision,
    /// The digest of the published files.
    pub digest: Digest,
    /// The switch that `current` points to.
    pub switch: SwitchNumber,
    /// The revision in the release's own `release.json`: an earlier one where later commits changed no file.
    pub published: Revision,
}

/// Whether the head descends from the last settled revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// Nothing settled yet.
    First,
    /// It does, or is that revision.
    Descends,
    /// It does not: the branch was rewound or rewritten.
    Rewound,
}

/// What is done with a rewound branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewind {
    /// It is held until a person decides.
    #[default]
    Hold,
    /// Its head is a candidate like any other.
    Allow,
}

/// A rollout of this revision was aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aborted {
    /// The revision.
    pub revision: Revision,
    /// Why the last try was given up.
    pub reason: String,
    /// How many tries were given up in a row.
    pub tries: u32,
    /// When it is tried again.
    pub again_at: Moment,
}

impl Aborted {
    /// Notes one more aborted try.
    #[must_use]
    pub fn once_more(before: Option<&Self>, revision: &Revision, reason: String, now: Moment) -> Self {
        let tries = before
            .filter(|before| before.revision == *revision)
            .map_or(0, |before| before.tries);
        let tries = tries.saturating_add(1);
        Self {
            revision: revision.clone(),
            reason,
            tries,
            again_at: now.after(back_off(tries)),
        }
    }
}

/// The facts about the head of the branch.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// The digest of its published files.
    pub digest: Digest,
    /// The digest over what each service reads of it.
    pub reads: &'a BTreeMap<ServiceName, Digest>,
    /// How it relates to the last settled revision.
    pub ancestry: Ancestry,
}

/// All other facts.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What is live.
    pub live: Option<&'a Live>,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// The last aborted try.
    pub aborted: Option<&'a Aborted>,
    /// Whether a rollout is stuck.
    pub stuck: bool,
    /// What is done with a rewound branch.
    pub rewind: Rewind,
    /// The windows that keep changes out now; none if they are open.
    pub closed: Option<&'a Closed>,
    /// Whether those let this change pass, because it touches emergency keys alone.
    pub emergency: bool,
    /// The moment.
    pub now: Moment,
    /// The time of day.
    pub time: Timestamp,
}

/// What becomes of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is live already.
    Live,
    /// Its files are those that are live: it is settled without touching anybody.
    SettleAtOnce,
    /// It was judged bad, or it failed: not tried again until `retry`.
    Final {
        /// `rejected` or `quarantined`.
        state: CandidateState,
        /// Why.
        reason: String,
    },
    /// It is not tried now.
    Held {
        /// `held` or `aborted`.
        state: CandidateState,
        /// Why.
        reason: String,
        /// Until when, if that is known.
        until: Option<Until>,
    },
    /// It is tried now.
    Try,
}

/// When a held candidate is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// In this long.
    In(Duration),
    /// At this time of day.
    At(Timestamp),
}

/// The states of a candidate, as status prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateState {
    /// It is being fetched and judged.
    Judging,
    /// Its rollout is under way.
    Rolling,
    /// It is not tried now.
    Held,
    /// Its last try was given up; it is tried again.
    Aborted,
    /// It was judged bad.
    Rejected,
    /// Its rollout failed after the switch.
    Quarantined,
}

/// Judges a candidate.
#[must_use]
pub fn admit(head: &Head<'_>, facts: &Facts<'_>) -> Verdict {
    let held = |reason: String, until| Verdict::Held {
        state: CandidateState::Held,
        reason,
        until,
    };
    let live = facts.live;
    if live.is_some_and(|live| live.revision == *head.revision && live.digest == head.digest) {
        return Verdict::Live;
    }
    if head.ancestry == Ancestry::Rewound && facts.rewind == Rewind::Hold {
        let last = facts
            .ledger
            .last_settled()
            .map_or("", |tree| tree.revision.short());
        return held(
            format!(
                "the branch was rewound: the last settled revision {last} is not an ancestor of its head {}; \
                 `lockstep rollback` joins the two again with what is live, or set `rewind = \"allow\"` to follow \
                 the head",
                head.revision.short()
            ),
            None,
        );
    }
    if let Some(entry) = facts.ledger.rejection_of(head.revision) {
        return Verdict::Final {
            state: CandidateState::Rejected,
            reason: entry.reason.clone(),
        };
    }
    if let Some(entry) = facts.ledger.quarantine_of(head.revision) {
        return Verdict::Final {
            state: CandidateState::Quarantined,
            reason: entry.reason.clone(),
        };
    }
    if !facts.stuck && live.is_some_and(|live| live.digest == head.digest) {
        return Verdict::SettleAtOnce;
    }
    // The way back is never narrower than the way there: what settled before passes what follows.
    let way_back = facts.ledger.settled_before(&head.digest);
    if facts.stuck && live.is_some_and(|live| live.digest == head.digest) {
        // The road back leads to just these files: they are live when whoever is silent has said so.
        return held(
            "its files are those that the stuck rollout goes back to: it settles when that is done, see \
             `lockstep status`"
                .into(),
            None,
        );
    }
    if facts.stuck && !way_back {
        return held(
            "a rollout is stuck: see `lockstep status`; only a tree that settled before is tried meanwhile"
                .into(),
            None,
        );
    }
    if let Some(suspension) = facts
        .ledger
        .suspended
        .as_ref()
        .filter(|suspension| !way_back && suspension.until.is_none_or(|until| facts.time < until))
    {
        return held(
            format!("reconciling is suspended: {}", suspension.reason),
            suspension.until.map(Until::At),
        );
    }
    if let Some(aborted) = facts
        .aborted
        .filter(|aborted| aborted.revision == *head.revision && facts.now < aborted.again_at)
    {
        return Verdict::Held {
            state: CandidateState::Aborted,
            reason: aborted.reason.clone(),
            until: Some(Until::In(aborted.again_at.0.saturating_sub(facts.now.0))),
        };
    }
    for entry in facts.ledger.quarantined.iter().rev().filter(|_| !way_back) {
        let same: Vec<_> = entry
            .failed
            .iter()
            .filter(|(service, digest)| head.reads.get(*service) == Some(digest))
            .map(|(service, _)| service.to_string())
            .collect();
        let due = entry.again_at.is_some_and(|at| facts.time >= at);
        if same.is_empty() || due {
            continue;
        }
        return held(
            format!(
                "it changes nothing that {} reads since {}, which failed: {}; change that, revert it, or \
                 `lockstep retry`",
                same.join(", "),
                entry.revision.short(),
                entry.reason
            ),
            entry.again_at.map(Until::At),
        );
    }
    match facts.closed {
        Some(closed) if passage(head, facts).is_none() => held(closed.reason(), closed.until.map(Until::At)),
        Some(_) | None => Verdict::Try,
    }
}

/// Why a candidate passes windows that are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage<'a> {
    /// Nothing is live yet, and no service runs without.
    First,
    /// Its files settled before.
    WayBack,
    /// It changes emergency keys alone.
    Emergency,
    /// A person lets it through.
    LetThrough(&'a LetThrough),
}

impl std::fmt::Display for Passage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("it is the first release"),
            Self::WayBack => f.write_str("its files settled before"),
            Self::Emergency => f.write_str("it changes emergency keys alone"),
            Self::LetThrough(entry) => write!(f, "{} let it through: {}", entry.by, entry.reason),
        }
    }
}

/// Why a candidate passes windows, closed as they may be; none if it does not.
#[must_use]
pub fn passage<'a>(head: &Head<'_>, facts: &Facts<'a>) -> Option<Passage<'a>> {
    if facts.live.is_none() {
        Some(Passage::First)
    } else if facts.ledger.settled_before(&head.digest) {
        Some(Passage::WayBack)
    } else if let Some(entry) = facts.ledger.let_through(head.revision) {
        Some(Passage::LetThrough(entry))
    } else {
        facts.emergency.then_some(Passage::Emergency)
    }
}

#[cfg(test)]
mod tests;
