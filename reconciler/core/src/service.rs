//! What the operator says of a service, as far as decisions need it.
//!
//! How a service is started belongs to the settings of the program; here is only what a rollout weighs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The name of a consumer of config: a table `[[service]]` in the settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Takes a name as the settings give it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much a service lets Lockstep know, from the weakest guarantee to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// It lives and was told.
    Running,
    /// A check from outside passes after the change.
    Probed,
    /// Its status file says that it runs this switch.
    Acknowledged,
    /// It answers an offer before anything is switched, and acknowledges afterwards.
    Voting,
}

impl Tier {
    /// The word used in settings, status and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Probed => "probed",
            Self::Acknowledged => "acknowledged",
            Self::Voting => "voting",
        }
    }

    /// Whether the evidence is the service's own statement.
    #[must_use]
    pub fn states(self) -> bool {
        match self {
            Self::Running | Self::Probed => false,
            Self::Acknowledged | Self::Voting => true,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a service while the switch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pause {
    /// It goes on.
    None,
    /// Its whole process tree is stopped.
    Freeze,
}

/// How a service is told that `current` moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// By this signal, such as `SIGUSR1`, to its main process.
    Signal(String),
    /// Not at all: it sees every switch by itself.
    Watch,
    /// By ending and starting it.
    Restart,
}

/// When a service counts as having taken a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// The evidence that is waited for.
    pub tier: Tier,
    /// How long it may take from the moment the service was told.
    pub within: Duration,
}
