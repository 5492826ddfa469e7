//! The end: the outcome is written to the journal, and only then reported.

use super::notice::in_one_line;
use super::{Command, Event, Moment, NoticeKind, Outcome, Phase, Progress, Rollout};
use crate::ledger::back_off;

/// Goes on to write the outcome.
pub(super) fn close(rollout: &mut Rollout, outcome: Outcome, out: &mut Vec<Command>) {
    rollout.pending.tries = 0;
    record(rollout, outcome, out);
}

fn record(rollout: &mut Rollout, outcome: Outcome, out: &mut Vec<Command>) {
    out.push(Command::RecordOutcome(outcome.clone()));
    rollout.phase = Phase::Closing {
        outcome,
        retry_at: None,
    };
}

pub(super) fn closing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Closing { outcome, retry_at } = rollout.phase.clone() else {
        return;
    };
    match event {
        Event::OutcomeRecorded => {
            out.push(Command::Release);
            out.push(match &outcome {
                Outcome::Settled { unproven } if unproven.is_empty() => rollout.say(NoticeKind::Settled),
                Outcome::Settled { unproven } => {
                    let names: Vec<_> = unproven.iter().map(ToString::to_string).collect();
                    rollout.say_why(NoticeKind::Settled, format!("unproven: {}", names.join(", ")))
                }
                Outcome::RolledBack { failures } => {
                    let mut why = vec![in_one_line(failures)];
                    let unproven = rollout.select(|member| member.progress == Progress::Unproven);
                    if !unproven.is_empty() {
                        let names: Vec<_> = unproven.iter().map(ToString::to_string).collect();
                        why.push(format!("unproven: {}", names.join(", ")));
                    }
                    rollout.say_why(NoticeKind::RolledBack, why.join("; "))
                }
                Outcome::Aborted { reason } => rollout.say_why(NoticeKind::Aborted, reason.clone()),
                Outcome::Superseded => rollout.say_why(
                    NoticeKind::Stuck,
                    "given up for a release that settled before".to_owned(),
                ),
                Outcome::Rejected { .. } | Outcome::Deposed => rollout.say(NoticeKind::Rejected),
            });
            rollout.phase = Phase::Done(outcome);
        }
        Event::OutcomeFailed { reason } => {
            let reason = format!("the outcome could not be written to the journal, trying again: {reason}");
            out.push(rollout.say_why(NoticeKind::Alarm, reason));
            // The outcome stands and only its record is missing: nobody has to stay down because of that.
            out.push(Command::Release);
            rollout.pending.tries = rollout.pending.tries.saturating_add(1);
            rollout.phase = Phase::Closing {
                outcome,
                retry_at: Some(now.after(back_off(rollout.pending.tries))),
            };
        }
        Event::Tick => {
            if retry_at.is_some_and(|at| now >= at) {
                record(rollout, outcome, out);
            }
        }
        // The outcome stands: what happens to an instance now is the business of the next look at it.
        Event::Started { .. }
        | Event::Ended { .. }
        | Event::Evidence { .. }
        | Event::AgentLost
        | Event::AgentBack { .. }
        | Event::StartFailed { .. } => {}
        // Late answers of an abandoned step.
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
        | Event::Answered { .. }
        | Event::PauseExpired
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }
}
