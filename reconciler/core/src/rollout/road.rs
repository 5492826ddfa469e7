//! The road from the intent to the unpause, on both legs: what each phase makes of each event.
//!
//! Each function here takes one phase and answers every event. An arm that does nothing says why.

use super::closing::{close, closing};
use super::member::Ask;
use super::notice::in_one_line;
use super::preparing::{abort, preparing};
use super::{
    Command, Effect, Event, Leg, MemberId, Moment, NoticeKind, Outcome, Part, Phase, Progress, Rollout, back,
    verifying,
};
use crate::service::Pause;

pub(super) fn advance(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    if let Event::AgentBack { .. } = event
        && holds(rollout)
    {
        // A guard that lost its connection starts services by itself again, and nobody is probed.
        out.push(Command::Hold(rollout.services()));
        if rollout.switched() {
            verifying::observe(rollout, out);
        }
    }
    match &rollout.phase {
        Phase::Preparing(_) => match rollout.leg {
            Leg::There => preparing(rollout, event, now, out),
            Leg::Back(_) => back::preparing(rollout, event, now, out),
        },
        Phase::Recording => recording(rollout, event, out),
        Phase::Pausing => pausing(rollout, event, out),
        Phase::Publishing { paused } => {
            let paused = *paused;
            publishing(rollout, paused, event, now, out);
        }
        Phase::Unpausing { .. } => unpausing(rollout, event, now, out),
        Phase::Verifying { .. } => verifying::verifying(rollout, event, now, out),
        Phase::Baking { .. } => verifying::baking(rollout, event, now, out),
        Phase::Closing { .. } => closing(rollout, event, now, out),
        Phase::Stuck { .. } => back::stuck(rollout, event, now, out),
        // It is over: whatever still arrives is for the next rollout.
        Phase::Done(_) => {}
    }
}

/// Whether services start on order alone.
fn holds(rollout: &Rollout) -> bool {
    match rollout.phase {
        Phase::Pausing
        | Phase::Publishing { .. }
        | Phase::Unpausing { .. }
        | Phase::Verifying { .. }
        | Phase::Baking { .. }
        | Phase::Stuck { .. } => true,
        Phase::Preparing(_) => !rollout.there(),
        Phase::Recording | Phase::Closing { .. } | Phase::Done(_) => false,
    }
}

