//! `[scanner]` and `[logging]`: how the services themselves run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scanner's address and its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Scanner")]
pub struct Scanner {
    /// Where the orchestrator finds the scanner. The scanner itself listens on the loopback address
    /// unless it is started with another one.
    #[schemars(title = "Host", length(min = 1))]
    pub host: String,
    /// The scanner's port. Only the scanner restarts for it; the orchestrator just dials the new one.
    #[schemars(
        title = "Port",
        range(min = 1, max = 65535),
        extend("x-lockstep-effect" = { "restart": ["scanner"] })
    )]
    pub port: u16,
    /// The most scans (or questions for contracts) that are answered at one time. As many again wait, and more are refused.
    #[schemars(title = "Maximum concurrency", range(min = 1, max = 1000), extend("x-unit" = "scans"))]
    pub max_concurrency: u32,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 50051,
            max_concurrency: 50,
        }
    }
}

/// The part of `[scanner]` that the orchestrator reads. Other keys of the section are none of its business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScannerAddress {
    /// See [`Scanner::host`].
    pub host: String,
    /// See [`Scanner::port`].
    pub port: u16,
}

impl Default for ScannerAddress {
    fn default() -> Self {
        let Scanner {
            host,
            port,
            max_concurrency: _,
        } = Scanner::default();
        Self { host, port }
    }
}

/// What the services write about themselves, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Logging")]
pub struct Logging {
    /// The least important lines that are still written.
    #[schemars(title = "Level")]
    pub level: Level,
    /// A file that gets each line as well as the standard output. Empty: the standard output alone.
    #[schemars(title = "File")]
    pub file: String,
    /// The size at which the file is set aside and a new one begun.
    #[schemars(title = "Maximum size", range(min = 1, max = 10_000), extend("x-unit" = "MB"))]
    pub max_size_mb: u32,
    /// How many files that were set aside are kept.
    #[schemars(title = "Backups", range(min = 0, max = 100), extend("x-unit" = "files"))]
    pub backup_count: u32,
    /// Lines for people (text) or for programs (json).
    #[schemars(title = "Format")]
    pub format: LineFormat,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: Level::Info,
            file: String::new(),
            max_size_mb: 10,
            backup_count: 5,
            format: LineFormat::Text,
        }
    }
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Somebody should look.
    Warning,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
