//! What each service reads of the document.
//!
//! A view is the whole of what its service can depend on: it is parsed from the document alone and ignores
//! the other sections, faulty ones included. Its `READS` are what goes into a service's `reads`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::sections::{
    Data, Ibkr, Logging, Options, Scanner, ScannerAddress, Schedule, Strategy, Trading, Universe,
};
use crate::{Invalid, TraderConfig, bounds, rules};

/// A typed reading of (a part of) the document.
pub trait View: DeserializeOwned + Serialize {
    /// The parts of the document that this view depends on, as a service's `reads` names them.
    const READS: &'static [&'static str];

    /// Appends what breaks a rule about values that depend on each other.
    fn rules(&self, found: &mut Vec<Invalid>);

    /// Whether the values may be used: every bound and every rule.
    ///
    /// # Errors
    /// All values that may not be used, not the first.
    fn validate(&self) -> Result<(), Vec<Invalid>> {
        let value = serde_json::to_value(self).expect("sections are tables with text keys");
        let mut found = bounds::check(&value);
        self.rules(&mut found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

impl View for TraderConfig {
    const READS: &'static [&'static str] = &["config.toml"];

    fn rules(&self, found: &mut Vec<Invalid>) {
        rules::options(&self.options, found);
        rules::schedule(&self.schedule, found);
        rules::mode(&self.trading, &self.ibkr, found);
    }
}

/// What the scanner reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScannerView {
    /// Its address and limit.
    pub scanner: Scanner,
    /// Where market data is kept.
    pub data: Data,
    /// When a strategy finds a candidate.
    pub strategy: Strategy,
    /// Which symbols are scanned.
    pub universe: Universe,
    /// What is written, and where.
    pub logging: Logging,
}

impl View for ScannerView {
    const READS: &'static [&'static str] = &[
        "config.toml#scanner",
        "config.toml#data",
        "config.toml#strategy",
        "config.toml#universe",
        "config.toml#logging",
    ];

    fn rules(&self, _: &mut Vec<Invalid>) {
        // Its sections have bounds but no two keys that depend on each other.
    }
}

/// What the orchestrator reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrchestratorView {
    /// Where the broker is.
    pub ibkr: Ibkr,
    /// How much may be risked.
    pub trading: Trading,
    /// Which contracts are acceptable.
    pub options: Options,
    /// When trading happens.
    pub schedule: Schedule,
    /// Where the scanner is.
    pub scanner: ScannerAddress,
    /// What is written, and where.
    pub logging: Logging,
}

impl View for OrchestratorView {
    const READS: &'static [&'static str] = &[
        "config.toml#ibkr",
        "config.toml#trading",
        "config.toml#options",
        "config.toml#schedule",
        "config.toml#scanner.host",
        "config.toml#scanner.port",
        "config.toml#logging",
    ];

    fn rules(&self, found: &mut Vec<Invalid>) {
        rules::options(&self.options, found);
        rules::schedule(&self.schedule, found);
        rules::mode(&self.trading, &self.ibkr, found);
    }
}
