//! Executing the machine's commands: each is handed to whoever can do it. The switch alone is made here.

use jiff::Timestamp;
use lockstep_core::rollout::{self, Command, Event, Life, MemberId, Side};
use lockstep_core::service::ServiceName;
use lockstep_protocol::{Offer, PROTOCOL, Release};
use lockstep_volume::{Intent, JOURNAL_VERSION};

use super::volume::Job;
use super::{Coordinator, LiveRelease};
use crate::agent::{Order, Target};
use crate::candidate::Validated;

impl Coordinator {
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::Build => self.build(),
            Command::StageBack => self.stage_back(),
            Command::Examine(members) => {
                let targets = self.targets(&members);
                self.order(Order::Examine(targets));
            }
            Command::Check(service) => self.check(&service),
            Command::Offer(members) => self.offer(&members),
            Command::RecordIntent => self.record_intent(),
            Command::Hold(services) => self.order(Order::Hold(services)),
            Command::Release => self.order(Order::Release),
            Command::Pause(members) => {
                let limit = self.settings.rollout.pause_limit;
                // Whoever confirms late leaves no time to switch and unpause within the limit.
                let order = Order::Pause {
                    targets: self.targets(&members),
                    within: limit / 2,
                    limit,
                };
                self.order(order);
            }
            Command::Switch(_) => self.switch(),
            Command::Unpause(members) => {
                let targets = self.targets(&members);
                self.order(Order::Unpause(targets));
            }
            Command::Tell(members) => {
                let targets = self.targets(&members);
                self.order(Order::Tell(targets));
            }
            Command::Request(switch, members) => {
                let targets = self.targets(&members);
                self.order(Order::Request(switch, targets));
            }
            Command::Flush => {
                let switched = self.active.as_ref().and_then(|active| active.switched.clone());
                self.volume.ask(Job::Complete(switched));
            }
            Command::Restart(members) => {
                let services = names(&members);
                self.order(Order::Restart(services));
            }
            Command::Start(members) => {
                let services = names(&members);
                self.order(Order::Start(services));
            }
            Command::Probe(members) => {
                self.order(Order::Probe(names(&members).into_iter().collect()));
            }
            Command::Look => self.order(Order::Look),
            Command::Withdraw(services) => self.order(Order::Stop(services)),
            Command::Quarantine(failures) => self.quarantine(&failures),
            Command::RecordOutcome(outcome) => self.record_outcome(&outcome),
            Command::Report(notice) => self.report(notice),
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.give(order);
    }

    /// The instances that are meant now, with how they are told.
    fn targets(&self, members: &[MemberId]) -> Vec<Target> {
        let Some(active) = &self.active else {
            return Vec::new();
        };
        members
            .iter()
            .filter_map(|id| {
                let member = active.rollout.members.get(id)?;
                let Life::Alive(instance) = &member.life else {
                    return None;
                };
                Some(Target {
                    member: id.clone(),
                    instance: instance.clone(),
                    reload: member.reload.clone(),
                    within: member.within,
                })
            })
            .collect()
    }

    fn build(&mut self) {
        let Some(active) = &self.active else { return };
        let Some(candidate) = &active.candidate else {
            return self.event(Event::BuildFailed {
                reason: "the candidate is not at hand any more".into(),
            });
        };
        let document = match (active.rollout.kind, &self.live) {
            // What is healed keeps the name of the commit that published it.
            (rollout::Kind::Healing, Some(live)) => built_anew(live),
            (rollout::Kind::Healing | rollout::Kind::Change | rollout::Kind::First, _) => document(candidate),
        };
        self.volume.ask(Job::Build {
            document: Box::new(document),
            tree: candidate.tree().clone(),
            number: active.rollout.to.switch,
        });
    }

    fn stage_back(&mut self) {
        let job = self.active.as_ref().and_then(|active| {
            let release = match active.rollout.kind {
                // A healed release is its own way back: the one before it is damaged.
                rollout::Kind::Healing => active.release_to.clone()?,
                rollout::Kind::Change | rollout::Kind::First => active.release_from.clone()?,
            };
            let again = self
                .live
                .as_ref()
                .map(|live| (Box::new(built_anew(live)), live.validated.tree().clone()));
            Some(Job::StageKept {
                release,
                number: active.rollout.back,
                live: active.rollout.kind == rollout::Kind::Healing,
                again,
            })
        });
        match job {
            Some(job) => self.volume.ask(job),
            None => self.event(Event::BuildFailed {
                reason: "there is no release to go back to".into(),
            }),
        }
    }

    fn check(&mut self, name: &ServiceName) {
        let directory = self.active.as_ref().and_then(|active| active.release_to.clone());
        let (Some(service), Some(release)) = (self.settings.service(name), directory) else {
            return;
        };
        let candidate = self
            .settings
            .volume
            .path
            .join(".lockstep/releases")
            .join(release.as_str());
        let candidate = candidate.to_string_lossy();
        let command = service
            .check
            .iter()
            .flatten()
            .map(|word| word.replace("{candidate}", &candidate));
        let Some(rollout) = self.active.as_ref().map(|active| active.rollout.id.clone()) else {
            return;
        };
        let order = Order::Check {
            rollout,
            service: name.clone(),
            command: command.collect(),
            within: service.verify.within,
        };
        self.order(order);
    }

    fn offer(&mut self, members: &[MemberId]) {
        let Some(active) = &self.active else { return };
        let Some(release) = &active.release_to else { return };
        let offer = Offer {
            protocol: PROTOCOL,
            rollout: active.rollout.id.clone(),
            revision: active.rollout.to.revision.clone(),
            digest: active.rollout.to.digest,
            directory: format!(".lockstep/releases/{}", release.as_str()),
        };
        self.order(Order::Offer(names(members), Box::new(offer)));
    }

    fn record_intent(&mut self) {
        let Some(active) = &self.active else { return };
        let rollout = &active.rollout;
        let side = |side: &Side, release: &Option<lockstep_volume::ReleaseName>| {
            Some(lockstep_volume::Side {
                switch: side.switch,
                revision: side.revision.clone(),
                digest: side.digest,
                release: release.clone()?,
            })
        };
        let Some(to) = side(&rollout.to, &active.release_to) else {
            return self.event(Event::IntentFailed {
                reason: "the release was not built".to_owned(),
            });
        };
        let detail = match serde_json::to_value(rollout) {
            Ok(detail) => detail,
            Err(error) => {
                return self.event(Event::IntentFailed {
                    reason: error.to_string(),
                });
            }
        };
        let intent = Intent {
            version: JOURNAL_VERSION,
            rollout: rollout.id.clone(),
            term: lockstep_volume::Term(self.term),
            from: rollout
                .from
                .as_ref()
                .and_then(|from| side(from, &active.release_from)),
            to,
            back: rollout.back,
            services: rollout.members.keys().map(|id| id.service.to_string()).collect(),
            started: Timestamp::now(),
            detail,
        };
        self.volume.ask(Job::RecordIntent(Box::new(intent)));
    }

    /// The switch: one rename, made here and not on the volume's thread, because somebody is paused.
    fn switch(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Some(staged) = active.staged.take() else {
            return self.event(Event::SwitchFailed {
                reason: "no switch is staged".to_owned(),
            });
        };
        let number = staged.number();
        match staged.commit() {
            Ok(switched) => {
                active.switched = Some(Box::new(switched));
                active.current = Some(number);
                self.highest_switch = self.highest_switch.max(number);
                self.event(Event::Switched);
            }
            Err(error) => {
                let lockstep_volume::CommitError { staged, error } = *error;
                if let lockstep_volume::ChangeError::Deposed { .. } = error {
                    return self.event(Event::Deposed);
                }
                let reason = format!("`current` could not be moved: {error}");
                self.volume.ask(Job::Abandon(Box::new(staged)));
                self.event(Event::SwitchFailed { reason });
            }
        }
    }
}

fn names(members: &[MemberId]) -> Vec<ServiceName> {
    members.iter().map(|id| id.service.clone()).collect()
}

/// What a release says of itself: the commit whose files it holds.
pub(super) fn document(validated: &Validated) -> Release {
    let commit = validated.commit();
    Release {
        revision: commit.revision.clone(),
        digest: validated.digest(),
        author: commit.author.clone(),
        committed: commit.committed,
        subject: commit.subject.clone(),
        built: Timestamp::now(),
    }
}

/// The document of what is live, for building it once more.
fn built_anew(live: &LiveRelease) -> Release {
    Release {
        built: Timestamp::now(),
        ..live.document.clone()
    }
}
