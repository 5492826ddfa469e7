//! The agent: knows the instances of this machine, orders the guard, gathers evidence, reports.
//!
//! One task owns it all: the connection to the guard, the watch on the instances' folders, the probes and
//! the checks. The coordinator speaks to it by [`Order`] and hears [`Report`]; nothing is shared.
//!
//! ```text
//! coordinator --Order--> agent --Request--> guard
//!             <-Report--       <-Message---
//!                              <- inotify, probes, checks
//! ```
//!
//! It also keeps the services' output files small, while no rollout is under way.
//!
//! It never decides: what evidence means is core's business. It must never send a signal or stop a process
//! itself: that is the guard's business, which outlives it.

mod answers;
mod checks;
mod commands;
mod connecting;
mod evidence;
mod exposition;
mod folders;
mod foreign;
mod http;
mod in_front;
mod link;
mod mounts;
mod orders;
mod output;
mod pending;
mod phrases;
mod probes;
mod requests;
mod task;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::rollout::{CheckVerdict, Event, MemberId};
use lockstep_core::service::{HttpReload, Reload, ServiceName};
use lockstep_guard::wire::{Definition, Supervised};
use lockstep_protocol::{InstanceToken, Offer, RolloutId, SwitchNumber};
use tokio::sync::mpsc;

pub(crate) use folders::{FolderError, Folders, OFFER, STATUS};
pub(crate) use foreign::{Named, expected_user, named, user_name};
pub(crate) use in_front::{InFront, hint, in_front, would_kill_behind};
pub(crate) use link::{LinkError, Terms, claim, end_unused};
pub(crate) use mounts::pinned_to_a_release;
pub(crate) use output::Output;
pub(crate) use requests::listens;
pub(crate) use task::{Agent, AgentFailed};

/// What the coordinator asks of the agent.
#[derive(Debug)]
pub enum Order {
    /// Services start on order alone.
    Hold(Vec<ServiceName>),
    /// The restart policy applies again, probes slow down, offers are taken back.
    Release,
    /// See whether these can be signalled and see the volume. Answered by [`Event::Examined`].
    Examine(Vec<Target>),
    /// Pause these. Answered by [`Event::Paused`] or [`Event::PauseFailed`].
    Pause {
        /// Whom.
        targets: Vec<Target>,
        /// How long confirming may take.
        within: Duration,
        /// How long they may stay paused.
        limit: Duration,
    },
    /// Queue reloads to these and unpause all. Answered by [`Event::Unpaused`].
    Unpause(Vec<Target>),
    /// Send reload signals to these, which are not paused. Answered by [`Event::Told`].
    Tell(Vec<Target>),
    /// Ask these over HTTP to reload, now that this switch is current. Answered by [`Event::Answered`] for each.
    Request(SwitchNumber, Vec<Target>),
    /// Send reloads that were owed from before. Answered by [`Report::Reminded`], maybe in parts: they belong to no
    /// rollout.
    Remind(Vec<Target>),
    /// End and start these. Answered by [`Event::Ended`] and [`Event::Started`], or [`Event::StartFailed`].
    Restart(Vec<ServiceName>),
    /// Start these. Answered by [`Event::Started`] or [`Event::StartFailed`].
    Start(Vec<ServiceName>),
    /// Stop these. Answered by [`Report::Stopped`].
    Stop(Vec<ServiceName>),
    /// Stop these, which are not in the settings any more. Not answered.
    Dismiss(Vec<ServiceName>),
    /// Put the offer to these. Answered by their statements.
    Offer(Vec<ServiceName>, Box<Offer>),
    /// Probe these as fast as they are to be probed, until [`Order::Release`].
    Probe(BTreeSet<ServiceName>),
    /// Say again what is known of everybody.
    Look,
    /// Run a check. Answered by [`Report::Checked`].
    Check {
        /// For which rollout: a check that ends after it is of no use to the next.
        rollout: RolloutId,
        /// Whose.
        service: ServiceName,
        /// Program and arguments.
        command: Vec<String>,
        /// How long it may take.
        within: Duration,
    },
    /// Stop all services and end the guard. Answered by [`Report::Down`].
    Shutdown,
}

/// Where the coordinator puts its orders.
///
/// Each goes with the number of losses of the guard that its giver knew of. What was ordered by one who did not know
/// yet that the guard was lost is not carried out on the next connection: nobody waits for its answer any more, and
/// a pause that nobody ends would last until its limit.
#[derive(Debug)]
pub struct Orders {
    sender: mpsc::UnboundedSender<(u64, Order)>,
    losses: u64,
}

