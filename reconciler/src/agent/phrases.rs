//! The guard's refusals and exits in words, with the next step.

use std::collections::BTreeMap;

use lockstep_core::rollout::MemberId;
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Exit, Refusal, SignalFault};

use super::Target;
use super::in_front::{InFront, hint, in_front};

pub(super) fn members(faults: BTreeMap<String, SignalFault>) -> BTreeMap<MemberId, String> {
    faults
        .into_iter()
        .map(|(service, fault)| {
            let phrase = match fault {
                SignalFault::Gone => "the process is gone".to_owned(),
                SignalFault::WouldKill => "the signal would kill it: no handler is set up".to_owned(),
                SignalFault::Refused { error } => error,
            };
            (MemberId::only(&ServiceName::new(&service)), phrase)
        })
        .collect()
}

/// `pid`: its first process, where that is known.
pub(super) fn fault_phrase(fault: &SignalFault, target: &Target, pid: Option<u32>) -> String {
    let signal = target.signal().unwrap_or("the signal");
    match (fault, pid.and_then(in_front)) {
        (SignalFault::Gone, _) => "the process is gone".to_owned(),
        (SignalFault::WouldKill, Some(InFront::Shell(shell))) => {
            format!("{signal} would kill it: {}", hint(&shell))
        }
        (SignalFault::WouldKill, Some(InFront::Forwarder { .. }) | None) => format!(
            "{signal} would kill it: it is neither caught, ignored nor blocked. Set the handler up first thing \
             at start (Python: signal.signal({signal}, …) before slow imports; Go: signal.Notify; Rust: \
             lockstep_client's Trigger::Signal), or set `reload` to another signal"
        ),
        (SignalFault::Refused { error }, _) => format!("{signal} cannot be sent: {error}"),
    }
}

pub(super) fn refusal_phrase(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Deposed { highest_term } => format!("a coordinator of term {highest_term} has taken over"),
        Refusal::NoHello => "the conversation was not opened".to_owned(),
        Refusal::UnknownService { service } => format!("{service} is not known to the guard"),
        Refusal::NotThatInstance { service } => {
            format!("{service} is not the process any more that was meant")
        }
        Refusal::FreezeTimedOut {
            unconfirmed,
            services,
        } => format!(
            "{} did not stop in time ({}): a process in uninterruptible sleep cannot be paused",
            services.join(", "),
            unconfirmed.join(", ")
        ),
        Refusal::SignalWouldKill { service, signal } => {
            format!(
                "{service}: {signal} would kill it now: its handler is gone (it may have executed another program)"
            )
        }
        Refusal::NoHolder => "the holder did not answer, and without it nobody is paused".to_owned(),
        Refusal::AlreadyFrozen => "somebody is paused already".to_owned(),
        Refusal::CannotStart { service, error } => format!("{service} could not be started: {error}"),
        Refusal::Failed { error } => error.clone(),
    }
}

/// How a process ended; and what it left behind, if that was killed.
pub(super) fn phrase(exit: &Exit, left_behind: bool) -> String {
    let how = how(exit);
    // One that was killed could not take anybody along.
    if left_behind && *exit == Exit::Code(0) {
        format!(
            "{how} and left processes behind, which were killed: a service stays in the foreground (leave out what sends \
             it to the background, or have somebody else run it: `pid_file`)"
        )
    } else {
        how
    }
}

fn how(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal(signal) => format!("was killed by {signal}"),
        Exit::Unknown => "ended (how is unknown: its parent was not this guard)".to_owned(),
    }
}
