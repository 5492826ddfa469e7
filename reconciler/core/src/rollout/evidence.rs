//! What can be known of an instance, as plain values, and how it is noted.
//!
//! Noting never decides: it moves a member's [`Progress`] where the fact alone says so, and leaves to the
//! phases what becomes of the rollout.

use std::collections::BTreeMap;

use lockstep_protocol::{InstanceToken, Status, SwitchNumber};
use serde::{Deserialize, Serialize};

use super::member::{Ask, Failure, FailureKind, Member, MemberId, Part, Progress};
use super::{Answer, Effect, Event, Moment, Phase, Rollout};
use crate::ledger::back_off;
use crate::service::Reload;

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

impl Rollout {
    /// Notes what an event says of members, in whatever phase it comes.
    pub(super) fn note(&mut self, event: &Event, now: Moment) {
        match event {
            Event::Started { member, instance } => self.note_started(member, instance, true, now),
            Event::Ended {
                member,
                instance,
                how,
            } => self.note_ended(member, instance, how, now),
            Event::StartFailed { member, reason } => self.note_not_started(member, reason, now),
            Event::Evidence { member, evidence } => self.note_evidence(member, evidence),
            Event::AgentLost => {
                self.agent_lost = true;
                self.pending.tells.clear();
                self.pending.requests.clear();
                self.pending.starts.clear();
            }
            Event::AgentBack { alive } => {
                self.agent_lost = false;
                self.note_alive(alive, now);
            }
            Event::Told { unsent } => {
                let whom = self.pending.tells.pop_front().unwrap_or_default();
                self.note_told(&whom, unsent, now);
            }
            Event::Unpaused { unsent, .. } => {
                if let Phase::Unpausing { .. } = self.phase {
                    let whom: Vec<_> = unsent.keys().cloned().collect();
                    self.note_told(&whom, unsent, now);
                }
            }
            Event::Answered {
                member,
                instance,
                switch,
                answer,
            } => self.note_answered(member, instance, *switch, answer, now),
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
            | Event::PauseExpired
            | Event::Flushed
            | Event::FlushFailed { .. }
            | Event::Withdrawn
            | Event::WithdrawFailed { .. }
            | Event::OutcomeRecorded
            | Event::OutcomeFailed { .. }
            | Event::Deposed
            | Event::Supersede
            | Event::Tick => {}
        }
    }

    /// Whether `current` points to this leg's release and members are asked to take it.
    pub(super) fn switched(&self) -> bool {
        match self.phase {
            Phase::Unpausing { .. } | Phase::Verifying { .. } | Phase::Baking { .. } => true,
            Phase::Stuck { switched, .. } => switched,
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Publishing { .. }
            | Phase::Closing { .. }
            | Phase::Done(_) => false,
        }
    }

    /// Whether a process that starts now may read the new release.
    fn new_is_current(&self) -> bool {
        match self.phase {
            Phase::Publishing { .. } => true,
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Unpausing { .. }
            | Phase::Verifying { .. }
            | Phase::Baking { .. }
            | Phase::Closing { .. }
            | Phase::Stuck { .. }
            | Phase::Done(_) => self.there() == self.switched(),
        }
    }

