//! The guard's refusals and exits in words, with the next step.

use std::collections::BTreeMap;

use lockstep_core::rollout::MemberId;
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Exit, Refusal, SignalFault};

use super::Target;

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

pub(super) fn fault_phrase(fault: &SignalFault, target: &Target) -> String {
    let signal = target.signal().unwrap_or("the signal");
    match fault {
        SignalFault::Gone => "the process is gone".to_owned(),
        SignalFault::WouldKill => format!(
            "{signal} would kill it: it is neither caught, ignored nor blocked. Set the handler up first thing \
             at start (Python: signal.signal({signal}, …) before slow imports; Go: signal.Notify; Rust: \
             lockstep_client's Trigger::Signal), or set `reload` to another signal"
        ),
        SignalFault::Refused { error } => format!("{signal} cannot be sent: {error}"),
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

pub(super) fn phrase(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal(signal) => format!("was killed by {signal}"),
        Exit::Unknown => "ended (how is unknown: its parent was not this guard)".to_owned(),
    }
}
