//! Driving the rollout: events in, commands out. The only place where core's machine meets the world.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::instances::Instance;
use lockstep_core::rollout::{self, Command, Effect, Event, Life, Member, MemberId, Notice, Phase, Side};
use lockstep_core::service::{Reload, ServiceName, Tier};
use lockstep_core::status::state_of;
use lockstep_protocol::{Offer, PROTOCOL, Release};
use lockstep_volume::{Intent, JOURNAL_VERSION};

use super::volume::{Done, Fault, Job};
use super::{Active, Coordinator, End};
use crate::agent::{Order, Report, Target};
use crate::events::Event as Record;

impl Coordinator {
    /// Something is known of an instance, or the guard.
    pub(super) fn heard(&mut self, report: Report) {
        match report {
            Report::Connected { services, ages } => self.connected(&services, &ages),
            Report::Process { member, pid } => {
                self.pids.insert(member, pid);
            }
            Report::Restarted(service) => {
                self.instances
                    .entry(MemberId::only(&service))
                    .or_default()
                    .restarts += 1;
            }
            Report::Event(event) => {
                self.note(&event);
                if self.active.is_some() {
                    self.event(event);
                } else if event == Event::Deposed {
                    self.end = Some(End::Deposed);
                }
            }
            Report::Stopped(result) => {
                if self
                    .active
                    .as_ref()
                    .is_some_and(|active| active.rollout.from.is_none())
                {
                    match result {
                        Ok(()) => self.volume.ask(Job::Withdraw),
                        Err(reason) => self.event(Event::WithdrawFailed { reason }),
                    }
                }
            }
            Report::Down => {
                if let Some(answer) = self.down.take() {
                    drop(answer.send(()));
                }
                self.end = Some(End::Down);
            }
        }
    }

    /// Notes what an event says of instances, for status and for who takes part next time.
    fn note(&mut self, event: &Event) {
        let now = self.clock.now();
        match event {
            Event::Started { member, instance } => {
                let pid = self.pids.get(member).copied().unwrap_or_default();
                self.instances
                    .entry(member.clone())
                    .or_default()
                    .note_started(instance.clone(), pid, now);
            }
            Event::Ended {
                member,
                instance,
                how,
            } => {
                let known = self.instances.entry(member.clone()).or_default();
                known.note_ended(instance, how.clone());
                if self.active.is_none() {
                    self.events.append([Record {
                        service: Some(member.service.to_string()),
                        instance: Some(instance.0.clone()),
                        message: how.clone(),
                        ..Record::new("Ended")
                    }]);
                }
            }
            Event::Evidence { member, evidence } => {
                if let Some(instance) = self.instances.get_mut(member) {
                    instance.note_evidence(evidence);
                    if let rollout::Evidence::Stated(status) = evidence
                        && let Some(switch) = status.switch
                    {
                        self.highest_switch = self.highest_switch.max(switch);
                    }
                }
            }
            // Everything else is about a rollout, not about an instance.
            _ => {}
        }
    }

    /// Feeds the rollout's machine and does what it says.
    pub(super) fn event(&mut self, event: Event) {
        let now = self.clock.now();
        let Some(active) = &mut self.active else { return };
        if let Event::Unpaused { pause, .. } = &event {
            active.pause = Some(active.pause.unwrap_or_default() + *pause);
            self.metrics.paused(*pause);
        }
        let before = state_of(&active.rollout);
        let (rollout, commands) = rollout::next(active.rollout.clone(), event, now);
        active.rollout = rollout;
        self.follow(before, commands);
    }

