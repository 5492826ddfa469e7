//! What may happen next, and making it happen.

use lockstep_core::rollout::{
    Answer, Command, Event, Evidence, Kind, MemberId, Moment, ProbeResult, Progress,
};
use lockstep_core::service::Reload;

use super::{Fault, World};

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// The next command is carried out.
    Execute,
    /// It is tried and fails.
    ExecuteBadly,
    /// An answer of the volume reaches the machine.
    FromVolume,
    /// What the agent saw or answered reaches the machine.
    FromAgent,
    /// An order to start comes to its end.
    FinishStart(MemberId),
    /// It fails.
    FailStart(MemberId),
    /// The guard starts a service by its restart policy, or somebody else starts his own.
    StartByPolicy(MemberId),
    /// The agent notices a process that somebody else started.
    Notice(MemberId),
    /// A service begins to read what is current.
    Read(MemberId),
    /// It runs what it read and says so.
    Apply(MemberId),
    /// It refuses what it read.
    Refuse(MemberId),
    /// It says that it applied what it read, and names another switch as running.
    Lie(MemberId),
    /// It reads nothing any more.
    Deafen(MemberId),
    /// Its process ends.
    Die(MemberId),
    /// It answers an offer.
    Vote(MemberId, bool),
    /// It answers the request to reload.
    Answer(MemberId, bool),
    /// It is probed.
    Probe(MemberId, bool),
    /// The agent is lost.
    LoseAgent,
    /// It is back.
    ReturnAgent,
    /// The coordinator dies.
    Crash,
    /// Another one starts.
    Recover,
    /// Time passes to the next deadline.
    Tick,
}

