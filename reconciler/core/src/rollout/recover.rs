//! Recovery: a rollout whose coordinator died is taken up again, by the same function.
//!
//! The journal says only what was intended. What happened is read from `current`, from the quarantine and
//! from the instances: nobody needs to have written it down.

use std::collections::BTreeMap;

use lockstep_protocol::{InstanceToken, SwitchNumber};

use super::{
    Command, Effect, Event, Failure, FailureKind, Leg, Life, MemberId, Moment, NoticeKind, Outcome, Part,
    Pending, Phase, Progress, Rollout, back, closing, verifying,
};

/// What is found at the start of a coordinator, after the thaw.
#[derive(Debug, Clone)]
pub struct Found {
    /// What `current` points to.
    pub current: Option<SwitchNumber>,
    /// Whether the rollout's revision is in quarantine: then it had turned round.
    pub quarantined: bool,
    /// The instances that live.
    pub alive: BTreeMap<MemberId, InstanceToken>,
}

/// Takes up a rollout from its intent: `rollout` is as it was when the intent was recorded.
#[must_use]
pub fn recover(mut rollout: Rollout, found: &Found, now: Moment) -> (Rollout, Vec<Command>) {
    let mut out = Vec::new();
    rollout.agent_lost = false;
    rollout.pending = Pending::default();
    rollout.leg = Leg::There;
    for member in rollout.members.values_mut() {
        member.progress = Progress::Waiting;
    }
    let from = rollout.from.as_ref().map(|from| from.switch);
    if found.current == from && !(found.quarantined && rollout.withdraws()) {
        // Nothing was switched, so nothing has to be undone: the guard has unpaused by itself.
        let reason = "the reconciler ended before the switch".to_owned();
        closing::close(&mut rollout, Outcome::Aborted { reason }, &mut out);
        return (rollout, out);
    }
    out.push(Command::Hold(rollout.services()));
    if found.current == Some(rollout.to.switch) && !found.quarantined {
        rollout.phase = Phase::Unpausing {
            unpausing: false,
            telling: false,
        };
        for id in take_up_restarts(&mut rollout, found) {
            if let Some(member) = rollout.members.get_mut(&id) {
                // As if it had been ordered just now: noting who lives finds it started.
                member.progress = Progress::Starting {
                    until: now.after(member.span()),
                };
            }
        }
        note_alive(&mut rollout, found, now);
        verifying::begin(&mut rollout, now, &mut out);
        return (rollout, out);
    }
    let failure = why_back(&rollout, found);
    rollout.leg = Leg::Back(vec![failure.clone()]);
    // Who lives is noted as before the switch: deaths are no evidence against the previous release.
    rollout.phase = Phase::Publishing { paused: false };
    take_up_restarts(&mut rollout, found);
    note_alive(&mut rollout, found, now);
    if found.current == Some(rollout.back) {
        out.push(rollout.say_why(NoticeKind::Restoring, failure.message));
        verifying::begin(&mut rollout, now, &mut out);
        return (rollout, out);
    }
    if found.current != from && found.current != Some(rollout.to.switch) {
        out.push(rollout.say_why(NoticeKind::Alarm, failure.message.clone()));
        if let Some(foreign) = found.current.filter(|foreign| *foreign > rollout.back) {
            // Numbers only grow, also past one that somebody else made up.
            rollout.back = foreign.next();
        }
    }
    if found.quarantined {
        // Why it failed is kept there: nothing that is known now is a better reason.
        back::turn_round(&mut rollout, vec![failure], now, &mut out);
    } else {
        back::go_back(&mut rollout, vec![failure], now, &mut out);
    }
    (rollout, out)
}

/// Why a rollout that is taken up goes back.
fn why_back(rollout: &Rollout, found: &Found) -> Failure {
    let name = |switch: Option<SwitchNumber>| {
        switch.map_or_else(|| "nothing".to_owned(), |switch| format!("switch {switch}"))
    };
    let from = rollout.from.as_ref().map(|from| from.switch);
    let ours = [from, Some(rollout.to.switch), Some(rollout.back)];
    let message = if ours.contains(&found.current) {
        "the reconciler ended while it was restoring; it goes on".to_owned()
    } else {
        format!(
            "ForeignCurrent: `current` points to {}, which is neither side of the rollout that was under way \
             ({} to {}): somebody else wrote to the volume; going back to what was live before",
            name(found.current),
            name(from),
            name(Some(rollout.to.switch)),
        )
    };
    Failure {
        member: None,
        kind: FailureKind::Volume,
        message,
    }
}

fn note_alive(rollout: &mut Rollout, found: &Found, now: Moment) {
    let alive = found.alive.clone();
    rollout.note(&Event::AgentBack { alive }, now);
}

/// Finds out which members that are to be restarted, or started, had their turn already, and names those of
/// them that live on the new release, or will say so.
///
/// Their end was this rollout's own doing, so it is no failure: an instance other than the one that began
/// was started on the new release; none at all was caught between its end and its start.
fn take_up_restarts(rollout: &mut Rollout, found: &Found) -> Vec<MemberId> {
    let mut live = Vec::new();
    for (id, member) in &mut rollout.members {
        if member.effect == Effect::Reload || member.part == Part::Absent {
            continue;
        }
        let lives = found
            .alive
            .get(id)
            .map_or(Life::Dead, |instance| Life::Alive(instance.clone()));
        if lives == member.life {
            continue;
        }
        member.restarted = true;
        member.statement = None;
        member.life = Life::Dead;
        // One that says nothing may as well have ended by itself and been started before the switch: it has
        // its turn again. Before a first release nobody is started.
        if lives != Life::Dead && (member.tier.states() || member.effect == Effect::Start) {
            live.push(id.clone());
        }
    }
    live
}
