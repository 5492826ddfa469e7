//! What was promised, compared with what is so.

use lockstep_core::rollout::{
    Command, Effect, Leg, MemberId, NoticeKind, Outcome, Part, Phase, Progress, Rollout,
};
use lockstep_core::service::Reload;
use lockstep_protocol::SwitchNumber;

use super::{World, life};

impl World {
    /// After each event: what the machine said.
    pub(super) fn check_step(&mut self) {
        let Some(rollout) = self.rollout.clone() else {
            return;
        };
        let mut broken = Vec::new();
        if let Some(deadline) = rollout.deadline()
            && self.ticked
            && deadline <= self.now
        {
            broken.push("a tick at a deadline leaves a deadline that passed: ticks for ever".to_owned());
        }
        let most = 16 + 4 * rollout.members.len();
        if self.todo.len() > most * 2 {
            broken.push(format!("{} commands at once", self.todo.len()));
        }
        for command in &self.todo {
            if let Command::RecordOutcome(Outcome::RolledBack { .. }) = command
                && let Some(id) = runs_the_failed(&rollout)
            {
                broken.push(format!(
                    "RolledBack while {id} is known to run the failed release"
                ));
            }
            if let Command::Restart(whom) = command {
                broken.extend(restarts_too_much(&rollout, whom));
            }
            if let Command::Restart(whom) | Command::Start(whom) = command
                && let Some(id) = whom.iter().find(|id| !rollout.members[*id].supervised)
            {
                broken.push(format!("{id} is started, which is somebody else's to do"));
            }
            if let Some(id) = whom_of(command)
                .iter()
                .find(|id| !rollout.members.contains_key(id))
            {
                broken.push(format!("{id} is not affected and is commanded"));
            }
            if let Command::Report(notice) = command
                && notice.kind == NoticeKind::Stuck
                && let Phase::Stuck { switched: true, .. } = rollout.phase
            {
                let unnamed = rollout.members.iter().find(|(id, member)| {
                    matches!(member.progress, Progress::Failed(_))
                        && !notice.message.contains(&id.to_string())
                });
                if let (Some((id, _)), false) = (unnamed, notice.message.contains("flushed")) {
                    broken.push(format!("Stuck does not name {id}: {}", notice.message));
                }
            }
        }
        if let Phase::Stuck { .. } = rollout.phase {
            self.stuck_once = true;
        }
        self.broken.extend(broken);
    }

    /// After each act: what holds always.
    pub(crate) fn check(&mut self) {
        let mut broken = Vec::new();
        if let Some(rollout) = &self.rollout {
            let answers =
                !self.todo.is_empty() || !self.from_volume.is_empty() || !self.from_agent.is_empty();
            let waits = answers || self.awaits_the_agent(rollout);
            if rollout.outcome().is_none() && !waits && rollout.deadline().is_none() {
                broken.push(format!(
                    "nothing is under way and there is no deadline: it waits for ever in {:?}",
                    rollout.phase
                ));
            }
            if self.commands > 60 * (self.events + 4) {
                broken.push(format!("{} commands for {} events", self.commands, self.events));
            }
            let paused = self
                .instances
                .values()
                .any(|instance| instance.process.as_ref().is_some_and(|p| p.paused));
            let unpauses = self
                .todo
                .iter()
                .any(|command| matches!(command, Command::Unpause(_)));
            let in_pause = matches!(rollout.phase, Phase::Pausing | Phase::Publishing { paused: true });
            if paused && !unpauses && !in_pause {
                broken.push(format!(
                    "somebody is paused in {:?} and nothing unpauses",
                    rollout.phase
                ));
            }
            if let Some(outcome) = self.done() {
                broken.extend(self.check_end(rollout, outcome));
            }
        } else if self
            .instances
            .values()
            .any(|i| i.process.as_ref().is_some_and(|p| p.paused))
        {
            broken.push("somebody is paused and nobody is there to unpause".to_owned());
        }
        self.broken.extend(broken);
    }

    /// An order to start that is under way has an answer.
    fn awaits_the_agent(&self, rollout: &Rollout) -> bool {
        let _ = rollout;
        self.agent_up && self.instances.values().any(|instance| instance.starting)
    }

