//! Starting services, and what follows their ends.

use crate::clock::Moment;
use crate::exec::NOT_EXECUTED;
use crate::guard::Guard;
use crate::launch::{Launch, Progress};
use crate::leftovers;
use crate::restart::is_started_again;
use crate::service::{Alive, Phase, Waiter, whole_millis};
use crate::signal;
use crate::wire::{Answer, Event, Exit, InstanceRef, Process, Refusal};
use rustix::process::{Signal, WaitStatus, pidfd_send_signal};
use std::mem::replace;
use std::time::Duration;

impl Guard {
    /// Spawns the child of a service that has no process. Its command is executed after the next record.
    pub(crate) fn launch(&mut self, name: &str, waiters: Vec<Waiter>) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        service.wanted = true;
        self.unsaved = true;
        match Launch::spawn(&service.definition, self.inherited, &mut self.processes) {
            Ok(launch) => service.phase = Phase::Launching { launch, waiters },
            Err(error) => {
                let ordered = !waiters.is_empty();
                service.phase = Phase::Down;
                self.refuse_start(name, waiters, &format!("no process can be made: {error}"));
                self.not_started(name, ordered, None);
            }
        }
    }

    /// Starts what its restart policy wants started by now.
    pub(crate) fn start_due(&mut self) {
        if self.ending.is_some() || self.asked_to_end {
            return;
        }
        let now = Moment::now();
        let due: Vec<String> = self
            .services
            .iter()
            .filter(|(name, service)| {
                matches!(service.phase, Phase::Due { at } if at <= now) && !self.is_held(name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.launch(&name, Vec::new());
        }
    }

    /// Writes the record; only then may the children that it names execute their commands.
    pub(crate) fn save_and_go(&mut self) {
        let saved = self.save();
        let launching = |(name, service): (&String, &crate::service::Service)| {
            matches!(service.phase, Phase::Launching { .. }).then(|| name.clone())
        };
        let names: Vec<String> = self.services.iter().filter_map(launching).collect();
        match saved {
            Ok(()) => {
                for name in names {
                    if let Some(Phase::Launching { launch, .. }) =
                        self.services.get_mut(&name).map(|s| &mut s.phase)
                    {
                        launch.go();
                    }
                    self.follow_launch(&name);
                }
            }
            Err(error) => {
                self.log.line(&error.to_string());
                for name in names {
                    self.launch_failed(&name, &format!("it cannot be recorded: {error}"));
                }
            }
        }
    }

    /// A child on its way said something, or ended.
    pub(crate) fn follow_launch(&mut self, name: &str) {
        let Some(Phase::Launching { launch, .. }) =
            self.services.get_mut(name).map(|service| &mut service.phase)
        else {
            return;
        };
        match launch.progress() {
            Progress::Waiting => {}
            Progress::Executed => self.launched(name),
            Progress::Failed(reason) => self.launch_failed(name, &reason),
        }
    }

    fn launched(&mut self, name: &str) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        match replace(&mut service.phase, Phase::Down) {
            Phase::Launching { launch, waiters } => {
                let exit = launch.exit.clone();
                let (process, handle) = launch.into_process();
                let alive = Alive {
                    process: process.clone(),
                    handle,
                    is_child: true,
                    since: Moment::now(),
                };
                service.phase = Phase::Alive(alive);
                if waiters.is_empty() {
                    service.restarts += 1;
                    self.tell_all(&Event::Started {
                        service: name.to_owned(),
                        process: process.clone(),
                    });
                } else {
                    service.restarts = 0;
                    service.back_off = crate::restart::BackOff::default();
                }
                for waiter in waiters {
                    self.answer(
                        waiter,
                        Ok(Answer::Started {
                            process: process.clone(),
                        }),
                    );
                }
                self.log.line(&format!("{name} runs as process {}", process.pid));
                if let Some(exit) = exit {
                    self.ended(name, exit);
                }
            }
            other @ (Phase::Down | Phase::Due { .. } | Phase::Alive(_) | Phase::Stopping { .. }) => {
                service.phase = other;
            }
        }
    }

    fn launch_failed(&mut self, name: &str, reason: &str) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        match replace(&mut service.phase, Phase::Down) {
            Phase::Launching { launch, waiters } => {
                let ordered = !waiters.is_empty();
                let exit = launch.exit.clone().unwrap_or(Exit::Code(NOT_EXECUTED));
                let (process, _) = launch.abandon();
                self.refuse_start(name, waiters, reason);
                self.not_started(name, ordered, Some((process, exit)));
            }
            other @ (Phase::Down | Phase::Due { .. } | Phase::Alive(_) | Phase::Stopping { .. }) => {
                service.phase = other;
            }
        }
    }

    fn refuse_start(&mut self, name: &str, waiters: Vec<Waiter>, reason: &str) {
        self.log.line(&format!("{name} cannot be started: {reason}"));
        for waiter in waiters {
            let refusal = Refusal::CannotStart {
                service: name.to_owned(),
                error: reason.to_owned(),
            };
            self.answer(waiter, Err(refusal));
        }
    }

    /// A start that was ordered is over with its refusal; one by the policy is tried again.
    fn not_started(&mut self, name: &str, ordered: bool, ended: Option<(Process, Exit)>) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        self.unsaved = true;
        if ordered {
            service.wanted = false;
            return;
        }
        let wait = service.back_off.next(Duration::ZERO);
        service.phase = Phase::Due {
            at: Moment::now().plus(wait),
        };
        if let Some((process, exit)) = ended {
            service.last_exit = Some(exit.clone());
            let instance = InstanceRef {
                service: name.to_owned(),
                instance: process.instance,
            };
            let back_off_ms = (!self.is_held(name)).then(|| whole_millis(wait));
            self.tell_all(&Event::Ended {
                instance,
                exit,
                back_off_ms,
                left_behind: false,
            });
        }
    }

    /// A child that takes too long to reach its command.
    pub(crate) fn give_up_launches(&mut self) {
        let now = Moment::now();
        let late: Vec<String> = self
            .services
            .iter()
            .filter(|(_, service)| matches!(&service.phase, Phase::Launching { launch, .. } if launch.give_up <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in late {
            self.launch_failed(
                &name,
                "it did not reach its command: is the place of its output or `cwd` not answering?",
            );
        }
    }

    /// Asks a service to end. Answered when it is gone.
    pub(crate) fn stop(&mut self, name: &str, waiter: Option<Waiter>) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        service.wanted = false;
        self.unsaved = true;
        let now = Moment::now();
        service.ask_to_end(now);
        match replace(&mut service.phase, Phase::Down) {
            Phase::Down | Phase::Due { .. } => {
                if let Some(waiter) = waiter {
                    self.answer(waiter, Ok(Answer::Done));
                }
            }
            Phase::Launching { launch, waiters } => {
                let (process, handle) = launch.abandon();
                let alive = Alive {
                    process,
                    handle,
                    is_child: true,
                    since: now,
                };
                service.phase = Phase::Stopping {
                    alive,
                    kill_at: None,
                    waiters: waiter.into_iter().collect(),
                    then_start: Vec::new(),
                };
                self.refuse_start(name, waiters, "it was stopped before it was started");
            }
            // It was asked to end above.
            running @ Phase::Alive(_) => service.phase = running,
            Phase::Stopping {
                alive,
                kill_at,
                mut waiters,
                then_start,
            } => {
                waiters.extend(waiter);
                service.phase = Phase::Stopping {
                    alive,
                    kill_at,
                    waiters,
                    then_start: Vec::new(),
                };
                if !then_start.is_empty() {
                    self.refuse_start(name, then_start, "it was stopped before it was started");
                }
            }
        }
    }

    /// Kills those whose time to end by themselves is up.
    pub(crate) fn kill_overdue(&mut self) {
        let now = Moment::now();
        for (name, service) in &mut self.services {
            if let Phase::Stopping { alive, kill_at, .. } = &mut service.phase
                && kill_at.is_some_and(|at| at <= now)
            {
                *kill_at = None;
                self.log.line(&format!("{name} did not end in time: killed"));
                let _ = pidfd_send_signal(&alive.handle, Signal::KILL);
            }
        }
    }

    /// One of our own children ended.
    pub(crate) fn collected(&mut self, name: &str, status: WaitStatus) {
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(number)) => Exit::Signal(signal::name(number)),
            (None, None) => Exit::Unknown,
        };
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        if let Phase::Launching { launch, .. } = &mut service.phase {
            // It may have executed its command before it ended: its socket tells.
            launch.exit = Some(exit);
            self.follow_launch(name);
        } else {
            self.ended(name, exit);
        }
    }

    /// An adopted process may have ended.
    pub(crate) fn look_at_adopted(&mut self, name: &str) {
        let Some(alive) = self.services.get(name).and_then(|service| service.alive()) else {
            return;
        };
        let (pid, start_ticks) = (alive.process.pid, alive.process.start_ticks);
        match self.processes.lives(pid, start_ticks) {
            Ok(true) => {}
            Ok(false) => self.ended(name, Exit::Unknown),
            Err(error) => self
                .log
                .line(&format!("process {pid} cannot be looked at: {error}")),
        }
    }

    /// A service's process is gone.
    pub(crate) fn ended(&mut self, name: &str, exit: Exit) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let (alive, waiters, then_start, ordered) = match replace(&mut service.phase, Phase::Down) {
            Phase::Alive(alive) => (alive, Vec::new(), Vec::new(), false),
            Phase::Stopping {
                alive,
                waiters,
                then_start,
                ..
            } => (alive, waiters, then_start, true),
            other @ (Phase::Down | Phase::Due { .. } | Phase::Launching { .. }) => {
                service.phase = other;
                return;
            }
        };
        self.unsaved = true;
        // An end that was ordered says nothing about the service.
        service.last_exit = (!ordered).then(|| exit.clone());
        let now = Moment::now();
        let mut wait = None;
        if service.wanted && is_started_again(service.definition.restart, &exit) {
            let back_off = service.back_off.next(now.since(alive.since));
            service.phase = Phase::Due {
                at: now.plus(back_off),
            };
            wait = Some(whole_millis(back_off));
        } else {
            service.wanted = false;
        }
        let left_behind = match leftovers::kill(&mut self.processes, &alive.process) {
            Ok(left_behind) => left_behind,
            Err(error) => {
                self.log
                    .line(&format!("what {name} left behind cannot be looked at: {error}"));
                false
            }
        };
        if left_behind {
            self.log.line(&format!("{name} left processes behind: killed"));
        }
        self.log
            .line(&format!("{name} (process {}) ended: {exit:?}", alive.process.pid));
        let instance = InstanceRef {
            service: name.to_owned(),
            instance: alive.process.instance,
        };
        let back_off_ms = wait.filter(|_| !self.is_held(name));
        self.tell_all(&Event::Ended {
            instance,
            exit,
            back_off_ms,
            // What an end that was ordered leaves is no sign of anything.
            left_behind: left_behind && !ordered,
        });
        for waiter in waiters {
            self.answer(waiter, Ok(Answer::Done));
        }
        if !then_start.is_empty() {
            self.launch(name, then_start);
        }
    }
}
