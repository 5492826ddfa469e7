//! `lockstep down`: the end of everything, also when no reconciler runs to be asked for it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lockstep_guard::wire::{Answer, Body, Message, Refusal, Request};
use lockstep_guard::{Decoder, GuardError, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output};
use crate::agent::Folders;
use crate::progress::for_a_person;
use crate::settings::Reach;
use crate::store::{StateLock, StoreError};
use crate::web;

/// How long the programs may take to be gone after they said that all is down.
const LAST_STEPS: Duration = Duration::from_secs(10);
/// How long a reconciler that is starting may take until it can be asked, and how often is looked.
const COMES_UP: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long services may take to end where the settings cannot tell by now: the guard has its own times for each.
const STOP_WITHIN: Duration = Duration::from_secs(300);
/// The same of a rollout.
const ROLLOUT_WITHIN: Duration = Duration::from_secs(300);
/// How soon a reconciler is asked again that was just beginning anew.
const AGAIN: Duration = Duration::from_millis(100);

/// End the reconciler, the services and the guard
///
/// A rollout that is under way ends first, unless it is stuck. Each service gets its stop signal and the time that its
/// settings give it. The release that is live stays
/// on the volume: `lockstep run` starts the services on it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockstep down\n  lockstep down --settings /etc/lockstep.toml")]
pub(super) struct Down {}

impl Down {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let Self {} = self;
        let reach = settings.reach()?;
        let told = for_a_person("taking all down", None);
        let done = block_on(down(&reach))?;
        drop(told);
        output::line(done)
    }
}

/// Takes all down, and says what that was.
async fn down(reach: &Reach) -> Result<&'static str, Failure> {
    let reconciler = match find(reach).await? {
        Found::Reconciler(reconciler) => reconciler,
        // Kept until the end: nobody comes up meanwhile.
        Found::Nobody(_lock) => {
            return Ok(match guard_down(reach)? {
                true => "all is down: services and guard; no reconciler ran",
                false => "nothing is running",
            });
        }
    };
    // A rollout that is under way ends first.
    let rollout = reach.rollout_within.unwrap_or(ROLLOUT_WITHIN);
    let limit = rollout + reach.stop_within.unwrap_or(STOP_WITHIN) + LAST_STEPS;
    // The guard's socket is gone before its process is.
    let guard = match lockstep_guard::connect(&reach.state) {
        Ok(stream) => Ending::of(&stream, "the guard")?,
        Err(_) => None,
    };
    let client = Client::at(reach.clone());
    let told = async {
        loop {
            match client.post::<()>("/api/v1/down", &()).await {
                Err(failure) if failure.code == Failure::UNREACHABLE && !reconciler.is_gone(AGAIN)? => {}
                told => return told,
            }
        }
    };
    let told = tokio::time::timeout(limit, told).await.unwrap_or_else(|_| {
        Err(Failure::refused(format!(
            "the reconciler (process {}) was asked and did not take all down within {} s: look at its log; when it is \
             ended by a signal, `lockstep down` asks the guard itself",
            reconciler.pid,
            limit.as_secs()
        )))
    });
    // One that ended while it was asked has done its part.
    told.or_else(|failure| {
        if failure.code == Failure::UNREACHABLE {
            Ok(())
        } else {
            Err(failure)
        }
    })?;
    reconciler.wait()?;
    // Gone by now, unless it was out of the reconciler's reach.
    guard_down(reach)?;
    if let Some(guard) = guard {
        guard.wait()?;
    }
    Ok("all is down: reconciler, services and guard")
}

/// Who is there to be asked.
enum Found {
    /// A reconciler that answers.
    Reconciler(Ending),
    /// None, and none comes up as long as this is kept. There may be no state folder to keep anything in.
    Nobody(Option<StateLock>),
}

/// Looks for the reconciler. One that is starting, or ending, is waited for.
async fn find(reach: &Reach) -> Result<Found, Failure> {
    let look = async {
        loop {
            // A handle first: what is asked to end must not be gone before it can be waited for.
            if let Ok(stream) = web::connect(&reach.state).await
                && let Some(reconciler) = Ending::of(&stream, "the reconciler")?
            {
                return Ok(Found::Reconciler(reconciler));
            }
            match StateLock::take(&reach.state) {
                Ok(Some(lock)) => return Ok(Found::Nobody(Some(lock))),
                Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(Found::Nobody(None));
                }
                Err(error) => return Err(Failure::refused(error)),
            }
        }
    };
    tokio::time::timeout(COMES_UP, look).await.unwrap_or_else(|_| {
        Err(Failure::refused(format!(
            "a reconciler is starting or ending on {}, and has neither answered nor ended within {} s: look at its \
             log; when it is ended by a signal, `lockstep down` asks the guard itself",
            reach.state.display(),
            COMES_UP.as_secs()
        )))
    })
}

/// Ends services and guard without a reconciler; says whether there was a guard.
fn guard_down(reach: &Reach) -> Result<bool, Failure> {
    let stream = match lockstep_guard::connect(&reach.state) {
        Ok(stream) => stream,
        Err(GuardError::NotThere { .. }) => {
            if !taken_over(reach)? {
                Folders::remove_unused(&reach.state);
                return Ok(false);
            }
            lockstep_guard::connect(&reach.state).map_err(Failure::refused)?
        }
        Err(error) => return Err(Failure::refused(error)),
    };
    let Some(ending) = Ending::of(&stream, "the guard")? else {
        return Ok(false);
    };
    let services = reach.stop_within.unwrap_or(STOP_WITHIN);
    // One that is ending already does not answer any more: then its end is what counts.
    shut_down(stream, services + LAST_STEPS, ending.pid)
        .or_else(|failure| ending.wait().map_err(|_| failure))?;
    ending.wait()?;
    // Nobody else is left to do it.
    Folders::remove(&reach.state).map_err(Failure::refused)?;
    Ok(true)
}

