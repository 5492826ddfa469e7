//! Verifying and Baking: evidence is waited for, restarts take their turn, failures send everybody back.

use super::closing::close;
use super::judge::Judged;
use super::member::Ask;
use super::notice::in_one_line;
use super::{
    Command, Event, Failure, FailureKind, Leg, MemberId, Moment, NoticeKind, Outcome, Part, Phase, Progress,
    Rollout, back,
};
use crate::service::Tier;

/// Begins to verify: `current` is moved, and whoever was paused is not any more.
pub(super) fn begin(rollout: &mut Rollout, now: Moment, out: &mut Vec<Command>) {
    if !rollout.agent_lost {
        // Their reloads were sent: the ones that were not are marked already.
        for member in rollout.members.values_mut() {
            if let Progress::Telling { .. } = member.progress {
                member.progress = Progress::Waiting;
                member.told(now);
            }
        }
    }
    out.push(rollout.say(NoticeKind::Verifying));
    out.push(Command::Flush);
    observe(rollout, out);
    rollout.phase = Phase::Verifying {
        flushed: false,
        restarting: false,
    };
    judge(rollout, now, out);
}

/// Has evidence brought in.
pub(super) fn observe(rollout: &Rollout, out: &mut Vec<Command>) {
    let probed = rollout.select(|member| member.tier == Tier::Probed);
    if !probed.is_empty() {
        out.push(Command::Probe(probed));
    }
    out.push(Command::Look);
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
                Leg::Back(_) => return back::get_stuck_switched(rollout, false, message, now, out),
            }
        }
        // An unpause whose answer was overtaken by the loss of the agent: all are told again when it is back.
        Event::Unpaused { .. } | Event::PauseExpired => {}
        // Noted in the members, or just time: judged below.
        Event::Started { .. }
        | Event::StartFailed { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::AgentLost
        | Event::AgentBack { .. }
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

/// Looks at everybody and goes on where that is possible.
fn judge(rollout: &mut Rollout, now: Moment, out: &mut Vec<Command>) {
    judge_members(rollout, now);
    let there = rollout.there();
    let failures = failures(rollout);
    if there && !failures.is_empty() {
        return back::go_back(rollout, failures, now, out);
    }
    let Phase::Verifying {
        flushed,
        mut restarting,
    } = rollout.phase
    else {
        return;
    };
    ask(rollout, restarting, now, out);
    if !restarting {
        // An absent one does not keep the restarts waiting: it is told, and has no veto.
        restarting = rollout
            .members
            .values()
            .filter(|member| member.asked(there) != Ask::Restart)
            .all(|member| member.resolved() || member.part == Part::Absent);
        if !restarting {
            return;
        }
        rollout.phase = Phase::Verifying { flushed, restarting };
        ask(rollout, restarting, now, out);
    }
    if !flushed || !rollout.members.values().all(super::Member::resolved) {
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
            close(rollout, Outcome::RolledBack { failures: first }, out);
        }
        Leg::Back(_) => back::get_stuck_switched(rollout, true, in_one_line(&failures), now, out),
    }
}

/// Asks of everybody who waits what the leg asks: the living are told, the dead started. Those to be
/// restarted wait for their turn.
pub(super) fn ask(rollout: &mut Rollout, turn: bool, now: Moment, out: &mut Vec<Command>) {
    let there = rollout.there();
    let mut starts = Vec::new();
    for (id, member) in &mut rollout.members {
        match (&member.progress, member.asked(there), member.alive()) {
            (Progress::Waiting, Ask::Nothing, true) => member.progress = Progress::Reached,
            (Progress::Waiting, Ask::Tell, true) if member.is_told(there) => {
                member.progress = Progress::Telling {
                    until: now.after(member.span()),
                };
            }
            // It sees the switch by itself.
            (Progress::Waiting, Ask::Tell, true) => member.told(now),
            (Progress::Waiting, Ask::Restart, _) if turn => starts.push(id.clone()),
            (Progress::Waiting, Ask::Restart, true) => {}
            // On the way there it ends by this rollout's order alone, and so it starts in its turn.
            (Progress::Waiting, Ask::Restart, false) if there && member.part == Part::Participant => {}
            // Whether it comes back is its own manager's business; it reads what is current then.
            (Progress::Waiting, Ask::Nothing | Ask::Tell | Ask::Restart, false) if !member.supervised => {
                member.progress = Progress::Unproven;
            }
            (Progress::Waiting, Ask::Nothing | Ask::Tell | Ask::Restart, false) => {
                member.progress = Progress::Down {
                    again_at: now,
                    until: now.after(member.span()),
                };
                starts.push(id.clone());
            }
            (Progress::Down { again_at, .. }, _, _) if now >= *again_at => starts.push(id.clone()),
            (
                Progress::Coming { .. }
                | Progress::Telling { .. }
                | Progress::Told { .. }
                | Progress::Starting { .. }
                | Progress::Down { .. }
                | Progress::Reached
                | Progress::Failed(_)
                | Progress::Unproven,
                _,
                _,
            ) => {}
        }
    }
    order_starts(rollout, starts, now, out);
    let open: Vec<_> = rollout.pending.tells.iter().flatten().cloned().collect();
    let telling = rollout.select(|member| match member.progress {
        Progress::Telling { .. } => true,
        Progress::Waiting
        | Progress::Coming { .. }
        | Progress::Told { .. }
        | Progress::Starting { .. }
        | Progress::Down { .. }
        | Progress::Reached
        | Progress::Failed(_)
        | Progress::Unproven => false,
    });
    let (signalled, requested): (Vec<_>, Vec<_>) = telling
        .into_iter()
        .filter(|id| !open.contains(id) && !rollout.pending.requests.contains(id))
        .partition(|id| {
            rollout
                .members
                .get(id)
                .is_some_and(|member| member.is_signalled(there))
        });
    tell(rollout, signalled, out);
    request(rollout, requested, out);
}

