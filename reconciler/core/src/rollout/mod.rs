//! One rollout: from a candidate that passed its validation to an outcome, as a total function.
//!
//! [`next`] takes a rollout and an event and gives the rollout after it and the commands to carry out. It
//! is used by the live coordinator, by recovery ([`recover`]) and by the model checks: there is no second
//! implementation. Whoever drives it executes the commands in order and reports each result as an event;
//! nothing here waits, looks or remembers anything outside of [`Rollout`].
//!
//! # The road
//!
//! ```text
//!  There:  Preparing -> Recording -> Pausing -> Publishing -> Unpausing -> Verifying -> Baking -> Closing -> Settled
//!              |            |           |           |             \___________ a failure ___/
//!              v            v           v           v                               |
//!           Rejected     Aborted     Aborted     Aborted                            v
//!  Back:                    Preparing -> Pausing -> Publishing -> Unpausing -> Verifying -> Closing -> RolledBack
//!                               ^                                                  |
//!                               +------------------- Stuck <-----------------------+
//! ```
//!
//! The way back is the same road with [`Leg::Back`]: a new switch, whose number was set aside in the intent.
//! It asks for less than the way there: a pause that fails does not stop it, because services that go on
//! unpaused under the previous release are better than services that stay under the failed one.
//!
//! # What is evidence
//!
//! Statements, probes and deaths are levels that are noted in the [`Member`] whenever they arrive, also
//! before the phase that judges them. What is judged is always `(instance, switch, digest)`, so a statement
//! about an earlier switch never counts, however late it comes.

mod back;
mod evidence;
mod member;
mod notice;
mod recover;
mod road;
mod verifying;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_protocol::{Digest, InstanceToken, Revision, RolloutId, SwitchNumber};
use serde::{Deserialize, Serialize};

pub use evidence::{Evidence, Life, ProbeResult};
pub use member::{Effect, Failure, FailureKind, Member, MemberId, Part, Progress};
pub use notice::{Notice, NoticeKind};
pub use recover::{Found, recover};

use crate::service::ServiceName;

/// A moment on the driver's monotonic clock. Moments of different boots are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment this much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// How long a process that was told must have lived to count as running (design, section 6: tier `running`).
pub const RUNNING_AFTER: Duration = Duration::from_millis(500);

/// A release and the switch that made it current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The switch.
    pub switch: SwitchNumber,
    /// The revision of the release.
    pub revision: Revision,
    /// Its digest.
    pub digest: Digest,
}

/// Why there is a rollout at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A candidate replaces the live release.
    Change,
    /// The first release of a volume: services are started on it; failing means nothing runs.
    First,
    /// The live release was damaged and was built anew: a failure never quarantines it.
    Healing,
}

/// The limits of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long anybody may stay paused.
    pub pause: Duration,
    /// How long probes must keep passing after Verifying; zero: not at all.
    pub bake: Duration,
}

/// Which way the rollout goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leg {
    /// To the new release.
    There,
    /// Back to the previous one, because of these failures.
    Back(Vec<Failure>),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every participant runs the new release.
    Settled {
        /// Members that never counted, and stayed without evidence.
        unproven: Vec<MemberId>,
    },
    /// Every participant runs the previous release again.
    RolledBack {
        /// What failed on the way there.
        failures: Vec<Failure>,
    },
    /// The candidate was judged bad before anything was touched. Final for this revision.
    Rejected {
        /// Who refused it, and why.
        failures: Vec<Failure>,
    },
    /// Given up before the switch, through no fault of the candidate. Tried again.
    Aborted {
        /// Why.
        reason: String,
    },
    /// A higher term has spoken: this coordinator touches nothing any more.
    Deposed,
    /// It was stuck, and a tree that settled before was allowed to replace it.
    Superseded,
}

