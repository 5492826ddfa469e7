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
mod closing;
mod evidence;
mod exchange;
mod judge;
mod member;
mod notice;
mod preparing;
mod recover;
mod road;
mod verifying;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lockstep_protocol::{Digest, Revision, RolloutId, SwitchNumber};
use serde::{Deserialize, Serialize};

pub use evidence::{Evidence, Life, ProbeResult};
pub use exchange::{Answer, CheckVerdict, Command, Event};
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
        /// Why, as it was told.
        why: String,
        /// When the road back is tried again.
        retry_at: Moment,
        /// How often it was tried.
        attempts: u32,
        /// Whether `current` is back already.
        switched: bool,
        /// Whether that is flushed: nothing is recorded before.
        flushed: bool,
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
    /// What is open.
    #[serde(default)]
    pub pending: Pending,
}

/// What the machine counts for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Whom each [`Command::Tell`] that is not answered yet was for, oldest first. A leg that begins empties
    /// the lists and keeps their places: an answer that comes late speaks of nobody any more.
    pub tells: VecDeque<Vec<MemberId>>,
    /// Whose [`Command::Request`] is not answered yet: never a second one meanwhile. Their answers say what they
    /// are about, so a leg that begins forgets them.
    #[serde(default)]
    pub requests: BTreeSet<MemberId>,
    /// Whose order to start or restart is not answered yet: never a second one meanwhile.
    pub starts: BTreeSet<MemberId>,
    /// How often the present step failed in a row: the road back, or writing the outcome.
    pub tries: u32,
}

/// The rollout after an event, and what is to be done now.
///
/// Total: every phase has an answer to every event. An event that means nothing to a phase leaves it as it
/// is: the reasons stand at the arms.
#[must_use]
pub fn next(mut rollout: Rollout, event: Event, now: Moment) -> (Rollout, Vec<Command>) {
    let mut commands = Vec::new();
    let before = rollout.clone();
    rollout.note(&event, now);
    match (&event, rollout.outcome()) {
        // It is over: whatever still arrives is for the next rollout.
        (_, Some(_)) => {}
        (Event::Deposed, None) => rollout.phase = Phase::Done(Outcome::Deposed),
        (_, None) => road::advance(&mut rollout, event, now, &mut commands),
    }
    let news = rollout.news_since(&before);
    commands.splice(0..0, news);
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
    /// A rollout that is to be given to [`start`]. `back` is the number set aside for the way back.
    #[must_use]
    pub fn new(
        id: RolloutId,
        kind: Kind,
        (from, to, back): (Option<Side>, Side, SwitchNumber),
        limits: Limits,
        members: BTreeMap<MemberId, Member>,
    ) -> Self {
        Self {
            id,
            kind,
            from,
            to,
            back,
            limits,
            members,
            leg: Leg::There,
            phase: Phase::Preparing(Preparing::start()),
            agent_lost: false,
            pending: Pending::default(),
        }
    }

    /// When the driver has to send [`Event::Tick`] at the latest. None: an answer to a command is pending,
    /// which always comes (see [`Command`]), or it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let lost = self.agent_lost;
        let members = || {
            self.members
                .values()
                .filter_map(|member| member.next_moment(lost))
                .min()
        };
        match &self.phase {
            Phase::Preparing(preparing) => preparing.votes.values().min().copied(),
            Phase::Recording | Phase::Pausing | Phase::Publishing { .. } | Phase::Unpausing { .. } => None,
            Phase::Verifying { .. } => members(),
            Phase::Baking { until } => members().into_iter().chain([*until]).min(),
            Phase::Closing { retry_at, .. } => *retry_at,
            Phase::Stuck {
                retry_at,
                switched: true,
                ..
            } => members().into_iter().chain([*retry_at]).min(),
            Phase::Stuck {
                retry_at,
                switched: false,
                ..
            } => Some(*retry_at),
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

    /// Whether it goes to the new release.
    fn there(&self) -> bool {
        match self.leg {
            Leg::There => true,
            Leg::Back(_) => false,
        }
    }

    /// The switch that everybody has to leave: on the way back, the failed one.
    fn failed_switch(&self) -> Option<SwitchNumber> {
        match self.leg {
            Leg::There => None,
            Leg::Back(_) => Some(self.to.switch),
        }
    }

    /// Whether this is a first rollout on its way back: nothing to switch to.
    fn withdraws(&self) -> bool {
        self.kind == Kind::First && self.from.is_none()
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
