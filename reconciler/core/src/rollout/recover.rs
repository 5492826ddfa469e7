//! Recovery: a rollout whose coordinator died is taken up again, by the same function.
//!
//! The journal says only what was intended. What happened is read from `current`, from the quarantine and
//! from the instances: nobody needs to have written it down.

use std::collections::BTreeMap;

use lockstep_protocol::{InstanceToken, SwitchNumber};

use super::{
    Command, Effect, Event, Failure, FailureKind, Leg, Life, MemberId, Moment, NoticeKind, Outcome, Part,
    Phase, Progress, Rollout, back, road, verifying,
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
    rollout.leg = Leg::There;
    let from = rollout.from.as_ref().map(|from| from.switch);
    let lost = |message: &str| Failure {
        member: None,
        kind: FailureKind::TimedOut,
        message: message.to_owned(),
    };

    if found.current == from && !(found.quarantined && rollout.withdraws()) {
        // Nothing was switched, so nothing has to be undone: the guard has unpaused by itself.
        let reason = "the reconciler ended before the switch".to_owned();
        road::close(&mut rollout, Outcome::Aborted { reason }, &mut out);
        return (rollout, out);
    }
    out.push(Command::Hold(rollout.services()));
    if found.current == Some(rollout.to.switch) && !found.quarantined {
        rollout.phase = Phase::Unpausing {
            unpausing: false,
            telling: false,
        };
        take_up_restarts(&mut rollout, found, now);
        rollout.note(
            &Event::AgentBack {
                alive: found.alive.clone(),
            },
            now,
        );
        verifying::begin(&mut rollout, now, &mut out);
        if let Phase::Verifying { .. } = rollout.phase {
            verifying::tell_again(&rollout, &mut out);
        }
        return (rollout, out);
    }
    rollout.leg = Leg::Back(vec![lost("the reconciler ended while it was restoring")]);
    take_up_restarts(&mut rollout, found, now);
    rollout.note(
        &Event::AgentBack {
            alive: found.alive.clone(),
        },
        now,
    );
    for member in rollout.members.values_mut() {
        member.progress = Progress::Waiting;
    }
    if found.current == Some(rollout.back) {
        out.push(rollout.say_why(NoticeKind::Restoring, "taken up again after a restart".to_owned()));
        verifying::begin(&mut rollout, now, &mut out);
        verifying::tell_again(&rollout, &mut out);
        return (rollout, out);
    }
    if found.current != Some(rollout.to.switch) && !rollout.withdraws() {
        let at = found
            .current
            .map_or_else(|| "nothing".to_owned(), |switch| format!("switch {switch}"));
        out.push(rollout.say_why(
            NoticeKind::Alarm,
            format!(
                "ForeignCurrent: `current` points to {at}, which is neither side of the rollout that was under \
                 way ({} to {}): somebody else wrote to the volume; going back to {}",
                from.map_or_else(|| "nothing".to_owned(), |switch| switch.to_string()),
                rollout.to.switch,
                from.map_or_else(|| "nothing".to_owned(), |switch| switch.to_string()),
            ),
        ));
    }
    let failures = match &rollout.leg {
        Leg::Back(failures) => failures.clone(),
        Leg::There => Vec::new(),
    };
    back::go_back(&mut rollout, failures, now, &mut out);
    (rollout, out)
}

/// Finds out which members that are to be restarted, or started, had their turn already.
///
/// Their end was this rollout's own doing, so it is no failure: an instance other than the one that began
/// was started on the new release; none at all was caught between its end and its start.
fn take_up_restarts(rollout: &mut Rollout, found: &Found, now: Moment) {
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
        member.life = lives;
        member.statement = None;
        if member.alive() {
            member.told(now);
        }
    }
}
