//! One instance that a rollout touches: what it is, what is known of it, how far it came.

use std::fmt;
use std::time::Duration;

use lockstep_protocol::{Digest, Status, SwitchNumber};
use serde::{Deserialize, Serialize};

use super::evidence::{Life, ProbeResult};
use super::{Moment, RUNNING_AFTER};
use crate::service::{Pause, Reload, ServiceName, Tier};

/// Which instance of which service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId {
    /// The service.
    pub service: ServiceName,
    /// Its place among the instances of the service, from 0. A restarted instance keeps its place.
    pub index: u32,
}

impl MemberId {
    /// The only instance of a service.
    #[must_use]
    pub fn only(service: &ServiceName) -> Self {
        Self {
            service: service.clone(),
            index: 0,
        }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.index == 0 {
            self.service.fmt(f)
        } else {
            write!(f, "{}#{}", self.service, self.index)
        }
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        format!("{}#{}", id.service, id.index)
    }
}

impl TryFrom<String> for MemberId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (service, index) = text
            .rsplit_once('#')
            .ok_or("a service and `#` and a number are expected")?;
        let index = index.parse().map_err(|_| "a number is expected after `#`")?;
        Ok(Self {
            service: ServiceName::new(service),
            index,
        })
    }
}

/// Whether an instance counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// It reached its tier on the live release: it is paused, votes, and must reach its tier again.
    Participant,
    /// It is dead, starting or crash-looping: it is told, and waited for, but has no veto.
    Absent,
}

/// What the plan does to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It is told and takes the release without a restart.
    Reload,
    /// It is ended and started, after all reloads are verified.
    Restart,
    /// It is started: the first release of a volume.
    Start,
}

/// How far an instance came on the present leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Nothing was asked of it yet.
    Waiting,
    /// It was told at a moment, and has until another to show evidence.
    Told {
        /// When it was told, or started.
        at: Moment,
        /// How long it may take.
        until: Moment,
    },
    /// It is being ended and started, or started.
    Starting {
        /// How long that may take.
        until: Moment,
    },
    /// It ended and is started again at a moment.
    Down {
        /// When.
        again_at: Moment,
        /// How long that is tried.
        until: Moment,
    },
    /// It reached its tier.
    Reached,
    /// It did not.
    Failed(Failure),
    /// It never counted and did not reach its tier in time.
    Unproven,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose failure it is; none when it is the volume's.
    pub member: Option<MemberId>,
    /// Its kind.
    pub kind: FailureKind,
    /// What happened, with the next step, for people.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The kinds of failure, as far as what happens next depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The service said no: by its status, its vote or its `check`.
    Refused,
    /// No evidence came in time.
    TimedOut,
    /// The process ended.
    Died,
    /// The reload could not be sent.
    NotTold,
    /// The process could not be started.
    NotStarted,
    /// A write to the volume failed.
    Volume,
}

impl FailureKind {
    /// Whether trying the same again may end otherwise without anybody changing the config.
    #[must_use]
    pub fn passes_by_itself(self) -> bool {
        match self {
            Self::TimedOut | Self::NotTold | Self::NotStarted | Self::Volume => true,
            Self::Refused | Self::Died => false,
        }
    }
}

/// One instance that a rollout touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Whether it counts.
    pub part: Part,
    /// What the plan does to it.
    pub effect: Effect,
    /// What happens to it while the switch is made.
    pub pause: Pause,
    /// How it is told.
    pub reload: Reload,
    /// The evidence that is waited for.
    pub tier: Tier,
    /// How long it may take.
    pub within: Duration,
    /// How long ending it may take.
    pub stop_within: Duration,
    /// Whether its service has a `check` to be run on the candidate.
    pub check: bool,
    /// Whether it lives.
    pub life: Life,
    /// How far it came on this leg.
    pub progress: Progress,
    /// Whether this rollout ended its process, or started it.
    pub restarted: bool,
    /// Its last statement, from the instance that lives.
    pub statement: Option<Status>,
    /// The last probe's result.
    pub probe: Option<ProbeResult>,
}

/// What is to be done for one member on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayBack {
    /// It is told again.
    Tell,
    /// It is ended and started again.
    Restart,
    /// It never saw the failed release.
    Nothing,
}

impl Member {
    /// Whether it lives.
    #[must_use]
    pub fn alive(&self) -> bool {
        match self.life {
            Life::Alive(_) => true,
            Life::Dead => false,
        }
    }

    /// What the way back has to do: never more than the way there did.
    pub(super) fn way_back(&self) -> WayBack {
        match (self.effect, self.restarted, &self.reload) {
            (Effect::Reload, _, _) | (Effect::Restart, false, Reload::Signal(_) | Reload::Watch) => {
                WayBack::Tell
            }
            (Effect::Restart, true, _) | (Effect::Start, _, _) => WayBack::Restart,
            (Effect::Restart, false, Reload::Restart) => WayBack::Nothing,
        }
    }

    /// Marks it as told now. An absent one keeps the limit it has: it is not waited for any longer.
    pub(super) fn told(&mut self, now: Moment) {
        let until = match (self.part, &self.progress) {
            (Part::Absent, Progress::Down { until, .. } | Progress::Starting { until }) => *until,
            _ => now.after(self.within),
        };
        self.progress = Progress::Told { at: now, until };
    }

