//! Preparing, on the way there: everything that can be refused is refused here, before anything is touched.

use std::collections::BTreeMap;

use super::notice::in_one_line;
use super::{
    CheckVerdict, Command, Effect, Event, Failure, FailureKind, Kind, MemberId, Moment, NoticeKind, Outcome,
    Phase, Preparing, Rollout, verifying,
};
use crate::service::Tier;

pub(super) fn preparing(rollout: &mut Rollout, event: Event, now: Moment, out: &mut Vec<Command>) {
    let Phase::Preparing(mut state) = rollout.phase.clone() else {
        return;
    };
    match event {
        Event::Built => state.built = true,
        Event::BuildFailed { reason } => return give_up(rollout, state, reason, out),
        Event::Examined { unfit } => {
            let reasons = reasons_against(rollout, &unfit);
            if !reasons.is_empty() {
                return give_up(rollout, state, reasons.join("; "), out);
            }
            state.examined = true;
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
                    let reason = format!("{service}: its check could not be run: {reason}");
                    return give_up(rollout, state, reason, out);
                }
            }
        }
        Event::AgentLost => {
            let reason = "the guard cannot be reached any more: tried again when it answers".to_owned();
            return give_up(rollout, state, reason, out);
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
                return give_up(rollout, state, reason, out);
            }
        }
        // Noted in the members; deaths and votes are looked at below.
        Event::Evidence { .. } | Event::Started { .. } | Event::Ended { .. } | Event::AgentBack { .. } => {}
        // Answers to commands that Preparing does not give: left over from an earlier rollout.
        Event::IntentRecorded
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
        | Event::StartFailed { .. }
        | Event::Withdrawn
        | Event::WithdrawFailed { .. }
        | Event::OutcomeRecorded
        | Event::OutcomeFailed { .. }
        | Event::Deposed
        | Event::Supersede => {}
    }

    let died = verifying::failures(rollout);
    if !died.is_empty() {
        return give_up(rollout, state, in_one_line(&died), out);
    }
    if state.built && state.examined && !state.asked {
        ask(rollout, &mut state, now, out);
    }
    count_votes(rollout, &mut state);
    let ready = state.asked && state.checks.is_empty() && state.votes.is_empty();
    if !ready {
        rollout.phase = Phase::Preparing(state);
    } else if state.vetoes.is_empty() {
        rollout.phase = Phase::Recording;
        out.push(Command::RecordIntent);
    } else {
        reject(rollout, state.vetoes, out);
    }
}

/// Why this rollout cannot be carried out with the members as they were found, or as they are.
fn reasons_against(rollout: &Rollout, unfit: &BTreeMap<MemberId, String>) -> Vec<String> {
    rollout
        .members
        .iter()
        .filter_map(|(id, member)| {
            let restart = !member.supervised && member.effect == Effect::Restart;
            let why = unfit.get(id).cloned().or_else(|| {
                restart.then(|| {
                    "this change takes a restart of it, and Lockstep does not start it: take the key out of what \
                     restarts it (`[[effect]]`, `x-lockstep-effect`), or have Lockstep run it by `process.command`"
                        .to_owned()
                })
            })?;
            Some(format!("{id}: {why}"))
        })
        .collect()
}

/// Runs the checks and puts the offers. A healing asks nobody: the same files settled before.
fn ask(rollout: &Rollout, state: &mut Preparing, now: Moment, out: &mut Vec<Command>) {
    state.asked = true;
    match rollout.kind {
        Kind::Change | Kind::First => {}
        Kind::Healing => return,
    }
    state.checks = rollout
        .members
        .iter()
        .filter(|(_, member)| member.check)
        .map(|(id, _)| id.service.clone())
        .collect();
    let voters = rollout.participants(|member| member.tier == Tier::Voting && member.alive());
    state.votes = voters
        .iter()
        .filter_map(|id| {
            let within = rollout.members.get(id)?.within;
            Some((id.clone(), now.after(within)))
        })
        .collect();
    out.extend(state.checks.iter().cloned().map(Command::Check));
    if !voters.is_empty() {
        out.push(Command::Offer(voters));
    }
}

/// Takes the votes on this rollout out of the statements.
fn count_votes(rollout: &Rollout, state: &mut Preparing) {
    for id in state.votes.keys().cloned().collect::<Vec<_>>() {
        let vote = rollout
            .members
            .get(&id)
            .and_then(|member| member.statement.as_ref()?.vote.clone());
        let Some(vote) = vote.filter(|vote| vote.rollout == rollout.id) else {
            continue;
        };
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

/// Gives up while nothing is in the journal yet. A veto that came before is the better reason: it stays
/// true whatever else went wrong.
fn give_up(rollout: &mut Rollout, state: Preparing, reason: String, out: &mut Vec<Command>) {
    if state.vetoes.is_empty() {
        abort(rollout, reason, out);
    } else {
        reject(rollout, state.vetoes, out);
    }
}

/// Ends in Aborted while nothing is in the journal yet.
pub(super) fn abort(rollout: &mut Rollout, reason: String, out: &mut Vec<Command>) {
    out.push(Command::Release);
    out.push(rollout.say_why(NoticeKind::Aborted, reason.clone()));
    rollout.phase = Phase::Done(Outcome::Aborted { reason });
}

fn reject(rollout: &mut Rollout, failures: Vec<Failure>, out: &mut Vec<Command>) {
    out.push(Command::Release);
    out.push(rollout.say_why(NoticeKind::Rejected, in_one_line(&failures)));
    rollout.phase = Phase::Done(Outcome::Rejected { failures });
}
