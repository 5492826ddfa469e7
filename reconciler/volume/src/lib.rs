//! The volume: releases as folders, and one link that says which of them is live.
//!
//! # Model
//!
//! A *release* is a folder that never changes once it has its name. A *switch* is one rename of the link
//! `current`, with a number that only grows. Between them lies everything that can fail: building, flushing,
//! staging; it happens in the folder of the coordinator's *term*, where no reader looks. So at any moment,
//! whatever dies, `current` leads to one whole release: the old one or the new one.
//!
//! The types allow one order only:
//!
//! ```text
//! Volume::open -> Unfenced -> fence(term) -> Volume, Found
//! Volume::build -> Prepared -> stage_switch -> StagedSwitch -> commit -> Switched -> after_unpause
//! ```
//!
//! [`Volume::prepare_switch`] says what each step guarantees, and does those before the pause.
//!
//! # What it never does
//!
//! It never decides: which revision to publish, when to restore and whom to pause is told to it. It never
//! writes into a file that a reader may have open, never changes a release, never follows a link that it did
//! not make, and never changes anything through a handle from before: each change outside the term's folder
//! is one rename through a path, which stops existing when a coordinator of a higher term comes.
//!
//! # Limits
//!
//! A rename must be atomic on the server where the volume is a network file system. A disk that lies about
//! flushing is believed. A whole tree is in memory, shared between releases that came from one another.

mod adopt;
mod blobs;
mod build;
mod draft;
mod drift;
mod error;
#[cfg(any(test, feature = "crash"))]
pub mod fault;
mod fence;
mod journal;
mod links;
mod lock;
mod look;
mod manifest;
mod names;
mod open;
mod ops;
mod record;
mod reserve;
mod scan;
mod supply;
mod switch;
mod tidy;
mod volume;

pub use adopt::Adopted;
pub use blobs::{Blobs, BlobsError};
pub use build::{BuildError, Prepared};
pub use drift::{Drift, FileChange};
pub use error::{ChangeError, FileError};
pub use fence::{Current, FenceError, Found};
pub use journal::JournalError;
pub use names::{InvalidReleaseName, ReleaseName, Term};
pub use open::{OpenError, OpenOptions, Unfenced};
pub use record::{Intent, JOURNAL_VERSION, JournalRecord, Outcome, OutcomeKind, Side};
pub use supply::SupplyError;
pub use switch::{CommitError, PrepareError, StageError, StagedSwitch, Switched};
pub use tidy::{Spare, Tidied};
pub use volume::{KeptRelease, Volume};
