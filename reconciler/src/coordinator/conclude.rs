//! What an outcome means for everything else: what is live, what is remembered, what is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use lockstep_core::admission::{Aborted, Live, Passage, Verdict};
use lockstep_core::instances::InstanceState;
use lockstep_core::ledger::SettledTree;
use lockstep_core::rollout::{Effect, Failure, Kind, Member, MemberId, Outcome, Progress, Rollout};
use lockstep_core::service::ServiceName;
use lockstep_core::status::StatusView;
use lockstep_protocol::{Digest, Revision};
use lockstep_source::Mirror;
use lockstep_volume::{JOURNAL_VERSION, OutcomeKind};

use super::drive::{self, Candidate, micros};
use super::execute::document;
use super::request::Undo;
use super::take_up::Detail;
use super::volume::Job;
use super::{Active, Coordinator, End, LiveRelease};
use crate::candidate::Validated;
use crate::candidate::worker::Base;
use crate::events::Event as Record;
use crate::history::Entry;
use crate::store::StoreError;

impl Coordinator {
    /// Remembers, flushed, that the candidate failed after its switch.
    pub(super) fn quarantine(&mut self, failures: &[Failure]) {
        let Some(active) = &self.active else { return };
        let (revision, digest) = (active.rollout.to.revision.clone(), active.rollout.to.digest);
        let reads = self.reads.of(&digest).cloned().unwrap_or_default();
        let noted = self
            .store
            .change(|ledger| ledger.note_failed((&revision, digest), failures, &reads, Timestamp::now()));
        self.remember(noted);
    }

    /// Writes the outcome to the journal.
    pub(super) fn record_outcome(&mut self, outcome: &Outcome) {
        let Some(rollout) = self.active.as_ref().map(|active| active.rollout.clone()) else {
            return;
        };
        if *outcome == Outcome::Superseded {
            // Before the journal says that it is over: a successor of this program must know them as well.
            let noted = self.store.change(|ledger| ledger.unheard = unheard(&rollout));
            self.remember(noted);
        }
        self.owe_reloads(&rollout, outcome);
        let kind = match outcome {
            Outcome::Settled { .. } => OutcomeKind::Settled,
            Outcome::RolledBack { .. } | Outcome::Superseded => OutcomeKind::RolledBack,
            Outcome::Aborted { .. } | Outcome::Rejected { .. } | Outcome::Deposed => OutcomeKind::Aborted,
        };
        self.volume
            .ask(Job::RecordOutcome(Box::new(lockstep_volume::Outcome {
                version: JOURNAL_VERSION,
                rollout: rollout.id,
                term: lockstep_volume::Term(self.term),
                kind,
                ended: Timestamp::now(),
                detail: serde_json::to_value(Detail {
                    revision: rollout.to.revision,
                    digest: rollout.to.digest,
                    outcome: outcome.clone(),
                })
                .unwrap_or_default(),
            })));
    }

