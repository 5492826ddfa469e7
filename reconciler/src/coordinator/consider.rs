//! Considering the head of the branch: whether it is tried now, and beginning its rollout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use lockstep_core::admission::{self, CandidateState, Passage, Verdict, admit};
use lockstep_core::instances::InstanceState;
use lockstep_core::plan::ServiceEffect;
use lockstep_core::rollout::{self, Effect, Event, Kind, Limits, Moment, Phase, Side};
use lockstep_core::service::{ServiceName, Tier};
use lockstep_protocol::RolloutId;

use super::drive::Candidate;
use super::{Active, Coordinator, Head};
use crate::candidate::Judged;
use crate::candidate::worker::{Request as SourceRequest, Seen};
use crate::events::Event as Record;
use crate::history::Entry;

impl Coordinator {
    /// The repository was looked at.
    pub(super) fn source_saw(&mut self, seen: Seen) {
        match seen {
            Seen::Head {
                judged,
                ancestry,
                base,
                at,
            } => {
                self.source.answered(&self.events);
                if let Judged::Valid(validated) = &judged {
                    self.reads.insert(validated.digest(), validated.reads().clone());
                }
                let same =
                    self.head
                        .as_ref()
                        .is_some_and(|head| match (&head.judged, &judged) {
                            (Judged::Valid(one), Judged::Valid(other)) => one.revision() == other.revision(),
                            (Judged::Refused(one), Judged::Refused(other)) => one.revision == other.revision,
                            (Judged::Valid(_), Judged::Refused(_))
                            | (Judged::Refused(_), Judged::Valid(_)) => false,
                        });
                let seen = match &self.head {
                    Some(head) if same => head.seen,
                    Some(_) | None => at,
                };
                self.head = Some(Head {
                    judged,
                    ancestry,
                    base,
                    seen,
                });
                if let Some(lost) = &self.lost {
                    // A mirror that was remade knows it from now on, if anybody does.
                    let revision = lost.tree.revision.clone();
                    self.source.ask(SourceRequest::TakeUp(revision));
                }
                self.consider();
            }
            Seen::TakenUp(validated) => self.taken_up(validated),
            Seen::NotKnown(revision) => self.give_up_lost(&revision),
            Seen::Looked(number) => {
                let head = self.head.as_ref().map(|head| head.revision());
                self.source.looked(number, head);
            }
            Seen::Committed => self.source.committed(),
            Seen::Unchanged => self.source.answered(&self.events),
            Seen::Failed { reason } => self.source.failed(reason, &self.events),
        }
    }

    /// Looks at everything anew and tries the head, if it is to be tried now.
    pub(super) fn consider(&mut self) {
        // Nothing is begun while all is being ended.
        if self.down.is_some() {
            return self.shut_down();
        }
        if self.end.is_some() || !self.connected || self.recovering.is_some() || self.lost.is_some() {
            return;
        }
        if self.take_settings() {
            return;
        }
        let now = self.clock.now();
        if self
            .observed_at
            .is_some_and(|at| now < at && !self.all_observed())
        {
            return;
        }
        let stuck = match &self.active {
            None => false,
            Some(active) => match active.rollout.phase {
                Phase::Stuck { .. } => true,
                // A rollout is never pre-empted: whatever arrives meanwhile becomes one candidate, the newest.
                Phase::Preparing(_)
                | Phase::Recording
                | Phase::Pausing
                | Phase::Publishing { .. }
                | Phase::Unpausing { .. }
                | Phase::Verifying { .. }
                | Phase::Baking { .. }
                | Phase::Closing { .. }
                | Phase::Done(_) => return,
            },
        };
        if !stuck {
            self.pay_owed_reloads();
        }
        if self.drift_to_heal() {
            return;
        }
        self.consider_head(stuck, now);
        self.hear_the_unheard(now);
    }

