//! The road up to the unpause, and the closing: what each phase makes of each event.
//!
//! Each function here takes one phase and answers every event. An arm that does nothing says why.

use super::member::WayBack;
use super::{
    CheckVerdict, Command, Effect, Event, Failure, FailureKind, Kind, Leg, MemberId, Moment, NoticeKind,
    Outcome, Part, Phase, Progress, Rollout, back, verifying,
};
use crate::service::{Pause, Reload, Tier};

/// How long after a failed write of the outcome it is tried again.
const RECORD_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) fn advance(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    match &rollout.phase {
        Phase::Preparing(_) => match rollout.leg {
            Leg::There => preparing(rollout, event, now, out),
            Leg::Back(_) => back::preparing(rollout, event, now, out),
        },
        Phase::Recording => recording(rollout, event, now, out),
        Phase::Pausing => pausing(rollout, event, now, out),
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

fn preparing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Preparing(mut state) = rollout.phase.clone() else {
        return;
    };
    match event {
        Event::Built => state.built = true,
        Event::BuildFailed { reason } => return abort(rollout, reason, out),
        Event::Examined { unfit } if unfit.is_empty() => state.examined = true,
        Event::Examined { unfit } => {
            let reasons: Vec<_> = unfit.iter().map(|(id, why)| format!("{id}: {why}")).collect();
            return abort(rollout, reasons.join("; "), out);
        }
        Event::Checked { service, verdict } => {
            state.checks.remove(&service);
            match verdict {
                CheckVerdict::Passed => {}
                CheckVerdict::Refused(output) => state.vetoes.push(Failure {
                    member: Some(MemberId::only(&service)),
                    kind: FailureKind::Refused,
                    message: format!("its check refused the candidate: {output}"),
                }),
                CheckVerdict::Unknown(reason) => {
                    return abort(
                        rollout,
                        format!("{service}: its check could not be run: {reason}"),
                        out,
                    );
                }
            }
        }
        Event::Ended { member, how, .. } => {
            let counts = rollout
                .members
                .get(&member)
                .is_some_and(|member| member.part == Part::Participant);
            if counts {
                return abort(rollout, format!("{member} {how} before the switch"), out);
            }
        }
        Event::AgentLost => {
            return abort(
                rollout,
                "the guard cannot be reached; it is started again".to_owned(),
                out,
            );
        }
        Event::Tick => {
            let late: Vec<_> = state
                .votes
                .iter()
                .filter(|(_, until)| now >= **until)
                .map(|(id, _)| id.to_string())
                .collect();
            if !late.is_empty() {
                let reason = format!("no vote came in time from {}", late.join(", "));
                return abort(rollout, reason, out);
            }
        }
        // Noted in the members; votes are looked at below.
        Event::Evidence { .. } | Event::Started { .. } | Event::AgentBack { .. } => {}
        // Answers to commands that Preparing does not give: left over from an earlier rollout.
        Event::IntentRecorded
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

    if state.built && state.examined && !state.asked {
        state.asked = true;
        state.checks = rollout
            .members
            .iter()
            .filter(|(_, member)| member.check)
            .map(|(id, _)| id.service.clone())
            .collect();
        let voters = rollout.participants(|member| member.tier == Tier::Voting);
        state.votes = voters
            .iter()
            .filter_map(|id| {
                rollout
                    .members
                    .get(id)
                    .map(|member| (id.clone(), now.after(member.within)))
            })
            .collect();
        out.extend(state.checks.iter().cloned().map(Command::Check));
        if !voters.is_empty() {
            out.push(Command::Offer(voters));
        }
    }
    for id in state.votes.keys().cloned().collect::<Vec<_>>() {
        let vote = rollout
            .members
            .get(&id)
            .and_then(|member| member.statement.as_ref()?.vote.clone());
        if let Some(vote) = vote.filter(|vote| vote.rollout == rollout.id) {
            state.votes.remove(&id);
            if !vote.accept {
                let message = match vote.error {
                    Some(error) => format!("it voted against the candidate: {error}"),
                    None => "it voted against the candidate and gave no reason".to_owned(),
                };
                state.vetoes.push(Failure {
                    member: Some(id),
                    kind: FailureKind::Refused,
                    message,
                });
            }
        }
    }
    let ready = state.asked && state.checks.is_empty() && state.votes.is_empty();
    let vetoes = state.vetoes.clone();
    rollout.phase = Phase::Preparing(state);
    if ready && vetoes.is_empty() {
        rollout.phase = Phase::Recording;
        out.push(Command::RecordIntent);
    } else if ready {
        let why: Vec<_> = vetoes.iter().map(ToString::to_string).collect();
        out.push(Command::Release);
        out.push(rollout.say_why(NoticeKind::Rejected, why.join("; ")));
        rollout.phase = Phase::Done(Outcome::Rejected { failures: vetoes });
    }
}

/// Gives up while nothing is in the journal yet.
fn abort(rollout: &mut Rollout, reason: String, out: &mut Vec<Command>) {
    out.push(Command::Release);
    out.push(rollout.say_why(NoticeKind::Aborted, reason.clone()));
    rollout.phase = Phase::Done(Outcome::Aborted { reason });
}

fn recording(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::IntentRecorded => {
            let dead = rollout.participants(|member| !member.alive() && member.effect != Effect::Start);
            if let Some(dead) = dead.first() {
                return close(
                    rollout,
                    Outcome::Aborted {
                        reason: format!("{dead} ended before the switch"),
                    },
                    out,
                );
            }
            if rollout.agent_lost {
                let reason = "the guard could not be reached before the pause".to_owned();
                return close(rollout, Outcome::Aborted { reason }, out);
            }
            out.push(Command::Hold(rollout.services()));
            pause_or_publish(rollout, now, out);
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
pub(super) fn pause_or_publish(rollout: &mut Rollout, _now: Moment, out: &mut Vec<Command>) {
    let freeze = match rollout.leg {
        Leg::There => rollout.participants(|member| member.alive() && member.pause == Pause::Freeze),
        Leg::Back(_) if rollout.agent_lost => Vec::new(),
        Leg::Back(_) => rollout.select(|member| {
            member.alive() && member.pause == Pause::Freeze && member.way_back() != WayBack::Nothing
        }),
    };
    if freeze.is_empty() {
        rollout.phase = Phase::Publishing { paused: false };
        out.push(Command::Switch(rollout.expected().0));
    } else {
        rollout.phase = Phase::Pausing;
        out.push(Command::Pause(freeze));
    }
}

fn pausing(rollout: &mut Rollout, event: Event, _now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::Paused => {
            rollout.phase = Phase::Publishing { paused: true };
            out.push(Command::Switch(rollout.expected().0));
        }
        Event::PauseFailed { reason } => match rollout.leg {
            Leg::There => close(rollout, Outcome::Aborted { reason }, out),
            Leg::Back(_) => back_without_pause(rollout, &reason, out),
        },
        Event::AgentLost => {
            let reason = "the guard could not be reached any more during the pause".to_owned();
            match rollout.leg {
                Leg::There => close(rollout, Outcome::Aborted { reason }, out),
                Leg::Back(_) => back_without_pause(rollout, &reason, out),
            }
        }
        // Noted in the members; the guard itself refuses to pause an instance that ended.
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
    rollout.phase = Phase::Publishing { paused: false };
    out.push(Command::Switch(rollout.expected().0));
}

fn publishing(rollout: &mut Rollout, paused: bool, event: Event, now: Moment, out: &mut Vec<Command>) {
    match event {
        Event::Switched => {
            let signalled = rollout.select(|member| {
                let told = match rollout.leg {
                    Leg::There => member.effect == Effect::Reload,
                    Leg::Back(_) => member.way_back() == WayBack::Tell,
                };
                told && member.alive() && matches!(member.reload, Reload::Signal(_))
            });
            if rollout.agent_lost {
                // Whoever was paused is unpaused by the guard; they are told when the agent is back.
                return verifying::begin(rollout, now, out);
            }
            let (frozen, loose): (Vec<_>, Vec<_>) = signalled.into_iter().partition(|id| {
                // An absent member was not paused on the way there, whatever its setting.
                paused
                    && rollout.members.get(id).is_some_and(|member| {
                        member.pause == Pause::Freeze
                            && (member.part == Part::Participant || rollout.leg != Leg::There)
                    })
            });
            rollout.phase = Phase::Unpausing {
                unpausing: paused,
                telling: !loose.is_empty(),
            };
            if paused {
                out.push(Command::Unpause(frozen));
            }
            if !loose.is_empty() {
                out.push(Command::Tell(loose));
            }
            if let Phase::Unpausing {
                unpausing: false,
                telling: false,
            } = rollout.phase
            {
                verifying::begin(rollout, now, out);
            }
        }
        Event::SwitchFailed { reason } => {
            if paused {
                out.push(Command::Unpause(Vec::new()));
            }
            match rollout.leg {
                Leg::There => close(rollout, Outcome::Aborted { reason }, out),
                Leg::Back(_) => back::get_stuck(rollout, false, reason, now, out),
            }
        }
        Event::Withdrawn => {
            let Leg::Back(failures) = rollout.leg.clone() else {
                return;
            };
            close(rollout, Outcome::RolledBack { failures }, out);
        }
        Event::WithdrawFailed { reason } => back::get_stuck(rollout, false, reason, now, out),
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
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::StartFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede
        | Event::Tick => {}
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
            unsent,
        } => {
            unpausing = false;
            mark_unsent(rollout, &unsent, out);
            if expired {
                let limit = rollout.limits.pause;
                out.push(rollout.say_why(
                    NoticeKind::Alarm,
                    format!("the pause took {pause:?} and was ended by its limit of {limit:?}"),
                ));
            }
        }
        Event::Told { unsent } => {
            telling = false;
            mark_unsent(rollout, &unsent, out);
        }
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

/// A reload that could not be sent is a failure of the member, judged in Verifying.
pub(super) fn mark_unsent(
    rollout: &mut Rollout,
    unsent: &std::collections::BTreeMap<MemberId, String>,
    out: &mut Vec<Command>,
) {
    for (id, reason) in unsent {
        let Some(member) = rollout.members.get_mut(id) else {
            continue;
        };
        // A process that ended has its own failure already, with the better reason.
        if !member.alive() {
            continue;
        }
        member.progress = member.fail(
            id,
            FailureKind::NotTold,
            format!("its reload was not sent: {reason}"),
        );
        if let Progress::Failed(failure) = &member.progress {
            let message = failure.message.clone();
            out.push(rollout.say_of(id, NoticeKind::Failed, message));
        }
    }
}

/// Goes on to write the outcome.
pub(super) fn close(rollout: &mut Rollout, outcome: Outcome, out: &mut Vec<Command>) {
    out.push(Command::RecordOutcome(outcome.clone()));
    rollout.phase = Phase::Closing {
        outcome,
        retry_at: None,
    };
}

fn closing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
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
                    let why: Vec<_> = failures.iter().map(ToString::to_string).collect();
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
            rollout.phase = Phase::Closing {
                outcome,
                retry_at: Some(now.after(RECORD_AGAIN)),
            };
        }
        Event::Tick => {
            if retry_at.is_some_and(|at| now >= at) {
                close(rollout, outcome, out);
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
        | Event::PauseExpired
        | Event::Flushed
        | Event::FlushFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }
}

impl Rollout {
    /// Whether this is a first rollout on its way back: nothing to switch to.
    pub(super) fn withdraws(&self) -> bool {
        self.kind == Kind::First && self.from.is_none()
    }
}
