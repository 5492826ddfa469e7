//! The guard and its holder: the parent of supervised services, and the only one that stops and signals them.
//!
//! Small and synchronous, so that it outlives what is big and changes often: besides the standard library
//! and `rustix` it uses `serde` and `serde_json` for the documents on its socket and its record, and `libc`
//! for what `rustix` does not offer (signal masks, signalfd, the scheduler, the system's accounts).
//!
//! # Four processes, one program
//!
//! | process | called | lives | code |
//! |---|---|---|---|
//! | guard | [`run`] | until it is told to end | [`start`], [`guard`], [`requests`], [`supervise`], [`mod@foreign`] |
//! | holder | [`holder`](fn@holder) | as long as its guard; thaws when that is dead or the time is up | [`mod@holder`] |
//! | child | [`guard_exec`] | until it becomes a service's command | [`exec`] |
//! | agent | [`connect`], [`spawn`] | in the reconciler | [`client`] |
//!
//! The first three are executed from `/proc/self/exe`: one build, also after the file was replaced.
//!
//! # Who wakes whom
//!
//! Agents talk to the guard over `guard.sock` ([`wire`], [`frame`]). The guard talks to the holder
//! ([`link`]) before each stop, and to each child ([`launch`]) until it is a service. The kernel tells the
//! guard of ends: of its children by SIGCHLD, of adopted processes by their handles, of the holder and
//! of agents by their sockets.
//!
//! # What holds, whatever dies
//!
//! - Nobody is stopped before the holder has its handle and the deadline ([`freeze`]).
//! - No command is executed before the record that names its process is on disk ([`exec`], [`record`]).
//! - The lock is free only when guard and holder are gone ([`state`]); the next guard thaws before anything
//!   else ([`start`]).
//!
//! # Limits
//!
//! A process that leaves both its parent and its session is still found by the token in its environment,
//! unless it replaced that, too, or its nearest reaper is neither the guard nor that of an adopted service.
//! An attached process has no token of the guard's: whoever left both its parent and its session is not found.
//! Pid 1 of a namespace cannot be stopped from inside it.
#![cfg(target_os = "linux")]

mod account;
pub mod client;
mod clock;
mod connection;
mod detach;
mod dispositions;
mod error;
mod exec;
mod foreign;
mod frame;
mod freeze;
mod guard;
mod holder;
mod launch;
mod leftovers;
mod link;
mod log;
mod processes;
mod record;
mod requests;
mod restart;
mod service;
mod signal;
mod start;
mod state;
mod supervise;
mod urgency;
pub mod wire;

pub use account::user_name;
pub use client::{connect, left_behind, spawn};
pub use error::GuardError;
pub use foreign::check_identity;
pub use frame::{Decoder, FrameError, encode};
pub use guard::ExitReason;
pub use requests::LONGEST_PAUSE;

use std::path::PathBuf;

/// The subcommand that calls [`run`], with `--state FOLDER` and `--detach` or (hidden) `--detached`.
pub const GUARD: &str = "guard";
/// The hidden subcommand that calls [`holder`](fn@holder), without arguments.
pub const HOLDER: &str = "guard-holder";
/// The hidden subcommand that calls [`guard_exec`], without arguments.
pub const EXEC: &str = "guard-exec";
/// The environment variable with the token of a service's start.
pub(crate) const INSTANCE: &str = "LOCKSTEP_INSTANCE";

/// Whether this is the name of a signal that a service can be told by, written as in `SIGUSR1`.
#[must_use]
pub fn is_signal(name: &str) -> bool {
    signal::by_name(name).is_some()
}

/// When the living process of this pid began, in clock ticks since boot; none when nobody lives under it.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = processes::stat::Stat::parse(&text)?;
    (!stat.is_dead()).then_some(stat.start_ticks)
}

/// Whether a signal would kill a process now: it neither handles nor ignores it. None when the process is gone, or
/// may not be looked at.
#[must_use]
pub fn would_kill(pid: u32, signal: &str) -> Option<bool> {
    let signal = signal::by_name(signal)?;
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    Some(signal::SignalSets::parse(&status)?.would_kill(signal))
}

/// Whether this machine knows a user of this name that a service can run as.
///
/// # Errors
/// With a message for the operator when it does not.
pub fn check_user(name: &str) -> Result<(), String> {
    account::Account::named(name).map(drop)
}

/// The number of a user of this name.
///
/// # Errors
/// With a message for the operator when this machine knows none.
pub fn user_number(name: &str) -> Result<u32, String> {
    account::Account::named(name).map(|account| account.user.as_raw())
}

/// The home folder of a user.
///
/// # Errors
/// With a message for the operator when this machine does not know the user.
pub fn home_of(name: &str) -> Result<PathBuf, String> {
    account::Account::named(name).map(|account| account.home)
}

/// The numbers of a user and its main group that a command which is to run as this user has to be given; none when
/// this process runs as that user already.
///
/// # Errors
/// With a message for the operator when there is no such user, or this process may not become it.
pub fn ids_to_become(name: &str) -> Result<Option<(u32, u32)>, String> {
    let account = account::Account::named(name)?;
    let own = rustix::process::geteuid();
    if own == account.user {
        Ok(None)
    } else if own.is_root() {
        Ok(Some((account.user.as_raw(), account.group.as_raw())))
    } else {
        Err(format!(
            "only root may become user {name}: run Lockstep as root or as that user"
        ))
    }
}

/// How to run the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardOptions {
    /// The state folder: lock, record and socket lie there.
    pub state: PathBuf,
    /// Whether it stays in the foreground.
    pub mode: Mode,
}

/// Where the guard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In this process.
    Foreground,
    /// In a process that is left behind (`--detach`).
    Detach,
    /// In this process, which is the one that was left behind (`--detached`).
    Detached,
}

/// Runs the guard. The process must have no other thread.
pub fn run(options: &GuardOptions) -> Result<ExitReason, GuardError> {
    match options.mode {
        Mode::Foreground => start::guard(&options.state, || {}),
        Mode::Detach => detach::leave_behind(&options.state),
        Mode::Detached => detach::run_detached(&options.state),
    }
}

/// Runs the holder, until its guard is gone. Standard input is the guard's socket.
pub fn holder() -> Result<(), GuardError> {
    // Nothing but its guard's end ends it: who ends a whole session or group must not leave somebody stopped.
    dispositions::block_ends().map_err(GuardError::system("the holder cannot block signals"))?;
    rustix::process::setsid()
        .map_err(|error| GuardError::system("the holder has no session")(error.into()))?;
    let _ = rustix::thread::set_name(c"lockstep-holder");
    urgency::raise();
    holder::hold().map_err(GuardError::system("the holder cannot hear its guard"))
}

/// Becomes a service's command when the guard says so. Standard input is the guard's socket. Returns only when
/// it was not executed, with the code to exit with.
#[must_use = "it is the process's exit code"]
pub fn guard_exec() -> i32 {
    exec::execute()
}
