//! Verifying and Baking: evidence is waited for, restarts take their turn, failures send everybody back.

use super::member::WayBack;
use super::road::{close, mark_unsent};
use super::{
    Command, Effect, Event, Failure, FailureKind, Leg, Moment, NoticeKind, Outcome, Part, Phase, Progress,
    Rollout, back,
};
use crate::service::{Reload, Tier};

/// Begins to verify: everybody that is told by the switch alone counts as told now.
pub(super) fn begin(rollout: &mut Rollout, now: Moment, out: &mut Vec<Command>) {
    let there = rollout.leg == Leg::There;
    for (id, member) in &mut rollout.members {
        let told = if there {
            member.effect == Effect::Reload
        } else {
            member.way_back() == WayBack::Tell
        };
        let nothing = !there && member.way_back() == WayBack::Nothing;
        match member.progress {
            Progress::Waiting if nothing => member.progress = Progress::Reached,
            // It ended between the pause and now: whether before or after the rename, it counts.
            Progress::Waiting
                if there
                    && member.part == Part::Participant
                    && !member.alive()
                    && member.effect != Effect::Start
                    && !member.restarted =>
            {
                let message = "it ended while the switch was made: see its output file".to_owned();
                member.progress = member.fail(id, FailureKind::Died, message);
            }
            Progress::Waiting if told && member.alive() => member.told(now),
            // An absent member is started by the switch's own order; so is whoever died before the way back.
            Progress::Waiting if told || (member.part == Part::Absent && !member.alive()) => {
                member.progress = Progress::Down {
                    again_at: now,
                    until: now.after(member.within),
                };
            }
            // Restarts come last; a failure to tell, or a death, was noted before.
            Progress::Waiting
            | Progress::Told { .. }
            | Progress::Starting { .. }
            | Progress::Down { .. }
            | Progress::Reached
            | Progress::Failed(_)
            | Progress::Unproven => {}
        }
    }
    out.push(rollout.say(NoticeKind::Verifying));
    out.push(Command::Flush);
    let probed = rollout.select(|member| member.tier == Tier::Probed);
    if !probed.is_empty() {
        out.push(Command::Probe(probed));
    }
    out.push(Command::Look);
    rollout.phase = Phase::Verifying {
        flushed: false,
        restarting: false,
    };
    judge(rollout, now, out);
}

pub(super) fn verifying(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::Flushed => {
            if let Phase::Verifying { flushed, .. } = &mut rollout.phase {
                *flushed = true;
            }
        }
        Event::FlushFailed { reason } => {
            let message = format!("the volume could not be flushed after the switch: {reason}");
            match rollout.leg {
                Leg::There => {
                    let failure = Failure {
                        member: None,
                        kind: FailureKind::Volume,
                        message,
                    };
                    return back::go_back(rollout, vec![failure], now, out);
                }
                Leg::Back(_) => return back::get_stuck(rollout, true, message, now, out),
            }
        }
        Event::StartFailed { member: id, reason } => {
            let there = rollout.leg == Leg::There;
            if let Some(member) = rollout.members.get_mut(&id) {
                member.progress = match &member.progress {
                    // On the way back, and for one that never counted, it is tried until the limit.
                    Progress::Starting { until } if !there || member.part == Part::Absent => Progress::Down {
                        again_at: now.after(std::time::Duration::from_secs(1)),
                        until: *until,
                    },
                    Progress::Starting { .. }
                    | Progress::Waiting
                    | Progress::Told { .. }
                    | Progress::Down { .. }
                    | Progress::Reached
                    | Progress::Failed(_)
                    | Progress::Unproven => {
                        let message = format!("it could not be started: {reason}");
                        member.fail(&id, FailureKind::NotStarted, message)
                    }
                };
            }
        }
        Event::AgentBack { .. } => tell_again(rollout, out),
        Event::Told { unsent } => mark_unsent(rollout, &unsent, out),
        // An unpause whose answer was overtaken by the loss of the agent: all are told again when it is back.
        Event::Unpaused { .. } | Event::PauseExpired => {}
        // Noted in the members, or just time: judged below.
        Event::Started { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::AgentLost
        | Event::Tick => {}
        // Nothing else was asked for.
        Event::Built
        | Event::BuildFailed { .. }
        | Event::Examined { .. }
        | Event::Checked { .. }
        | Event::IntentRecorded
        | Event::IntentFailed { .. }
        | Event::Paused
        | Event::PauseFailed { .. }
        | Event::Switched
        | Event::SwitchFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }
    judge(rollout, now, out);
}

/// Sends the reload again to whoever has not shown evidence: who was told before the agent was lost is
/// unknown, and a reload that comes twice does no harm.
pub(super) fn tell_again(rollout: &Rollout, out: &mut Vec<Command>) {
    let there = rollout.leg == Leg::There;
    let again = rollout.select(|member| {
        let told = if there {
            member.effect == Effect::Reload
        } else {
            member.way_back() == WayBack::Tell
        };
        told && member.alive()
            && matches!(member.reload, Reload::Signal(_))
            && member.progress != Progress::Reached
    });
    if !again.is_empty() {
        out.push(Command::Tell(again));
    }
}

