//! What is told to people while a rollout goes on: one notice a step, named after the states.

use std::time::Duration;

use lockstep_protocol::Revision;
use serde::{Deserialize, Serialize};

use super::{Failure, Leg, MemberId, Phase, Progress, Rollout};

/// The kinds of notice. The names are stable: `lockstep events --json` prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each is the state of the same name, explained at Phase and Outcome"
)]
pub enum NoticeKind {
    Preparing,
    Pausing,
    Publishing,
    Unpausing,
    Verifying,
    Baking,
    Settled,
    Restoring,
    RolledBack,
    Stuck,
    Rejected,
    Aborted,
    Held,
    /// An instance reached its tier on this switch.
    Reached,
    /// An instance failed.
    Failed,
    /// An instance runs something else than it should.
    Diverged,
    /// Somebody has to look: the message says at what.
    Alarm,
}

impl NoticeKind {
    /// The kind's name, as events print it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing",
            Self::Pausing => "Pausing",
            Self::Publishing => "Publishing",
            Self::Unpausing => "Unpausing",
            Self::Verifying => "Verifying",
            Self::Baking => "Baking",
            Self::Settled => "Settled",
            Self::Restoring => "Restoring",
            Self::RolledBack => "RolledBack",
            Self::Stuck => "Stuck",
            Self::Rejected => "Rejected",
            Self::Aborted => "Aborted",
            Self::Held => "Held",
            Self::Reached => "Reached",
            Self::Failed => "Failed",
            Self::Diverged => "Diverged",
            Self::Alarm => "Alarm",
        }
    }
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// To whom; none: to the rollout.
    pub member: Option<MemberId>,
    /// The revision it is about.
    pub revision: Option<Revision>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// For people; empty when the kind says it all.
    pub message: String,
}

impl Rollout {
    /// A notice about the rollout as a whole.
    pub(super) fn say(&self, kind: NoticeKind) -> super::Command {
        self.say_why(kind, String::new())
    }

    /// A notice about the rollout as a whole, with a message.
    pub(super) fn say_why(&self, kind: NoticeKind, message: String) -> super::Command {
        super::Command::Report(Notice {
            kind,
            member: None,
            revision: Some(self.revision_of_leg().clone()),
            duration: None,
            message,
        })
    }

    /// What is new of the members since `before`. Nothing before the unpause: there nobody may wait for a
    /// report. Nothing when the rollout turned round: then who failed was named on the way.
    pub(super) fn news_since(&self, before: &Self) -> Vec<super::Command> {
        match self.phase {
            Phase::Verifying { .. } | Phase::Baking { .. } | Phase::Closing { .. } | Phase::Stuck { .. } => {}
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Publishing { .. }
            | Phase::Unpausing { .. }
            | Phase::Done(_) => return Vec::new(),
        }
        if self.there() != before.there() {
            return Vec::new();
        }
        let news = self.members.iter().filter_map(|(id, member)| {
            let was = before.members.get(id).map(|member| &member.progress);
            if was == Some(&member.progress) {
                return None;
            }
            match &member.progress {
                // Nothing was asked of it.
                Progress::Reached if was == Some(&Progress::Waiting) => None,
                Progress::Reached => Some(self.say_of(id, NoticeKind::Reached, member.tier.to_string())),
                Progress::Failed(failure) => {
                    Some(self.say_of(id, NoticeKind::Failed, failure.message.clone()))
                }
                Progress::Unproven => {
                    let message = "absent, and unproven in its time".to_owned();
                    Some(self.say_of(id, NoticeKind::Failed, message))
                }
                Progress::Waiting
                | Progress::Coming { .. }
                | Progress::Telling { .. }
                | Progress::Told { .. }
                | Progress::Starting { .. }
                | Progress::Down { .. } => None,
            }
        });
        news.collect()
    }

    /// A notice about one member.
    pub(super) fn say_of(&self, member: &MemberId, kind: NoticeKind, message: String) -> super::Command {
        super::Command::Report(Notice {
            kind,
            member: Some(member.clone()),
            revision: Some(self.revision_of_leg().clone()),
            duration: None,
            message,
        })
    }

    fn revision_of_leg(&self) -> &Revision {
        match (&self.leg, &self.from) {
            (Leg::Back(_), Some(from)) => &from.revision,
            (Leg::There, _) | (Leg::Back(_), None) => &self.to.revision,
        }
    }
}

/// All failures in one line.
pub(super) fn in_one_line(failures: &[Failure]) -> String {
    let all: Vec<_> = failures.iter().map(ToString::to_string).collect();
    all.join("; ")
}
