//! The connection to the guard: opened, or the guard started where there is none; framed both ways.
//!
//! A guard can be there and not answer: stopped by somebody, or waiting for a disk. Nothing here waits for it
//! without a limit but [`Link::greet`], whose caller says that it waits.

use std::path::Path;
use std::time::Duration;

use lockstep_guard::wire::{Answer, Body, Message, Refusal, Request, Supervised};
use lockstep_guard::{Decoder, FrameError, GuardError, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::AgentSpec;

/// How long opening a conversation may take until somebody is told: the guard answers at once or is broken.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long the guard may take to answer what it can answer at once, and to take in a request. What may hold it up
/// is the flush of its record.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why the guard cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It could not be started or reached.
    #[error("the guard cannot be reached: {0}; its own log is guard.log in the state folder")]
    Unreachable(String),
    /// It is there, and does not answer.
    #[error(
        "the guard (process {pid}) does not answer: nobody can be paused, told, started or stopped until it does. If \
         it is stopped, `kill -CONT {pid}` lets it go on; if it hangs, `kill -9 {pid}` ends it: services run on, and \
         the next guard takes them over"
    )]
    Silent {
        /// Its process.
        pid: i32,
    },
    /// The connection broke.
    #[error(
        "the connection to the guard broke: {0}; start the reconciler again, it finds the guard or starts another"
    )]
    Broken(#[from] std::io::Error),
    /// It was closed by the guard: it ended, or a higher term spoke.
    #[error(
        "the guard closed the connection: it has ended; start the reconciler again, it starts another guard"
    )]
    Closed,
    /// What it sent is no frame.
    #[error("the guard sent something that cannot be understood: {0}")]
    Frame(#[from] FrameError),
    /// A higher term has spoken.
    #[error("a coordinator of a higher term ({highest}) has taken over")]
    Deposed {
        /// The highest term seen.
        highest: u64,
    },
    /// It cannot do its part.
    #[error("the guard refused: {0}")]
    Refused(String),
    /// It answered something else than was asked.
    #[error("the guard answered {0} to the opening of a conversation")]
    Unexpected(String),
}

/// An open conversation.
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    next_id: u64,
    /// The guard's process.
    pid: i32,
}

impl Link {
    /// Opens a conversation under a term, and starts a guard first where there is none. Gives the services and the
    /// highest term that the guard had seen before.
    async fn open(spec: &AgentSpec) -> Result<(Self, Vec<Supervised>, u64), LinkError> {
        let mut link = Self::connect(spec).await?;
        let (services, highest) = tokio::time::timeout(HELLO_WITHIN, link.greet(spec))
            .await
            .map_err(|_| link.silent())??;
        Ok((link, services, highest))
    }

    /// Connects, and starts a guard first where there is none. Nothing is said yet.
    pub(super) async fn connect(spec: &AgentSpec) -> Result<Self, LinkError> {
        let stream = connect_or_start(&spec.state, &spec.program).await?;
        let pid = stream.peer_cred()?.pid().unwrap_or_default();
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            next_id: 1,
            pid,
        })
    }

    /// What is to be said of a guard that does not answer.
    pub(super) fn silent(&self) -> LinkError {
        LinkError::Silent { pid: self.pid }
    }

    /// Opens the conversation under a term. Takes as long as the guard does.
    pub(super) async fn greet(&mut self, spec: &AgentSpec) -> Result<(Vec<Supervised>, u64), LinkError> {
        let hello = self.send(Body::Hello { term: spec.term }).await?;
        let known = match self.answer_to(hello).await? {
            Ok(Answer::Hello {
                services,
                highest_term,
                ..
            }) => (services, highest_term),
            Err(Refusal::Deposed { highest_term }) => {
                return Err(LinkError::Deposed {
                    highest: highest_term,
                });
            }
            Err(Refusal::Failed { error }) => return Err(LinkError::Refused(error)),
            other => return Err(LinkError::Unexpected(format!("{other:?}"))),
        };
        let define = self
            .send(Body::Define {
                services: spec.definitions.clone(),
            })
            .await?;
        match self.answer_to(define).await? {
            Ok(_) => Ok(known),
            Err(Refusal::Failed { error }) => Err(LinkError::Refused(error)),
            Err(refusal) => Err(LinkError::Unexpected(format!("{refusal:?}"))),
        }
    }

    /// Waits for one answer during the opening. Events in between are covered by the list that follows it.
    async fn answer_to(&mut self, wanted: u64) -> Result<Result<Answer, Refusal>, LinkError> {
        loop {
            match self.receive().await? {
                Message::Answer { id, result } if id == wanted => return Ok(result),
                Message::Answer { .. } | Message::Event { .. } => {}
            }
        }
    }

    /// Asks something and waits for the answer, during the opening alone.
    pub(super) async fn request(&mut self, body: Body) -> Result<Result<Answer, Refusal>, LinkError> {
        let id = self.send(body).await?;
        self.answer_to(id).await
    }

    /// Sends a request and gives its id.
    pub(super) async fn send(&mut self, body: Body) -> Result<u64, LinkError> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode(&Request { id, body })?;
        tokio::time::timeout(ANSWER_WITHIN, self.stream.write_all(&frame))
            .await
            .map_err(|_| self.silent())??;
        Ok(id)
    }

    /// The next message. Dropped before it is ready, it loses nothing: what was read stays in the decoder.
    pub(super) async fn receive(&mut self) -> Result<Message, LinkError> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(message) = self.decoder.next_document()? {
                return Ok(message);
            }
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(LinkError::Closed);
            }
            self.decoder.push(&buffer[..read]);
        }
    }
}