    /// Takes in the outcome of the rollout: flushed before anything is told.
    pub(super) fn conclude(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Some(outcome) = active.rollout.outcome().cloned() else {
            return;
        };
        self.alarms.remove(drive::ALARM);
        let rollout = active.rollout.clone();
        let staged = active.staged.take();
        let (candidate, release_to, began, seen) = (
            active.candidate.clone(),
            active.release_to.clone(),
            active.began,
            active.seen,
        );
        if let Some(staged) = staged
            && outcome != Outcome::Deposed
        {
            self.volume.ask(Job::Abandon(staged));
        }
        let mut entry = entry(active, &outcome);
        // Known also of a rollout that was taken up after a crash.
        let let_through = self.store.ledger().let_through(&rollout.to.revision);
        entry.passed = entry
            .passed
            .or_else(|| let_through.map(|entry| Passage::LetThrough(entry).to_string()));
        self.metrics.rollout_ended(outcome.as_str(), began.elapsed());
        self.store.note_numbers(self.term, self.highest_switch);
        let all_heard = match &outcome {
            Outcome::Settled { .. } | Outcome::RolledBack { .. } => true,
            Outcome::Superseded | Outcome::Rejected { .. } | Outcome::Aborted { .. } | Outcome::Deposed => {
                false
            }
        };
        if all_heard && !self.store.ledger().unheard.is_empty() {
            let noted = self.store.change(|ledger| ledger.unheard.clear());
            self.remember(noted);
        }
        match &outcome {
            Outcome::Settled { .. } => {
                if let (Some(candidate), Some(release)) = (candidate, release_to) {
                    let commit = match (rollout.kind, &self.live) {
                        // What was healed is what was live: the newest commit with these files stays the label.
                        (Kind::Healing, Some(live)) => live.live.revision.clone(),
                        (Kind::Healing | Kind::Change | Kind::First, _) => candidate.revision().clone(),
                    };
                    let live = Live {
                        revision: commit,
                        digest: rollout.to.digest,
                        switch: rollout.to.switch,
                        published: rollout.to.revision.clone(),
                    };
                    let document = match (rollout.kind, &self.live) {
                        (Kind::Healing, Some(live)) => live.document.clone(),
                        (Kind::Healing | Kind::Change | Kind::First, _) => document(&candidate),
                    };
                    self.went_live(LiveRelease {
                        live,
                        release,
                        document,
                        validated: candidate,
                    });
                }
                self.aborted = None;
                self.unhealed = None;
                self.alarms.remove("drift");
                self.metrics.settled(seen.elapsed());
            }
            Outcome::RolledBack { .. } | Outcome::Superseded => match (&mut self.live, &self.active) {
                (Some(live), Some(active)) if active.current == Some(rollout.back) => {
                    live.live.switch = rollout.back;
                    // What was healed goes back to itself and never to what was damaged, and what was gone was
                    // built anew: the way back that was made knows where it leads.
                    if let Some(switched) = &active.switched {
                        live.release = switched.release().clone();
                    }
                    if rollout.kind == Kind::Healing {
                        self.alarms.remove("drift");
                    }
                    let noted = self.store.change(|_| ());
                    self.remember(noted);
                }
                (_, _) if rollout.from.is_none() => self.live = None,
                (_, _) => {}
            },
            Outcome::Aborted { reason } => {
                let now = self.clock.now();
                let again = |before: Option<&Aborted>| {
                    Aborted::once_more(before, &rollout.to.revision, reason.clone(), now)
                };
                if rollout.kind == Kind::Healing {
                    // What is damaged stays damaged: it is tried again after the same back-off.
                    let members = rollout.members.iter();
                    let effects = members.map(|(id, member)| (id.service.clone(), member.effect));
                    self.healing = Some(effects.collect());
                    self.unhealed = Some(again(self.unhealed.as_ref()));
                } else {
                    self.aborted = Some(again(self.aborted.as_ref()));
                }
            }
            Outcome::Rejected { failures } => {
                let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
                let noted = self.store.change(|ledger| {
                    ledger.note_rejected(&rollout.to.revision, reasons.join("; "), Timestamp::now());
                });
                self.remember(noted);
            }
            Outcome::Deposed => self.end = Some(End::Deposed),
        }
        if outcome != Outcome::Deposed {
            self.chronicle(entry);
            self.tidy();
        }
    }

    /// Adds to the history. A failed write is loud, and stops nothing.
    pub(super) fn chronicle(&mut self, entry: Entry) {
        let noted = self.history.add(entry);
        self.remember(noted);
    }

    /// Something settled: it is live, remembered, and the base of whatever comes next.
    fn went_live(&mut self, live: LiveRelease) {
        let tree = SettledTree {
            revision: live.live.revision.clone(),
            digest: live.live.digest,
            at: Timestamp::now(),
        };
        let reads = live.validated.reads().clone();
        let noted = self.store.change(|ledger| ledger.note_settled(tree, &reads));
        self.remember(noted);
        self.judge_against(Arc::clone(&live.validated), live.live.revision.clone());
        self.live = Some(live);
    }

    /// Whatever comes next is judged against this, which is live.
    pub(super) fn judge_against(&self, live: Arc<Validated>, settled: Revision) {
        self.base.send_replace(Base {
            live: Some(live),
            settled: Some(settled),
            before: self.store.ledger().settled_digests(),
        });
    }