    /// At the end: all or none.
    fn check_end(&self, rollout: &Rollout, outcome: &Outcome) -> Option<String> {
        let (to, back) = (rollout.to.switch, rollout.back);
        let from = rollout.from.as_ref().map(|from| from.switch);
        match outcome {
            Outcome::Settled { .. } => self
                .wrong_current(Some(to))
                .or_else(|| self.mixed(rollout, |run| run == to, to)),
            Outcome::RolledBack { .. } if rollout.from.is_none() => self.wrong_current(None).or_else(|| {
                let lives = self
                    .instances
                    .iter()
                    .find(|(_, instance)| instance.process.is_some() && instance.service.supervised);
                lives.map(|(id, _)| format!("{id} lives after a first rollout that failed"))
            }),
            Outcome::RolledBack { .. } => {
                let previous = |run| Some(run) == from || run == back;
                self.wrong_current(Some(back))
                    .or_else(|| self.mixed(rollout, previous, back))
            }
            Outcome::Aborted { .. } | Outcome::Rejected { .. } => self.wrong_current(from).or_else(|| {
                let touched = self.instances.iter().find(|(_, instance)| {
                    let process = instance.process.as_ref();
                    process.is_some_and(|p| [p.runs, p.loading, p.told, p.saw].contains(&Some(to)))
                });
                touched.map(|(id, _)| format!("{id} was touched by what was never switched to"))
            }),
            Outcome::Deposed | Outcome::Superseded => None,
        }
    }

    fn wrong_current(&self, expected: Option<SwitchNumber>) -> Option<String> {
        let current = self.volume.current;
        (current != expected).then(|| format!("`current` is {current:?} at the end, not {expected:?}"))
    }

    /// A participant, still the process that the machine knows, that does not run what it should.
    fn mixed(
        &self,
        rollout: &Rollout,
        right: impl Fn(SwitchNumber) -> bool,
        switch: SwitchNumber,
    ) -> Option<String> {
        rollout.members.iter().find_map(|(id, member)| {
            let process = self.instances[id].process.as_ref()?;
            if member.part == Part::Absent || member.life != life(Some(process)) {
                return None;
            }
            if member.tier.states() {
                // A successor that is still starting runs nothing, and reads what is current.
                let runs = process
                    .runs
                    .or(process.loading)
                    .or(process.saw)
                    .or(self.volume.current);
                return (!runs.is_some_and(&right)).then(|| format!("{id} runs {runs:?} at the end"));
            }
            // One that only a restart changes, and that was not restarted, is not told.
            let untouched = member.effect == Effect::Restart && !member.restarted;
            let blind = match member.reload {
                Reload::Signal(_) | Reload::Http(_) | Reload::Restart => !untouched,
                Reload::Watch => false,
            };
            let from = rollout.from.as_ref().map(|from| from.switch);
            let told = process.told == Some(switch)
                || process.born == Some(switch)
                || (process.told.is_none() && process.born == from && right(from?));
            (blind && !told).then(|| format!("{id} was not told of switch {switch}"))
        })
    }
}

/// One that states to run the failed release.
fn runs_the_failed(rollout: &Rollout) -> Option<&MemberId> {
    let failed = Some(rollout.to.switch);
    let stays = rollout.members.iter().find(|(_, member)| {
        member.alive()
            && member
                .statement
                .as_ref()
                .is_some_and(|status| status.switch == failed)
    });
    stays.map(|(id, _)| id).filter(|_| rollout.from.is_some())
}

fn restarts_too_much(rollout: &Rollout, whom: &[MemberId]) -> Option<String> {
    let members = &rollout.members;
    if let Some(id) = whom.iter().find(|id| members[*id].effect == Effect::Reload) {
        return Some(format!("{id} is restarted and the plan did not say so"));
    }
    let early = members.iter().find(|(_, member)| {
        rollout.leg == Leg::There
            && member.effect == Effect::Reload
            && member.part == Part::Participant
            && member.progress != Progress::Reached
    });
    early.map(|(id, _)| format!("a restart before {id} is verified"))
}

fn whom_of(command: &Command) -> Vec<MemberId> {
    match command {
        Command::Examine(whom)
        | Command::Offer(whom)
        | Command::Pause(whom)
        | Command::Unpause(whom)
        | Command::Tell(whom)
        | Command::Request(_, whom)
        | Command::Restart(whom)
        | Command::Start(whom)
        | Command::Probe(whom) => whom.clone(),
        Command::Check(service) => vec![MemberId::only(service)],
        Command::Hold(services) | Command::Withdraw(services) => {
            services.iter().map(MemberId::only).collect()
        }
        Command::Build
        | Command::StageBack
        | Command::RecordIntent
        | Command::Release
        | Command::Switch(_)
        | Command::Flush
        | Command::Look
        | Command::Quarantine(_)
        | Command::RecordOutcome(_)
        | Command::Report(_) => Vec::new(),
    }
}
