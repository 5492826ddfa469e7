//! One agent's connection: bytes in, bytes out, and what it is answerable for.

use crate::frame::{Decoder, FrameError, encode};
use crate::wire::{Message, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// An agent that does not read this much is not listening.
const UNREAD_LIMIT: usize = 32 * 1024 * 1024;

/// A connection. It is closed by dropping it, through `Guard::close` alone: something may be frozen.
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    /// The process at its other end.
    pub(crate) peer: u32,
    /// Its coordinator's term, once it said hello.
    pub(crate) term: Option<u64>,
    /// Services that are started on order alone as long as it is open.
    pub(crate) holds: BTreeSet<String>,
    /// How long its pause was, if that ended before it asked for the thaw.
    pub(crate) expired: Option<Duration>,
    /// Nothing can be written any more, or the other side broke the rules: to be closed.
    pub(crate) broken: bool,
}

/// A frame from an agent.
pub(crate) enum Incoming {
    Request(Request),
    /// It has an id, so that it can be answered, and nothing else that this build knows.
    Unclear {
        id: u64,
        error: String,
    },
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, peer: u32) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            unsent: Vec::new(),
            peer,
            term: None,
            holds: BTreeSet::new(),
            expired: None,
            broken: false,
        })
    }

    /// Reads what is there; false when the other side has closed.
    pub(crate) fn read(&mut self) -> bool {
        let mut bytes = [0; 8192];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                self.decoder.push(&bytes[..length]);
                true
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        }
    }

    /// Whether the other side has closed, however much of what it said is still unread.
    pub(crate) fn is_left(&self) -> bool {
        let now = Timespec::default();
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        // One whose state cannot be told is found out by reading.
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    /// What the next frame holds, if one has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        #[derive(serde::Deserialize)]
        struct Id {
            id: u64,
        }
        let Some(frame) = self.decoder.next_frame()? else {
            return Ok(None);
        };
        let length = frame.len();
        match serde_json::from_slice::<Request>(frame) {
            Ok(request) => Ok(Some(Incoming::Request(request))),
            Err(source) => match serde_json::from_slice::<Id>(frame) {
                Ok(Id { id }) => Ok(Some(Incoming::Unclear {
                    id,
                    error: format!("the request is not understood: {source}"),
                })),
                Err(_) => Err(FrameError::Document { length, source }),
            },
        }
    }

    /// Queues a message and sends what goes without waiting.
    pub(crate) fn say(&mut self, message: &Message) {
        match encode(message) {
            Ok(frame) => self.unsent.extend_from_slice(&frame),
            Err(_) => self.broken = true,
        }
        self.flush();
        self.broken |= self.unsent.len() > UNREAD_LIMIT;
    }

    /// Sends what goes without waiting.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Whether there is something left to send.
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
