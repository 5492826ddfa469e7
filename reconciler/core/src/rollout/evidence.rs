//! What can be known of an instance, as plain values.

use lockstep_protocol::{InstanceToken, Status};
use serde::{Deserialize, Serialize};

use super::member::{Failure, FailureKind, Member, MemberId, Part, Progress};
use super::{Event, Leg, Moment, Phase, Rollout};

/// Whether an instance lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// It does, under this token.
    Alive(InstanceToken),
    /// It does not.
    Dead,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When the probe began: one that began before the service was told proves nothing.
    pub began: Moment,
    /// What went wrong; none: it passed.
    pub failure: Option<String>,
}

/// Something that is known of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Its own statement.
    Stated(Box<Status>),
    /// A probe's result.
    Probed(ProbeResult),
}

/// How long after it was told a process that ended is started again at the earliest.
const START_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

impl Rollout {
    /// Notes what an event says of members, in whatever phase it comes.
    pub(super) fn note(&mut self, event: &Event, now: Moment) {
        match event {
            Event::Started { member, instance } => self.note_started(member, instance, now),
            Event::Ended {
                member,
                instance,
                how,
            } => self.note_ended(member, instance, how, now),
            Event::Evidence { member, evidence } => {
                if let Some(member) = self.members.get_mut(member) {
                    member.note_evidence(evidence);
                }
            }
            Event::AgentLost => self.agent_lost = true,
            Event::AgentBack { alive } => {
                self.agent_lost = false;
                let known: Vec<_> = self
                    .members
                    .iter()
                    .map(|(id, member)| (id.clone(), member.life.clone()))
                    .collect();
                for (id, life) in known {
                    let lives = alive.get(&id);
                    if let Life::Alive(instance) = &life
                        && lives != Some(instance)
                    {
                        self.note_ended(&id, instance, "ended while the guard could not be reached", now);
                    }
                    if let Some(instance) = lives
                        && life != Life::Alive(instance.clone())
                    {
                        self.note_started(&id, instance, now);
                    }
                }
            }
            // These are answers to commands, or time: they say nothing of a member.
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
            | Event::PauseExpired
            | Event::Flushed
            | Event::FlushFailed { .. }
            | Event::StartFailed { .. }
            | Event::Withdrawn
            | Event::WithdrawFailed { .. }
            | Event::OutcomeRecorded
            | Event::OutcomeFailed { .. }
            | Event::Deposed
            | Event::Supersede
            | Event::Tick => {}
        }
    }

    /// Whether `current` was moved on this leg, so that a death counts against the release.
    pub(super) fn switched(&self) -> bool {
        match (&self.phase, &self.leg) {
            (Phase::Unpausing { .. } | Phase::Verifying { .. } | Phase::Baking { .. }, _)
            | (_, Leg::Back(_)) => true,
            (
                Phase::Preparing(_)
                | Phase::Recording
                | Phase::Pausing
                | Phase::Publishing { .. }
                | Phase::Closing { .. }
                | Phase::Stuck { .. }
                | Phase::Done(_),
                Leg::There,
            ) => false,
        }
    }

    fn note_started(&mut self, id: &MemberId, instance: &InstanceToken, now: Moment) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.life == Life::Alive(instance.clone()) {
            return;
        }
        member.life = Life::Alive(instance.clone());
        member.statement = None;
        member.probe = None;
        match member.progress {
            // It read `current` at its start: starting is telling.
            Progress::Starting { .. } | Progress::Down { .. } => member.told(now),
            Progress::Failed(_)
            | Progress::Unproven
            | Progress::Waiting
            | Progress::Told { .. }
            | Progress::Reached => {}
        }
    }

    fn note_ended(&mut self, id: &MemberId, instance: &InstanceToken, how: &str, now: Moment) {
        let switched = self.switched();
        let there = self.leg == Leg::There;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.life != Life::Alive(instance.clone()) {
            return;
        }
        member.life = Life::Dead;
        member.statement = None;
        if !switched {
            return;
        }
        member.progress = match &member.progress {
            // Ending was asked for, or it already failed: nothing new.
            progress @ (Progress::Starting { .. } | Progress::Failed(_) | Progress::Unproven) => {
                progress.clone()
            }
            Progress::Waiting | Progress::Told { .. } | Progress::Down { .. } | Progress::Reached
                if there && member.part == Part::Participant =>
            {
                let message = match &member.reload {
                    crate::service::Reload::Signal(signal) => format!(
                        "it {how} after the switch: see its output file; if it was its first {signal}, \
                         a handler that is set up later than the start, or by none, is the usual cause"
                    ),
                    crate::service::Reload::Watch | crate::service::Reload::Restart => {
                        format!("it {how} after the switch: see its output file")
                    }
                };
                Progress::Failed(Failure {
                    member: Some(id.clone()),
                    kind: FailureKind::Died,
                    message,
                })
            }
            Progress::Told { at, until } => Progress::Down {
                again_at: at.after(START_AGAIN).max(now),
                until: *until,
            },
            Progress::Down { again_at, until } => Progress::Down {
                again_at: *again_at,
                until: *until,
            },
            Progress::Waiting | Progress::Reached => Progress::Down {
                again_at: now,
                until: now.after(member.within),
            },
        };
    }
}

impl Member {
    fn note_evidence(&mut self, evidence: &Evidence) {
        match evidence {
            // Only the instance that lives may speak: a predecessor's file proves nothing.
            Evidence::Stated(status) if self.life == Life::Alive(status.instance.clone()) => {
                self.statement = Some((**status).clone());
            }
            Evidence::Stated(_) => {}
            Evidence::Probed(result) => self.probe = Some(result.clone()),
        }
    }
}
