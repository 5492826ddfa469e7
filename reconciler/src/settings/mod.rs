//! What the operator says: `lockstep.toml`, as written and as resolved.
//!
//! Two stages as types: [`written`] is the file, field by field; [`Settings`] is what it means, with absolute
//! paths, defaults filled in and every value judged. Everything else sees only the second.

#[cfg(test)]
mod documented;
mod reach;
mod resolve;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::admission::Rewind;
use lockstep_core::policy::OperatorPolicy;
use lockstep_core::reads::Reads;
use lockstep_core::service::{Pause, Reload, ServiceName, Verify};
use lockstep_core::window::Windows;
use lockstep_guard::wire::RestartPolicy;
use lockstep_source::SourceSpec;

pub use reach::{Reach, SETTINGS};

/// The settings, resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they were read.
    pub file: PathBuf,
    /// The repository.
    pub source: Source,
    /// The volume.
    pub volume: Volume,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// When changes may go out.
    pub windows: Windows,
    /// The limits of rollouts.
    pub rollout: Rollout,
    /// The web port, if there is one.
    pub web: Option<Web>,
    /// Who receives traces, if the settings name somebody.
    pub telemetry: Option<Telemetry>,
    /// Where the operator's own policy lies, if there is one.
    pub policy_file: Option<PathBuf>,
    /// What it says. Who only asks the reconciler something need not be able to read it.
    pub policy: Option<Arc<OperatorPolicy>>,
    /// The state folder.
    pub state: PathBuf,
}

/// The repository and how often it is looked at.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which repository, branch and folder.
    pub spec: SourceSpec,
    /// How often it is looked at, besides the wake-ups.
    pub interval: Duration,
    /// What is done with a rewound branch.
    pub rewind: Rewind,
}

/// The volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Its folder.
    pub path: PathBuf,
    /// How many releases are kept.
    pub keep: usize,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The parts of the config it reads.
    pub reads: Reads,
    /// How it is run, or found.
    pub process: Run,
    /// What happens to it while the switch is made.
    pub pause: Pause,
    /// How it is told.
    pub reload: Reload,
    /// When it counts as having taken a release.
    pub verify: Verify,
    /// The check from outside, for tier `probed`.
    pub probe: Option<Probe>,
    /// The dry run on a candidate.
    pub check: Option<Vec<String>>,
}

/// Who runs a service.
#[derive(Debug, Clone)]
pub enum Run {
    /// Lockstep does.
    Supervised(Process),
    /// Somebody else does; it is found by its pid file.
    Foreign(Foreign),
}

/// A service that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Where its pid is written.
    pub pid_file: PathBuf,
    /// The user that it runs as; the reconciler's own when none.
    pub user: Option<String>,
    /// The file that it executes.
    pub executable: PathBuf,
    /// Where it writes its status, if it does.
    pub status_file: Option<PathBuf>,
    /// Where it looks for offers, if it does.
    pub offer_file: Option<PathBuf>,
    /// In which folder commands about it are run.
    pub cwd: PathBuf,
    /// In which environment.
    pub env: BTreeMap<String, String>,
}

/// How a service is run.
#[derive(Debug, Clone)]
pub struct Process {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The environment, over a clean PATH, HOME and LANG.
    pub env: BTreeMap<String, String>,
    /// The user; the reconciler's own when none.
    pub user: Option<String>,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// How long it may take before it is killed.
    pub stop_within: Duration,
    /// What is done when it ends by itself.
    pub restart: RestartPolicy,
    /// How much of its output is kept.
    pub output: Limits,
}

/// How much of an output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file of more bytes is moved aside.
    pub max_size: u64,
    /// How many of those are kept.
    pub keep: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_size: 10 * 1024 * 1024,
            keep: 3,
        }
    }
}

/// A check from outside.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// How often.
    pub every: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// A GET that answers 2xx.
    Http {
        /// Host and port.
        authority: String,
        /// Path and query.
        path: String,
        /// What the answer must state, if anything.
        states: Option<States>,
    },
    /// A connection that is accepted.
    Tcp(String),
    /// A command that ends with status 0: program and arguments.
    Exec(Vec<String>),
}

