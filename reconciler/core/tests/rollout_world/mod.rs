//! A world to roll out in: a volume, a journal, a guard and services, simulated, without time of its own.
//!
//! [`World::acts`] lists what may happen next and [`World::act`] makes it happen; whoever drives it (dice,
//! a model checker, a script) chooses. After each step [`World::check`] compares what is so with what was
//! promised. The world knows the truth, the machine only what it is told.

#![allow(dead_code, unused_imports, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod act;
mod agent;
mod build;
mod check;
mod key;
mod volume;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lockstep_core::rollout::{self, Command, Event, Found, Life, MemberId, Moment, Notice, Outcome, Rollout};
use lockstep_core::service::ServiceName;
use lockstep_protocol::{Digest, InstanceToken, RolloutId, Status, SwitchNumber};

pub(crate) use act::Act;
pub(crate) use build::{Service, command_line, over_http, world};

/// A fault, or another thing that happens only so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The coordinator dies.
    Crash,
    /// A write on the volume, or to the journal, fails.
    Disk,
    /// The agent is lost.
    Agent,
    /// A service refuses a release.
    Refuse,
    /// A process ends.
    Die,
    /// A pause, a reload, a start is not possible.
    Guard,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) token: InstanceToken,
    /// What `current` pointed to when it began.
    pub(crate) born: Option<SwitchNumber>,
    /// What it runs.
    pub(crate) runs: Option<SwitchNumber>,
    /// What it is parsing.
    pub(crate) loading: Option<SwitchNumber>,
    /// What it looked at last.
    pub(crate) saw: Option<SwitchNumber>,
    /// What `current` pointed to when its last reload was sent.
    pub(crate) told: Option<SwitchNumber>,
    /// Whether a reload waits to be handled.
    pub(crate) signal: bool,
    /// The switch that the request to reload is about that it has not answered.
    pub(crate) request: Option<SwitchNumber>,
    /// Whether it is stopped.
    pub(crate) paused: bool,
    /// The offer that it has not answered.
    pub(crate) offer: Option<RolloutId>,
    /// Its status file.
    pub(crate) statement: Option<Status>,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) service: Service,
    pub(crate) process: Option<Process>,
    /// An order to start it is under way.
    pub(crate) starting: bool,
    /// It never reads again until the world is well.
    pub(crate) deaf: bool,
    /// The agent has not noticed yet that somebody else started it.
    pub(crate) unseen: bool,
}

/// The volume with its journal, and the quarantine of the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) current: Option<SwitchNumber>,
    pub(crate) staged: BTreeSet<SwitchNumber>,
    pub(crate) flushed: bool,
    pub(crate) intent: Option<Box<Rollout>>,
    pub(crate) outcome: Option<Outcome>,
    /// Why the revision is in quarantine.
    pub(crate) quarantined: Option<String>,
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: Moment,
    /// The coordinator's memory; none while it is dead.
    pub(crate) rollout: Option<Rollout>,
    /// Commands that are not carried out yet.
    pub(crate) todo: VecDeque<Command>,
    pub(crate) volume: Volume,
    pub(crate) instances: BTreeMap<MemberId, Instance>,
    /// What the volume answered and is not delivered yet.
    pub(crate) from_volume: VecDeque<Event>,
    /// The same of the agent.
    pub(crate) from_agent: VecDeque<Event>,
    pub(crate) agent_up: bool,
    pub(crate) held: bool,
    /// The guard ended the pause by itself, and has not said so.
    pub(crate) expired: bool,
    /// Events of the agent that happened before the switch, and are delivered before it.
    pub(crate) seen_before_switch: usize,
    pub(crate) probing: BTreeSet<MemberId>,
    /// How often each fault may still happen.
    pub(crate) faults: BTreeMap<Fault, u32>,
    /// Whether services do what they do also between two commands of one step.
    pub(crate) interleaved: bool,
    /// Processes begun so far.
    pub(crate) begun: u32,
    pub(crate) commands: usize,
    pub(crate) events: usize,
    pub(crate) ticked: bool,
    /// Whether the outcome was reached.
    pub(crate) stuck_once: bool,
    pub(crate) log: Option<Vec<String>>,
    pub(crate) first: Rollout,
    /// Broken promises, found while acting.
    pub(crate) broken: Vec<String>,
}