    /// A commit that changes no published file is live as it is: nothing is built, switched or signalled.
    pub(super) fn settle_at_once(&mut self, candidate: Candidate, seen: Instant) {
        let Some(live) = self.live.clone() else { return };
        let revision = candidate.revision().clone();
        let live = LiveRelease {
            live: Live {
                revision: revision.clone(),
                ..live.live
            },
            validated: candidate,
            ..live
        };
        let entry = Entry::new(&revision, "Settled").of(&live.validated);
        self.went_live(live);
        self.chronicle(Entry {
            pause_us: Some(0),
            total_us: micros(seen.elapsed()),
            reason: "no published file changed".to_owned(),
            ..entry
        });
        self.metrics.settled(seen.elapsed());
        self.metrics.decided("Settled");
        self.events.append([Record {
            revision: Some(revision.clone()),
            message: "no published file changed: nobody was touched".to_owned(),
            pause_us: Some(0),
            total_us: micros(seen.elapsed()),
            ..Record::new("Settled")
        }]);
        self.verdict = Some((revision, Verdict::Live));
    }

    /// Retention in the background: what instances still report is kept.
    pub(super) fn tidy(&mut self) {
        let statement = |id: &MemberId| self.instances.get(id)?.statement.as_ref()?.digest;
        let reported: BTreeSet<Digest> = self
            .services
            .iter()
            .filter_map(|(name, _)| statement(&MemberId::only(name)).or(self.stated.get(name).copied()))
            .collect();
        let live = self.live.as_ref().map(|live| live.live.digest);
        let recovering = self
            .recovering
            .as_ref()
            .map(|recovering| recovering.intent.to.digest);
        let rolling = self.active.as_ref().map(|active| active.rollout.to.digest);
        let head = self.head.as_ref().and_then(|head| match &head.judged {
            crate::candidate::Judged::Valid(validated) => Some(validated.digest()),
            crate::candidate::Judged::Refused(_) => None,
        });
        let needed = [live, head, recovering, rolling];
        self.reads
            .keep(|digest| reported.contains(digest) || needed.contains(&Some(*digest)));
        self.volume.ask(Job::Tidy(reported));
        self.tidied = true;
    }

    /// What an earlier coordinator left over goes when there is nothing better to do: a candidate that is tried at
    /// once does not wait for it, and its own end tidies.
    pub(super) fn tidy_once(&mut self) {
        if !self.tidied && self.active.is_none() && self.verdict.is_some() {
            self.tidy();
        }
    }

    /// A failed write of the state folder is loud, and stops nothing that is under way.
    pub(super) fn remember(&mut self, noted: Result<(), StoreError>) {
        match noted {
            Ok(()) => drop(self.alarms.remove("state")),
            Err(StoreError::Deposed { .. }) => self.end = Some(End::Deposed),
            Err(error @ (StoreError::Io { .. } | StoreError::Damaged { .. })) => {
                tracing::error!(%error, "what happened cannot be remembered across a restart");
                self.alarms.insert("state", error.to_string());
            }
        }
    }

    /// Tells what changed about the candidate and the instances since the status was shown last.
    pub(super) fn tell_news(&mut self, status: &StatusView) {
        let before = self.shown.as_ref();
        let mut news = Vec::new();
        // What was aborted has said so itself.
        let aborted = |held: &&lockstep_core::status::HeldView| {
            status.candidate.as_ref().is_some_and(|candidate| {
                candidate.revision == held.revision
                    && candidate.state == lockstep_core::admission::CandidateState::Aborted
            })
        };
        if let Some(held) = status.held.as_ref().filter(|held| !aborted(held)) {
            let known = before
                .and_then(|before| before.held.as_ref())
                .is_some_and(|before| before.revision == held.revision && before.reason == held.reason);
            if !known {
                news.push(Record {
                    revision: Some(held.revision.clone()),
                    message: held.reason.clone(),
                    ..Record::new("Held")
                });
            }
        }
        let rolling = status.rollout.is_some();
        for service in status.services.iter().filter(|_| !rolling) {
            for instance in service
                .instances
                .iter()
                .filter(|i| i.state == InstanceState::Diverged)
            {
                let known = before.is_some_and(|before| {
                    before.rollout.is_none()
                        && before
                            .services
                            .iter()
                            .flat_map(|service| &service.instances)
                            .any(|other| other.id == instance.id && other.state == InstanceState::Diverged)
                });
                if !known {
                    news.push(Record {
                        service: Some(service.name.to_string()),
                        instance: instance.id.clone(),
                        message: instance.divergence().to_owned(),
                        ..Record::new("Diverged")
                    });
                }
            }
        }
        if !news.is_empty() {
            self.events.append(news);
        }
    }
}

