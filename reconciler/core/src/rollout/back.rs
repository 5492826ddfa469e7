//! The way back: entering it, staging its switch, and Stuck, where it is tried again and again.

use super::closing::close;
use super::notice::in_one_line;
use super::road::pause_or_publish;
use super::verifying::{ask, failures, judge_members};
use super::{
    Command, Event, Failure, Kind, Leg, Member, Moment, NoticeKind, Outcome, Phase, Preparing, Progress,
    Rollout,
};
use crate::ledger::back_off;
use crate::service::Reload;

/// Turns round: the candidate is quarantined, and everybody that may have seen it goes back.
pub(super) fn go_back(rollout: &mut Rollout, failures: Vec<Failure>, now: Moment, out: &mut Vec<Command>) {
    match rollout.kind {
        Kind::Change | Kind::First => out.push(Command::Quarantine(failures.clone())),
        // The release settled before: it is the volume that was damaged.
        Kind::Healing => {}
    }
    for failure in &failures {
        if let Some(member) = &failure.member {
            out.push(rollout.say_of(member, NoticeKind::Failed, failure.message.clone()));
        }
    }
    turn_round(rollout, failures, now, out);
}

/// Turns round, the candidate being in quarantine already.
pub(super) fn turn_round(rollout: &mut Rollout, failures: Vec<Failure>, now: Moment, out: &mut Vec<Command>) {
    let why = in_one_line(&failures);
    rollout.leg = Leg::Back(failures);
    rollout.pending.tries = 0;
    for whom in &mut rollout.pending.tells {
        whom.clear();
    }
    rollout.pending.requests.clear();
    out.push(rollout.say_why(NoticeKind::Restoring, why));
    for (id, member) in &mut rollout.members {
        member.progress = if rollout.pending.starts.contains(id) {
            // An order cannot be called back, and nobody knows which release it will read.
            Progress::Coming {
                until: now.after(member.stop_within).after(member.span()),
            }
        } else {
            Progress::Waiting
        };
    }
    try_again(rollout, out);
}

/// The road back from its beginning.
fn try_again(rollout: &mut Rollout, out: &mut Vec<Command>) {
    if rollout.withdraws() {
        rollout.phase = Phase::Publishing { paused: false };
        out.push(Command::Withdraw(rollout.services()));
    } else {
        rollout.phase = Phase::Preparing(Preparing::start());
        out.push(Command::StageBack);
    }
}

pub(super) fn preparing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::Built => pause_or_publish(rollout, out),
        Event::BuildFailed { reason } => get_stuck(rollout, reason, now, out),
        // Noted in the members: a death or a lost agent does not stop the way back.
        Event::Started { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::AgentLost
        | Event::AgentBack { .. }
        | Event::StartFailed { .. } => {}
        // Late answers of the way there.
        Event::Examined { .. }
        | Event::Checked { .. }
        | Event::IntentRecorded
        | Event::IntentFailed { .. }
        | Event::Paused
        | Event::PauseFailed { .. }
        | Event::Switched
        | Event::SwitchFailed { .. }
        | Event::Unpaused { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::PauseExpired
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
    }
}

/// The way back failed before its switch: loud, and tried again.
pub(super) fn get_stuck(rollout: &mut Rollout, why: String, now: Moment, out: &mut Vec<Command>) {
    enter(rollout, (false, false), why, now, out);
}

/// The way back failed after its switch: loud, and whoever is missing is asked again.
pub(super) fn get_stuck_switched(
    rollout: &mut Rollout,
    flushed: bool,
    why: String,
    now: Moment,
    out: &mut Vec<Command>,
) {
    enter(rollout, (true, flushed), why, now, out);
}

fn enter(
    rollout: &mut Rollout,
    (switched, flushed): (bool, bool),
    why: String,
    now: Moment,
    out: &mut Vec<Command>,
) {
    let why = if rollout.agent_lost {
        format!("{why}; the guard cannot be reached, so what the others run is not known")
    } else {
        why
    };
    out.push(rollout.say_why(NoticeKind::Stuck, why.clone()));
    let attempts = rollout.pending.tries.saturating_add(1);
    rollout.pending.tries = attempts;
    rollout.phase = Phase::Stuck {
        why,
        retry_at: now.after(back_off(attempts)),
        attempts,
        switched,
        flushed,
    };
}

pub(super) fn stuck(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Stuck {
        retry_at,
        switched,
        mut flushed,
        ..
    } = rollout.phase
    else {
        return;
    };
    match event {
        // Until `current` is back the failed release is what readers see, and only the way back ends that.
        Event::Supersede if switched => return close(rollout, Outcome::Superseded, out),
        Event::Tick if now >= retry_at => {
            if !switched {
                return try_again(rollout, out);
            }
            retry(rollout, flushed, now, out);
        }
        Event::Flushed => flushed = true,
        // Noted in the members, or just time: judged below. What could not be flushed is tried again at the
        // next retry.
        Event::Ended { .. }
        | Event::Started { .. }
        | Event::StartFailed { .. }
        | Event::Evidence { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::AgentLost
        | Event::AgentBack { .. }
        | Event::FlushFailed { .. }
        | Event::Tick => {}
        // The unpause that followed a failed switch.
        Event::Unpaused { .. } | Event::PauseExpired => {}
        // Late answers of the failed try.
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
        | Event::Supersede
        | Event::Deposed => {}
    }
    if !switched {
        return;
    }
    if let Phase::Stuck { flushed: known, .. } = &mut rollout.phase {
        *known = flushed;
    }
    judge_members(rollout, now);
    ask(rollout, true, now, out);
    let back = failures(rollout).is_empty() && rollout.members.values().all(Member::resolved);
    if flushed
        && back
        && let Leg::Back(first) = rollout.leg.clone()
    {
        close(rollout, Outcome::RolledBack { failures: first }, out);
    }
}

/// Whoever failed is asked once more, and what is known of everybody is looked at.
fn retry(rollout: &mut Rollout, flushed: bool, now: Moment, out: &mut Vec<Command>) {
    let attempts = rollout.pending.tries.saturating_add(1);
    rollout.pending.tries = attempts;
    if let Phase::Stuck {
        retry_at,
        attempts: known,
        ..
    } = &mut rollout.phase
    {
        (*retry_at, *known) = (now.after(back_off(attempts)), attempts);
    }
    // One that watches is told by the links, which a flush renews.
    let mut unheard = false;
    for (id, member) in &mut rollout.members {
        if let Progress::Failed(_) = member.progress {
            unheard |= member.alive() && member.reload == Reload::Watch;
            member.progress = if rollout.pending.starts.contains(id) {
                // It is still being stopped or started: a second order would only hit what the first brings.
                Progress::Starting {
                    until: now.after(member.stop_within).after(member.span()),
                }
            } else {
                Progress::Waiting
            };
        }
    }
    if !flushed || unheard {
        out.push(Command::Flush);
    }
    out.push(Command::Look);
}
