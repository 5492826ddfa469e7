//! What the guard was asked and has not answered: what an answer means, and how long it may take.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::rollout::MemberId;
use lockstep_core::service::ServiceName;
use lockstep_protocol::InstanceToken;
use tokio::time::Instant;

use super::Target;
use super::link::ANSWER_WITHIN;

/// What a pause may take beyond its limit until the guard has answered: the holder has ended it by then.
const PAUSE_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// A request that is not answered yet.
pub(super) struct Asked {
    pub(super) what: Pending,
    /// When the guard must have answered; none: whether it is there is asked beside it.
    pub(super) due: Option<Instant>,
}

/// What an answer of the guard means.
pub(super) enum Pending {
    Examine {
        targets: Vec<Target>,
        unfit: BTreeMap<MemberId, String>,
    },
    Pause {
        limit: Duration,
    },
    Unpause,
    /// A signal to these.
    Tell(Vec<MemberId>),
    /// A signal to these, outside of a rollout.
    Remind(Vec<(MemberId, InstanceToken)>),
    Start(ServiceName),
    StopToStart(ServiceName),
    Stop {
        service: ServiceName,
    },
    Dismiss,
    Attach(ServiceName),
    Shutdown,
    Release,
    Nothing,
}

impl Pending {
    /// How long the guard may take to answer; none: as long as a service may take to start or to end.
    pub(super) fn patience(&self) -> Option<Duration> {
        match self {
            Self::Pause { limit } => Some(limit.saturating_add(PAUSE_ENDS_WITHIN)),
            Self::Examine { .. }
            | Self::Unpause
            | Self::Tell(_)
            | Self::Remind(_)
            | Self::Attach(_)
            | Self::Release
            | Self::Nothing => Some(ANSWER_WITHIN),
            Self::Start(_) | Self::StopToStart(_) | Self::Stop { .. } | Self::Dismiss | Self::Shutdown => {
                None
            }
        }
    }
}