impl Outcome {
    /// The outcome's name, as status, events and metrics print it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Settled { .. } => "Settled",
            Self::RolledBack { .. } => "RolledBack",
            Self::Rejected { .. } => "Rejected",
            Self::Aborted { .. } => "Aborted",
            Self::Deposed => "Deposed",
            Self::Superseded => "Superseded",
        }
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The release is built; participants are examined, checks run, votes come in. On the way back: the
    /// switch is staged.
    Preparing(Preparing),
    /// The intent is written to the journal, with both switch numbers.
    Recording,
    /// Everybody is told to stop at once.
    Pausing,
    /// The one rename.
    Publishing {
        /// Whether somebody is paused and has to be unpaused afterwards.
        paused: bool,
    },
    /// Reloads are queued and everybody is unpaused at once.
    Unpausing {
        /// An unpause is under way.
        unpausing: bool,
        /// Reloads to unpaused members are under way.
        telling: bool,
    },
    /// Evidence is waited for.
    Verifying {
        /// The volume's directory is flushed.
        flushed: bool,
        /// The members to be restarted had their turn.
        restarting: bool,
    },
    /// Everybody has taken it; probes must go on passing.
    Baking {
        /// Until then.
        until: Moment,
    },
    /// The outcome is written to the journal.
    Closing {
        /// Which.
        outcome: Outcome,
        /// When writing is tried again, after it failed.
        retry_at: Option<Moment>,
    },
    /// The way back failed as well.
    Stuck {
        /// When the road back is tried again.
        retry_at: Moment,
        /// How often it was tried.
        attempts: u32,
        /// Whether `current` is back already.
        switched: bool,
    },
    /// Nothing more to do.
    Done(Outcome),
}

/// What Preparing waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparing {
    /// The release lies on the volume, final.
    pub built: bool,
    /// The participants were looked at: signals survived, mounts right.
    pub examined: bool,
    /// Services whose `check` has not answered.
    pub checks: BTreeSet<ServiceName>,
    /// Members asked to vote that have not answered, and until when they may.
    pub votes: BTreeMap<MemberId, Moment>,
    /// Whether checks and offers went out.
    pub asked: bool,
    /// Vetoes so far: all are collected, so that one answer names every refusal.
    pub vetoes: Vec<Failure>,
}

