//! `lockstep.toml` as it is written: names, shapes and defaults, nothing judged yet.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) source: Source,
    pub(super) volume: Volume,
    #[serde(default)]
    pub(super) service: Vec<Service>,
    #[serde(default)]
    pub(super) window: Vec<Window>,
    #[serde(default)]
    pub(super) rollout: Rollout,
    pub(super) web: Option<Web>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) policy: Option<Policy>,
    #[serde(default)]
    pub(super) state: State,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) url: String,
    #[serde(default = "main_branch")]
    pub(super) branch: String,
    #[serde(default)]
    pub(super) path: String,
    #[serde(default = "five_seconds")]
    pub(super) interval: SignedDuration,
    #[serde(default = "twenty_seconds")]
    pub(super) timeout: SignedDuration,
    #[serde(default)]
    pub(super) rewind: lockstep_core::admission::Rewind,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) ssh_key: Option<String>,
    pub(super) known_hosts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    pub(super) path: String,
    #[serde(default = "ten")]
    pub(super) keep: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) reads: Option<Vec<String>>,
    pub(super) process: Process,
    #[serde(default = "no_pause")]
    pub(super) pause: lockstep_core::service::Pause,
    pub(super) reload: Reload,
    #[serde(default)]
    pub(super) verify: Verify,
    pub(super) check: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) name: String,
    pub(super) kind: lockstep_core::window::Kind,
    pub(super) cron: String,
    pub(super) duration: SignedDuration,
    #[serde(default = "utc")]
    pub(super) time_zone: String,
    /// Dates, as texts or as TOML's own.
    #[serde(default)]
    pub(super) except: Vec<toml::Value>,
    pub(super) except_file: Option<String>,
    #[serde(default)]
    pub(super) emergency: Vec<Emergency>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Emergency {
    pub(super) key: String,
    /// A value, or a list of them.
    pub(super) to: Option<toml::Value>,
}

/// One that Lockstep runs, with `command`, or one that somebody else runs, with `pid_file`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    pub(super) command: Option<Vec<String>>,
    pub(super) cwd: Option<String>,
    pub(super) env: Option<BTreeMap<String, String>>,
    pub(super) user: Option<String>,
    pub(super) stop: Option<Stop>,
    pub(super) restart: Option<lockstep_guard::wire::RestartPolicy>,
    pub(super) output: Option<Output>,
    pub(super) pid_file: Option<String>,
    pub(super) executable: Option<String>,
    pub(super) status_file: Option<String>,
    pub(super) offer_file: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Output {
    pub(super) max_size: bytesize::ByteSize,
    pub(super) keep: u32,
}

impl Default for Output {
    fn default() -> Self {
        let super::Limits { max_size, keep } = super::Limits::default();
        Self {
            max_size: bytesize::ByteSize(max_size),
            keep,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stop {
    pub(super) signal: String,
    pub(super) within: SignedDuration,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: "SIGTERM".to_owned(),
            within: SignedDuration::from_secs(10),
        }
    }
}

/// One of four tables, as `reload = { signal = "SIGUSR1" }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    pub(super) signal: Option<String>,
    pub(super) http: Option<String>,
    pub(super) method: Option<lockstep_core::service::Method>,
    pub(super) watch: Option<Nothing>,
    pub(super) restart: Option<Nothing>,
}

/// An empty table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Verify {
    pub(super) tier: lockstep_core::service::Tier,
    pub(super) within: SignedDuration,
    pub(super) probe: Option<Probe>,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            tier: lockstep_core::service::Tier::Running,
            within: SignedDuration::from_secs(10),
            probe: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub(super) http: Option<String>,
    pub(super) json: Option<String>,
    pub(super) metric: Option<String>,
    pub(super) label: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) equals: Option<super::Equals>,
    pub(super) tcp: Option<String>,
    pub(super) exec: Option<Vec<String>>,
    #[serde(default = "one_second")]
    pub(super) every: SignedDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rollout {
    pub(super) pause_limit: SignedDuration,
    pub(super) bake: SignedDuration,
    pub(super) observe: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            pause_limit: SignedDuration::from_millis(500),
            bake: SignedDuration::ZERO,
            observe: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Web {
    pub(super) listen: std::net::SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    pub(super) otlp: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct State {
    pub(super) path: String,
}

/// The state folder, unless the file says otherwise.
pub(super) const STATE: &str = "./state";

impl Default for State {
    fn default() -> Self {
        Self {
            path: STATE.to_owned(),
        }
    }
}

fn main_branch() -> String {
    "main".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

fn five_seconds() -> SignedDuration {
    SignedDuration::from_secs(5)
}

fn twenty_seconds() -> SignedDuration {
    SignedDuration::from_secs(20)
}

fn one_second() -> SignedDuration {
    SignedDuration::from_secs(1)
}

fn ten() -> usize {
    10
}

fn no_pause() -> lockstep_core::service::Pause {
    lockstep_core::service::Pause::None
}