    /// `seen`: it was seen to start. Otherwise it may have started at any time while nobody looked.
    fn note_started(&mut self, id: &MemberId, instance: &InstanceToken, seen: bool, now: Moment) {
        let new_is_current = self.new_is_current();
        let switched = self.switched();
        let there = self.there();
        match self.members.get(id).map(|member| member.life.clone()) {
            None => return,
            Some(Life::Alive(known)) if known == *instance => return,
            // Its end was not seen, or is told later.
            Some(Life::Alive(known)) => self.note_ended(id, &known, "was replaced by another process", now),
            Some(Life::Dead) => {}
        }
        self.pending.starts.remove(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.life = Life::Alive(instance.clone());
        member.statement = None;
        member.probe = None;
        if new_is_current && member.effect == Effect::Restart {
            // It has what only a restart brings, so only a restart takes it away.
            member.restarted = true;
        }
        // When one that somebody else started began, in relation to the switch, nobody knows.
        let seen = seen && member.supervised;
        match member.progress {
            // It read `current` at its start, and that was after the switch: starting is telling.
            Progress::Starting { .. } if switched => member.told(now),
            Progress::Down { .. } if switched && seen => member.told(now),
            Progress::Failed(_) if switched && seen && !there => member.told(now),
            // Nobody knows which release it read: it is asked like everybody else.
            Progress::Down { .. } if switched => member.progress = Progress::Waiting,
            Progress::Failed(_) if switched && !there => member.progress = Progress::Waiting,
            // It was not there, and nobody waited for it.
            Progress::Unproven if switched && !member.supervised => member.progress = Progress::Waiting,
            Progress::Coming { .. } => member.progress = Progress::Waiting,
            Progress::Starting { .. }
            | Progress::Down { .. }
            | Progress::Failed(_)
            | Progress::Unproven
            | Progress::Waiting
            | Progress::Telling { .. }
            | Progress::Told { .. }
            | Progress::Reached => {}
        }
    }

    fn note_ended(&mut self, id: &MemberId, instance: &InstanceToken, how: &str, now: Moment) {
        let switched = self.switched();
        let there = self.there();
        let phase = self.phase.clone();
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.life != Life::Alive(instance.clone()) {
            return;
        }
        self.pending.requests.remove(id);
        member.life = Life::Dead;
        member.statement = None;
        member.probe = None;
        if there && member.part == Part::Participant {
            let died = |message| {
                Progress::Failed(Failure {
                    member: Some(id.clone()),
                    kind: FailureKind::Died,
                    message,
                })
            };
            match (&member.progress, phase) {
                // Ending was asked for, or it failed already, or it is over for it.
                (Progress::Starting { .. } | Progress::Failed(_), _)
                | (_, Phase::Closing { .. } | Phase::Stuck { .. } | Phase::Done(_)) => {}
                (_, Phase::Preparing(_) | Phase::Recording | Phase::Pausing) => {
                    // A first release starts everybody: who lives before does not matter.
                    if member.effect != Effect::Start {
                        member.progress = died(format!("it {how} before the switch"));
                    }
                }
                // Whether before or after the rename: it counts.
                (_, Phase::Publishing { .. }) => {
                    if member.effect != Effect::Start {
                        let log = member.log();
                        member.progress = died(format!("it {how} while the switch was made: see {log}"));
                    }
                }
                (_, Phase::Unpausing { .. } | Phase::Verifying { .. } | Phase::Baking { .. }) => {
                    member.progress = died(member.death_after_the_switch(how));
                }
            }
            return;
        }
        if !switched {
            return;
        }
        if !member.supervised {
            member.progress = Progress::Unproven;
            return;
        }
        // One that counts less, or goes back: it is started again, at most once a second; in Stuck more
        // and more rarely.
        let tries = match self.phase {
            Phase::Stuck { attempts, .. } => attempts,
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Publishing { .. }
            | Phase::Unpausing { .. }
            | Phase::Verifying { .. }
            | Phase::Baking { .. }
            | Phase::Closing { .. }
            | Phase::Done(_) => 1,
        };
        member.progress = match &member.progress {
            progress @ (Progress::Starting { .. }
            | Progress::Coming { .. }
            | Progress::Down { .. }
            | Progress::Unproven) => progress.clone(),
            Progress::Told { at, until } => Progress::Down {
                again_at: at.after(back_off(tries)).max(now),
                until: *until,
            },
            Progress::Telling { until } => Progress::Down {
                again_at: now,
                until: *until,
            },
            Progress::Waiting | Progress::Reached | Progress::Failed(_) => Progress::Down {
                again_at: now,
                until: now.after(member.within),
            },
        };
    }

    fn note_not_started(&mut self, id: &MemberId, reason: &str, now: Moment) {
        let there = self.there();
        let left = self.failed_switch();
        self.pending.starts.remove(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.progress = match &member.progress {
            // An order of the leg before: it is asked like everybody else.
            Progress::Coming { .. } => Progress::Waiting,
            // On the way back, and for one that never counted, it is tried until the limit.
            Progress::Starting { until } if !there || member.part == Part::Absent => Progress::Down {
                again_at: now.after(back_off(1)),
                until: *until,
            },
            Progress::Starting { .. } => {
                let message = format!("it could not be started: {reason}");
                member.fail(id, left, FailureKind::NotStarted, message)
            }
            // The order was overtaken by a start of its own.
            progress @ (Progress::Waiting
            | Progress::Telling { .. }
            | Progress::Told { .. }
            | Progress::Down { .. }
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven) => progress.clone(),
        };
    }

    /// Notes who lives after the agent was lost. What was ordered of it then may never have been heard.
    fn note_alive(&mut self, alive: &BTreeMap<MemberId, InstanceToken>, now: Moment) {
        let known: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.life.clone()))
            .collect();
        for (id, life) in known {
            let lives = alive
                .get(&id)
                .map_or(Life::Dead, |token| Life::Alive(token.clone()));
            let same = life == lives;
            match (life, lives) {
                (Life::Alive(known), Life::Dead) => {
                    self.note_ended(&id, &known, "ended while the guard could not be reached", now);
                }
                (_, Life::Alive(lives)) => self.note_started(&id, &lives, false, now),
                (Life::Dead, Life::Dead) => {}
            }
            let there = self.there();
            let switched = self.switched();
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            match member.progress {
                // Signals may have been lost with the agent; one that comes twice does no harm. A request that was
                // answered was not lost.
                Progress::Told { until, .. } if same && switched && member.is_signalled(there) => {
                    member.progress = Progress::Telling { until };
                }
                Progress::Starting { until } if switched => {
                    member.progress = Progress::Down { again_at: now, until };
                }
                Progress::Coming { .. } => member.progress = Progress::Waiting,
                Progress::Waiting
                | Progress::Telling { .. }
                | Progress::Told { .. }
                | Progress::Starting { .. }
                | Progress::Down { .. }
                | Progress::Reached
                | Progress::Failed(_)
                | Progress::Unproven => {}
            }
        }
    }

