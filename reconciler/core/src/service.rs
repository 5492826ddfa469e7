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
    /// By this request, which it answers.
    Http(HttpReload),
    /// Not at all: it sees every switch by itself.
    Watch,
    /// By ending and starting it.
    Restart,
}

/// A request that tells a service to reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpReload {
    /// Its method.
    pub method: Method,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl fmt::Display for HttpReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            authority,
            path,
        } = self;
        write!(f, "{} http://{authority}{path}", method.as_str())
    }
}

/// The methods that reload something somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "each is the method of the same name")]
pub enum Method {
    #[default]
    Post,
    Put,
    Get,
}

impl Method {
    /// The method as a request names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Get => "GET",
        }
    }
}

/// When a service counts as having taken a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// The evidence that is waited for.
    pub tier: Tier,
    /// How long it may take from the moment the service was told.
    pub within: Duration,
}
