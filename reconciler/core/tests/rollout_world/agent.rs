//! The simulated guard and agent, and the services behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::rollout::{Answer, CheckVerdict, Command, Event, Evidence, Life, MemberId, Side};
use lockstep_core::service::Reload;
use lockstep_protocol::{InstanceToken, SwitchNumber};

use super::{Process, World, life};

impl World {
    /// Carries out a command of the agent's.
    pub(super) fn order(&mut self, command: Command, well: bool) {
        match command {
            Command::Examine(whom) => {
                self.notice_all();
                let unfit = whom.first().filter(|_| !well);
                let unfit = unfit.map(|id| (id.clone(), "it does not catch SIGUSR1".to_owned()));
                self.see(Event::Examined {
                    unfit: unfit.into_iter().collect(),
                });
            }
            Command::Check(service) => {
                let verdict = if well {
                    CheckVerdict::Passed
                } else {
                    CheckVerdict::Refused("max_positions is 0".to_owned())
                };
                self.see(Event::Checked { service, verdict });
            }
            Command::Offer(whom) => {
                let rollout = self.first.id.clone();
                for id in whom {
                    if let Some(process) = self.instances.get_mut(&id).unwrap().process.as_mut() {
                        process.offer = Some(rollout.clone());
                    }
                }
            }
            Command::Hold(_) => self.held = true,
            Command::Release => {
                self.held = false;
                for instance in self.instances.values_mut() {
                    if let Some(process) = &mut instance.process {
                        process.offer = None;
                    }
                }
            }
            Command::Pause(whom) => {
                let unfit = whom.iter().find(|id| !self.is_meant(id)).cloned();
                if unfit.is_none() && well {
                    for id in &whom {
                        self.process(id).paused = true;
                    }
                    self.see(Event::Paused);
                } else {
                    self.see(Event::PauseFailed {
                        reason: format!("{} did not stop in time", unfit.as_ref().unwrap_or(&whom[0])),
                    });
                }
            }
            Command::Unpause(whom) => {
                let unsent = self.send(&whom, well);
                self.thaw();
                let expired = std::mem::take(&mut self.expired);
                self.see(Event::Unpaused {
                    pause: Duration::from_millis(1),
                    expired,
                    unsent,
                });
            }
            Command::Tell(whom) => {
                let unsent = self.send(&whom, well);
                self.see(Event::Told { unsent });
            }
            Command::Request(switch, whom) => {
                for id in whom {
                    self.request(&id, switch);
                }
            }
            Command::Restart(whom) => {
                for id in whom {
                    self.end(&id, "was stopped");
                    self.instances.get_mut(&id).unwrap().starting = true;
                }
            }
            // One that lives by then has been seen to start.
            Command::Start(whom) => {
                for id in whom {
                    let instance = self.instances.get_mut(&id).unwrap();
                    instance.starting = instance.process.is_none();
                }
            }
            Command::Probe(whom) => self.probing.extend(whom),
            Command::Look => self.look(),
            other => panic!("{other:?} is none of the agent's"),
        }
    }

    /// Whether the process that lives is the one that the machine knows.
    fn is_meant(&self, id: &MemberId) -> bool {
        let known = self
            .rollout
            .as_ref()
            .map(|rollout| rollout.members[id].life.clone());
        let lives = life(self.instances[id].process.as_ref());
        lives != Life::Dead && known == Some(lives)
    }

    fn send(&mut self, whom: &[MemberId], well: bool) -> BTreeMap<MemberId, String> {
        let current = self.volume.current;
        let mut unsent = BTreeMap::new();
        for (n, id) in whom.iter().enumerate() {
            if !well && n == 0 {
                unsent.insert(id.clone(), "it does not catch SIGUSR1".to_owned());
            } else if self.is_meant(id) {
                let process = self.process(id);
                process.signal = true;
                process.told = current;
            } else {
                unsent.insert(id.clone(), "its process ended".to_owned());
            }
        }
        unsent
    }

    /// A request to reload reaches a service, or nobody. One that it had not answered is given up, and its answer may
    /// be on its way all the same.
    fn request(&mut self, id: &MemberId, switch: SwitchNumber) {
        let current = self.volume.current;
        if self.is_meant(id) {
            if self.process(id).request.is_some() {
                self.answer(id, Answer::Accepted);
            }
            let process = self.process(id);
            process.signal = true;
            process.told = current;
            process.request = Some(switch);
        } else if let Some(Life::Alive(instance)) = self
            .rollout
            .as_ref()
            .map(|rollout| rollout.members[id].life.clone())
        {
            self.see(Event::Answered {
                member: id.clone(),
                instance,
                switch,
                answer: Answer::Missing("connection refused".to_owned()),
            });
        }
    }

    /// A service answers the request to reload.
    pub(super) fn answer(&mut self, id: &MemberId, answer: Answer) {
        let process = self.process(id);
        let instance = process.token.clone();
        let switch = process.request.take().expect("something to answer");
        self.see(Event::Answered {
            member: id.clone(),
            instance,
            switch,
            answer,
        });
    }

    /// Something that the agent sees or answers.
    pub(super) fn see(&mut self, event: Event) {
        if self.rollout.is_some() && (self.agent_up || event == Event::AgentLost) {
            self.from_agent.push_back(event);
        }
    }

