//! The simulated volume, its journal and the quarantine: commands that write.

use lockstep_core::rollout::{Command, Event, Kind, Outcome};
use lockstep_core::service::Reload;

use super::{World, build};

impl World {
    /// Carries out the next command: well, or not.
    pub(crate) fn execute(&mut self, well: bool) {
        let command = self.todo.pop_front().expect("a command");
        self.note(|| {
            let badly = if well { "" } else { " (fails)" };
            format!("command  {}{badly}", build::command_line(&command))
        });
        self.check_command(&command);
        let reason = "No space left on device".to_owned();
        match command {
            Command::Build => {
                let to = self.first.to.switch;
                self.write(well, Event::Built, Event::BuildFailed { reason }, |volume| {
                    volume.staged.insert(to);
                });
            }
            Command::StageBack => {
                let back = self
                    .rollout
                    .as_ref()
                    .map_or(self.first.back, |rollout| rollout.back);
                self.write(well, Event::Built, Event::BuildFailed { reason }, |volume| {
                    volume.staged.insert(back);
                });
            }
            Command::RecordIntent => {
                let rollout = self.rollout.clone().map(Box::new);
                self.write(
                    well,
                    Event::IntentRecorded,
                    Event::IntentFailed { reason },
                    |volume| {
                        volume.intent = rollout;
                        volume.outcome = None;
                    },
                );
            }
            Command::Switch(number) => {
                self.seen_before_switch = self.from_agent.len();
                if !self.volume.staged.remove(&number) {
                    self.broken.push(format!("switch {number} is not staged"));
                }
                self.write(well, Event::Switched, Event::SwitchFailed { reason }, |volume| {
                    volume.current = Some(number);
                    volume.flushed = false;
                });
            }
            Command::Flush => {
                // The links are renewed: whoever watches looks again.
                let current = self.volume.current;
                for instance in self.instances.values_mut() {
                    let watches = instance.service.reload == Reload::Watch;
                    if let Some(process) = instance.process.as_mut().filter(|p| watches && p.runs != current)
                    {
                        process.signal |= well;
                    }
                }
                self.write(well, Event::Flushed, Event::FlushFailed { reason }, |volume| {
                    volume.flushed = true;
                });
            }
            Command::Withdraw(_) => {
                for id in self.instances.keys().cloned().collect::<Vec<_>>() {
                    self.instances.get_mut(&id).unwrap().starting = false;
                    if self.instances[&id].service.supervised {
                        self.end(&id, "was stopped");
                    }
                }
                self.write(
                    well,
                    Event::Withdrawn,
                    Event::WithdrawFailed { reason },
                    |volume| {
                        volume.current = None;
                        volume.flushed = true;
                    },
                );
            }
            Command::RecordOutcome(outcome) => {
                self.write(
                    well,
                    Event::OutcomeRecorded,
                    Event::OutcomeFailed { reason },
                    |volume| {
                        volume.outcome = Some(outcome);
                    },
                );
            }
            Command::Quarantine(failures) => {
                let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
                self.volume.quarantined = Some(reasons.join("; "));
            }
            Command::Report(_) => {}
            command @ (Command::Examine(_)
            | Command::Check(_)
            | Command::Offer(_)
            | Command::Hold(_)
            | Command::Release
            | Command::Pause(_)
            | Command::Unpause(_)
            | Command::Tell(_)
            | Command::Request(..)
            | Command::Restart(_)
            | Command::Start(_)
            | Command::Probe(_)
            | Command::Look) => {
                // What is ordered of a lost agent reaches nobody, nor what is ordered before its loss is known.
                if self.agent_up && !self.from_agent.contains(&Event::AgentLost) {
                    self.order(command, well);
                }
            }
        }
    }

    fn write(&mut self, well: bool, yes: Event, no: Event, effect: impl FnOnce(&mut super::Volume)) {
        if well {
            effect(&mut self.volume);
        }
        self.from_volume.push_back(if well { yes } else { no });
    }

    /// What a command breaks, if anything.
    fn check_command(&mut self, command: &Command) {
        let open = self.volume.intent.is_some() && self.volume.outcome.is_none();
        let volume = &self.volume;
        let wrong = match command {
            Command::Switch(number) if !open => Some(format!("switch {number} without an intent")),
            Command::Switch(number) if volume.current.is_some_and(|current| *number <= current) => {
                Some(format!("switch {number} does not grow"))
            }
            Command::RecordOutcome(Outcome::Settled { .. }) if !volume.flushed => {
                Some("Settled is recorded before the volume is flushed".to_owned())
            }
            Command::RecordOutcome(Outcome::RolledBack { .. }) if !volume.flushed => {
                Some("RolledBack is recorded before the volume is flushed".to_owned())
            }
            Command::RecordOutcome(Outcome::RolledBack { .. })
                if volume.quarantined.is_none() && self.first.kind != Kind::Healing =>
            {
                Some("RolledBack is recorded before the revision is in quarantine".to_owned())
            }
            Command::RecordOutcome(_) if !open => Some("an outcome without an intent".to_owned()),
            Command::Quarantine(_) if self.first.kind == Kind::Healing => {
                Some("a healing is put in quarantine".to_owned())
            }
            _ => None,
        };
        self.broken.extend(wrong);
    }
}