impl Orders {
    /// The coordinator's end, and the agent's.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<(u64, Order)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, losses: 0 }, receiver)
    }

    /// Gives an order.
    pub fn give(&self, order: Order) {
        // The agent is gone only while the program ends.
        let _ = self.sender.send((self.losses, order));
    }

    /// [`Event::AgentLost`] was heard.
    pub fn note_loss(&mut self) {
        self.losses += 1;
    }
}

/// An instance that is meant, and how it is told.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which member.
    pub member: MemberId,
    /// The token of the instance that is meant.
    pub instance: InstanceToken,
    /// How it is told.
    pub reload: Reload,
    /// How long it may take to answer, where it answers.
    pub within: Duration,
}

impl Target {
    fn signal(&self) -> Option<&str> {
        match &self.reload {
            Reload::Signal(signal) => Some(signal),
            Reload::Http(_) | Reload::Watch | Reload::Restart => None,
        }
    }

    fn request(&self) -> Option<&HttpReload> {
        match &self.reload {
            Reload::Http(request) => Some(request),
            Reload::Signal(_) | Reload::Watch | Reload::Restart => None,
        }
    }
}

/// What the agent tells the coordinator.
#[derive(Debug)]
pub enum Report {
    /// The guard answers: at the start and after each loss.
    Connected {
        /// All services as the guard knows them.
        services: Vec<Supervised>,
        /// How long each living process has lived.
        ages: BTreeMap<ServiceName, Duration>,
        /// What the instances state.
        heard: Vec<Event>,
        /// Why nobody can be paused and told in the place of these.
        unusable: BTreeMap<ServiceName, String>,
    },
    /// The guard does not answer, or cannot be started: why, with the next step. Ended by [`Report::Connected`].
    Unreachable(String),
    /// What a rollout's machine understands.
    Event(Event),
    /// An instance was started: what the event [`Event::Started`] does not say.
    Process {
        /// Which member.
        member: MemberId,
        /// Its pid.
        pid: u32,
    },
    /// A service was started again by its restart policy.
    Restarted(ServiceName),
    /// What became of the search for a service that somebody else runs, when that is news.
    Sought {
        /// Which.
        service: ServiceName,
        /// What became of it.
        found: Sought,
    },
    /// A check of a rollout came to its end.
    Checked {
        /// Of which rollout.
        rollout: RolloutId,
        /// Whose.
        service: ServiceName,
        /// How.
        verdict: CheckVerdict,
    },
    /// Reloads that were owed were sent.
    Reminded {
        /// To these instances.
        whom: Vec<(MemberId, InstanceToken)>,
        /// But to these not, and why.
        unsent: BTreeMap<MemberId, String>,
    },
    /// Services were stopped, or could not be.
    Stopped(Result<(), String>),
    /// Everything is down, or why not.
    Down(Result<(), String>),
}

/// What became of the search for a service that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// It lives, and is what is expected. Nobody knows yet which release it has read.
    There,
    /// Nobody lives: why.
    Nobody(String),
    /// Who lives there cannot be known, or is not what is expected: why, with the next step.
    Unusable(String),
}

/// Where and as whom a command about a service runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// In which folder.
    pub cwd: PathBuf,
    /// In which environment.
    pub env: BTreeMap<String, String>,
    /// As which user; the reconciler's own when none.
    pub user: Option<String>,
}

/// How the agent is set up.
#[derive(Debug, Clone)]
pub struct AgentSpec {
    /// The state folder, where the guard's socket is.
    pub state: PathBuf,
    /// The program, for starting a guard.
    pub program: PathBuf,
    /// The coordinator's term.
    pub term: u64,
    /// The services that Lockstep runs.
    pub definitions: Vec<Definition>,
    /// Those that somebody else runs.
    pub foreign: BTreeMap<ServiceName, crate::settings::Foreign>,
    /// Files that output is appended to, which are moved aside when they have grown.
    pub outputs: Vec<Output>,
    /// Where and as whom commands about each run.
    pub surroundings: BTreeMap<ServiceName, Surroundings>,
    /// The instances' folders.
    pub folders: Folders,
    /// The services that are paused, and for how long at most.
    pub paused: BTreeMap<ServiceName, Duration>,
    /// The volume: what is live is read there.
    pub volume: PathBuf,
    /// The probes, by service.
    pub probes: BTreeMap<ServiceName, crate::settings::Probe>,
}