/// What an answer must state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// Where it stands.
    pub place: Place,
    /// What it must equal.
    pub equals: Equals,
}

/// Where in an answer a statement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a field of JSON, by its JSON pointer.
    Json(String),
    /// In a label of a metric, as programs show them to Prometheus.
    Metric {
        /// The metric's name.
        name: String,
        /// Which of its labels.
        label: String,
        /// What its other labels must be, to tell it from other series of the same metric.
        labels: BTreeMap<String, String>,
    },
}

/// What of the live release a statement must equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Equals {
    /// Its revision, whole or at least twelve digits of it.
    Revision,
    /// Its digest.
    Digest,
}

/// The limits of rollouts.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// How long anybody may stay paused.
    pub pause_limit: Duration,
    /// How long probes must keep passing.
    pub bake: Duration,
    /// Judge and tell, and touch nobody.
    pub observe: bool,
}

/// The web port.
#[derive(Debug, Clone)]
pub struct Web {
    /// The address.
    pub listen: std::net::SocketAddr,
}

/// Who receives traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The collector's base URL, `http://`: OTLP is spoken below it at `/v1/traces`.
    pub otlp: String,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error(
        "the settings {path} cannot be read: {source}; name them by --settings FILE or \
         LOCKSTEP_SETTINGS (docs/settings.md shows a whole file)"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is not TOML, or a field is unknown or of the wrong type.
    #[error("the settings {path} cannot be understood:\n{message}")]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// The parser's message with line, column and caret.
        message: String,
    },
    /// Values are wrong: all of them are named.
    #[error("the settings {path} cannot be used:\n{}", problems.join("\n"))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// One line a mistake: the key, what is wrong, what to do.
        problems: Vec<String>,
    },
}

impl Service {
    /// How it is run, if Lockstep runs it.
    #[must_use]
    pub fn supervised(&self) -> Option<&Process> {
        match &self.process {
            Run::Supervised(process) => Some(process),
            Run::Foreign(_) => None,
        }
    }

    /// How it is found, if somebody else runs it.
    #[must_use]
    pub fn foreign(&self) -> Option<&Foreign> {
        match &self.process {
            Run::Supervised(_) => None,
            Run::Foreign(foreign) => Some(foreign),
        }
    }

    /// How long ending it may take.
    #[must_use]
    pub fn stop_within(&self) -> Duration {
        self.supervised()
            .map(|process| process.stop_within)
            .unwrap_or_default()
    }
}

impl Settings {
    /// Reads and resolves a settings file.
    ///
    /// # Errors
    /// When the file cannot be read or understood, or a value is wrong; all wrong values are named.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::read_for(path, false)
    }

    /// The same, where the services are to run: what only this machine can tell is judged as well.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn read_to_run(path: &Path) -> Result<Self, SettingsError> {
        Self::read_for(path, true)
    }

    fn read_for(path: &Path, here: bool) -> Result<Self, SettingsError> {
        let path = absolute(path)?;
        let text = read_text(&path)?;
        Self::resolve(&path, &text, here)
    }

    /// Resolves the text of a settings file; relative paths count from the file's folder.
    ///
    /// # Errors
    /// As [`Settings::read`].
    #[cfg(test)]
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        Self::resolve(path, text, false)
    }

    fn resolve(path: &Path, text: &str, here: bool) -> Result<Self, SettingsError> {
        let written: written::Settings =
            toml::from_str(text).map_err(|error| SettingsError::NotUnderstood {
                path: path.to_owned(),
                message: error.to_string().trim_end().to_owned(),
            })?;
        resolve::resolve(path, written, here)
    }

    /// The service of a name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, SettingsError> {
    std::path::absolute(path).map_err(|source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A pipe in its place would be waited for.
    if std::fs::metadata(path).is_ok_and(|facts| !facts.is_file()) {
        return Err(unreadable(std::io::Error::other("it is no file")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