/// Sends the request to reload to these. While the agent is lost they wait for it, like those of [`tell`].
fn request(rollout: &mut Rollout, ids: Vec<MemberId>, out: &mut Vec<Command>) {
    if ids.is_empty() || rollout.agent_lost {
        return;
    }
    rollout.pending.requests.extend(ids.iter().cloned());
    out.push(Command::Request(rollout.expected().0, ids));
}

/// Sends the signal to these, and keeps in mind whom the answer will be about. While the agent is lost
/// nothing is sent: whoever is told then is told when it is back.
pub(super) fn tell(rollout: &mut Rollout, ids: Vec<MemberId>, out: &mut Vec<Command>) {
    if ids.is_empty() || rollout.agent_lost {
        return;
    }
    rollout.pending.tells.push_back(ids.clone());
    out.push(Command::Tell(ids));
}

/// Restarts the living and starts the dead among these. While the agent is lost they wait for it.
fn order_starts(rollout: &mut Rollout, ids: Vec<MemberId>, now: Moment, out: &mut Vec<Command>) {
    let agent_lost = rollout.agent_lost;
    let mut restart = Vec::new();
    let mut start = Vec::new();
    for id in ids {
        let Some(member) = rollout.members.get_mut(&id) else {
            continue;
        };
        let until = member.start_limit(now);
        if agent_lost {
            member.progress = Progress::Down { again_at: now, until };
            continue;
        }
        member.restarted = true;
        member.progress = Progress::Starting { until };
        rollout.pending.starts.insert(id.clone());
        if member.alive() {
            restart.push(id);
        } else {
            start.push(id);
        }
    }
    if !restart.is_empty() {
        out.push(Command::Restart(restart));
    }
    if !start.is_empty() {
        out.push(Command::Start(start));
    }
}

/// Moves everybody's progress on.
pub(super) fn judge_members(rollout: &mut Rollout, now: Moment) {
    let expected = rollout.expected();
    let failed = rollout.failed_switch();
    for (id, member) in &mut rollout.members {
        let leg = Judged {
            expected,
            failed,
            agent_lost: rollout.agent_lost,
            ordered: rollout.pending.starts.contains(id),
        };
        member.judge(id, &leg, now);
    }
}

/// The failures that count.
pub(super) fn failures(rollout: &Rollout) -> Vec<Failure> {
    rollout
        .members
        .values()
        .filter_map(|member| match &member.progress {
            Progress::Failed(failure) => Some(failure.clone()),
            Progress::Waiting
            | Progress::Coming { .. }
            | Progress::Telling { .. }
            | Progress::Told { .. }
            | Progress::Starting { .. }
            | Progress::Down { .. }
            | Progress::Reached
            | Progress::Unproven => None,
        })
        .collect()
}

/// Ends in Settled. Whoever is not a participant and showed no evidence until now is named.
fn settle(rollout: &mut Rollout, out: &mut Vec<Command>) {
    let unproven = rollout.select(|member| member.progress != Progress::Reached);
    close(rollout, Outcome::Settled { unproven }, out);
}

pub(super) fn baking(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Baking { until } = rollout.phase else {
        return;
    };
    match event {
        Event::Tick if now >= until => {
            judge_members(rollout, now);
            let failures = failures(rollout);
            if failures.is_empty() {
                settle(rollout, out);
            } else {
                back::go_back(rollout, failures, now, out);
            }
            return;
        }
        Event::Evidence {
            member: id,
            evidence: super::Evidence::Probed(result),
        } => {
            let counts = rollout
                .members
                .get(&id)
                .is_some_and(|member| member.part == Part::Participant && member.tier == Tier::Probed);
            if let (true, Some(why)) = (counts, result.failure) {
                let message = format!("its probe failed while baking: {why}");
                let failure = Failure {
                    member: Some(id),
                    kind: FailureKind::TimedOut,
                    message,
                };
                return back::go_back(rollout, vec![failure], now, out);
            }
        }
        // Noted in the members, or just time: judged below.
        Event::Evidence { .. }
        | Event::Started { .. }
        | Event::StartFailed { .. }
        | Event::Ended { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::AgentLost
        | Event::AgentBack { .. }
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
        | Event::Unpaused { .. }
        | Event::PauseExpired
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }
    judge_members(rollout, now);
    let failures = failures(rollout);
    if !failures.is_empty() {
        return back::go_back(rollout, failures, now, out);
    }
    ask(rollout, true, now, out);
}
