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
    /// Why the rollout's revision is in quarantine, if it is: then it had turned round.
    pub quarantined: Option<String>,
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
    if found.current == from && !(found.quarantined.is_some() && rollout.withdraws()) {
        // Nothing was switched, so nothing has to be undone: the guard has unpaused by itself.
        let reason = "the reconciler ended before the switch".to_owned();
        closing::close(&mut rollout, Outcome::Aborted { reason }, &mut out);
        return (rollout, out);
    }
    out.push(Command::Hold(rollout.services()));
    if found.current == Some(rollout.to.switch) && found.quarantined.is_none() {
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
    let foreign = foreign(&rollout, found);
    let failure = Failure {
        member: None,
        kind: FailureKind::Volume,
        message: match (&found.quarantined, &foreign) {
            // Why it failed is kept there: nothing that is known now is a better reason.
            (Some(reason), _) => reason.clone(),
            (None, Some(foreign)) => foreign.clone(),
            (None, None) => "the reconciler ended while it was restoring; it goes on".to_owned(),
        },
    };
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
    if let Some(foreign) = foreign {
        out.push(rollout.say_why(NoticeKind::Alarm, foreign));
        if let Some(foreign) = found.current.filter(|foreign| *foreign > rollout.back) {
            // Numbers only grow, also past one that somebody else made up.
            rollout.back = foreign.next();
        }
    }
    if found.quarantined.is_some() {
        back::turn_round(&mut rollout, vec![failure], now, &mut out);
    } else {
        back::go_back(&mut rollout, vec![failure], now, &mut out);
    }
    (rollout, out)
}

/// What to say of a `current` that points to no side of the rollout.
fn foreign(rollout: &Rollout, found: &Found) -> Option<String> {
    let name = |switch: Option<SwitchNumber>| {
        switch.map_or_else(|| "nothing".to_owned(), |switch| format!("switch {switch}"))
    };
    let from = rollout.from.as_ref().map(|from| from.switch);
    let ours = [from, Some(rollout.to.switch), Some(rollout.back)];
    if ours.contains(&found.current) {
        return None;
    }
    Some(format!(
        "ForeignCurrent: `current` points to {}, which is neither side of the rollout that was under way \
         ({} to {}): somebody else wrote to the volume; going back to what was live before",
        name(found.current),
        name(from),
        name(Some(rollout.to.switch)),
    ))
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