impl World {
    /// Everything that may happen next.
    pub(crate) fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        let alive = self.rollout.is_some();
        if !self.todo.is_empty() {
            acts.push(Act::Execute);
            if self.may_fail() {
                acts.push(Act::ExecuteBadly);
            }
        }
        if alive && self.left(Fault::Crash) {
            acts.push(Act::Crash);
        }
        if !self.todo.is_empty() && !self.interleaved {
            return acts;
        }
        if alive && self.todo.is_empty() {
            if !self.from_volume.is_empty() && !self.switched_too_early() {
                acts.push(Act::FromVolume);
            }
            if !self.from_agent.is_empty() {
                acts.push(Act::FromAgent);
            }
            if self.done().is_none() {
                acts.push(Act::Tick);
            }
        }
        if !alive && !self.over() {
            acts.push(Act::Recover);
        }
        if self.agent_up && alive && self.left(Fault::Agent) {
            acts.push(Act::LoseAgent);
        }
        if !self.agent_up {
            acts.push(Act::ReturnAgent);
        }
        for id in self.instances.keys() {
            self.acts_of(id, &mut acts);
        }
        acts
    }

    /// What happened to instances before a switch is told before the switch is.
    fn switched_too_early(&self) -> bool {
        self.from_volume.front() == Some(&Event::Switched) && self.seen_before_switch > 0
    }

    fn acts_of(&self, id: &MemberId, acts: &mut Vec<Act>) {
        let instance = &self.instances[id];
        let Some(process) = &instance.process else {
            if instance.starting {
                if self.volume.current.is_some() {
                    acts.push(Act::FinishStart(id.clone()));
                }
                if self.left(Fault::Guard) {
                    acts.push(Act::FailStart(id.clone()));
                }
            } else if (!self.held || !instance.service.supervised)
                && self.volume.current.is_some()
                && self.first.kind != Kind::First
            {
                acts.push(Act::StartByPolicy(id.clone()));
            }
            return;
        };
        if self.left(Fault::Die) {
            acts.push(Act::Die(id.clone()));
        }
        if instance.unseen && self.agent_up && self.rollout.is_some() {
            acts.push(Act::Notice(id.clone()));
        }
        if process.paused {
            return;
        }
        if process.loading.is_some() {
            acts.push(Act::Apply(id.clone()));
            // Nobody refuses what it runs.
            let new = process.loading != process.runs;
            if new && self.left(Fault::Refuse) && instance.service.tier.states() {
                acts.extend([
                    Act::Refuse(id.clone()),
                    Act::Lie(id.clone()),
                    Act::Deafen(id.clone()),
                ]);
            }
        } else if !instance.deaf && self.wants_to_read(id) {
            acts.push(Act::Read(id.clone()));
            if self.left(Fault::Refuse) && instance.service.tier.states() {
                acts.push(Act::Deafen(id.clone()));
            }
        }
        if process.offer.is_some() {
            acts.push(Act::Vote(id.clone(), true));
            if self.left(Fault::Refuse) {
                acts.push(Act::Vote(id.clone(), false));
            }
        }
        if process.request.is_some() {
            acts.push(Act::Answer(id.clone(), true));
            if self.left(Fault::Refuse) {
                acts.push(Act::Answer(id.clone(), false));
            }
        }
        if self.is_waited_for(id) && self.probing.contains(id) && self.agent_up {
            acts.push(Act::Probe(id.clone(), true));
            if self.left(Fault::Refuse) {
                acts.push(Act::Probe(id.clone(), false));
            }
        }
    }

    fn wants_to_read(&self, id: &MemberId) -> bool {
        let instance = &self.instances[id];
        let Some(process) = &instance.process else {
            return false;
        };
        let moved = self.volume.current.is_some() && process.saw != self.volume.current;
        let by_itself = match instance.service.reload {
            Reload::Watch => true,
            Reload::Signal(_) | Reload::Http(_) | Reload::Restart => process.saw.is_none(),
        };
        self.volume.current.is_some() && (process.signal || (moved && by_itself))
    }

    fn is_waited_for(&self, id: &MemberId) -> bool {
        let progress = self
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.members.get(id))
            .map(|member| &member.progress);
        matches!(progress, Some(Progress::Told { .. }))
    }

    fn may_fail(&self) -> bool {
        match self.todo.front() {
            Some(
                Command::Build
                | Command::StageBack
                | Command::RecordIntent
                | Command::Switch(_)
                | Command::Flush
                | Command::Withdraw(_)
                | Command::RecordOutcome(_),
            ) => self.left(Fault::Disk),
            Some(Command::Pause(_) | Command::Unpause(_) | Command::Tell(_)) => {
                self.left(Fault::Guard) && self.agent_up
            }
            Some(Command::Examine(_)) => self.left(Fault::Guard) && self.agent_up,
            Some(Command::Check(_)) => self.left(Fault::Refuse) && self.agent_up,
            _ => false,
        }
    }

    /// Makes it happen.
    pub(crate) fn act(&mut self, act: &Act) {
        match act {
            Act::Execute => self.execute(true),
            Act::ExecuteBadly => {
                let fault = match self.todo.front() {
                    Some(
                        Command::Pause(_) | Command::Unpause(_) | Command::Tell(_) | Command::Examine(_),
                    ) => Fault::Guard,
                    Some(Command::Check(_)) => Fault::Refuse,
                    _ => Fault::Disk,
                };
                self.spend(fault);
                self.execute(false);
            }
            Act::FromVolume => {
                let event = self.from_volume.pop_front().expect("an answer of the volume");
                self.tell(event);
            }
            Act::FromAgent => {
                let event = self.from_agent.pop_front().expect("an event of the agent");
                self.seen_before_switch = self.seen_before_switch.saturating_sub(1);
                self.tell(event);
            }
            Act::FinishStart(id) | Act::StartByPolicy(id) => self.start(id),
            Act::Notice(id) => self.notice(id),
            Act::FailStart(id) => {
                self.spend(Fault::Guard);
                self.instances.get_mut(id).unwrap().starting = false;
                self.see(Event::StartFailed {
                    member: id.clone(),
                    reason: "no such file".to_owned(),
                });
            }
            Act::Read(id) => {
                let current = self.volume.current;
                let process = self.process(id);
                process.signal = false;
                process.loading = current;
                process.saw = current;
            }
            Act::Apply(id) => self.apply(id),
            Act::Refuse(id) => {
                self.spend(Fault::Refuse);
                self.refuse(id);
            }
            Act::Lie(id) => {
                self.spend(Fault::Refuse);
                self.lie(id);
            }
            Act::Deafen(id) => {
                self.spend(Fault::Refuse);
                self.instances.get_mut(id).unwrap().deaf = true;
                self.process(id).loading = None;
                self.process(id).signal = false;
            }
            Act::Die(id) => {
                self.spend(Fault::Die);
                self.end(id, "exited with status 1");
            }
            Act::Vote(id, accept) => {
                if !accept {
                    self.spend(Fault::Refuse);
                }
                self.process(id).vote(*accept);
                self.show(id);
            }
            Act::Answer(id, accepts) => {
                let answer = if *accepts {
                    Answer::Accepted
                } else {
                    self.spend(Fault::Refuse);
                    Answer::Refused("status 500: max_positions is 0".to_owned())
                };
                self.answer(id, answer);
            }
            Act::Probe(id, passes) => {
                if !passes {
                    self.spend(Fault::Refuse);
                }
                let failure = (!passes).then(|| "it answered 503".to_owned());
                let began = self.now;
                self.see(Event::Evidence {
                    member: id.clone(),
                    evidence: Evidence::Probed(ProbeResult { began, failure }),
                });
            }
            Act::LoseAgent => {
                self.spend(Fault::Agent);
                self.lose_agent();
            }
            Act::ReturnAgent => {
                self.agent_up = true;
                for instance in self.instances.values_mut() {
                    instance.starting = false;
                }
                let alive = self.alive();
                self.see(Event::AgentBack { alive });
                self.look();
            }
            Act::Crash => {
                self.spend(Fault::Crash);
                self.crash();
            }
            Act::Recover => self.recover(),
            Act::Tick => {
                let deadline = self
                    .rollout
                    .as_ref()
                    .and_then(lockstep_core::rollout::Rollout::deadline);
                self.now = self
                    .now
                    .max(deadline.unwrap_or(Moment(self.now.0 + std::time::Duration::from_secs(1))));
                self.tell(Event::Tick);
            }
        }
        self.check();
    }

    /// Lets the world be well: nothing fails any more, and everybody does what is asked. Runs until it is
    /// over.
    pub(crate) fn become_well(&mut self) -> Result<(), String> {
        self.faults.clear();
        for instance in self.instances.values_mut() {
            if std::mem::take(&mut instance.deaf)
                && let Some(process) = &mut instance.process
            {
                // It reads again as soon as it is told, or by itself.
                process.signal |= process.told != process.saw;
            }
        }
        for _ in 0..3000 {
            if let Some(broken) = self.broken.first() {
                return Err(broken.clone());
            }
            if self.over() || (self.done().is_some() && self.from_agent.is_empty()) {
                return Ok(());
            }
            let acts = self.acts();
            let next = acts
                .iter()
                .find(|act| !matches!(act, Act::Tick | Act::StartByPolicy(_)))
                .or_else(|| acts.iter().find(|act| matches!(act, Act::StartByPolicy(_))))
                .or(acts.first())
                .cloned()
                .ok_or("nothing can happen any more, and it is not over")?;
            self.act(&next);
        }
        Err("it goes on for ever".to_owned())
    }
}
