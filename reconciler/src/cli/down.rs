//! `lockstep down`: the end of everything, also when no reconciler runs to be asked for it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lockstep_guard::wire::{Answer, Body, Message, Refusal, Request};
use lockstep_guard::{Decoder, GuardError, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output};
use crate::settings::Settings;
use crate::web;

/// How long the programs may take to be gone after they said that all is down.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// End the reconciler, the services and the guard
///
/// Each service gets its stop signal and the time that its settings give it. The release that is live stays
/// on the volume: `lockstep run` starts the services on it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockstep down\n  lockstep down --settings /etc/lockstep.toml")]
pub(super) struct Down {}

impl Down {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let Self {} = self;
        let settings = settings.read()?;
        block_on(down(&settings))
    }
}

async fn down(settings: &Settings) -> Result<(), Failure> {
    // Handles first: what is asked to end must not be gone before it can be waited for.
    let reconciler = match web::connect(&settings.state).await {
        Ok(stream) => Some(Ending::of(&stream, "the reconciler")?),
        Err(_) => None,
    };
    let guard = match lockstep_guard::connect(&settings.state) {
        Ok(stream) => Some((Ending::of(&stream, "the guard")?, stream)),
        Err(GuardError::NotThere { .. }) => None,
        Err(error) => return Err(Failure::refused(error)),
    };
    match (reconciler, guard) {
        (None, None) => output::line("nothing is running"),
        (None, Some((ending, stream))) => {
            output::note("no reconciler runs: the guard is told");
            shut_down(stream)?;
            ending.wait()?;
            output::line("all is down: services and guard")
        }
        (Some(reconciler), guard) => {
            let told: Result<(), Failure> = Client::of(settings).post("/api/v1/down", &()).await;
            // One that ended while it was asked has done what was wanted, unless the guard is still there.
            told.or_else(|failure| {
                if failure.code == Failure::UNREACHABLE {
                    Ok(())
                } else {
                    Err(failure)
                }
            })?;
            reconciler.wait()?;
            if let Some((ending, stream)) = guard {
                drop(stream);
                ending.wait()?;
            }
            output::line("all is down: reconciler, services and guard")
        }
    }
}

/// A program that is about to end, and can be waited for although it is no child of ours.
struct Ending {
    handle: OwnedFd,
    pid: i32,
    name: &'static str,
}

impl Ending {
    /// The program on the other side of a connection.
    fn of(stream: impl AsFd, name: &'static str) -> Result<Self, Failure> {
        let failed = |error| Failure::refused(format!("{name} cannot be watched: {error}"));
        let peer = socket_peercred(stream).map_err(failed)?.pid;
        let handle = pidfd_open(peer, PidfdFlags::empty()).map_err(failed)?;
        Ok(Self {
            handle,
            pid: Pid::as_raw(Some(peer)),
            name,
        })
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
fn shut_down(stream: UnixStream) -> Result<(), Failure> {
    let mut guard = Talk {
        stream,
        decoder: Decoder::default(),
        id: 0,
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
            match self.stream.read(&mut bytes).map_err(lost)? {
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