fn recording(rollout: &mut Rollout, event: Event, out: &mut Vec<Command>) {
    match event {
        Event::IntentRecorded => {
            let died = verifying::failures(rollout);
            if !died.is_empty() {
                let reason = in_one_line(&died);
                return close(rollout, Outcome::Aborted { reason }, out);
            }
            let dead = rollout.participants(|member| !member.alive() && member.effect != Effect::Start);
            if let Some(dead) = dead.first() {
                let reason = format!("{dead} does not live");
                return close(rollout, Outcome::Aborted { reason }, out);
            }
            if rollout.agent_lost {
                let reason = "the guard could not be reached before the pause".to_owned();
                return close(rollout, Outcome::Aborted { reason }, out);
            }
            out.push(Command::Hold(rollout.services()));
            pause_or_publish(rollout, out);
        }
        Event::IntentFailed { reason } => {
            abort(
                rollout,
                format!("the intent could not be written to the journal: {reason}"),
                out,
            );
        }
        // Noted in the members, judged when the intent is recorded: a write under way is not called back.
        Event::Started { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::AgentLost
        | Event::AgentBack { .. } => {}
        // Nothing else was asked for.
        Event::Built
        | Event::BuildFailed { .. }
        | Event::Examined { .. }
        | Event::Checked { .. }
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
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
    }
}

/// Pauses whoever has to be paused, or goes on to the switch where that is nobody.
pub(super) fn pause_or_publish(rollout: &mut Rollout, out: &mut Vec<Command>) {
    let freeze = match rollout.leg {
        Leg::There => rollout.participants(|member| member.alive() && member.pause == Pause::Freeze),
        Leg::Back(_) if rollout.agent_lost => Vec::new(),
        Leg::Back(_) => rollout.select(|member| {
            member.alive()
                && member.pause == Pause::Freeze
                && member.progress == Progress::Waiting
                && member.asked(false) != Ask::Nothing
        }),
    };
    if freeze.is_empty() {
        publish(rollout, out);
    } else {
        rollout.phase = Phase::Pausing;
        out.push(Command::Pause(freeze));
    }
}

/// The switch, with nobody paused.
fn publish(rollout: &mut Rollout, out: &mut Vec<Command>) {
    rollout.phase = Phase::Publishing { paused: false };
    out.push(Command::Switch(rollout.expected().0));
}

fn pausing(rollout: &mut Rollout, event: Event, out: &mut Vec<Command>) {
    match event {
        Event::Paused => {
            let died = verifying::failures(rollout);
            if !died.is_empty() {
                // Nothing is switched yet, so nothing has to be undone but the pause.
                out.push(Command::Unpause(Vec::new()));
                let reason = in_one_line(&died);
                return close(rollout, Outcome::Aborted { reason }, out);
            }
            rollout.phase = Phase::Publishing { paused: true };
            out.push(Command::Switch(rollout.expected().0));
        }
        Event::PauseFailed { reason } => match rollout.leg {
            Leg::There => {
                // Who ended is the better reason, where somebody did.
                let died = verifying::failures(rollout);
                let reason = if died.is_empty() {
                    reason
                } else {
                    in_one_line(&died)
                };
                close(rollout, Outcome::Aborted { reason }, out);
            }
            Leg::Back(_) => back_without_pause(rollout, &reason, out),
        },
        Event::AgentLost => {
            let reason = "the guard could not be reached any more during the pause".to_owned();
            match rollout.leg {
                Leg::There => close(rollout, Outcome::Aborted { reason }, out),
                Leg::Back(_) => back_without_pause(rollout, &reason, out),
            }
        }
        // Noted in the members: a death is judged when the pause is confirmed, or is not.
        Event::Started { .. } | Event::Ended { .. } | Event::Evidence { .. } | Event::AgentBack { .. } => {}
        // Paused comes first and what follows it tells whether the limit had passed.
        Event::PauseExpired => {}
        // Nothing else was asked for.
        Event::Built
        | Event::BuildFailed { .. }
        | Event::Examined { .. }
        | Event::Checked { .. }
        | Event::IntentRecorded
        | Event::IntentFailed { .. }
        | Event::Switched
        | Event::SwitchFailed { .. }
        | Event::Unpaused { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
    }
}

/// The way back depends on less than the way there: it goes on although nobody could be paused.
fn back_without_pause(rollout: &mut Rollout, reason: &str, out: &mut Vec<Command>) {
    out.push(rollout.say_why(NoticeKind::Alarm, format!("going back without a pause: {reason}")));
    publish(rollout, out);
}

fn publishing(rollout: &mut Rollout, paused: bool, event: Event, now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::Switched => switched(rollout, paused, now, out),
        Event::SwitchFailed { reason } => {
            if paused {
                out.push(Command::Unpause(Vec::new()));
            }
            match rollout.leg {
                Leg::There => close(rollout, Outcome::Aborted { reason }, out),
                Leg::Back(_) => back::get_stuck(rollout, reason, now, out),
            }
        }
        Event::Withdrawn if rollout.withdraws() => {
            // Only the way back asks for it.
            if let Leg::Back(failures) = rollout.leg.clone() {
                close(rollout, Outcome::RolledBack { failures }, out);
            }
        }
        Event::WithdrawFailed { reason } if rollout.withdraws() => back::get_stuck(rollout, reason, now, out),
        // Noted in the members. A death is judged in Verifying; a lost agent after the rename, above.
        Event::Started { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::AgentLost
        | Event::AgentBack { .. } => {}
        // The rename may have been made already: Unpaused says that the limit had passed.
        Event::PauseExpired => {}
        // Nothing else was asked for.
        Event::Built
        | Event::BuildFailed { .. }
        | Event::Examined { .. }
        | Event::Checked { .. }
        | Event::IntentRecorded
        | Event::IntentFailed { .. }
        | Event::Paused
        | Event::PauseFailed { .. }
        | Event::Unpaused { .. }
        | Event::Told { .. }
        | Event::Answered { .. }
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
    }
}

/// `current` moved: reloads are queued, and everybody is unpaused.
fn switched(rollout: &mut Rollout, paused: bool, now: Moment, out: &mut Vec<Command>) {
    let there = rollout.there();
    if rollout.agent_lost {
        // Whoever was paused is unpaused by the guard; they are told when the agent is back.
        return verifying::begin(rollout, now, out);
    }
    let mut frozen: Vec<MemberId> = Vec::new();
    let mut loose: Vec<MemberId> = Vec::new();
    for (id, member) in &mut rollout.members {
        if member.progress != Progress::Waiting || !member.alive() || !member.is_signalled(there) {
            continue;
        }
        member.progress = Progress::Telling {
            until: now.after(member.span()),
        };
        // An absent member was not paused on the way there, whatever its setting.
        let was_paused = member.pause == Pause::Freeze && (member.part == Part::Participant || !there);
        if paused && was_paused {
            frozen.push(id.clone());
        } else {
            loose.push(id.clone());
        }
    }
    rollout.phase = Phase::Unpausing {
        unpausing: paused,
        telling: !loose.is_empty(),
    };
    if paused {
        out.push(Command::Unpause(frozen));
    }
    let nobody = loose.is_empty();
    verifying::tell(rollout, loose, out);
    if !paused && nobody {
        verifying::begin(rollout, now, out);
    }
}

fn unpausing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Unpausing {
        mut unpausing,
        mut telling,
    } = rollout.phase
    else {
        return;
    };
    match event {
        Event::Unpaused {
            pause,
            expired,
            unsent: _,
        } => {
            unpausing = false;
            if expired {
                let limit = rollout.limits.pause;
                out.push(rollout.say_why(
                    NoticeKind::Alarm,
                    format!("the pause took {pause:?} and was ended by its limit of {limit:?}"),
                ));
            }
        }
        // An answer that the leg before still waited for is not the one waited for here.
        Event::Told { .. } => telling = !rollout.pending.tells.is_empty(),
        // Requests go out in Verifying: it is about a leg before.
        Event::Answered { .. } => {}
        // Everybody is unpaused by the guard's own doing; who was told is unknown, so all are told again.
        Event::AgentLost => return verifying::begin(rollout, now, out),
        // Noted in the members.
        Event::Started { .. } | Event::Ended { .. } | Event::Evidence { .. } | Event::AgentBack { .. } => {}
        // Unpaused says it too.
        Event::PauseExpired => {}
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
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
    }
    rollout.phase = Phase::Unpausing { unpausing, telling };
    if !unpausing && !telling {
        verifying::begin(rollout, now, out);
    }
}
