//! Why a start fails, and whether other settings may be what mends it.

use std::path::PathBuf;

use lockstep_volume::{FenceError, OpenError};

use crate::agent::{self, AgentFailed};
use crate::candidate::worker;
use crate::store::StoreError;
use crate::web::WebError;

/// Why the reconciler does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be used.
    #[error(
        "the state folder {path} cannot be used: {source}; set [state] path to a folder this user may write"
    )]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another reconciler uses the state folder.
    #[error(
        "another reconciler uses the state folder {path}; end it first (`lockstep down` ends services too), or start \
         this one with --take-over"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instances' folders cannot be used.
    #[error(transparent)]
    Folders(#[from] agent::FolderError),
    /// The agent cannot be set up.
    #[error(transparent)]
    Agent(#[from] AgentFailed),
    /// The guard cannot be reached.
    #[error(transparent)]
    Guard(#[from] agent::LinkError),
    /// The volume cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Files of somebody else lie on the volume.
    #[error("{error}.\n{comparison}")]
    Foreign {
        /// Which.
        error: OpenError,
        /// What they are beside what would be published.
        comparison: String,
    },
    /// The volume cannot be taken over.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// A release on the volume cannot be read.
    #[error("the release {release} on the volume cannot be read: {reason}")]
    Release {
        /// Its name.
        release: String,
        /// Why.
        reason: String,
    },
    /// The source's settings cannot be used.
    #[error(transparent)]
    Source(#[from] worker::WorkerError),
    /// The web port or the control socket cannot be opened.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The system gives no thread or no program path.
    #[error("{0}")]
    System(std::io::Error),
}

impl StartError {
    /// Whether other settings may be what mends it. Else it is the machine's: a disk that is full, a guard that hangs.
    #[must_use]
    pub fn blames_settings(&self) -> bool {
        match self {
            Self::Web(_)
            | Self::Source(_)
            | Self::Folders(_)
            | Self::Agent(_)
            // It may be a service's definition that the guard refuses.
            | Self::Guard(agent::LinkError::Refused(_)) => true,
            Self::State { .. }
            | Self::Foreign { .. }
            | Self::InUse { .. }
            | Self::Store(_)
            | Self::Guard(_)
            | Self::Open(_)
            | Self::Fence(_)
            | Self::Release { .. }
            | Self::System(_) => false,
        }
    }
}
