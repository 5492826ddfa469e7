//! What tells two worlds apart, as far as what can still happen is concerned: moments count from now, and
//! words for people do not count.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::time::Duration;

use lockstep_core::rollout::{Command, Event, Evidence, Leg, Life, Moment, Phase, Progress, Rollout};
use lockstep_protocol::Status;

use super::{Instance, World};

/// Moments are told apart by half seconds.
const TICK: Duration = Duration::from_millis(500);

impl World {
    /// The key of this world.
    pub(crate) fn key(&self) -> u64 {
        let mut key = DefaultHasher::new();
        if let Some(rollout) = &self.rollout {
            rollout_key(rollout, self.now, &mut key);
        }
        self.todo.len().hash(&mut key);
        for command in &self.todo {
            command_key(command, &mut key);
        }
        let volume = &self.volume;
        (
            volume.current,
            &volume.staged,
            volume.flushed,
            volume.quarantined.is_some(),
        )
            .hash(&mut key);
        volume.intent.is_some().hash(&mut key);
        volume.outcome.as_ref().map(discriminant).hash(&mut key);
        for instance in self.instances.values() {
            instance_key(instance, &mut key);
        }
        for queue in [&self.from_volume, &self.from_agent] {
            queue.len().hash(&mut key);
            for event in queue {
                event_key(event, &mut key);
            }
        }
        (
            self.seen_before_switch,
            self.agent_up,
            self.held,
            &self.probing,
            &self.faults,
        )
            .hash(&mut key);
        (&self.broken, self.stuck_once).hash(&mut key);
        key.finish()
    }
}

fn rollout_key(rollout: &Rollout, now: Moment, key: &mut DefaultHasher) {
    let ticks = |moment: &Moment| {
        moment
            .0
            .saturating_sub(now.0)
            .as_millis()
            .div_ceil(TICK.as_millis())
    };
    let there = rollout.leg == Leg::There;
    (
        there,
        rollout.agent_lost,
        &rollout.pending.tells,
        &rollout.pending.requests,
        &rollout.pending.starts,
        rollout.pending.tries,
    )
        .hash(key);
    discriminant(&rollout.phase).hash(key);
    match &rollout.phase {
        Phase::Preparing(preparing) => {
            (
                preparing.built,
                preparing.examined,
                preparing.asked,
                preparing.vetoes.len(),
            )
                .hash(key);
            preparing.checks.hash(key);
            for (id, until) in &preparing.votes {
                (id, ticks(until)).hash(key);
            }
        }
        Phase::Publishing { paused } => paused.hash(key),
        Phase::Unpausing { unpausing, telling } => (unpausing, telling).hash(key),
        Phase::Verifying { flushed, restarting } => (flushed, restarting).hash(key),
        Phase::Baking { until } => ticks(until).hash(key),
        Phase::Closing { outcome, retry_at } => {
            (discriminant(outcome), retry_at.as_ref().map(ticks)).hash(key);
        }
        // Words change nothing of what happens next.
        Phase::Stuck {
            why: _,
            retry_at,
            attempts,
            switched,
            flushed,
        } => (ticks(retry_at), attempts, switched, flushed).hash(key),
        Phase::Done(outcome) => discriminant(outcome).hash(key),
        Phase::Recording | Phase::Pausing => {}
    }
    for member in rollout.members.values() {
        discriminant(&member.progress).hash(key);
        match &member.progress {
            Progress::Coming { until } | Progress::Telling { until } | Progress::Starting { until } => {
                ticks(until).hash(key);
            }
            Progress::Told { at, until } => (ticks(at), ticks(until)).hash(key),
            Progress::Down { again_at, until } => (ticks(again_at), ticks(until)).hash(key),
            Progress::Failed(failure) => discriminant(&failure.kind).hash(key),
            Progress::Waiting | Progress::Reached | Progress::Unproven => {}
        }
        if let Life::Alive(token) = &member.life {
            token.hash(key);
        }
        member.restarted.hash(key);
        statement_key(member.statement.as_ref(), key);
    }
}

fn statement_key(statement: Option<&Status>, key: &mut DefaultHasher) {
    let known = statement.map(|status| {
        let vote = status.vote.as_ref().map(|vote| vote.accept);
        (
            status.switch,
            status.attempted.switch,
            discriminant(&status.state),
            vote,
        )
    });
    known.hash(key);
}

fn instance_key(instance: &Instance, key: &mut DefaultHasher) {
    (
        instance.starting,
        instance.deaf,
        instance.unseen,
        instance.process.is_some(),
    )
        .hash(key);
    if let Some(process) = &instance.process {
        (
            &process.token,
            process.born,
            process.runs,
            process.loading,
            process.saw,
        )
            .hash(key);
        (
            process.told,
            process.signal,
            process.request,
            process.paused,
            process.offer.is_some(),
        )
            .hash(key);
        statement_key(process.statement.as_ref(), key);
    }
}

fn command_key(command: &Command, key: &mut DefaultHasher) {
    discriminant(command).hash(key);
    match command {
        Command::Examine(whom)
        | Command::Offer(whom)
        | Command::Pause(whom)
        | Command::Unpause(whom)
        | Command::Tell(whom)
        | Command::Restart(whom)
        | Command::Start(whom)
        | Command::Probe(whom) => whom.hash(key),
        Command::Request(number, whom) => (number, whom).hash(key),
        Command::Switch(number) => number.hash(key),
        Command::RecordOutcome(outcome) => discriminant(outcome).hash(key),
        Command::Report(notice) => (discriminant(&notice.kind), &notice.member).hash(key),
        Command::Build
        | Command::StageBack
        | Command::Check(_)
        | Command::RecordIntent
        | Command::Hold(_)
        | Command::Release
        | Command::Flush
        | Command::Look
        | Command::Withdraw(_)
        | Command::Quarantine(_) => {}
    }
}

fn event_key(event: &Event, key: &mut DefaultHasher) {
    discriminant(event).hash(key);
    match event {
        Event::Started { member, instance } | Event::Ended { member, instance, .. } => {
            (member, instance).hash(key);
        }
        Event::StartFailed { member, .. } => member.hash(key),
        Event::Evidence { member, evidence } => {
            member.hash(key);
            if let Evidence::Stated(status) = evidence {
                status.instance.hash(key);
                statement_key(Some(status), key);
            }
        }
        Event::Told { unsent } | Event::Unpaused { unsent, .. } => unsent.hash(key),
        Event::Answered {
            member,
            instance,
            switch,
            answer,
        } => (member, instance, switch, discriminant(answer)).hash(key),
        Event::AgentBack { alive } => alive.hash(key),
        // At most one of each kind, and nothing in it matters.
        _ => {}
    }
}