/// A rollout as the history keeps it.
fn entry(active: &Active, outcome: &Outcome) -> Entry {
    let rollout = &active.rollout;
    let all = |failures: &[Failure]| {
        let all: Vec<_> = failures.iter().map(ToString::to_string).collect();
        all.join("; ")
    };
    let reason = match outcome {
        Outcome::Settled { unproven } if unproven.is_empty() => match rollout.kind {
            Kind::Healing => "the volume was healed".to_owned(),
            Kind::Change | Kind::First => String::new(),
        },
        Outcome::Settled { unproven } => {
            let names: Vec<_> = unproven.iter().map(ToString::to_string).collect();
            format!("unproven: {}", names.join(", "))
        }
        Outcome::RolledBack { failures } | Outcome::Rejected { failures } => all(failures),
        Outcome::Aborted { reason } => reason.clone(),
        Outcome::Superseded => "stuck, and given up for a release that settled before".to_owned(),
        Outcome::Deposed => String::new(),
    };
    let from = rollout.from.as_ref().map(|from| from.switch);
    let entry = Entry {
        reason,
        passed: active.passage.clone(),
        pause_us: active.pause.and_then(micros),
        total_us: micros(active.seen.elapsed()),
        ..Entry::new(&rollout.to.revision, outcome.as_str())
            .by(rollout, active.current.filter(|current| Some(*current) != from))
    };
    match &active.candidate {
        Some(candidate) => entry.of(candidate),
        None => entry,
    }
}

/// The services of a stuck rollout that have not shown that they are back.
fn unheard(rollout: &Rollout) -> BTreeMap<ServiceName, Effect> {
    let waiting = |member: &Member| match member.progress {
        Progress::Reached | Progress::Unproven => false,
        Progress::Waiting
        | Progress::Telling { .. }
        | Progress::Coming { .. }
        | Progress::Told { .. }
        | Progress::Starting { .. }
        | Progress::Down { .. }
        | Progress::Failed(_) => true,
    };
    let members = rollout.members.iter().filter(|(_, member)| waiting(member));
    members
        .map(|(id, member)| (id.service.clone(), member.effect))
        .collect()
}

/// Commits a way back on the source's thread.
pub(super) fn make_commit(
    mirror: &mut Mirror,
    undo: &Undo,
    default: impl FnOnce(&lockstep_protocol::Revision) -> Option<lockstep_protocol::Revision>,
    settled: Option<&lockstep_protocol::Revision>,
) -> Result<(lockstep_protocol::Revision, String), String> {
    let made = match undo {
        Undo::Rollback { to, message } => {
            let head = mirror.fetch().map_err(|error| error.to_string())?;
            let target = match (to, default(&head)) {
                (Some(text), _) => mirror.resolve(text).map_err(|error| error.to_string())?,
                (None, Some(revision)) => revision,
                (None, None) => {
                    return Err(
                        "nothing settled before that differs from what is live: there is no way back; \
                                name a revision by --to"
                            .to_owned(),
                    );
                }
            };
            mirror.commit_rollback(&target, settled, message.as_deref())
        }
        Undo::Revert { revision, message } => mirror
            .resolve(revision)
            .map_err(Into::into)
            .and_then(|revision| mirror.commit_revert(&revision, message.as_deref())),
    };
    made.map(|commit| (commit.revision, commit.subject))
        .map_err(|error| error.to_string())
}