    fn consider_head(&mut self, stuck: bool, now: Moment) {
        let Some(head) = &self.head else { return };
        let revision = head.revision().clone();
        let Judged::Valid(validated) = &head.judged else {
            let Judged::Refused(refused) = &head.judged else {
                return;
            };
            let reason = refused.reason.clone();
            return self.reject(&revision, reason);
        };
        // What settled since it was judged may change the answer: it is looked at again first.
        let base = self.base.borrow().id();
        if head.base != base {
            if self.looked_for.as_ref() != Some(&base) {
                self.looked_for = Some(base);
                self.source.look();
            }
            return;
        }
        let candidate: Candidate = Arc::clone(validated);
        let (seen, ancestry) = (head.seen, head.ancestry);
        let time = Timestamp::now();
        let closed = self.closed(time);
        let emergency = closed
            .as_ref()
            .is_some_and(|closed| self.is_emergency(&candidate, closed));
        let (verdict, passage) = {
            let head = admission::Head {
                revision: &revision,
                digest: candidate.digest(),
                reads: candidate.reads(),
                ancestry,
            };
            let facts = admission::Facts {
                live: self.live.as_ref().map(|live| &live.live),
                ledger: self.store.ledger(),
                aborted: self.aborted.as_ref(),
                stuck,
                rewind: self.settings.source.rewind,
                closed: closed.as_ref(),
                emergency,
                now,
                time,
            };
            let passage = facts.closed.and_then(|_| admission::passage(&head, &facts));
            (admit(&head, &facts), passage.as_ref().map(Passage::to_string))
        };
        self.verdict = Some((revision, verdict.clone()));
        match verdict {
            Verdict::Live | Verdict::Final { .. } | Verdict::Held { .. } => {}
            Verdict::SettleAtOnce if !self.store.ledger().unheard.is_empty() => {}
            Verdict::SettleAtOnce => self.settle_at_once(candidate, seen),
            // Giving up the way back is only allowed once `current` is back: until then the failed release is live.
            Verdict::Try if stuck && !self.switched_back() => {
                let reason =
                    "the way back is not done yet: it is tried again, see `lockstep status`".to_owned();
                self.verdict = self.verdict.take().map(|(revision, _)| {
                    let state = CandidateState::Held;
                    (
                        revision,
                        Verdict::Held {
                            state,
                            reason,
                            until: None,
                        },
                    )
                });
            }
            Verdict::Try if stuck => self.event(Event::Supersede),
            Verdict::Try => self.begin(candidate, seen, passage),
        }
    }

    /// A candidate that does not pass its validation. Nothing of that is remembered across a restart: it is
    /// judged anew then, by whatever the settings and this program say by that time.
    fn reject(&mut self, revision: &lockstep_protocol::Revision, reason: String) {
        let verdict = Verdict::Final {
            state: CandidateState::Rejected,
            reason: reason.clone(),
        };
        let known = self
            .verdict
            .as_ref()
            .is_some_and(|(of, known)| of == revision && *known == verdict);
        if !known {
            // Judged anew after a restart, most often with the same result.
            let again = self.history.last().is_some_and(|last| {
                last.revision == *revision && last.outcome == "Rejected" && last.reason == reason
            });
            if !again {
                self.chronicle(Entry {
                    reason: reason.clone(),
                    ..Entry::new(revision, "Rejected")
                });
            }
            // Judged anew after a restart it was told already, most often.
            let told = |event: &Record| event.kind == "Rejected" && event.message == reason;
            if !self.events.any_about(revision, told) {
                self.events.append([Record {
                    revision: Some(revision.clone()),
                    message: reason,
                    ..Record::new("Rejected")
                }]);
            }
            self.metrics.decided("Rejected");
        }
        self.verdict = Some((revision.clone(), verdict));
    }

    /// Whether the stuck rollout moved `current` back already.
    fn switched_back(&self) -> bool {
        match self.active.as_ref().map(|active| &active.rollout.phase) {
            Some(Phase::Stuck { switched, .. }) => *switched,
            Some(_) | None => false,
        }
    }

    /// Asks those again whom a rollout that was given up left unheard, where no candidate does it: what is live
    /// goes out to them once more. Until they have spoken nobody knows what they run.
    fn hear_the_unheard(&mut self, now: Moment) {
        let waits = [&self.aborted, &self.unhealed]
            .into_iter()
            .flatten()
            .any(|aborted| now < aborted.again_at);
        if self.active.is_some() || waits || self.store.ledger().unheard.is_empty() {
            return;
        }
        if let Some(live) = &self.live {
            let live = Arc::clone(&live.validated);
            self.roll(live, Kind::Healing, &BTreeMap::new(), Instant::now());
        }
    }

