//! How a service without the client library hears that it is to reload.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGUSR1};
use tokio::sync::oneshot;

use crate::{Reload, place};

/// Who is told.
pub(crate) enum Told {
    /// By a signal.
    Signal { number: i32, bell: UnixStream },
    /// By looking where `current` points to.
    Look { seen: Option<PathBuf> },
    /// By a request, which is answered.
    Request {
        requests: mpsc::Receiver<Reply>,
        open: Option<Reply>,
        left: Vec<Reply>,
    },
}

/// Where the answer to a request goes.
pub(crate) type Reply = oneshot::Sender<Result<(), String>>;

impl Told {
    /// Caught from here on.
    pub(crate) fn by(reload: Reload, fragile: bool, requests: mpsc::Receiver<Reply>) -> Self {
        let number = match reload {
            Reload::Usr1 => SIGUSR1,
            Reload::Hup => SIGHUP,
            Reload::Watch | Reload::Never => return Self::Look { seen: current() },
            Reload::Http => {
                return Self::Request {
                    requests,
                    open: None,
                    left: Vec::new(),
                };
            }
        };
        if fragile {
            // SAFETY: ending the process this way is allowed in a signal handler.
            let caught =
                unsafe { signal_hook::low_level::register(number, || signal_hook::low_level::exit(4)) };
            caught.expect("the signal can be caught");
        }
        let (bell, ringer) = UnixStream::pair().expect("a socket pair can be made");
        signal_hook::low_level::pipe::register(number, ringer).expect("the signal can be caught");
        bell.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time-out can be set");
        Self::Signal { number, bell }
    }

    /// Waits a little; true when it is to reload now.
    pub(crate) fn wait(&mut self) -> bool {
        match self {
            Self::Signal { bell, .. } => matches!(bell.read(&mut [0; 16]), Ok(count) if count > 0),
            Self::Look { seen } => {
                std::thread::sleep(Duration::from_millis(20));
                let now = current();
                let moved = *seen != now;
                *seen = now;
                moved
            }
            Self::Request { requests, open, .. } => {
                *open = requests.recv_timeout(Duration::from_millis(20)).ok();
                open.is_some()
            }
        }
    }

    /// Answers, where an answer is waited for.
    pub(crate) fn answer(&mut self, answer: Result<(), String>) {
        if let Self::Request { open, .. } = self
            && let Some(reply) = open.take()
        {
            // Whoever asked may have given up.
            let _ = reply.send(answer);
        }
    }

    /// Leaves whoever waits for an answer waiting.
    pub(crate) fn leave(&mut self) {
        if let Self::Request { open, left, .. } = self {
            left.extend(open.take());
        }
    }

    /// Dies of the signal as if nobody had caught it.
    pub(crate) fn die(&self) -> ! {
        let number = match self {
            Self::Signal { number, .. } => *number,
            Self::Look { .. } | Self::Request { .. } => SIGUSR1,
        };
        let _ = signal_hook::low_level::emulate_default_handler(number);
        std::process::abort()
    }
}

/// Where `current` points to.
pub(crate) fn current() -> Option<PathBuf> {
    std::fs::read_link(place("LOCKSTEP_CONFIG").join("current")).ok()
}
