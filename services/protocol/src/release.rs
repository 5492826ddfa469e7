//! What a release says of itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, Revision};

/// Where a release keeps this document, relative to its own top.
pub const RELEASE_FILE: &str = ".lockstep/release.json";

/// What a release says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Release {
    /// The commit whose files these are.
    pub revision: Revision,
    /// The digest over the published files.
    pub digest: Digest,
    /// The commit's author, `Name <mail>`.
    pub author: String,
    /// When it was committed.
    #[cfg_attr(any(test, feature = "schema"), schemars(with = "String", extend("format" = "date-time")))]
    pub committed: Timestamp,
    /// The first line of its message.
    pub subject: String,
    /// When the release was built.
    #[cfg_attr(any(test, feature = "schema"), schemars(with = "String", extend("format" = "date-time")))]
    pub built: Timestamp,
}
