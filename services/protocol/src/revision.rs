//! A git commit id.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A git commit id: a label for people. What is compared is always a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[cfg_attr(any(test, feature = "schema"), schemars(extend("pattern" = "^([0-9a-f]{40}|[0-9a-f]{64})$")))]
pub struct Revision(Arc<str>);

/// The text is not a full commit id.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a full commit id: 40 (or 64) lowercase hexadecimal digits are expected")]
pub struct InvalidRevision(pub String);

impl Revision {
    /// Takes a full commit id in lowercase hexadecimal.
    ///
    /// # Errors
    /// When the text is anything else, an abbreviated id included.
    pub fn new(text: &str) -> Result<Self, InvalidRevision> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidRevision(text.into()))
        }
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for names and messages.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidRevision;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl std::str::FromStr for Revision {
    type Err = InvalidRevision;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0.as_ref().into()
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