/// Has a new guard take over whom a dead one left behind, so that they can be ended; false where that is nobody.
fn taken_over(reach: &Reach) -> Result<bool, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::refused(format!(
            "there is no guard, and whoever it had started may live: {error}"
        ))
    };
    if !lockstep_guard::left_behind(&reach.state).map_err(|error| failed(&error))? {
        return Ok(false);
    }
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    lockstep_guard::spawn(&reach.state, &program).map_err(|error| failed(&error))?;
    Ok(true)
}

/// A program that is about to end, and can be waited for although it is no child of ours.
struct Ending {
    handle: OwnedFd,
    pid: i32,
    name: &'static str,
}

impl Ending {
    /// The program on the other side of a connection; nothing if it is gone already.
    fn of(stream: impl AsFd, name: &'static str) -> Result<Option<Self>, Failure> {
        let failed = |error| Failure::refused(format!("{name} cannot be watched: {error}"));
        let peer = socket_peercred(stream).map_err(failed)?.pid;
        let handle = match pidfd_open(peer, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            handle => handle.map_err(failed)?,
        };
        let pid = Pid::as_raw(Some(peer));
        Ok(Some(Self { handle, pid, name }))
    }

    /// Whether it is gone within this time.
    fn is_gone(&self, within: Duration) -> Result<bool, Failure> {
        let limit = Timespec::try_from(within).map_err(Failure::refused)?;
        let ended = poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&limit));
        Ok(ended.map_err(Failure::refused)? > 0)
    }

    /// Blocks until it is gone.
    fn wait(&self) -> Result<(), Failure> {
        let limit = Timespec::try_from(LAST_STEPS).map_err(Failure::refused)?;
        // Readable when the process has ended.
        match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&limit)) {
            Ok(0) => Err(Failure::refused(format!(
                "{} (process {}) said that all is down and is still there after {} s: look at its log",
                self.name,
                self.pid,
                LAST_STEPS.as_secs()
            ))),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::refused(format!(
                "{} cannot be waited for: {error}",
                self.name
            ))),
        }
    }
}

/// Speaks to the guard itself. Blocks until all services are gone, as long as their settings let them take.
fn shut_down(stream: UnixStream, limit: Duration, pid: i32) -> Result<(), Failure> {
    let limited = stream
        .set_read_timeout(Some(limit))
        .and_then(|()| stream.set_write_timeout(Some(limit)));
    limited.map_err(lost)?;
    let mut guard = Talk {
        stream,
        decoder: Decoder::default(),
        id: 0,
        pid,
    };
    // The highest term that ever spoke may tell it to end; only the guard knows which that is.
    if let Err(Refusal::Deposed { highest_term }) = guard.ask(Body::Hello { term: 0 })? {
        guard.ask(Body::Hello { term: highest_term })?.map_err(refused)?;
    }
    guard.ask(Body::Shutdown)?.map(drop).map_err(refused)
}

fn refused(refusal: Refusal) -> Failure {
    let reason = match refusal {
        Refusal::Deposed { highest_term } => {
            format!("a reconciler of term {highest_term} has come up meanwhile")
        }
        Refusal::Failed { error } => error,
        refusal @ (Refusal::NoHello
        | Refusal::UnknownService { .. }
        | Refusal::NotThatInstance { .. }
        | Refusal::FreezeTimedOut { .. }
        | Refusal::SignalWouldKill { .. }
        | Refusal::NoHolder
        | Refusal::AlreadyFrozen
        | Refusal::CannotStart { .. }) => format!("{refusal:?}"),
    };
    Failure::refused(format!(
        "the guard does not end: {reason}; try `lockstep down` again"
    ))
}

/// A conversation with the guard, one request after the other.
struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    id: u64,
    /// Who is spoken to.
    pid: i32,
}

impl Talk {
    fn ask(&mut self, body: Body) -> Result<Result<Answer, Refusal>, Failure> {
        self.id += 1;
        let frame = encode(&Request { id: self.id, body }).map_err(Failure::refused)?;
        self.stream.write_all(&frame).map_err(lost)?;
        let mut bytes = [0; 4096];
        loop {
            while let Some(message) = self
                .decoder
                .next_document::<Message>()
                .map_err(Failure::refused)?
            {
                match message {
                    Message::Answer { id, result } if id == self.id => return Ok(result),
                    Message::Answer { .. } | Message::Event { .. } => {}
                }
            }
            let read = self.stream.read(&mut bytes).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Failure::refused(format!(
                    "the guard (process {0}) does not answer: if it is stopped, `kill -CONT {0}`, else `kill -9 {0}`; then \
                     `lockstep down` again",
                    self.pid
                )),
                _ => lost(error),
            });
            match read? {
                0 => return Err(lost(std::io::ErrorKind::UnexpectedEof.into())),
                length => self.decoder.push(&bytes[..length]),
            }
        }
    }
}

fn lost(error: std::io::Error) -> Failure {
    Failure::refused(format!(
        "the guard ended the conversation: {error}; try `lockstep down` again"
    ))
}
