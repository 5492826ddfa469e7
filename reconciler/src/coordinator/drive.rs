//! Driving the rollout: events in, commands out. The only place where core's machine meets the world.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::rollout::{self, Command, Event, Life, MemberId, Notice, Phase};
use lockstep_core::status::state_of;
use lockstep_volume::StagedSwitch;

use super::points::{self, Place};
use super::volume::{Done, Fault, Job};
use super::{Active, Coordinator, End};
use crate::agent::Report;
use crate::events::Event as Record;

impl Coordinator {
    /// Something is known of an instance, or the guard.
    pub(super) fn heard(&mut self, report: Report) {
        match report {
            Report::Connected {
                services,
                ages,
                heard,
                unusable,
            } => {
                self.note_unusable(unusable);
                self.connected(&services, &ages, heard);
            }
            Report::Process { member, pid } => {
                self.pids.insert(member, pid);
            }
            Report::Restarted(service) => {
                self.instances
                    .entry(MemberId::only(&service))
                    .or_default()
                    .restarts += 1;
            }
            Report::Sought { service, found } => self.sought(&service, found),
            Report::Unreachable(why) => self.unreachable(why),
            Report::Event(event) => {
                if event == Event::AgentLost {
                    self.connected = false;
                    self.orders.note_loss();
                }
                self.note(&event);
                if self.active.is_some() {
                    self.event(event);
                } else if event == Event::Deposed {
                    self.end = Some(End::Deposed);
                }
            }
            Report::Checked {
                rollout,
                service,
                verdict,
            } => {
                // One of an earlier rollout says nothing of this candidate.
                if self
                    .active
                    .as_ref()
                    .is_some_and(|active| active.rollout.id == rollout)
                {
                    self.event(Event::Checked { service, verdict });
                }
            }
            Report::Reminded { whom, unsent } => self.reminded(whom, unsent),
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
            Report::Down(down) => {
                self.stopping = false;
                if down.is_ok() {
                    self.end = Some(End::Down);
                }
                if let Some(answer) = self.down.take() {
                    // Whoever asked may be gone.
                    let _ = answer.send(down);
                }
            }
        }
    }

    /// Notes what an event says of instances, for status and for who takes part next time.
    pub(super) fn note(&mut self, event: &Event) {
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
                    // Only what the living instance says, and never a number that no volume can have reached:
                    // one wrong digit in a status file must not use the numbers up.
                    if let Some(switch) = instance.statement.as_ref().and_then(|status| status.switch)
                        && switch.0 <= self.highest_switch.0.saturating_add(super::start::BELIEVED)
                    {
                        self.highest_switch = self.highest_switch.max(switch);
                    }
                }
            }
            // These are about a rollout, not about an instance.
            Event::Built
            | Event::BuildFailed { .. }
            | Event::Examined { .. }
            | Event::Checked { .. }
            | Event::IntentRecorded
            | Event::IntentFailed { .. }
            | Event::Paused
            | Event::PauseFailed { .. }
            | Event::Switched
            | Event::SwitchFailed { .. }
            | Event::Unpaused { .. }
            | Event::Told { .. }
            | Event::Answered { .. }
            | Event::PauseExpired
            | Event::Flushed
            | Event::FlushFailed { .. }
            | Event::StartFailed { .. }
            | Event::Withdrawn
            | Event::WithdrawFailed { .. }
            | Event::OutcomeRecorded
            | Event::OutcomeFailed { .. }
            | Event::AgentLost
            | Event::AgentBack { .. }
            | Event::Deposed
            | Event::Supersede
            | Event::Tick => {}
        }
    }

    /// Feeds the rollout's machine and does what it says.
    pub(super) fn event(&mut self, event: Event) {
        let now = self.clock.now();
        let Some(active) = &mut self.active else { return };
        points::reached(&active.rollout, Place::On, &event);
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
            if let Some(active) = &self.active {
                points::reached(&active.rollout, Place::Before, &command);
            }
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
            let Some(Active {
                rollout, recovered, ..
            }) = self.active.take()
            else {
                return;
            };
            // Members of what was recovered were left to it, and without a release nobody was started at all:
            // whoever it did not start is started now.
            if recovered || rollout.kind == rollout::Kind::Healing {
                self.start_the_dead(|name| rollout.members.contains_key(&MemberId::only(name)));
            }
        }
    }

    /// A write on the volume came to its end.
    pub(super) fn volume_did(&mut self, done: Done) {
        match done {
            Done::Built(Ok((prepared, staged))) => {
                let number = staged.number();
                let Some(active) = self
                    .active
                    .as_mut()
                    .filter(|active| active.rollout.to.switch == number)
                else {
                    return self.give_up(staged);
                };
                active.release_to = Some(prepared.name().clone());
                active.staged = Some(staged);
                self.event(Event::Built);
            }
            Done::StagedKept(Ok(staged)) => {
                let number = staged.number();
                let Some(active) = self
                    .active
                    .as_mut()
                    .filter(|active| active.rollout.back == number)
                else {
                    return self.give_up(staged);
                };
                active.staged = Some(staged);
                self.event(Event::Built);
            }
            Done::IntentRecorded(Ok(())) => self.event(Event::IntentRecorded),
            Done::OutcomeRecorded(Ok(())) => self.event(Event::OutcomeRecorded),
            Done::Completed(Ok(())) => self.event(Event::Flushed),
            Done::Withdrawn(Ok(())) => self.event(Event::Withdrawn),
            Done::Built(Err((number, fault))) => {
                let ours = self
                    .active
                    .as_ref()
                    .is_some_and(|active| active.rollout.to.switch == number);
                if ours || fault.deposed {
                    self.fault(fault, |reason| Event::BuildFailed { reason });
                }
            }
            Done::StagedKept(Err(fault)) => self.fault(fault, |reason| Event::BuildFailed { reason }),
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

    /// What was asked for by an earlier rollout is of no use to this one.
    fn give_up(&self, staged: Box<StagedSwitch>) {
        match &self.active {
            None => self.volume.ask(Job::Abandon(staged)),
            // The links that the release of this one needs may be there by now: its own switch takes away what is
            // left of the other.
            Some(_) => drop(staged),
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
    pub(super) fn report(&mut self, notice: Notice) {
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
        if notice.kind == rollout::NoticeKind::Alarm {
            // It stands as long as the rollout does: what it led to is seen then.
            self.alarms.insert(ALARM, record.message.clone());
        }
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
}

pub(super) fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

/// What the rollout under way said that somebody has to look at.
pub(super) const ALARM: &str = "rollout";

/// A candidate behind a counter, as the rollout holds it.
pub(super) type Candidate = Arc<crate::candidate::Validated>;
