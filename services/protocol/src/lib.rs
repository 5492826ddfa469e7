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
#[cfg(any(test, feature = "schema"))]
pub mod schema;
mod status;

pub use digest::{Digest, DigestBuilder, FileMode, InvalidDigest};
pub use offer::Offer;
pub use release::{RELEASE_FILE, Release};
pub use revision::{InvalidRevision, Revision};
pub use status::{Attempt, InstanceToken, RolloutId, Status, StatusError, StatusState, Vote};

use serde::{Deserialize, Deserializer, Serialize};

/// The version of the protocol that this crate speaks, written into the status and the offer.
pub const PROTOCOL: u32 = 1;

/// The longest document in bytes that a reader takes; a writer cuts its messages to stay below.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// Refuses a document of another version: nobody knows what it means, so its reader ignores it.
fn known_protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let protocol = u32::deserialize(deserializer)?;
    if protocol == PROTOCOL {
        Ok(protocol)
    } else {
        let text = format!("protocol {protocol} is not known here, only {PROTOCOL}: update the older side");
        Err(serde::de::Error::custom(text))
    }
}

/// The number of a switch: it only grows, and is never used twice on a volume.
///
/// Going back to an older release is a new switch with a new number, so a number names one moment, not
/// one content. A service reads it as the last part of what `current` points to (`.lockstep/switches/42`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
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
