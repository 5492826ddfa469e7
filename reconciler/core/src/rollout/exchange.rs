//! What goes into the machine and what comes out of it: events and commands.
//!
//! # What the machine relies on
//!
//! - Commands are carried out in the order in which they are given.
//! - A command that names an answer gets exactly one, also when it fails. The one exception: when the agent
//!   is lost, everything that was ordered of it and is not answered stays unanswered, and
//!   [`Event::AgentLost`] comes after the last answer.
//! - The answers of the volume come in the order of its commands, and so do those of the agent to
//!   [`Command::Tell`]. An order to start or restart may take its time, and so may a request: its answer names
//!   the instance and the switch that it is about.
//! - What happened to an instance before `current` moved is told before [`Event::Switched`]: a start that is
//!   told after it counts as a start on the new release. For the same reason services are held before it is
//!   found out who lives ([`super::Found`]).
//! - A failure means that nothing was done: after [`Event::SwitchFailed`] `current` is where it was.
//! - [`Command::StageBack`], [`Command::Flush`], [`Command::Withdraw`], [`Command::Hold`] and
//!   [`Command::Release`] may come again.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_protocol::{InstanceToken, SwitchNumber};

use super::{Evidence, Failure, MemberId, Notice, Outcome};
use crate::service::ServiceName;

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
    /// A member was asked over HTTP to reload.
    Answered {
        /// Which member.
        member: MemberId,
        /// The instance that was meant.
        instance: InstanceToken,
        /// The switch that was current.
        switch: SwitchNumber,
        /// What it said.
        answer: Answer,
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

/// How a service answered the request to reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// That it will, or did.
    Accepted,
    /// That it does not; this is what it said.
    Refused(String),
    /// Not at all, or it could not be asked: why.
    Missing(String),
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Build the release and stage the switch `to.switch`. Answered by Built or BuildFailed.
    Build,
    /// Stage the switch `back` to the previous release, or find it staged. Answered by Built or BuildFailed.
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
    /// Ask these over HTTP to reload, now that this switch is current. Answered by Answered for each.
    Request(SwitchNumber, Vec<MemberId>),
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
    /// Stop these services and take `current` away, flushed. Answered by Withdrawn or WithdrawFailed.
    Withdraw(Vec<ServiceName>),
    /// Remember that this revision failed, flushed before anything is reported.
    Quarantine(Vec<Failure>),
    /// Write the outcome to the journal. Answered by OutcomeRecorded or OutcomeFailed.
    RecordOutcome(Outcome),
    /// Tell people.
    Report(Notice),
}
