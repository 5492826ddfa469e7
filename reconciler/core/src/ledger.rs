//! What has to be remembered across restarts besides the journal: what settled, what failed, what is suspended.
//!
//! Plain values; the program flushes them in the state folder before anything is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_protocol::{Digest, Revision};
use serde::{Deserialize, Serialize};

use crate::rollout::Failure;
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
}

impl Ledger {
    /// The newest settled tree.
    #[must_use]
    pub fn last_settled(&self) -> Option<&SettledTree> {
        self.settled.last()
    }

    /// Whether a tree settled before.
    #[must_use]
    pub fn settled_before(&self, digest: &Digest) -> bool {
        self.settled.iter().any(|tree| tree.digest == *digest)
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
mod tests {
    use super::*;
    use crate::rollout::{FailureKind, MemberId};

    fn revision(digit: char) -> Revision {
        Revision::new(&digit.to_string().repeat(40)).unwrap()
    }

    fn digest(text: &str) -> Digest {
        Digest::of_bytes(text.as_bytes())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn reads(parts: &[(&str, &str)]) -> BTreeMap<ServiceName, Digest> {
        parts
            .iter()
            .map(|(name, text)| (ServiceName::new(name), digest(text)))
            .collect()
    }

    fn failure(service: &str, kind: FailureKind) -> Failure {
        Failure {
            member: Some(MemberId::only(&ServiceName::new(service))),
            kind,
            message: "it did not like it".to_owned(),
        }
    }

    fn settled(digit: char, text: &str) -> SettledTree {
        SettledTree {
            revision: revision(digit),
            digest: digest(text),
            at: at(0),
        }
    }

    #[test]
    fn waits_double_from_a_second_to_a_minute() {
        let waits: Vec<_> = [0, 1, 2, 3, 6, 7, 8, 100]
            .map(|tries| back_off(tries).as_secs())
            .into();
        assert_eq!(waits, [1, 1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn a_time_out_is_tried_again_later_and_later_and_a_refusal_is_not() {
        let mut ledger = Ledger::default();
        let parts = reads(&[("red", "one"), ("blue", "two")]);
        let silent = [failure("red", FailureKind::TimedOut)];
        ledger.note_failed((&revision('a'), digest("a")), &silent, &parts, at(0));
        ledger.note_failed((&revision('b'), digest("b")), &silent, &parts, at(10));
        let again: Vec<_> = ledger
            .quarantined
            .iter()
            .map(|entry| (entry.tries, entry.again_at))
            .collect();
        assert_eq!(again, [(1, Some(at(1))), (2, Some(at(12)))]);

        let refused = [
            failure("red", FailureKind::TimedOut),
            failure("blue", FailureKind::Refused),
        ];
        ledger.note_failed((&revision('c'), digest("c")), &refused, &parts, at(20));
        let entry = ledger.quarantine_of(&revision('c')).unwrap();
        assert_eq!(
            (entry.passes_by_itself, entry.again_at, entry.tries),
            (false, None, 1)
        );
        assert_eq!(entry.reason, "red: it did not like it; blue: it did not like it");
        assert_eq!(entry.failed, parts);
    }

    #[test]
    fn a_revision_that_fails_again_has_one_entry() {
        let mut ledger = Ledger::default();
        let parts = reads(&[("red", "one")]);
        for second in [0, 5] {
            let silent = [failure("red", FailureKind::TimedOut)];
            ledger.note_failed((&revision('a'), digest("a")), &silent, &parts, at(second));
        }
        let tries: Vec<_> = ledger.quarantined.iter().map(|entry| entry.tries).collect();
        assert_eq!(tries, [2]);
    }

    #[test]
    fn a_failure_of_nobody_in_particular_never_counts_as_the_service_s() {
        let mut ledger = Ledger::default();
        let full = Failure {
            member: None,
            kind: FailureKind::Volume,
            message: "the volume is full".to_owned(),
        };
        ledger.note_failed(
            (&revision('a'), digest("a")),
            &[full],
            &reads(&[("red", "one")]),
            at(0),
        );
        let entry = ledger.quarantine_of(&revision('a')).unwrap();
        assert!(entry.failed.is_empty() && entry.passes_by_itself);
    }

    #[test]
    fn what_settles_forgives_what_failed_with_the_same_parts_or_the_same_files() {
        let mut ledger = Ledger::default();
        let fail = |ledger: &mut Ledger, digit, parts: &[(&str, &str)]| {
            let failures: Vec<_> = parts
                .iter()
                .map(|(name, _)| failure(name, FailureKind::Refused))
                .collect();
            ledger.note_failed(
                (&revision(digit), digest(&digit.to_string())),
                &failures,
                &reads(parts),
                at(0),
            );
        };
        fail(&mut ledger, 'a', &[("red", "bad")]);
        fail(&mut ledger, 'b', &[("red", "good"), ("blue", "bad")]);
        fail(&mut ledger, 'c', &[("red", "good"), ("blue", "good")]);
        fail(&mut ledger, 'd', &[]);
        fail(&mut ledger, 'e', &[]);
        ledger.note_settled(settled('f', "e"), &reads(&[("red", "good"), ("blue", "good")]));
        let left: Vec<_> = ledger
            .quarantined
            .iter()
            .map(|entry| entry.revision.clone())
            .collect();
        assert_eq!(left, [revision('a'), revision('b'), revision('d')]);
        assert_eq!(ledger.last_settled(), Some(&settled('f', "e")));
        assert!(ledger.settled_before(&digest("e")) && !ledger.settled_before(&digest("a")));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut ledger = Ledger::default();
        for number in 0..SETTLED_KEPT + 3 {
            ledger.note_settled(settled('a', &number.to_string()), &BTreeMap::new());
        }
        assert_eq!(ledger.settled.len(), SETTLED_KEPT);
        assert!(!ledger.settled_before(&digest("2")) && ledger.settled_before(&digest("3")));
    }

    #[test]
    fn a_retry_forgets_every_verdict_and_nothing_else() {
        let mut ledger = Ledger::default();
        ledger.note_settled(settled('a', "a"), &BTreeMap::new());
        ledger.note_failed((&revision('b'), digest("b")), &[], &BTreeMap::new(), at(0));
        ledger.note_rejected(&revision('c'), "not valid".to_owned(), at(0));
        ledger.note_rejected(&revision('c'), "still not valid".to_owned(), at(1));
        assert_eq!(
            ledger.rejection_of(&revision('c')).unwrap().reason,
            "still not valid"
        );
        assert_eq!(ledger.retry(), 2);
        assert_eq!(ledger.retry(), 0);
        assert_eq!(ledger.rejection_of(&revision('c')), None);
        assert_eq!(ledger.quarantine_of(&revision('b')), None);
        assert_eq!(ledger.settled.len(), 1);
    }

    #[test]
    fn an_older_ledger_without_some_part_is_read() {
        let ledger: Ledger = serde_json::from_str("{}").unwrap();
        assert_eq!(ledger, Ledger::default());
    }
}
