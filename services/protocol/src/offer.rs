//! The question put to a voting service before anything is switched.

use serde::{Deserialize, Serialize};

use crate::{Digest, Revision, RolloutId};

/// The question put to a voting service: would you accept this release?
///
/// The service parses and validates it beside its live state and answers with a
/// [`Vote`](crate::Vote) in its status file, which stays there until the next offer. No signal is sent:
/// the service watches the folder or looks every 200 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The protocol's version, [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    /// The rollout that asks, to be echoed in the vote.
    pub rollout: RolloutId,
    /// The commit offered.
    pub revision: Revision,
    /// The digest of the release offered.
    pub digest: Digest,
    /// The release's directory, relative to the volume; it is final and does not change any more.
    pub directory: String,
}
