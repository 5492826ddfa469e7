//! The trading stack's configuration: the one definition of its sections, keys, defaults, units and bounds.
//!
//! ```
//! use trader_config::{OrchestratorView, parse};
//!
//! let view: OrchestratorView = parse("[trading]\nrisk_per_trade = 0.03\n").expect("a good document");
//! assert_eq!(view.trading.risk_per_trade, 0.03);
//! assert_eq!(view.options.max_dte, 45);
//!
//! let problems = parse::<OrchestratorView>("[trading]\nrisk_per_trade = 0.5\n").expect_err("too high");
//! assert_eq!(
//!     problems[0].to_string(),
//!     "2:18: trading.risk_per_trade: 0.5 is too high: at most 0.05 share of equity is expected"
//! );
//! ```
//!
//! | part | what it is for |
//! |---|---|
//! | [`sections`] | the types: what can be written |
//! | [`schema`] | the JSON Schema, generated from them |
//! | [`View`] | what each service reads, and the rules about it |
//! | [`parse`] | text to a validated view, every problem with line and column |
//! | [`log`] | what the section `[logging]` means, for both services alike |
//! | [`rotating`] | the file of the log, and of decisions |
//!
//! This crate reads no configuration files and knows no service: a view is parsed from text.

mod bounds;
pub mod log;
mod parse;
pub mod rotating;
mod rules;
mod schema;
pub mod sections;
mod view;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::{Problem, locate, parse, summary};
pub use rules::Invalid;
pub use schema::{schema, schema_file};
pub use sections::{
    Data, Ibkr, Logging, Mode, Options, Scanner, ScannerAddress, Schedule, Strategy, Symbol, TimeOfDay,
    Trading, Universe,
};
pub use view::{OrchestratorView, ScannerView, View};

/// The configuration of the trading stack: orchestrator and scanner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Trading stack")]
pub struct TraderConfig {
    /// The connection to TWS or IB Gateway.
    pub ibkr: Ibkr,
    /// Where market data is kept, and for how long it counts as fresh.
    pub data: Data,
    /// How much may be risked.
    pub trading: Trading,
    /// The four strategies of the scanner.
    pub strategy: Strategy,
    /// Which option contracts are acceptable.
    pub options: Options,
    /// The symbols that are scanned, and what a symbol must be to count.
    pub universe: Universe,
    /// The scanner's address and its limit.
    pub scanner: Scanner,
    /// When trading happens.
    pub schedule: Schedule,
    /// What the services write about themselves, and where.
    pub logging: Logging,
}
