//! `[strategy.*]`: when each of the four strategies finds a candidate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The four strategies of the scanner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Strategies")]
pub struct Strategy {
    /// Strength in a quiet range near the highs: bullish.
    pub high_base: HighBase,
    /// Weakness near the lows: bearish.
    pub low_base: LowBase,
    /// A dip that recovers within an uptrend: bullish.
    pub bull_pullback: BullPullback,
    /// A bounce that fails within a downtrend: bearish.
    pub bear_rally: BearRally,
}

/// Strength in a quiet range near the highs: bullish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "High base")]
pub struct HighBase {
    /// The most that the average true range over 14 days may be, in percent of the price.
    #[schemars(title = "Maximum ATR ratio", range(min = 0.0, max = 100.0), extend("x-unit" = "% of price"))]
    pub max_atr_ratio: f64,
    /// The least RSI over 14 days. A higher value finds fewer candidates.
    #[schemars(title = "Minimum RSI", range(min = 0.0, max = 100.0), extend("x-unit" = "RSI"))]
    pub min_rsi: f64,
}

impl Default for HighBase {
    fn default() -> Self {
        Self {
            max_atr_ratio: 2.0,
            min_rsi: 60.0,
        }
    }
}

/// Weakness near the lows: bearish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Low base")]
pub struct LowBase {
    /// The least that the average true range over 14 days may be, in percent of the price.
    #[schemars(title = "Minimum ATR ratio", range(min = 0.0, max = 100.0), extend("x-unit" = "% of price"))]
    pub min_atr_ratio: f64,
    /// The greatest RSI over 14 days. A lower value finds fewer candidates.
    #[schemars(title = "Maximum RSI", range(min = 0.0, max = 100.0), extend("x-unit" = "RSI"))]
    pub max_rsi: f64,
}

impl Default for LowBase {
    fn default() -> Self {
        Self {
            min_atr_ratio: 0.5,
            max_rsi: 40.0,
        }
    }
}

/// A dip that recovers within an uptrend: bullish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Bull pullback")]
pub struct BullPullback {
    /// The RSI over 14 days must have been at or below this before the recovery.
    #[schemars(title = "RSI threshold", range(min = 0.0, max = 100.0), extend("x-unit" = "RSI"))]
    pub rsi_threshold: f64,
    /// For how many days the price has to have risen since.
    #[schemars(title = "Recovery", range(min = 1, max = 20), extend("x-unit" = "days"))]
    pub recovery_periods: u32,
    /// The days of the average that has to be rising.
    #[schemars(title = "Uptrend", range(min = 2, max = 100), extend("x-unit" = "days"))]
    pub uptrend_periods: u32,
}

impl Default for BullPullback {
    fn default() -> Self {
        Self {
            rsi_threshold: 45.0,
            recovery_periods: 2,
            uptrend_periods: 20,
        }
    }
}

/// A bounce that fails within a downtrend: bearish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Bear rally")]
pub struct BearRally {
    /// The RSI over 14 days must have been at or above this before the reversal.
    #[schemars(title = "RSI threshold", range(min = 0.0, max = 100.0), extend("x-unit" = "RSI"))]
    pub rsi_threshold: f64,
    /// For how many days the price has to have fallen since.
    #[schemars(title = "Reversal", range(min = 1, max = 20), extend("x-unit" = "days"))]
    pub reversal_periods: u32,
    /// The days of the average that has to be falling.
    #[schemars(title = "Downtrend", range(min = 2, max = 100), extend("x-unit" = "days"))]
    pub downtrend_periods: u32,
}

impl Default for BearRally {
    fn default() -> Self {
        Self {
            rsi_threshold: 55.0,
            reversal_periods: 2,
            downtrend_periods: 20,
        }
    }
}