impl World {
    /// Delivers an event to the machine.
    pub(crate) fn tell(&mut self, event: Event) {
        self.note(|| format!("event    {}", build::event_line(&event)));
        // Nobody hands an ended rollout what somebody else started meanwhile: it may have read what was current before the
        // way back, and is judged by what it states like everybody between rollouts.
        let late = |rollout: &Rollout| {
            rollout.outcome().is_some()
                && matches!(&event, Event::Started { member, .. } if !self.instances[member].service.supervised)
        };
        if self.rollout.as_ref().is_some_and(late) {
            return;
        }
        let Some(rollout) = self.rollout.take() else {
            return;
        };
        self.events += 1;
        self.ticked = event == Event::Tick;
        let (rollout, commands) = rollout::next(rollout, event, self.now);
        self.rollout = Some(rollout);
        self.commands += commands.len();
        self.todo.extend(commands);
        self.check_step();
    }

    /// A coordinator starts where another one died.
    pub(crate) fn recover(&mut self) {
        let intent = self
            .volume
            .intent
            .clone()
            .filter(|_| self.volume.outcome.is_none());
        let Some(intent) = intent else {
            return;
        };
        let found = Found {
            current: self.volume.current,
            quarantined: self.volume.quarantined.clone(),
            alive: self.alive(),
        };
        self.note(|| {
            let current = found
                .current
                .map_or("nothing".into(), |switch| switch.to_string());
            let quarantined = if found.quarantined.is_some() {
                ", quarantined"
            } else {
                ""
            };
            format!("recover  current {current}{quarantined}")
        });
        let (rollout, commands) = rollout::recover(*intent, &found, self.now);
        self.rollout = Some(rollout);
        self.commands += commands.len();
        self.todo.extend(commands);
        // The new agent tells what it sees.
        self.agent_up = true;
        self.look();
        self.check_step();
    }

    /// The tokens of all that live.
    pub(crate) fn alive(&self) -> BTreeMap<MemberId, InstanceToken> {
        let lives = self.instances.iter().filter(|(_, instance)| !instance.unseen);
        lives
            .filter_map(|(id, instance)| Some((id.clone(), instance.process.as_ref()?.token.clone())))
            .collect()
    }

    /// Whether the coordinator lives and has nothing left to do.
    pub(crate) fn done(&self) -> Option<&Outcome> {
        self.rollout.as_ref()?.outcome().filter(|_| self.todo.is_empty())
    }

    /// Whether nobody has anything to take up: the coordinator is dead and no rollout is open.
    pub(crate) fn over(&self) -> bool {
        self.rollout.is_none() && (self.volume.intent.is_none() || self.volume.outcome.is_some())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    fn spend(&mut self, fault: Fault) {
        let left = self.faults.get_mut(&fault).expect("a fault that is left");
        *left -= 1;
    }

    pub(crate) fn left(&self, fault: Fault) -> bool {
        self.faults.get(&fault).is_some_and(|left| *left > 0)
    }

    /// The digest behind a switch.
    pub(crate) fn digest_of(&self, switch: SwitchNumber) -> Digest {
        let rollout = &self.first;
        match (&rollout.from, switch == rollout.to.switch) {
            (_, true) | (None, _) => rollout.to.digest,
            (Some(from), false) => from.digest,
        }
    }
}

/// What a notice says in one line.
pub(crate) fn notice_line(notice: &Notice) -> String {
    let mut line = notice.kind.as_str().to_owned();
    if let Some(member) = &notice.member {
        line.push_str(&format!(" {member}"));
    }
    if !notice.message.is_empty() {
        line.push_str(&format!(": {}", notice.message));
    }
    line
}

pub(crate) fn id(name: &str) -> MemberId {
    MemberId::only(&ServiceName::new(name))
}

pub(crate) fn life(process: Option<&Process>) -> Life {
    process.map_or(Life::Dead, |process| Life::Alive(process.token.clone()))
}
