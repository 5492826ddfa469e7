//! Lockstep: transactional GitOps for live configuration. A commit reaches every running service, or none.
//!
//! | module | for |
//! |---|---|
//! | [`cli`] | one file a subcommand |
//! | [`settings`] | what the operator says: as written, as resolved |
//! | [`candidate`] | from a commit to something that may be rolled out; the source's thread |
//! | [`coordinator`] | drives one rollout at a time; its head has the map of tasks and channels |
//! | [`agent`] | the instances of this machine, through the guard |
//! | [`web`] | the API over the control socket and the web port, metrics, health |
//! | [`progress`], [`telemetry`] | what takes long says how far it is; traces of rollouts |
//! | [`events`], [`metrics`], [`store`] | what is told, what is counted, what is remembered |
//! | [`history`], [`runs`] | how each candidate ended; what each instance ran and since when |
//!
//! Decisions are made in `lockstep-core`; the crates `lockstep-source`, `lockstep-volume` and
//! `lockstep-guard` do git, files and processes.

#![allow(
    unreachable_pub,
    reason = "a program has no API: `pub` says what a module offers to the others"
)]

mod agent;
mod candidate;
mod cli;
mod clock;
mod coordinator;
mod daytime;
mod events;
mod history;
mod lines;
mod metrics;
mod progress;
mod runs;
mod settings;
mod store;
mod telemetry;
mod web;

fn main() -> std::process::ExitCode {
    cli::main()
}