    /// What follows a step of the machine.
    pub(super) fn follow(&mut self, before: &'static str, commands: Vec<Command>) {
        let Some(active) = &mut self.active else { return };
        let state = state_of(&active.rollout);
        // Between the first pause and the last unpause nothing is written.
        active.quiet = match active.rollout.phase {
            Phase::Pausing
            | Phase::Publishing { paused: true }
            | Phase::Unpausing { unpausing: true, .. } => true,
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Publishing { paused: false }
            | Phase::Unpausing { unpausing: false, .. }
            | Phase::Verifying { .. }
            | Phase::Baking { .. }
            | Phase::Closing { .. }
            | Phase::Stuck { .. }
            | Phase::Done(_) => false,
        };
        if state != before && matches!(state, "Pausing" | "Publishing" | "Unpausing") {
            let took = std::mem::replace(&mut active.phase_began, Instant::now()).elapsed();
            let record = Record {
                rollout: Some(active.rollout.id.clone()),
                revision: Some(active.rollout.to.revision.clone()),
                duration_us: micros(took),
                ..Record::new(state)
            };
            active.waiting.push(record);
        }
        if active.rollout.outcome().is_some() {
            self.conclude();
        }
        for command in commands {
            self.execute(command);
        }
        if let Some(active) = &mut self.active
            && !active.quiet
            && !active.waiting.is_empty()
        {
            let waiting = std::mem::take(&mut active.waiting);
            self.events.append(waiting);
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.rollout.outcome().is_some())
        {
            self.active = None;
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Build => self.build(),
            Command::StageBack => {
                let job = self.active.as_ref().and_then(|active| {
                    // A healed release is its own way back: the one before it is damaged.
                    let release = match active.rollout.kind {
                        rollout::Kind::Healing => active.release_to.clone(),
                        rollout::Kind::Change | rollout::Kind::First => active.release_from.clone(),
                    }?;
                    Some(Job::StageKept {
                        release,
                        number: active.rollout.back,
                    })
                });
                match job {
                    Some(job) => self.volume.ask(job),
                    None => self.event(Event::BuildFailed {
                        reason: "there is no release to go back to".into(),
                    }),
                }
            }
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

    fn order(&self, order: Order) {
        // The agent is gone only while the program ends.
        let _ = self.orders.send(order);
    }

    /// The instances that are meant now, with the signals their services are told by.
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
                let signal = match &member.reload {
                    Reload::Signal(signal) => Some(signal.clone()),
                    Reload::Watch | Reload::Restart => None,
                };
                Some(Target {
                    member: id.clone(),
                    instance: instance.clone(),
                    signal,
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
        let commit = candidate.commit();
        let document = Release {
            revision: active.rollout.to.revision.clone(),
            digest: active.rollout.to.digest,
            author: commit.author.clone(),
            committed: commit.committed,
            subject: commit.subject.clone(),
            built: Timestamp::now(),
        };
        self.volume.ask(Job::Build {
            document: Box::new(document),
            tree: candidate.tree().clone(),
            number: active.rollout.to.switch,
        });
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
        let order = Order::Check {
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

    /// A write on the volume came to its end.
    pub(super) fn volume_did(&mut self, done: Done) {
        match done {
            Done::Built(Ok((prepared, staged))) => {
                let Some(active) = &mut self.active else {
                    return self.volume.ask(Job::Abandon(staged));
                };
                active.release_to = Some(prepared.name().clone());
                active.staged = Some(staged);
                self.event(Event::Built);
            }
            Done::StagedKept(Ok(staged)) => {
                let Some(active) = &mut self.active else {
                    return self.volume.ask(Job::Abandon(staged));
                };
                active.staged = Some(staged);
                self.event(Event::Built);
            }
            Done::IntentRecorded(Ok(())) => self.event(Event::IntentRecorded),
            Done::OutcomeRecorded(Ok(())) => self.event(Event::OutcomeRecorded),
            Done::Completed(Ok(())) => self.event(Event::Flushed),
            Done::Withdrawn(Ok(())) => self.event(Event::Withdrawn),
            Done::Built(Err(fault)) | Done::StagedKept(Err(fault)) => {
                self.fault(fault, |reason| Event::BuildFailed { reason });
            }
            Done::IntentRecorded(Err(fault)) => self.fault(fault, |reason| Event::IntentFailed { reason }),
            Done::OutcomeRecorded(Err(fault)) => self.fault(fault, |reason| Event::OutcomeFailed { reason }),
            Done::Completed(Err(fault)) => self.fault(fault, |reason| Event::FlushFailed { reason }),
            Done::Withdrawn(Err(fault)) => self.fault(fault, |reason| Event::WithdrawFailed { reason }),
            Done::Tidied(kept) => self.source.ask(crate::candidate::worker::Request::Pin(kept)),
            Done::Drifted(drifts) => self.drifted(&drifts),
            Done::Deposed => {
                self.end = Some(End::Deposed);
                self.event(Event::Deposed);
            }
        }
    }

    fn fault(&mut self, fault: Fault, event: impl FnOnce(String) -> Event) {
        if fault.deposed {
            self.end = Some(End::Deposed);
            self.event(Event::Deposed);
        } else {
            self.event(event(fault.message));
        }
    }

    /// Tells people, unless somebody is paused: then it waits until they are not.
    fn report(&mut self, notice: Notice) {
        let Some(active) = &mut self.active else { return };
        let took = std::mem::replace(&mut active.phase_began, Instant::now()).elapsed();
        let member = notice.member.as_ref();
        let record = Record {
            rollout: Some(active.rollout.id.clone()),
            service: member.map(|id| id.service.to_string()),
            instance: member.and_then(|id| match &active.rollout.members.get(id)?.life {
                Life::Alive(instance) => Some(instance.0.clone()),
                Life::Dead => None,
            }),
            revision: notice.revision,
            duration_us: micros(notice.duration.unwrap_or(took)),
            message: notice.message,
            ..Record::new(notice.kind.as_str())
        };
        let record = Self::measured(active, record, notice.kind);
        active.waiting.push(record);
    }

    /// Adds to `Settled` how long it all took.
    fn measured(active: &Active, mut record: Record, kind: rollout::NoticeKind) -> Record {
        if kind == rollout::NoticeKind::Settled {
            record.pause_us = micros(active.pause.unwrap_or_default());
            record.total_us = micros(active.seen.elapsed());
            record.duration_us = micros(active.began.elapsed());
        }
        record
    }

    /// The members of a rollout: everybody the plan touches, with what is known of them now.
    pub(super) fn members(
        &self,
        effects: &BTreeMap<ServiceName, Effect>,
        first: bool,
    ) -> BTreeMap<MemberId, Member> {
        let now = self.clock.now();
        let live = self.live.as_ref().map(|live| &live.live);
        effects
            .iter()
            .filter_map(|(name, effect)| {
                let service = self.settings.service(name)?;
                let id = MemberId::only(name);
                let unknown = Instance::default();
                let known = self.instances.get(&id).unwrap_or(&unknown);
                let state = known.state(name, &service.verify, live, &self.reads, now);
                let part = if first || state.participates() {
                    rollout::Part::Participant
                } else {
                    rollout::Part::Absent
                };
                let life = known
                    .alive
                    .as_ref()
                    .map_or(Life::Dead, |alive| Life::Alive(alive.instance.clone()));
                let member = Member {
                    part,
                    effect: *effect,
                    pause: service.pause,
                    reload: service.reload.clone(),
                    tier: service.verify.tier,
                    within: service.verify.within,
                    stop_within: service.process.stop_within,
                    check: service.check.is_some(),
                    life,
                    progress: rollout::Progress::Waiting,
                    restarted: false,
                    statement: known.statement.clone(),
                    probe: known.probe.clone(),
                };
                Some((id, member))
            })
            .collect()
    }

    /// Whoever was told while it was still starting gets one more reload once it is fit.
    pub(super) fn pay_owed_reloads(&mut self) {
        let now = self.clock.now();
        let live = self.live.as_ref().map(|live| live.live.clone());
        let mut targets = Vec::new();
        for service in &self.settings.services {
            let id = MemberId::only(&service.name);
            let Some(instance) = self
                .instances
                .get_mut(&id)
                .filter(|instance| instance.owed_reload)
            else {
                continue;
            };
            let state = instance.state(&service.name, &service.verify, live.as_ref(), &self.reads, now);
            if let (true, Some(alive), Reload::Signal(signal)) =
                (state.participates(), &instance.alive, &service.reload)
            {
                let (instance_token, signal) = (alive.instance.clone(), Some(signal.clone()));
                targets.push(Target {
                    member: id,
                    instance: instance_token,
                    signal,
                });
                instance.owed_reload = false;
            }
        }
        if !targets.is_empty() {
            self.order(Order::Tell(targets));
        }
    }

    /// Marks those that were told without being fit yet.
    pub(super) fn owe_reloads(&mut self, rollout: &rollout::Rollout) {
        for (id, member) in &rollout.members {
            let blind = member.tier < Tier::Acknowledged && member.part == rollout::Part::Absent;
            let signalled = matches!(member.reload, Reload::Signal(_));
            if let (true, true, Some(instance)) = (blind, signalled, self.instances.get_mut(id)) {
                instance.owed_reload = true;
            }
        }
    }
}

fn names(members: &[MemberId]) -> Vec<ServiceName> {
    members.iter().map(|id| id.service.clone()).collect()
}

pub(super) fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

/// A candidate behind a counter, as the rollout holds it.
pub(super) type Candidate = Arc<crate::candidate::Validated>;
