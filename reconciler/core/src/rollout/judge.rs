//! Judging one member: what is known of it becomes Reached, Failed or Unproven.

use lockstep_protocol::{Digest, Status, StatusState, SwitchNumber};

use super::evidence::ProbeResult;
use super::member::{Failure, FailureKind, Member, MemberId, Part, Progress};
use super::{Effect, Moment, RUNNING_AFTER};
use crate::service::{Reload, Tier};

impl Member {
    /// Looks at what is known and moves the progress on.
    pub(super) fn judge(&mut self, id: &MemberId, leg: &Judged, now: Moment) {
        let verdict = match &self.progress {
            Progress::Told { at, until } => self.judge_told(id, Some(*at), *until, leg, now),
            Progress::Telling { until } => self.judge_told(id, None, *until, leg, now),
            Progress::Starting { until } | Progress::Coming { until } | Progress::Down { until, .. }
                if now >= *until =>
            {
                let message = format!(
                    "it did not come up within {:?}: see its output file for the reason",
                    self.within
                );
                Some(self.fail(id, leg.failed, FailureKind::NotStarted, message))
            }
            // On the way back somebody still waits: evidence that comes late lifts a failure, and one that
            // never counted is waited for only as long as it runs the failed release.
            Progress::Failed(_) if leg.failed.is_some() && !leg.ordered => {
                match self.evidence(None, leg, now) {
                    Seen::Reached => Some(Progress::Reached),
                    Seen::Refused(_) | Seen::Nothing if !self.counts(leg.failed) => Some(Progress::Unproven),
                    Seen::Refused(_) | Seen::Nothing => None,
                }
            }
            // It was not waited for any longer, and took the failed release: it has to leave it.
            Progress::Unproven if leg.failed.is_some_and(|failed| self.runs(failed)) => {
                let message = self.silence(leg.expected.0);
                Some(self.fail(id, leg.failed, FailureKind::TimedOut, message))
            }
            // It was thought untouched, and is not.
            Progress::Reached if leg.failed.is_some_and(|failed| self.runs(failed)) => {
                self.restarted |= self.effect == Effect::Restart;
                Some(Progress::Waiting)
            }
            // A statement is a level: it may be taken back.
            Progress::Reached => match self.evidence(None, leg, now) {
                Seen::Refused(message) => Some(self.fail(id, leg.failed, FailureKind::Refused, message)),
                Seen::Reached | Seen::Nothing => None,
            },
            Progress::Starting { .. }
            | Progress::Coming { .. }
            | Progress::Down { .. }
            | Progress::Waiting
            | Progress::Failed(_)
            | Progress::Unproven => None,
        };
        if let Some(progress) = verdict {
            self.progress = progress;
        }
    }

    fn judge_told(
        &self,
        id: &MemberId,
        at: Option<Moment>,
        until: Moment,
        leg: &Judged,
        now: Moment,
    ) -> Option<Progress> {
        match self.evidence(at, leg, now) {
            Seen::Reached => Some(Progress::Reached),
            Seen::Refused(message) => Some(self.fail(id, leg.failed, FailureKind::Refused, message)),
            Seen::Nothing if now >= until => {
                let (kind, message) = match at {
                    Some(_) => (FailureKind::TimedOut, self.silence(leg.expected.0)),
                    None => self.untold(),
                };
                Some(self.fail(id, leg.failed, kind, message))
            }
            Seen::Nothing => None,
        }
    }

    /// Whether its failure is one of the rollout: it is a participant, or on the way back one that took the
    /// failed release meanwhile and has to leave it like everybody else.
    pub(super) fn counts(&self, failed: Option<SwitchNumber>) -> bool {
        match self.part {
            Part::Participant => true,
            Part::Absent => failed.is_some_and(|failed| self.runs(failed)),
        }
    }

    /// The failure of one that counts, or the mere lack of proof of another.
    pub(super) fn fail(
        &self,
        id: &MemberId,
        failed: Option<SwitchNumber>,
        kind: FailureKind,
        message: String,
    ) -> Progress {
        if self.counts(failed) {
            Progress::Failed(Failure {
                member: Some(id.clone()),
                kind,
                message,
            })
        } else {
            Progress::Unproven
        }
    }

    /// What is known of it. `told`: since when it has been told for certain; none: it may not be.
    fn evidence(&self, told: Option<Moment>, leg: &Judged, now: Moment) -> Seen {
        if !self.alive() {
            return Seen::Nothing;
        }
        let (switch, digest) = leg.expected;
        match self.tier {
            // Whether it lives is known only while somebody looks.
            Tier::Running => match told {
                Some(told) if !leg.agent_lost && now >= told.after(RUNNING_AFTER) => Seen::Reached,
                Some(_) | None => Seen::Nothing,
            },
            Tier::Probed => match (&self.probe, told) {
                (Some(ProbeResult { began, failure: None }), Some(told)) if *began >= told => Seen::Reached,
                (Some(_) | None, _) => Seen::Nothing,
            },
            Tier::Acknowledged | Tier::Voting => match &self.statement {
                Some(status) if status.attempted.switch == Some(switch) => match status.state {
                    StatusState::Applied
                        if status.switch == Some(switch) && status.digest == Some(digest) =>
                    {
                        Seen::Reached
                    }
                    // It says `applied` of a switch and names another as running: no evidence of either.
                    StatusState::Applied => Seen::Nothing,
                    StatusState::Rejected => Seen::Refused(match &status.error {
                        Some(error) => format!("it refused the release: {error}"),
                        None => "it refused the release and gave no reason".to_owned(),
                    }),
                },
                Some(_) | None => Seen::Nothing,
            },
        }
    }

    /// What is to be said of one that could not be told in its time.
    fn untold(&self) -> (FailureKind, String) {
        let within = self.within;
        match &self.reload {
            Reload::Http(request) => (
                FailureKind::TimedOut,
                format!("it did not answer its reload within {within:?}: {request}"),
            ),
            Reload::Signal(_) | Reload::Watch | Reload::Restart => (
                FailureKind::NotTold,
                format!("its reload could not be sent within {within:?}"),
            ),
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
                    Some(Status {
                        attempted,
                        switch: runs,
                        ..
                    }) => match attempted.switch {
                        Some(tried) if tried == switch => match runs {
                            Some(runs) => {
                                format!("it says that it applied that, and that it runs switch {runs}")
                            }
                            None => "it says that it applied that, and that it runs nothing".to_owned(),
                        },
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

/// What members are judged by on the present leg.
pub(super) struct Judged {
    /// The switch and digest that count.
    pub(super) expected: (SwitchNumber, Digest),
    /// On the way back: the switch that has to be left.
    pub(super) failed: Option<SwitchNumber>,
    /// Whether the agent cannot be asked.
    pub(super) agent_lost: bool,
    /// Whether an order to restart it is under way: what its process says now is no evidence.
    pub(super) ordered: bool,
}

enum Seen {
    Reached,
    Refused(String),
    Nothing,
}
