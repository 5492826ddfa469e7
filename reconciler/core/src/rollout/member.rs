//! One instance that a rollout touches: what it is, what is known of it, how far it came.

use std::fmt;
use std::time::Duration;

use lockstep_protocol::Status;
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
    /// It was ordered to start on the leg before, and may come up on what was current then: it is asked
    /// once it is there, or is not.
    Coming {
        /// How long that may take.
        until: Moment,
    },
    /// A reload is on its way to it, or waits for the agent to be back.
    Telling {
        /// How long it has to show evidence.
        until: Moment,
    },
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
    /// It does not live, or waits for the agent to be back, and is started or restarted at a moment.
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
    /// Whether Lockstep starts and ends it. Whoever is started by somebody else is told, and waited for while it
    /// lives.
    #[serde(default = "yes")]
    pub supervised: bool,
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

/// What an intent that does not say so means.
fn yes() -> bool {
    true
}

/// What a leg asks of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// To take what is current, without a restart.
    Tell,
    /// To be ended and started, or to be started.
    Restart,
    /// To go on: it never saw the failed release.
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

    /// What the leg asks of it. The way back never asks more than the way there did.
    pub(super) fn asked(&self, there: bool) -> Ask {
        match (self.effect, there) {
            (Effect::Reload, _) => Ask::Tell,
            (Effect::Restart | Effect::Start, true) | (Effect::Start, false) => Ask::Restart,
            (Effect::Restart, false) if self.restarted => Ask::Restart,
            (Effect::Restart, false) => match self.reload {
                // It saw the switch by itself.
                Reload::Watch => Ask::Tell,
                // It may have been starting at the switch, and have read the failed release.
                Reload::Signal(_) | Reload::Http(_) | Reload::Restart
                    if self.part == Part::Absent && self.statement.is_none() =>
                {
                    Ask::Restart
                }
                Reload::Signal(_) | Reload::Http(_) | Reload::Restart => Ask::Nothing,
            },
        }
    }

    /// How long it may take to show evidence.
    pub(super) fn span(&self) -> Duration {
        match self.tier {
            Tier::Running => self.within.max(RUNNING_AFTER),
            Tier::Probed | Tier::Acknowledged | Tier::Voting => self.within,
        }
    }

    /// Marks it as told now. One that has a limit keeps it, so that coming up again and again has an end.
    pub(super) fn told(&mut self, now: Moment) {
        let fresh = now.after(self.span());
        let until = match &self.progress {
            Progress::Down { until, .. } | Progress::Starting { until } | Progress::Telling { until } => {
                fresh.min(*until)
            }
            Progress::Waiting
            | Progress::Coming { .. }
            | Progress::Told { .. }
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven => fresh,
        };
        self.progress = Progress::Told { at: now, until };
    }

    /// Until when its start, or its end and start, may last that is ordered now.
    pub(super) fn start_limit(&self, now: Moment) -> Moment {
        match &self.progress {
            Progress::Down { until, .. } | Progress::Starting { until } => *until,
            Progress::Waiting
            | Progress::Coming { .. }
            | Progress::Telling { .. }
            | Progress::Told { .. }
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven => now.after(self.stop_within).after(self.span()),
        }
    }

    /// When a tick may change its progress.
    pub(super) fn next_moment(&self, agent_lost: bool) -> Option<Moment> {
        match &self.progress {
            Progress::Told { at, until } => match self.tier {
                Tier::Running if !agent_lost => Some(at.after(RUNNING_AFTER).min(*until)),
                Tier::Running | Tier::Probed | Tier::Acknowledged | Tier::Voting => Some(*until),
            },
            Progress::Down { again_at, until } if !agent_lost => Some(*again_at.min(until)),
            Progress::Telling { until }
            | Progress::Starting { until }
            | Progress::Coming { until }
            | Progress::Down { until, .. } => Some(*until),
            Progress::Waiting | Progress::Reached | Progress::Failed(_) | Progress::Unproven => None,
        }
    }

    /// Whether nothing more is expected of it on this leg.
    pub(super) fn resolved(&self) -> bool {
        match self.progress {
            Progress::Reached | Progress::Failed(_) | Progress::Unproven => true,
            Progress::Waiting
            | Progress::Coming { .. }
            | Progress::Telling { .. }
            | Progress::Told { .. }
            | Progress::Starting { .. }
            | Progress::Down { .. } => false,
        }
    }
}
