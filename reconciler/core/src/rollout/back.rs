//! The way back: entering it, staging its switch, and Stuck, where it is tried again and again.

use std::time::Duration;

use super::member::WayBack;
use super::road::{close, pause_or_publish};
use super::verifying::{failures, judge_members, order_starts, tell_again};
use super::{
    Command, Event, Failure, Kind, Leg, Moment, NoticeKind, Outcome, Part, Phase, Preparing, Progress,
    Rollout,
};

/// The first and the longest wait between two tries of the road back.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Turns round: the candidate is quarantined, and everybody that may have seen it goes back.
pub(super) fn go_back(rollout: &mut Rollout, failures: Vec<Failure>, now: Moment, out: &mut Vec<Command>) {
    let why: Vec<_> = failures.iter().map(ToString::to_string).collect();
    if rollout.kind != Kind::Healing {
        out.push(Command::Quarantine(failures.clone()));
    }
    let forward = rollout.to.switch;
    rollout.leg = Leg::Back(failures);
    out.push(rollout.say_why(NoticeKind::Restoring, why.join("; ")));
    for member in rollout.members.values_mut() {
        // One that came up meanwhile and took the failed release has to leave it like everybody else.
        let took = member
            .statement
            .as_ref()
            .is_some_and(|status| status.switch == Some(forward));
        if member.part == Part::Absent && member.alive() && took {
            member.part = Part::Participant;
        }
        member.progress = Progress::Waiting;
    }
    try_again(rollout, now, out);
}

/// The road back from its beginning.
fn try_again(rollout: &mut Rollout, _now: Moment, out: &mut Vec<Command>) {
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
        Event::Built => pause_or_publish(rollout, now, out),
        Event::BuildFailed { reason } => get_stuck(rollout, false, reason, now, out),
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

/// The way back failed: loud, and tried again.
pub(super) fn get_stuck(
    rollout: &mut Rollout,
    switched: bool,
    why: String,
    now: Moment,
    out: &mut Vec<Command>,
) {
    out.push(rollout.say_why(NoticeKind::Stuck, why));
    rollout.phase = Phase::Stuck {
        retry_at: now.after(FIRST_RETRY),
        attempts: 1,
        switched,
    };
}

pub(super) fn stuck(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Stuck {
        retry_at,
        attempts,
        switched,
    } = rollout.phase.clone()
    else {
        return;
    };
    match event {
        Event::Supersede => return close(rollout, Outcome::Superseded, out),
        Event::Tick if now >= retry_at => {
            let wait = FIRST_RETRY
                .saturating_mul(2u32.saturating_pow(attempts.min(16)))
                .min(LONGEST_RETRY);
            if !switched {
                return try_again(rollout, now, out);
            }
            rollout.phase = Phase::Stuck {
                retry_at: now.after(wait),
                attempts: attempts.saturating_add(1),
                switched,
            };
            retry_members(rollout, now, out);
        }
        Event::AgentBack { .. } => tell_again(rollout, out),
        // One that is silent and ends: its successor reads `current`, which is back.
        Event::Ended { .. } | Event::Started { .. } | Event::Evidence { .. } => {}
        Event::StartFailed { member, .. } => {
            if let Some(member) = rollout.members.get_mut(&member) {
                member.progress = Progress::Down {
                    again_at: now.after(LONGEST_RETRY),
                    until: now.after(LONGEST_RETRY),
                };
            }
        }
        // Who could not be told is tried again at the next retry.
        Event::Told { .. }
        | Event::Unpaused { .. }
        | Event::PauseExpired
        | Event::AgentLost
        | Event::Tick => {}
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
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed => {}
    }
    if !switched {
        return;
    }
    judge_members(rollout, now, true, out);
    let back = rollout.members.values().all(|member| match member.progress {
        Progress::Reached | Progress::Unproven => true,
        Progress::Waiting
        | Progress::Told { .. }
        | Progress::Starting { .. }
        | Progress::Down { .. }
        | Progress::Failed(_) => false,
    });
    if back && let Leg::Back(first) = rollout.leg.clone() {
        close(rollout, Outcome::RolledBack { failures: first }, out);
    }
}

/// Tells the living once more and starts the dead.
fn retry_members(rollout: &mut Rollout, now: Moment, out: &mut Vec<Command>) {
    let mut starts = Vec::new();
    for (id, member) in &mut rollout.members {
        match (&member.progress, member.way_back()) {
            (Progress::Reached | Progress::Unproven, _) => {}
            (_, WayBack::Nothing) => member.progress = Progress::Reached,
            (_, WayBack::Tell) if member.alive() => member.told(now),
            (_, WayBack::Restart | WayBack::Tell) => starts.push(id.clone()),
        }
    }
    order_starts(rollout, starts, now, out);
    tell_again(rollout, out);
    if !failures(rollout).is_empty() {
        out.push(Command::Look);
    }
}
