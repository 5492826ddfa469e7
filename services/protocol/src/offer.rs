//! The question put to a voting service before anything is switched.

use serde::{Deserialize, Serialize};

use crate::{Digest, Revision, RolloutId};

/// The question put to a voting service: would you accept this release?
///
/// The service parses and validates it beside its live state and answers with a `vote` in its status file,
/// which stays there until the next offer. No signal is sent: the service watches the folder or looks every
/// 200 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Offer {
    /// The version of the protocol.
    #[serde(deserialize_with = "crate::known_protocol")]
    #[cfg_attr(any(test, feature = "schema"), schemars(extend("const" = crate::PROTOCOL)))]
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