    fn begin(&mut self, candidate: Candidate, seen: Instant, passage: Option<String>) {
        if let Some(passage) = &passage {
            self.tell_passage(candidate.revision(), passage);
        }
        let plan = self.plan_of(&candidate);
        let first = self.live.is_none();
        let effects: BTreeMap<_, _> = plan
            .services
            .iter()
            .filter_map(|service| {
                let known = self.settings.service(&ServiceName::new(&service.service));
                let ours = known.is_some_and(|known| known.supervised().is_some());
                let effect = match &service.effect {
                    _ if first && ours => Effect::Start,
                    _ if first => Effect::Reload,
                    ServiceEffect::Unaffected => return None,
                    ServiceEffect::Reload => Effect::Reload,
                    ServiceEffect::Restart { .. } => Effect::Restart,
                };
                Some((ServiceName::new(&service.service), effect))
            })
            .collect();
        let kind = if first { Kind::First } else { Kind::Change };
        self.roll(candidate, kind, &effects, seen);
        if let Some(active) = &mut self.active {
            active.passage = passage;
        }
    }

    /// Begins a rollout.
    pub(super) fn roll(
        &mut self,
        candidate: Candidate,
        kind: Kind,
        effects: &BTreeMap<ServiceName, Effect>,
        seen: Instant,
    ) {
        let there = self.highest_switch.max(self.store.switch()).next();
        let from = self.live.as_ref().map(|live| Side {
            switch: live.live.switch,
            revision: live.live.published.clone(),
            digest: live.live.digest,
        });
        // What is healed keeps the name of the commit whose files lie in the release.
        let revision = match (kind, &from) {
            (Kind::Healing, Some(from)) => from.revision.clone(),
            (Kind::Healing | Kind::Change | Kind::First, _) => candidate.revision().clone(),
        };
        let id = RolloutId(format!("{}-{}", self.term, there));
        // The number of the way back is used only if there is a way back; the next rollout may have it else.
        self.highest_switch = there;
        let to = Side {
            switch: there,
            revision,
            digest: candidate.digest(),
        };
        let limits = Limits {
            pause: self.settings.rollout.pause_limit,
            bake: self.settings.rollout.bake,
        };
        // Whoever a rollout before left unheard comes along, whatever the plan says.
        let mut effects = effects.clone();
        for (service, effect) in &self.store.ledger().unheard {
            effects.entry(service.clone()).or_insert(*effect);
        }
        let members = self.members(&effects, kind == Kind::First);
        let rollout = rollout::Rollout::new(id, kind, (from, to, there.next()), limits, members);
        let (rollout, commands) = rollout::start(rollout);
        tracing::info!(
            rollout = %rollout.id, revision = %rollout.to.revision.short(), switch = %rollout.to.switch,
            members = rollout.members.len(), "a rollout begins"
        );
        self.active = Some(Active {
            rollout,
            candidate: Some(candidate),
            release_from: self.live.as_ref().map(|live| live.release.clone()),
            release_to: None,
            staged: None,
            recovered: false,
            passage: None,
            current: None,
            switched: None,
            began: Instant::now(),
            seen,
            pause: None,
            quiet: false,
            waiting: Vec::new(),
            phase_began: Instant::now(),
        });
        self.follow("", commands);
    }

    /// Whether it is known of every instance if it takes part: each was heard, or had its time.
    fn all_observed(&self) -> bool {
        let now = self.clock.now();
        let live = self.live.as_ref().map(|live| &live.live);
        self.services.iter().all(|(name, verify)| {
            let Some(instance) = self.instances.get(&rollout::MemberId::only(name)) else {
                return true;
            };
            if self.looping.contains(name) {
                return true;
            }
            if instance.alive.is_none() {
                // It is about to be started, on what is live; unless it is not ours to start, or has ended for good.
                let service = self.settings.service(name);
                let ours = service.is_some_and(|service| service.supervised().is_some());
                return live.is_none() || !ours || self.ended.contains(name);
            }
            let unasked = verify.tier == Tier::Probed && instance.probe.is_none();
            !unasked && instance.state(name, verify, live, &self.reads, now) != InstanceState::Starting
        })
    }
}