impl Preparing {
    /// Nothing is known yet.
    fn start() -> Self {
        Self {
            built: false,
            examined: false,
            checks: BTreeSet::new(),
            votes: BTreeMap::new(),
            asked: false,
            vetoes: Vec::new(),
        }
    }
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its name.
    pub id: RolloutId,
    /// Why there is one.
    pub kind: Kind,
    /// What is live before it; none for the first.
    pub from: Option<Side>,
    /// What is to be live, under the switch number set aside for it.
    pub to: Side,
    /// The number set aside for the way back.
    pub back: SwitchNumber,
    /// Its limits.
    pub limits: Limits,
    /// Everybody the change touches.
    pub members: BTreeMap<MemberId, Member>,
    /// Which way it goes.
    pub leg: Leg,
    /// Where it stands.
    pub phase: Phase,
    /// Whether the agent (and the guard behind it) can be spoken to.
    pub agent_lost: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The release is built (on the way back: the switch is staged).
    Built,
    /// It could not be built or staged.
    BuildFailed {
        /// The reason.
        reason: String,
    },
    /// The participants were looked at.
    Examined {
        /// Those that cannot be paused or signalled, and why.
        unfit: BTreeMap<MemberId, String>,
    },
    /// A service's `check` ended.
    Checked {
        /// Whose.
        service: ServiceName,
        /// Passed, failed with its output, or could not be run to its end.
        verdict: CheckVerdict,
    },
    /// The intent is in the journal.
    IntentRecorded,
    /// It could not be written.
    IntentFailed {
        /// The reason.
        reason: String,
    },
    /// Everybody is confirmed stopped.
    Paused,
    /// Somebody is not; everybody was unpaused again.
    PauseFailed {
        /// The reason, naming them.
        reason: String,
    },
    /// `current` moved.
    Switched,
    /// It did not move.
    SwitchFailed {
        /// The reason.
        reason: String,
    },
    /// Everybody is unpaused, reloads delivered.
    Unpaused {
        /// From the first pause sent to the last unpause confirmed.
        pause: Duration,
        /// Whether the limit had passed before.
        expired: bool,
        /// Reloads that could not be sent.
        unsent: BTreeMap<MemberId, String>,
    },
    /// Members that were not paused were told.
    Told {
        /// Reloads that could not be sent.
        unsent: BTreeMap<MemberId, String>,
    },
    /// The guard unpaused by itself, because the limit passed.
    PauseExpired,
    /// The volume's directory is flushed, links renewed.
    Flushed,
    /// It could not be flushed.
    FlushFailed {
        /// The reason.
        reason: String,
    },
    /// An instance was started, on order or by its restart policy.
    Started {
        /// Which member.
        member: MemberId,
        /// The new token.
        instance: InstanceToken,
    },
    /// An instance could not be started or stopped on order.
    StartFailed {
        /// Which member.
        member: MemberId,
        /// The reason.
        reason: String,
    },
    /// An instance ended.
    Ended {
        /// Which member.
        member: MemberId,
        /// Its token.
        instance: InstanceToken,
        /// How, as a phrase: `exited with status 1`.
        how: String,
    },
    /// Something is known of an instance.
    Evidence {
        /// Which member.
        member: MemberId,
        /// What.
        evidence: Evidence,
    },
    /// The services of a failed first rollout are stopped and `current` is taken away.
    Withdrawn,
    /// That failed.
    WithdrawFailed {
        /// The reason.
        reason: String,
    },
    /// The outcome is in the journal.
    OutcomeRecorded,
    /// It could not be written.
    OutcomeFailed {
        /// The reason.
        reason: String,
    },
    /// The agent cannot be reached: whatever it had paused is unpaused by itself.
    AgentLost,
    /// The agent is back, and these are the instances that live.
    AgentBack {
        /// Token by member.
        alive: BTreeMap<MemberId, InstanceToken>,
    },
    /// A higher term has spoken.
    Deposed,
    /// A tree that settled before is to be tried although this rollout is stuck.
    Supersede,
    /// Time passed.
    Tick,
}

/// How a service's `check` command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckVerdict {
    /// With status 0.
    Passed,
    /// With another status; this is its output.
    Refused(String),
    /// It could not be run, or not in time: no fault of the candidate.
    Unknown(String),
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Build the release and stage the switch `to.switch`. Answered by Built or BuildFailed.
    Build,
    /// Stage the switch `back` to the previous release. Answered by Built or BuildFailed.
    StageBack,
    /// See whether these can be paused and signalled. Answered by Examined.
    Examine(Vec<MemberId>),
    /// Run a service's `check`. Answered by Checked.
    Check(ServiceName),
    /// Put the offer to these. Answered by their statements.
    Offer(Vec<MemberId>),
    /// Write the intent to the journal. Answered by IntentRecorded or IntentFailed.
    RecordIntent,
    /// Services start on order alone from now on.
    Hold(Vec<ServiceName>),
    /// The restart policy applies again; offers are taken back.
    Release,
    /// Pause these, all at once. Answered by Paused or PauseFailed.
    Pause(Vec<MemberId>),
    /// Move `current`. Answered by Switched or SwitchFailed.
    Switch(SwitchNumber),
    /// Queue reloads to these of the paused, and unpause all. Answered by Unpaused.
    Unpause(Vec<MemberId>),
    /// Send the reload to these, which are not paused. Answered by Told.
    Tell(Vec<MemberId>),
    /// Flush the volume's directory and renew the links. Answered by Flushed or FlushFailed.
    Flush,
    /// End and start these. Answered by Ended and Started, or StartFailed.
    Restart(Vec<MemberId>),
    /// Start these. Answered by Started or StartFailed.
    Start(Vec<MemberId>),
    /// Probe these until the rollout ends. Answered by Evidence.
    Probe(Vec<MemberId>),
    /// Say again what is known of everybody. Answered by Evidence.
    Look,
    /// Stop these services and take `current` away. Answered by Withdrawn or WithdrawFailed.
    Withdraw(Vec<ServiceName>),
    /// Remember that this revision failed, flushed before anything is reported.
    Quarantine(Vec<Failure>),
    /// Write the outcome to the journal. Answered by OutcomeRecorded or OutcomeFailed.
    RecordOutcome(Outcome),
    /// Tell people.
    Report(Notice),
}

