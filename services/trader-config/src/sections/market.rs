//! `[data]` and `[universe]`: where market data is kept and which symbols are looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Symbol;

/// Where market data is kept, and for how long it counts as fresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Market data")]
pub struct Data {
    /// The folder of market data (CSV files), relative to the scanner's working directory. What it lacks is generated.
    #[schemars(title = "Cache folder", length(min = 1), extend("x-lockstep-effect" = "restart"))]
    pub cache_dir: String,
    /// How long the universe stays valid: its daily bars, and which symbols pass the filter.
    #[schemars(title = "Universe expiry", range(min = 1, max = 604_800), extend("x-unit" = "s"))]
    pub universe_cache_expiry: u32,
    /// How long minute bars stay valid, whose last close is the price of a share.
    #[schemars(title = "Minute bars expiry", range(min = 1, max = 604_800), extend("x-unit" = "s"))]
    pub minute_data_cache_expiry: u32,
    /// How long option chains stay valid.
    #[schemars(title = "Options expiry", range(min = 1, max = 604_800), extend("x-unit" = "s"))]
    pub options_cache_expiry: u32,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            cache_dir: "cache".to_owned(),
            universe_cache_expiry: 1800,
            minute_data_cache_expiry: 60,
            options_cache_expiry: 300,
        }
    }
}

/// The symbols that are scanned, and what a symbol must be to count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Universe")]
pub struct Universe {
    /// The symbols to scan. The scanner refuses one that it has no bars for.
    #[schemars(title = "Symbols", length(min = 1), extend("uniqueItems" = true))]
    pub symbols: Vec<Symbol>,
    /// Companies below this market capitalisation are left out.
    #[schemars(title = "Minimum market capitalisation", range(min = 0.0), extend("x-unit" = "USD"))]
    pub min_market_cap: f64,
    /// Shares below this price are left out.
    #[schemars(title = "Minimum price", range(min = 0.0), extend("x-unit" = "USD"))]
    pub min_price: f64,
    /// Shares that trade less than this on an average day are left out.
    #[schemars(title = "Minimum volume", range(min = 0), extend("x-unit" = "shares/day"))]
    pub min_volume: u64,
}

impl Default for Universe {
    fn default() -> Self {
        let symbols = [
            "AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "AVGO", "TSLA", "AMD", "CRM", "NFLX", "DIS",
            "JPM", "BAC", "V", "UNH", "JNJ", "PFE", "XOM", "CVX", "PG", "KO", "HD", "COST", "CAT", "BA",
        ];
        Self {
            symbols: symbols.map(Symbol::literal).to_vec(),
            min_market_cap: 1e10,
            min_price: 20.0,
            min_volume: 1_000_000,
        }
    }
}
