//! A service's own statement of what it runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, Revision, SwitchNumber};

/// The random token of one start of a service (`LOCKSTEP_INSTANCE`). Empty when nobody gave one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct InstanceToken(pub String);

/// The name of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct RolloutId(pub String);

impl std::fmt::Display for InstanceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for RolloutId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A service's own statement of what it runs, written at start and after each attempt to take a release.
///
/// `switch`, `revision` and `digest` are always the truth about what runs *now*; `attempted` names the
/// attempt that `state` judges. It is a level, not an edge: it stays true until it is written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Status {
    /// The version of the protocol.
    #[serde(deserialize_with = "crate::known_protocol")]
    #[cfg_attr(any(test, feature = "schema"), schemars(extend("const" = crate::PROTOCOL)))]
    pub protocol: u32,
    /// The token from `LOCKSTEP_INSTANCE`: whose statement this is.
    pub instance: InstanceToken,
    /// The switch whose release runs now; none while nothing was ever applied.
    pub switch: Option<SwitchNumber>,
    /// The revision that runs now.
    pub revision: Option<Revision>,
    /// The digest of the release that runs now.
    pub digest: Option<Digest>,
    /// How the attempt ended.
    pub state: StatusState,
    /// The attempt that `state` is about.
    pub attempted: Attempt,
    /// Why it was refused; none when it was applied.
    #[serde(default)]
    pub error: Option<StatusError>,
    /// The answer to the last offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
    /// When this was written, by the service's clock. For people: nothing is decided by it.
    #[cfg_attr(any(test, feature = "schema"), schemars(with = "String", extend("format" = "date-time")))]
    pub at: Timestamp,
}

/// How an attempt to take a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub enum StatusState {
    /// The service runs what `attempted` names.
    Applied,
    /// The service refused what `attempted` names and goes on with what it ran before.
    Rejected,
}

/// What a service tried to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Attempt {
    /// The switch it looked at; none while the volume has no `current`.
    pub switch: Option<SwitchNumber>,
    /// The revision it found there; none when its `release.json` could not be read.
    pub revision: Option<Revision>,
}

/// Why a service refused a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct StatusError {
    /// The reason, in the service's words.
    pub message: String,
    /// The file, relative to the release.
    #[serde(default)]
    pub path: Option<String>,
    /// The line, counted from 1.
    #[serde(default)]
    #[cfg_attr(any(test, feature = "schema"), schemars(range(min = 1)))]
    pub line: Option<u32>,
    /// The column in characters, counted from 1.
    #[serde(default)]
    #[cfg_attr(any(test, feature = "schema"), schemars(range(min = 1)))]
    pub column: Option<u32>,
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}")?;
            for part in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{part}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// A voting service's answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
pub struct Vote {
    /// The rollout whose offer is answered.
    pub rollout: RolloutId,
    /// Whether the service will accept the release.
    pub accept: bool,
    /// Why not.
    #[serde(default)]
    pub error: Option<StatusError>,
}