/// The rollout after an event, and what is to be done now.
///
/// Total: every phase has an answer to every event. An event that means nothing to a phase leaves it as it
/// is: the reasons stand at the arms.
#[must_use]
pub fn next(mut rollout: Rollout, event: Event, now: Moment) -> (Rollout, Vec<Command>) {
    let mut commands = Vec::new();
    rollout.note(&event, now);
    if let Event::Deposed = event {
        rollout.phase = Phase::Done(Outcome::Deposed);
        return (rollout, commands);
    }
    road::advance(&mut rollout, event, now, &mut commands);
    (rollout, commands)
}

/// Starts a rollout.
#[must_use]
pub fn start(mut rollout: Rollout) -> (Rollout, Vec<Command>) {
    rollout.leg = Leg::There;
    rollout.phase = Phase::Preparing(Preparing::start());
    let examine = rollout.participants(|member| member.effect == Effect::Reload);
    let commands = vec![
        rollout.say(NoticeKind::Preparing),
        Command::Build,
        Command::Examine(examine),
    ];
    (rollout, commands)
}

impl Rollout {
    /// When the driver has to send [`Event::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Preparing(preparing) => preparing.votes.values().min().copied(),
            // These wait for an answer that always comes: the driver reports also a failure to answer.
            Phase::Recording | Phase::Pausing | Phase::Publishing { .. } | Phase::Unpausing { .. } => None,
            Phase::Verifying { .. } => self.members.values().filter_map(Member::next_moment).min(),
            Phase::Baking { until } => Some(*until),
            Phase::Closing { retry_at, .. } => *retry_at,
            Phase::Stuck { retry_at, .. } => Some(*retry_at),
            Phase::Done(_) => None,
        }
    }

    /// The switch and digest that count as evidence on this leg.
    #[must_use]
    pub fn expected(&self) -> (SwitchNumber, Digest) {
        match (&self.leg, &self.from) {
            (Leg::There, _) => (self.to.switch, self.to.digest),
            (Leg::Back(_), Some(from)) => (self.back, from.digest),
            // A first rollout has nothing to go back to; nobody is verified on that way.
            (Leg::Back(_), None) => (self.back, self.to.digest),
        }
    }

    /// Whether the outcome is reached.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Done(outcome) => Some(outcome),
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Publishing { .. }
            | Phase::Unpausing { .. }
            | Phase::Verifying { .. }
            | Phase::Baking { .. }
            | Phase::Closing { .. }
            | Phase::Stuck { .. } => None,
        }
    }

    /// The participants that fit a condition.
    fn participants(&self, fits: impl Fn(&Member) -> bool) -> Vec<MemberId> {
        self.select(|member| member.part == Part::Participant && fits(member))
    }

    /// The members that fit a condition.
    fn select(&self, fits: impl Fn(&Member) -> bool) -> Vec<MemberId> {
        self.members
            .iter()
            .filter(|(_, member)| fits(member))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The names of all services touched.
    fn services(&self) -> Vec<ServiceName> {
        let names: BTreeSet<_> = self.members.keys().map(|id| id.service.clone()).collect();
        names.into_iter().collect()
    }
}