    /// Looks for processes that somebody else started.
    fn notice_all(&mut self) {
        for id in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.notice(&id);
        }
    }

    /// Notices a process that somebody else started.
    pub(super) fn notice(&mut self, id: &MemberId) {
        let instance = self.instances.get_mut(id).unwrap();
        let unseen = instance.unseen && self.agent_up;
        if let (true, Some(process)) = (unseen, &instance.process) {
            instance.unseen = false;
            let instance = process.token.clone();
            self.see(Event::Started {
                member: id.clone(),
                instance,
            });
            self.show(id);
        }
    }

    /// Shows the status file of an instance.
    pub(super) fn show(&mut self, id: &MemberId) {
        if self.instances[id].unseen {
            return;
        }
        let statement = self.instances[id]
            .process
            .as_ref()
            .and_then(|process| process.statement.clone());
        if let Some(status) = statement {
            let event = Event::Evidence {
                member: id.clone(),
                evidence: Evidence::Stated(Box::new(status)),
            };
            // A level that is on its way already says nothing new.
            if !self.from_agent.contains(&event) {
                self.see(event);
            }
        }
    }

    pub(super) fn look(&mut self) {
        self.notice_all();
        for id in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.show(&id);
        }
    }

    pub(super) fn process(&mut self, id: &MemberId) -> &mut Process {
        let instance = self.instances.get_mut(id).expect("an instance");
        instance.process.as_mut().expect("a process that lives")
    }

    /// A process begins.
    pub(super) fn start(&mut self, id: &MemberId) {
        self.begun += 1;
        let token = InstanceToken(format!("{}.{}", id.service, self.begun));
        let current = self.volume.current;
        let instance = self.instances.get_mut(id).unwrap();
        instance.starting = false;
        instance.process = Some(Process::new(token.clone(), current));
        if !instance.service.supervised {
            instance.unseen = true;
            return;
        }
        self.see(Event::Started {
            member: id.clone(),
            instance: token,
        });
    }

    /// A process ends.
    pub(super) fn end(&mut self, id: &MemberId, how: &str) {
        let open = self.instances[id]
            .process
            .as_ref()
            .is_some_and(|process| process.request.is_some());
        if open {
            self.answer(id, Answer::Missing("connection reset".to_owned()));
        }
        let instance = self.instances.get_mut(id).unwrap();
        instance.deaf = false;
        let unseen = std::mem::take(&mut instance.unseen);
        if let Some(process) = instance.process.take().filter(|_| !unseen) {
            self.see(Event::Ended {
                member: id.clone(),
                instance: process.token,
                how: how.to_owned(),
            });
        }
    }

    /// A service runs what it read.
    pub(super) fn apply(&mut self, id: &MemberId) {
        let tier = self.instances[id].service.tier;
        let loaded = self.process(id).loading.take().expect("something to apply");
        let side = self.side(loaded);
        let process = self.process(id);
        process.runs = Some(loaded);
        process.state_applied(&side, tier);
        self.look_again(id, loaded);
        self.show(id);
    }

    /// A service refuses what it read.
    pub(super) fn refuse(&mut self, id: &MemberId) {
        let loaded = self.process(id).loading.take().expect("something to refuse");
        let side = self.side(loaded);
        let runs = self.process(id).runs.map(|runs| self.side(runs));
        self.process(id).state_rejected(&side, runs.as_ref());
        self.look_again(id, loaded);
        self.show(id);
    }

    /// A service claims to have applied what it read, and goes on with what it ran.
    pub(super) fn lie(&mut self, id: &MemberId) {
        let tier = self.instances[id].service.tier;
        let loaded = self.process(id).loading.take().expect("something to lie about");
        let side = self.side(loaded);
        let runs = self.process(id).runs.map(|runs| self.side(runs));
        let process = self.process(id);
        process.state_applied(&side, tier);
        if let Some(statement) = &mut process.statement {
            statement.switch = runs.as_ref().map(|side| side.switch);
            statement.digest = runs.as_ref().map(|side| side.digest);
        }
        self.look_again(id, loaded);
        self.show(id);
    }

    /// After each attempt a service looks whether `current` moved meanwhile.
    fn look_again(&mut self, id: &MemberId, loaded: SwitchNumber) {
        let moved = self.volume.current.is_some_and(|current| current != loaded);
        let reloads = match self.instances[id].service.reload {
            Reload::Signal(_) | Reload::Http(_) | Reload::Watch => true,
            Reload::Restart => false,
        };
        if moved && reloads {
            self.process(id).signal = true;
        }
    }

    pub(super) fn side(&self, switch: SwitchNumber) -> Side {
        let revision = match &self.first.from {
            Some(from) if switch != self.first.to.switch => from.revision.clone(),
            Some(_) | None => self.first.to.revision.clone(),
        };
        Side {
            switch,
            revision,
            digest: self.digest_of(switch),
        }
    }

    pub(crate) fn thaw(&mut self) {
        for instance in self.instances.values_mut() {
            if let Some(process) = &mut instance.process {
                process.paused = false;
            }
        }
    }

    /// The guard's connection closes: whoever is paused goes on, and the restart policy applies.
    pub(super) fn let_go(&mut self) {
        self.thaw();
        self.held = false;
        self.probing.clear();
        for instance in self.instances.values_mut() {
            if let Some(process) = &mut instance.process {
                process.request = None;
            }
        }
    }

    pub(super) fn lose_agent(&mut self) {
        self.see(Event::AgentLost);
        self.let_go();
        self.agent_up = false;
    }

    pub(super) fn crash(&mut self) {
        self.note(|| "crash".to_owned());
        self.rollout = None;
        self.todo.clear();
        self.from_volume.clear();
        self.from_agent.clear();
        self.seen_before_switch = 0;
        self.volume.staged.clear();
        self.let_go();
        for instance in self.instances.values_mut() {
            instance.starting = false;
        }
    }
}
