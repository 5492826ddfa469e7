//! A trader's rules about values that depend on each other.

use crate::sections::{Ibkr, Mode, Options, Schedule, Trading};

/// A value that is well formed and still must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Invalid {
    /// The key, as in `trading.risk_per_trade`.
    pub key: String,
    /// What is wrong with it and what is expected.
    pub message: String,
}

impl Invalid {
    fn new(key: &str, message: String) -> Self {
        Self {
            key: key.to_owned(),
            message,
        }
    }
}

pub(crate) fn options(options: &Options, found: &mut Vec<Invalid>) {
    let Options {
        min_dte,
        max_dte,
        min_delta,
        max_delta,
        max_spread_cost: _,
        min_reward_risk: _,
    } = options;
    if min_dte >= max_dte {
        let message = format!("{min_dte} days is not below options.max_dte ({max_dte} days)");
        found.push(Invalid::new("options.min_dte", message));
    }
    if min_delta >= max_delta {
        let message = format!("{min_delta} is not below options.max_delta ({max_delta})");
        found.push(Invalid::new("options.min_delta", message));
    }
}

pub(crate) fn schedule(schedule: &Schedule, found: &mut Vec<Invalid>) {
    let Schedule {
        trading_start,
        trading_end,
        timezone,
        weekend_trading: _,
    } = schedule;
    if trading_start >= trading_end {
        let message = format!("{trading_start} is not before schedule.trading_end ({trading_end})");
        found.push(Invalid::new("schedule.trading_start", message));
    }
    if schedule.zone().is_none() {
        let message = format!("{timezone:?} is no time zone: a name as in \"America/New_York\" is expected");
        found.push(Invalid::new("schedule.timezone", message));
    }
}

/// What LIVE trading needs of the broker's section.
pub(crate) fn mode(trading: &Trading, ibkr: &Ibkr, found: &mut Vec<Invalid>) {
    match trading.mode {
        Mode::Paper => return,
        Mode::Live => {}
    }
    if ibkr.account.is_empty() {
        let message = "trading.mode LIVE needs the account to trade, and none is named".to_owned();
        found.push(Invalid::new("ibkr.account", message));
    }
    if !Ibkr::LIVE_PORTS.contains(&ibkr.port) {
        let [tws, gateway] = Ibkr::LIVE_PORTS;
        let port = ibkr.port;
        let message =
            format!("trading.mode LIVE needs a live port ({tws} TWS, {gateway} Gateway), not {port}");
        found.push(Invalid::new("ibkr.port", message));
    }
    if ibkr.read_only {
        let message = "trading.mode LIVE needs read_only = false".to_owned();
        found.push(Invalid::new("ibkr.read_only", message));
    }
}