/// The terms that this program used until now: by them it tells its own from somebody else's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// The one that it held last.
    pub held: Option<u64>,
    /// The highest that it said to the guard, which may have noted it although the answer did not come.
    said: u64,
}

impl Terms {
    /// Whether a term that the guard has seen is a successor's.
    fn deposed_by(&self, highest: u64) -> bool {
        self.held.is_some_and(|held| highest > held.max(self.said))
    }
}

/// Claims a term above every one that the guard has seen, and gives it. Whoever had a lower one is deposed.
///
/// One that begins anew and has held a term is deposed and claims nothing if somebody else has spoken since.
///
/// # Errors
/// When the guard cannot be reached, or cannot note the term.
pub async fn claim(spec: &AgentSpec, terms: &mut Terms) -> Result<u64, LinkError> {
    let mut spec = spec.clone();
    loop {
        let before = *terms;
        terms.said = terms.said.max(spec.term);
        match Link::open(&spec).await {
            Ok((_, _, highest)) | Err(LinkError::Deposed { highest }) if before.deposed_by(highest) => {
                return Err(LinkError::Deposed { highest });
            }
            // One that was used before is somebody else's, even if nobody else answers under it now.
            Ok((_, _, highest)) if highest >= spec.term => spec.term = highest + 1,
            Ok(_) => return Ok(spec.term),
            Err(LinkError::Deposed { highest }) => spec.term = highest + 1,
            Err(error) => return Err(error),
        }
    }
}

/// Ends a guard that never had anybody to guard: what a start that failed leaves of itself.
pub async fn end_unused(spec: &AgentSpec) {
    let ended = async {
        let (mut link, services, _) = Link::open(spec).await?;
        let unused = |known: &Supervised| known.process.is_none() && known.last_exit.is_none();
        if services.iter().all(unused) {
            let shutdown = link.send(Body::Shutdown).await?;
            let _ = link.answer_to(shutdown).await?;
        }
        Ok::<_, LinkError>(())
    };
    // Who cannot be spoken to any more is gone, or somebody else's.
    if let Err(error) = ended.await {
        tracing::debug!(%error, "the guard of a start that failed");
    }
}

async fn connect_or_start(state: &Path, program: &Path) -> Result<UnixStream, LinkError> {
    let (state, program) = (state.to_owned(), program.to_owned());
    let stream = tokio::task::spawn_blocking(move || match lockstep_guard::client::connect(&state) {
        Err(GuardError::NotThere { .. }) => {
            lockstep_guard::client::spawn(&state, &program)?;
            lockstep_guard::client::connect(&state)
        }
        connected => connected,
    })
    .await
    .map_err(|error| LinkError::Unreachable(error.to_string()))?
    .map_err(|error| LinkError::Unreachable(error.to_string()))?;
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}
