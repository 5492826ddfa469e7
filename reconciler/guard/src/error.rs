//! What can keep the guard from starting or going on.

use std::io;
use std::path::PathBuf;

/// A fault of the guard itself, or of reaching it. Requests that are refused are [`crate::wire::Refusal`].
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Another guard has this state folder.
    #[error(
        "a guard already runs for {}{}: talk to that one, or end it with `lockstep down`",
        .state.display(),
        .pid.map(|pid| format!(" as process {pid}")).unwrap_or_default()
    )]
    AlreadyRuns {
        /// The state folder.
        state: PathBuf,
        /// The other guard's pid; none while it is starting.
        pid: Option<u32>,
    },
    /// A file or folder of the state folder could not be used.
    #[error("{doing} {}: {source}: the guard needs a state folder that its user may write", .path.display())]
    State {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The record cannot be read.
    #[error(
        "the guard's record {} is damaged: {source}: move it away to begin with none; services that it names \
         run on without a guard",
        .path.display()
    )]
    Record {
        /// The record.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A call that must work did not.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No guard answers.
    #[error("no guard answers at {}: {source}: start one with `lockstep guard`", .socket.display())]
    NotThere {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A guard is there and takes nobody in any more.
    #[error(
        "the guard at {} hangs: its process is named in guard.lock; if it is stopped, `kill -CONT` lets it go on, else \
         `kill -9` ends it: services run on, and the next guard takes them over",
        .socket.display()
    )]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// A guard was started and did not come up.
    #[error("{} did not start a guard: {reason}", .program.display())]
    DidNotStart {
        /// The program that was executed.
        program: PathBuf,
        /// What it said.
        reason: String,
    },
}

impl GuardError {
    /// For use in `map_err`: names what was tried and with which file.
    pub(crate) fn state(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::State { doing, path, source }
    }

    /// For use in `map_err`: names what was tried.
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}