/// Looks at everybody and goes on where that is possible.
fn judge(rollout: &mut Rollout, now: Moment, out: &mut Vec<Command>) {
    judge_members(rollout, now, false, out);
    let there = rollout.leg == Leg::There;
    let failures = failures(rollout);
    if there && !failures.is_empty() {
        return back::go_back(rollout, failures, now, out);
    }
    let Phase::Verifying { flushed, restarting } = rollout.phase.clone() else {
        return;
    };
    if !restarting {
        let (last, first): (Vec<_>, Vec<_>) = rollout.members.iter().partition(|(_, member)| {
            if there {
                member.effect != Effect::Reload
            } else {
                member.way_back() == WayBack::Restart
            }
        });
        let reloads_done = first
            .iter()
            .all(|(_, member)| member.resolved() || (there && member.part == Part::Absent));
        if !reloads_done {
            return;
        }
        let waiting: Vec<_> = last
            .iter()
            .filter(|(_, member)| member.progress == Progress::Waiting)
            .map(|(id, _)| (*id).clone())
            .collect();
        rollout.phase = Phase::Verifying {
            flushed,
            restarting: true,
        };
        order_starts(rollout, waiting, now, out);
    }
    let Phase::Verifying {
        flushed: true,
        restarting: true,
    } = rollout.phase
    else {
        return;
    };
    if !rollout.members.values().all(super::Member::resolved) {
        return;
    }
    match rollout.leg.clone() {
        Leg::There if rollout.limits.bake.is_zero() => settle(rollout, out),
        Leg::There => {
            out.push(rollout.say(NoticeKind::Baking));
            rollout.phase = Phase::Baking {
                until: now.after(rollout.limits.bake),
            };
        }
        Leg::Back(first) if failures.is_empty() => {
            close(rollout, Outcome::RolledBack { failures: first }, out)
        }
        Leg::Back(_) => {
            let why: Vec<_> = failures.iter().map(ToString::to_string).collect();
            back::get_stuck(rollout, true, why.join("; "), now, out);
        }
    }
}

/// Restarts the living and starts the dead among these.
pub(super) fn order_starts(
    rollout: &mut Rollout,
    ids: Vec<super::MemberId>,
    now: Moment,
    out: &mut Vec<Command>,
) {
    let mut restart = Vec::new();
    let mut start = Vec::new();
    for id in ids {
        if let Some(member) = rollout.members.get_mut(&id) {
            member.starting(now);
            if member.alive() {
                restart.push(id)
            } else {
                start.push(id)
            }
        }
    }
    if !restart.is_empty() {
        out.push(Command::Restart(restart));
    }
    if !start.is_empty() {
        out.push(Command::Start(start));
    }
}

/// Moves everybody's progress on, reports what is new, and starts again who is due.
pub(super) fn judge_members(rollout: &mut Rollout, now: Moment, forever: bool, out: &mut Vec<Command>) {
    let expected = rollout.expected();
    let mut news = Vec::new();
    let mut due = Vec::new();
    for (id, member) in &mut rollout.members {
        let before = member.progress.clone();
        member.judge(id, expected, now, forever);
        match &member.progress {
            progress if *progress == before => {}
            Progress::Reached => news.push((id.clone(), NoticeKind::Reached, member.tier.to_string())),
            Progress::Failed(failure) => news.push((id.clone(), NoticeKind::Failed, failure.message.clone())),
            Progress::Unproven => {
                news.push((
                    id.clone(),
                    NoticeKind::Failed,
                    "absent, and unproven in its time".to_owned(),
                ));
            }
            Progress::Waiting | Progress::Told { .. } | Progress::Starting { .. } | Progress::Down { .. } => {
            }
        }
        if let Progress::Down { again_at, .. } = member.progress
            && now >= again_at
            && !rollout.agent_lost
        {
            due.push(id.clone());
        }
    }
    for (id, kind, message) in news {
        out.push(rollout.say_of(&id, kind, message));
    }
    order_starts(rollout, due, now, out);
}

/// The failures that count.
pub(super) fn failures(rollout: &Rollout) -> Vec<Failure> {
    rollout
        .members
        .values()
        .filter_map(|member| match &member.progress {
            Progress::Failed(failure) => Some(failure.clone()),
            Progress::Waiting
            | Progress::Told { .. }
            | Progress::Starting { .. }
            | Progress::Down { .. }
            | Progress::Reached
            | Progress::Unproven => None,
        })
        .collect()
}

fn settle(rollout: &mut Rollout, out: &mut Vec<Command>) {
    let unproven = rollout.select(|member| member.progress == Progress::Unproven);
    close(rollout, Outcome::Settled { unproven }, out);
}

pub(super) fn baking(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Baking { until } = rollout.phase else {
        return;
    };
    match event {
        Event::Tick if now >= until => settle(rollout, out),
        Event::Evidence {
            member: id,
            evidence: super::Evidence::Probed(result),
        } => {
            let counts = rollout
                .members
                .get(&id)
                .is_some_and(|member| member.part == Part::Participant);
            if let (true, Some(why)) = (counts, result.failure) {
                let message = format!("its probe failed while baking: {why}");
                let failure = Failure {
                    member: Some(id),
                    kind: FailureKind::TimedOut,
                    message,
                };
                back::go_back(rollout, vec![failure], now, out);
            }
        }
        // A death was noted as a failure.
        Event::Ended { .. } | Event::AgentBack { .. } => {
            let failures = failures(rollout);
            if !failures.is_empty() {
                back::go_back(rollout, failures, now, out);
            }
        }
        // Statements were all heard; a lost agent is judged when it is back.
        Event::Evidence { .. } | Event::Started { .. } | Event::AgentLost | Event::Tick => {}
        // Nothing else was asked for.
        Event::Built
        | Event::BuildFailed { .. }
        | Event::Examined { .. }
        | Event::Checked { .. }
        | Event::IntentRecorded
        | Event::IntentFailed { .. }
        | Event::Paused
        | Event::PauseFailed { .. }
        | Event::Switched
        | Event::SwitchFailed { .. }
        | Event::Unpaused { .. }
        | Event::Told { .. }
        | Event::PauseExpired
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }
}
