//! The documents that Lockstep and a service exchange, and the few names both sides must agree on.
//!
//! | document | written by | read by | where |
//! |---|---|---|---|
//! | [`Release`] | Lockstep | services, people | `<release>/.lockstep/release.json` |
//! | [`Status`] | the service | Lockstep | the file named by [`env::STATUS_FILE`] |
//! | [`Offer`] | Lockstep | voting services | the file named by [`env::OFFER_FILE`] |
//!
//! This crate knows nobody: no I/O, no clock. It is what a port to another language has to reproduce;
//! `schema/` holds the JSON Schemas of the documents and `vectors/` the examples every port must pass.
//!
//! Documents are written to a temporary name in the same folder and then renamed, so a reader takes a
//! whole document or ignores it. Unknown fields are ignored, so that a newer writer can be read.

pub mod digest;
pub mod env;
mod offer;
mod release;
mod revision;
mod status;

pub use digest::{Digest, DigestBuilder, FileMode, InvalidDigest};
pub use offer::Offer;
pub use release::{RELEASE_FILE, Release};
pub use revision::{InvalidRevision, Revision};
pub use status::{Attempt, InstanceToken, RolloutId, Status, StatusError, StatusState, Vote};

use serde::{Deserialize, Serialize};

/// The version of the protocol that this crate speaks, written into each document.
pub const PROTOCOL: u32 = 1;

/// The number of a switch: it only grows, and is never used twice on a volume.
///
/// Going back to an older release is a new switch with a new number, so a number names one moment, not
/// one content. A service reads it as the last part of what `current` points to (`.lockstep/switches/42`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SwitchNumber(pub u64);

impl SwitchNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for SwitchNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