    /// Notes that the reload reached these, except where it could not be sent.
    fn note_told(&mut self, whom: &[MemberId], unsent: &BTreeMap<MemberId, String>, now: Moment) {
        let left = self.failed_switch();
        for id in whom {
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            // Whoever ended, or showed evidence before the answer came, needs none any more.
            let Progress::Telling { until } = member.progress else {
                continue;
            };
            match unsent.get(id) {
                None => member.told(now),
                Some(reason) => {
                    let message = format!("its reload was not sent: {reason}");
                    member.not_told(id, (left, until), FailureKind::NotTold, message, now);
                }
            }
        }
    }

    /// Notes what a service answered to its reload. An answer of another instance, or about another switch, says
    /// nothing of what is asked now.
    fn note_answered(
        &mut self,
        id: &MemberId,
        instance: &InstanceToken,
        switch: SwitchNumber,
        answer: &Answer,
        now: Moment,
    ) {
        let (expected, _) = self.expected();
        let left = self.failed_switch();
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.life != Life::Alive(instance.clone()) || switch != expected {
            return;
        }
        self.pending.requests.remove(id);
        // Whoever showed evidence before the answer came needs none any more.
        let Progress::Telling { until } = member.progress else {
            return;
        };
        match answer {
            Answer::Accepted => member.told(now),
            Answer::Refused(said) => {
                let message = format!("it refused to reload: {said}");
                member.not_told(id, (left, until), FailureKind::Refused, message, now);
            }
            Answer::Missing(why) => {
                let message = format!("its reload was not answered: {why}");
                member.not_told(id, (left, until), FailureKind::NotTold, message, now);
            }
        }
    }

    fn note_evidence(&mut self, id: &MemberId, evidence: &Evidence) {
        let (expected, _) = self.expected();
        let there = self.there();
        let switched = self.switched();
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        match evidence {
            // Only the instance that lives may speak: a predecessor's file proves nothing.
            Evidence::Stated(status) if member.life == Life::Alive(status.instance.clone()) => {
                let first = member.statement.is_none();
                member.statement = Some((**status).clone());
                if let Progress::Told { until, .. } = member.progress
                    && first
                    && switched
                    && member.is_told(there)
                    && status.attempted.switch != Some(expected)
                {
                    // It had read `current` before the switch and could not hear the reload yet.
                    member.progress = Progress::Telling { until };
                }
            }
            Evidence::Stated(_) => {}
            Evidence::Probed(result) => member.probe = Some(result.clone()),
        }
    }
}

impl Member {
    /// Whether this leg tells it by a signal.
    pub(super) fn is_signalled(&self, there: bool) -> bool {
        match self.reload {
            Reload::Signal(_) => self.asked(there) == Ask::Tell,
            Reload::Http(_) | Reload::Watch | Reload::Restart => false,
        }
    }

    /// Whether this leg tells it, by a signal or a request.
    pub(super) fn is_told(&self, there: bool) -> bool {
        match self.reload {
            Reload::Signal(_) | Reload::Http(_) => self.asked(there) == Ask::Tell,
            Reload::Watch | Reload::Restart => false,
        }
    }

    /// Marks it as one that could not be told.
    fn not_told(
        &mut self,
        id: &MemberId,
        (left, until): (Option<SwitchNumber>, Moment),
        kind: FailureKind,
        message: String,
        now: Moment,
    ) {
        self.progress = if self.part == Part::Absent && self.tier.states() {
            // It is starting and may yet read the release by itself; if not, it stays unproven.
            Progress::Told { at: now, until }
        } else {
            self.fail(id, left, kind, message)
        };
    }

    /// Whether it lives and states that it runs this switch.
    pub(super) fn runs(&self, switch: SwitchNumber) -> bool {
        self.alive()
            && self
                .statement
                .as_ref()
                .is_some_and(|status| status.switch == Some(switch))
    }

    fn death_after_the_switch(&self, how: &str) -> String {
        let log = self.log();
        match &self.reload {
            Reload::Signal(signal) => format!(
                "it {how} after the switch: see {log}; if it was its first {signal}, a handler that is set up later \
                 than the start, or by none, is the usual cause"
            ),
            Reload::Http(_) | Reload::Watch | Reload::Restart => {
                format!("it {how} after the switch: see {log}")
            }
        }
    }

    /// Where it says why it ended.
    fn log(&self) -> &'static str {
        if self.supervised {
            "its output file"
        } else {
            "its own log"
        }
    }
}