    /// Marks it as being started, or ended and started.
    pub(super) fn starting(&mut self, now: Moment) {
        let until = match &self.progress {
            Progress::Down { until, .. } => *until,
            Progress::Waiting
            | Progress::Told { .. }
            | Progress::Starting { .. }
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven => now.after(self.stop_within).after(self.within),
        };
        self.restarted = true;
        self.progress = Progress::Starting { until };
    }

    /// When a tick may change its progress.
    pub(super) fn next_moment(&self) -> Option<Moment> {
        match &self.progress {
            Progress::Told { at, until } => match self.tier {
                Tier::Running => Some(at.after(RUNNING_AFTER).min(*until)),
                Tier::Probed | Tier::Acknowledged | Tier::Voting => Some(*until),
            },
            Progress::Starting { until } => Some(*until),
            Progress::Down { again_at, until } => Some(*again_at.min(until)),
            Progress::Waiting | Progress::Reached | Progress::Failed(_) | Progress::Unproven => None,
        }
    }

    /// Whether nothing more is expected of it on this leg.
    pub(super) fn resolved(&self) -> bool {
        match self.progress {
            Progress::Reached | Progress::Failed(_) | Progress::Unproven => true,
            Progress::Waiting | Progress::Told { .. } | Progress::Starting { .. } | Progress::Down { .. } => {
                false
            }
        }
    }

    /// Looks at what is known and moves the progress on. `forever`: no limit is applied (Stuck waits).
    pub(super) fn judge(
        &mut self,
        id: &MemberId,
        expected: (SwitchNumber, Digest),
        now: Moment,
        forever: bool,
    ) {
        let verdict = match &self.progress {
            Progress::Told { at, until } => match self.evidence(*at, expected, now) {
                Found::Reached => Some(Progress::Reached),
                Found::Refused(message) => Some(self.fail(id, FailureKind::Refused, message)),
                Found::Nothing if now >= *until && !forever => {
                    let message = self.silence(expected.0);
                    Some(self.fail(id, FailureKind::TimedOut, message))
                }
                Found::Nothing => None,
            },
            Progress::Starting { until } | Progress::Down { until, .. } if now >= *until && !forever => {
                let message = format!(
                    "it did not come up within {:?}: see its output file for the reason",
                    self.within
                );
                Some(self.fail(id, FailureKind::NotStarted, message))
            }
            // A failure by silence is lifted by evidence that comes late, as long as somebody still waits.
            Progress::Failed(_) if forever && self.tier.states() => {
                match self.evidence(Moment::default(), expected, now) {
                    Found::Reached => Some(Progress::Reached),
                    Found::Refused(_) | Found::Nothing => None,
                }
            }
            Progress::Starting { .. }
            | Progress::Down { .. }
            | Progress::Waiting
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven => None,
        };
        if let Some(progress) = verdict {
            self.progress = progress;
        }
    }

    /// The failure of a participant, or the mere lack of proof of an absent one.
    pub(super) fn fail(&self, id: &MemberId, kind: FailureKind, message: String) -> Progress {
        match self.part {
            Part::Participant => Progress::Failed(Failure {
                member: Some(id.clone()),
                kind,
                message,
            }),
            Part::Absent => Progress::Unproven,
        }
    }

    fn evidence(&self, told: Moment, (switch, digest): (SwitchNumber, Digest), now: Moment) -> Found {
        if !self.alive() {
            return Found::Nothing;
        }
        match self.tier {
            Tier::Running if now >= told.after(RUNNING_AFTER) => Found::Reached,
            Tier::Running => Found::Nothing,
            Tier::Probed => match &self.probe {
                Some(ProbeResult { began, failure: None }) if *began >= told => Found::Reached,
                Some(_) | None => Found::Nothing,
            },
            Tier::Acknowledged | Tier::Voting => match &self.statement {
                Some(status) if status.attempted.switch == Some(switch) => {
                    use lockstep_protocol::StatusState::{Applied, Rejected};
                    match status.state {
                        Applied if status.switch == Some(switch) && status.digest == Some(digest) => {
                            Found::Reached
                        }
                        // It says `applied` of a switch and names another as running: no evidence of either.
                        Applied => Found::Nothing,
                        Rejected => Found::Refused(match &status.error {
                            Some(error) => format!("it refused the release: {error}"),
                            None => "it refused the release and gave no reason".to_owned(),
                        }),
                    }
                }
                Some(_) | None => Found::Nothing,
            },
        }
    }

    fn silence(&self, switch: SwitchNumber) -> String {
        let within = self.within;
        match self.tier {
            Tier::Running => format!("it was not seen running within {within:?}"),
            Tier::Probed => match &self.probe {
                Some(ProbeResult {
                    failure: Some(why), ..
                }) => {
                    format!("its probe did not pass within {within:?}: {why}")
                }
                Some(_) | None => format!("its probe did not answer within {within:?}"),
            },
            Tier::Acknowledged | Tier::Voting => {
                let last = match &self.statement {
                    Some(Status { attempted, .. }) => match attempted.switch {
                        Some(other) => format!("its status file still speaks of switch {other}"),
                        None => "its status file names no switch".to_owned(),
                    },
                    None => "it has written no status file".to_owned(),
                };
                format!("it did not acknowledge switch {switch} within {within:?}: {last}")
            }
        }
    }
}

enum Found {
    Reached,
    Refused(String),
    Nothing,
}
