//! What has to be remembered across restarts besides the journal: what settled, what failed, what is suspended.
//!
//! Plain values; the program flushes them in the state folder before anything is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_protocol::{Digest, InstanceToken, Revision};
use serde::{Deserialize, Serialize};

use crate::rollout::{Effect, Failure};
use crate::service::ServiceName;

/// How many settled trees are remembered: a way back to one of them is never narrowed.
pub const SETTLED_KEPT: usize = 1000;
/// How many failed revisions are remembered.
pub const FAILED_KEPT: usize = 100;

/// The first and the longest wait before something that passes by itself is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The wait after this many tries: 1 s, doubling, at most 1 min.
#[must_use]
pub fn back_off(tries: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(2u32.saturating_pow(tries.saturating_sub(1).min(16)))
        .min(LONGEST_RETRY)
}

/// A tree that settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledTree {
    /// The commit that settled.
    pub revision: Revision,
    /// The digest of its published files.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

/// A revision whose rollout failed after the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The revision.
    pub revision: Revision,
    /// The digest of its published files.
    pub digest: Digest,
    /// Why it failed, for people.
    pub reason: String,
    /// The services that failed, and the digest over what each reads in that revision.
    pub failed: BTreeMap<ServiceName, Digest>,
    /// Whether the failure may pass by itself (a time-out).
    pub passes_by_itself: bool,
    /// How often a candidate like it was tried.
    pub tries: u32,
    /// When a candidate that would fail the same way may be tried again, if the failure passes by itself.
    pub again_at: Option<Timestamp>,
    /// When it was quarantined.
    pub at: Timestamp,
}

/// A revision that was judged bad before anything was touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRevision {
    /// The revision.
    pub revision: Revision,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Reconciling is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Why, in the words of whoever suspended it.
    pub reason: String,
    /// Until when; none: until `resume`.
    pub until: Option<Timestamp>,
    /// Since when.
    pub since: Timestamp,
}

/// A person lets a revision through a closed window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetThrough {
    /// The revision, and no other.
    pub revision: Revision,
    /// Why, in that person's words.
    pub reason: String,
    /// Who it was, as far as the system knows.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Trees that settled, oldest first.
    pub settled: Vec<SettledTree>,
    /// Revisions in quarantine, oldest first.
    pub quarantined: Vec<Quarantined>,
    /// Revisions that were rejected, oldest first.
    pub rejected: Vec<RejectedRevision>,
    /// Whether reconciling is suspended.
    pub suspended: Option<Suspension>,
    /// The revision that is let through a closed window, until its rollout has ended.
    pub let_through: Option<LetThrough>,
    /// Services that a stuck rollout had not heard when another took its place: whatever comes next has to hear
    /// them, until something ends with all of them heard.
    pub unheard: BTreeMap<ServiceName, Effect>,
    /// Instances that are owed one more reload, because they were told while they were starting.
    pub owed: BTreeMap<ServiceName, InstanceToken>,
}

impl Ledger {
    /// The newest settled tree.
    #[must_use]
    pub fn last_settled(&self) -> Option<&SettledTree> {
        self.settled.last()
    }

    /// The files that settled before.
    #[must_use]
    pub fn settled_digests(&self) -> Arc<BTreeSet<Digest>> {
        Arc::new(self.settled.iter().map(|tree| tree.digest).collect())
    }

    /// Whether a tree settled before.
    #[must_use]
    pub fn settled_before(&self, digest: &Digest) -> bool {
        self.settled.iter().any(|tree| tree.digest == *digest)
    }

    /// Who lets a revision through a closed window, if anybody does.
    #[must_use]
    pub fn let_through(&self, revision: &Revision) -> Option<&LetThrough> {
        self.let_through
            .as_ref()
            .filter(|entry| entry.revision == *revision)
    }

    /// Once a revision has failed, nobody lets it through any more: another try is another decision.
    fn withdraw(&mut self, revision: &Revision) {
        if self.let_through(revision).is_some() {
            self.let_through = None;
        }
    }

    /// The entry of a quarantined revision.
    #[must_use]
    pub fn quarantine_of(&self, revision: &Revision) -> Option<&Quarantined> {
        self.quarantined
            .iter()
            .rev()
            .find(|entry| entry.revision == *revision)
    }

    /// The entry of a rejected revision.
    #[must_use]
    pub fn rejection_of(&self, revision: &Revision) -> Option<&RejectedRevision> {
        self.rejected
            .iter()
            .rev()
            .find(|entry| entry.revision == *revision)
    }

    /// Notes that a tree settled. Whatever failed with the same files, or whose failed services read the same
    /// there, is forgiven: it works now.
    pub fn note_settled(&mut self, tree: SettledTree, reads: &BTreeMap<ServiceName, Digest>) {
        self.quarantined.retain(|entry| {
            let parts_differ = entry
                .failed
                .iter()
                .any(|(service, digest)| reads.get(service) != Some(digest));
            entry.digest != tree.digest && (entry.failed.is_empty() || parts_differ)
        });
        self.let_through = None;
        self.settled.push(tree);
        keep_newest(&mut self.settled, SETTLED_KEPT);
    }

    /// Notes that a rollout failed after its switch.
    pub fn note_failed(
        &mut self,
        (revision, digest): (&Revision, Digest),
        failures: &[Failure],
        reads: &BTreeMap<ServiceName, Digest>,
        at: Timestamp,
    ) {
        let failed: BTreeMap<_, _> = failures
            .iter()
            .filter_map(|failure| failure.member.as_ref())
            .filter_map(|id| reads.get(&id.service).map(|digest| (id.service.clone(), *digest)))
            .collect();
        let alike = self
            .quarantined
            .iter()
            .filter(|entry| entry.failed == failed)
            .map(|entry| entry.tries)
            .max();
        let tries = alike.unwrap_or(0).saturating_add(1);
        let passes = !failures.is_empty() && failures.iter().all(|failure| failure.kind.passes_by_itself());
        let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
        self.withdraw(revision);
        self.quarantined.retain(|entry| entry.revision != *revision);
        self.quarantined.push(Quarantined {
            revision: revision.clone(),
            digest,
            reason: reasons.join("; "),
            failed,
            passes_by_itself: passes,
            tries,
            again_at: passes.then(|| at + back_off(tries)),
            at,
        });
        keep_newest(&mut self.quarantined, FAILED_KEPT);
    }

    /// Notes that a revision was rejected.
    pub fn note_rejected(&mut self, revision: &Revision, reason: String, at: Timestamp) {
        self.withdraw(revision);
        self.rejected.retain(|entry| entry.revision != *revision);
        self.rejected.push(RejectedRevision {
            revision: revision.clone(),
            reason,
            at,
        });
        keep_newest(&mut self.rejected, FAILED_KEPT);
    }

    /// Forgets every verdict, so that the head is judged and tried anew. Says how many there were.
    pub fn retry(&mut self) -> usize {
        let forgotten = self.quarantined.len() + self.rejected.len();
        self.quarantined.clear();
        self.rejected.clear();
        forgotten
    }
}

fn keep_newest<T>(entries: &mut Vec<T>, kept: usize) {
    if entries.len() > kept {
        entries.drain(..entries.len() - kept);
    }
}

#[cfg(test)]
mod tests;
