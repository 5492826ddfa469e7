//! How many contracts of what: from what the scanner found to decisions, by the limits of the configuration.
//!
//! A function of its arguments. Prices of options are estimated from the share's own figures: good enough to see the
//! limits at work, not to trade by. No order comes of it.

use std::collections::BTreeMap;

use scanner_api::{Match, Strategy};
use trader_config::{Options, OrchestratorView, Trading};

use crate::hours::Hours;

/// A contract is for so many shares.
const SHARES: f64 = 100.0;
/// The spread between bid and ask that is assumed, as a share of the price.
const BID_ASK: f64 = 0.1;

/// What the account has, in USD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Money {
    pub(crate) equity: f64,
    pub(crate) buying_power: f64,
}

/// What is decided about one symbol.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    pub(crate) symbol: String,
    pub(crate) strategy: &'static str,
    pub(crate) verdict: Verdict,
}

/// Enter or not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// So many spreads, at this cost in USD for all of them.
    Enter { contracts: u32, cost: f64 },
    /// Not entered.
    Skip(Skip),
}

/// Why a symbol is not entered. Amounts are in USD.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Skip {
    #[error("{0} entries are the limit")]
    Enough(u32),
    #[error("the buying power of {left:.0} USD is below {least:.0} USD")]
    BuyingPower { left: f64, least: f64 },
    #[error("a spread costs {cost:.0} USD, more than {most:.0} USD")]
    TooDear { cost: f64, most: f64 },
    #[error("reward to risk is {ratio:.2}, below {least}")]
    PoorReward { ratio: f64, least: f64 },
    #[error("one contract risks {0:.0} USD, more than a trade may")]
    TooRisky(f64),
    #[error("the sector {sector} would hold {exposure:.0} USD")]
    SectorFull { sector: String, exposure: f64 },
}

/// Why nothing at all is entered at this moment. What would be is sized all the same, so that limits show their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hold {
    #[error("the session is read only")]
    ReadOnly,
    #[error("outside trading hours")]
    Closed,
    #[error("too late in the day")]
    TooLate,
}

/// Whether entries wait, whatever the candidates.
pub(crate) fn hold(view: &OrchestratorView, hours: Hours) -> Option<Hold> {
    match hours {
        _ if view.ibkr.read_only => Some(Hold::ReadOnly),
        Hours::Closed => Some(Hold::Closed),
        Hours::Late if !view.trading.allow_late_day_entry => Some(Hold::TooLate),
        Hours::Late | Hours::Open => None,
    }
}

/// Decides about each symbol once, in the order in which they were found.
pub(crate) fn decide(view: &OrchestratorView, money: Money, found: &[Match]) -> Vec<Decision> {
    let mut book = Book {
        view,
        money,
        entries: 0,
        sectors: BTreeMap::new(),
    };
    let mut decisions: Vec<Decision> = Vec::new();
    for candidate in found {
        if decisions
            .iter()
            .any(|decision| decision.symbol == candidate.symbol)
        {
            continue;
        }
        let verdict = match book.enter(candidate) {
            Ok((contracts, cost)) => Verdict::Enter { contracts, cost },
            Err(reason) => Verdict::Skip(reason),
        };
        let strategy = name(candidate.strategy());
        decisions.push(Decision {
            symbol: candidate.symbol.clone(),
            strategy,
            verdict,
        });
    }
    decisions
}

fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Unspecified => "unknown",
        Strategy::HighBase => "high_base",
        Strategy::LowBase => "low_base",
        Strategy::BullPullback => "bull_pullback",
        Strategy::BearRally => "bear_rally",
    }
}

/// What was entered so far in this round.
struct Book<'a> {
    view: &'a OrchestratorView,
    money: Money,
    entries: u32,
    /// USD by sector.
    sectors: BTreeMap<String, f64>,
}

impl Book<'_> {
    fn enter(&mut self, candidate: &Match) -> Result<(u32, f64), Skip> {
        self.allowed()?;
        let Trading {
            max_contracts_per_trade,
            risk_per_trade,
            max_sector_exposure,
            ..
        } = self.view.trading;
        let spread = Spread::estimate(candidate, self.view);
        spread.acceptable(&self.view.options)?;
        let affordable = (self.money.equity * risk_per_trade / spread.risk).floor();
        // A float to integer cast saturates, and the limit is far below that.
        let contracts = (affordable.max(0.0) as u32).min(max_contracts_per_trade);
        if contracts == 0 {
            return Err(Skip::TooRisky(spread.risk));
        }
        let cost = f64::from(contracts) * spread.cost;
        let held = self.sectors.entry(candidate.sector.clone()).or_default();
        if *held + cost > self.money.equity * max_sector_exposure {
            let (sector, exposure) = (candidate.sector.clone(), *held + cost);
            return Err(Skip::SectorFull { sector, exposure });
        }
        *held += cost;
        self.money.buying_power -= cost;
        self.entries += 1;
        Ok((contracts, cost))
    }

    /// What forbids any entry, whatever the candidate.
    fn allowed(&self) -> Result<(), Skip> {
        let Trading {
            max_positions,
            max_daily_trades,
            min_buying_power,
            ..
        } = self.view.trading;
        let most = max_positions.min(max_daily_trades);
        if self.entries >= most {
            return Err(Skip::Enough(most));
        }
        let left = self.money.buying_power;
        if left < min_buying_power {
            return Err(Skip::BuyingPower {
                left,
                least: min_buying_power,
            });
        }
        Ok(())
    }
}

/// A vertical spread on the candidate, in USD for one contract.
struct Spread {
    /// What it costs.
    cost: f64,
    /// What it brings at best.
    reward: f64,
    /// What is lost when the stop is hit.
    risk: f64,
}

impl Spread {
    fn estimate(candidate: &Match, view: &OrchestratorView) -> Self {
        let Options {
            min_dte,
            max_dte,
            min_delta,
            max_delta,
            ..
        } = view.options;
        let days = f64::from(min_dte + max_dte) / 2.0;
        let delta = (min_delta + max_delta) / 2.0;
        // A third of the move that is to be expected until expiry.
        let width = candidate.atr * days.sqrt() / 3.0;
        let priced = 1.0 + BID_ASK * (view.trading.price_improvement_factor - 0.5);
        let cost = SHARES * width * delta * priced;
        let stopped = SHARES * delta * candidate.atr * view.trading.stop_loss_atr_mult;
        Self {
            cost,
            reward: SHARES * width - cost,
            risk: stopped.min(cost),
        }
    }

    fn acceptable(&self, options: &Options) -> Result<(), Skip> {
        let Options {
            max_spread_cost,
            min_reward_risk,
            ..
        } = options;
        if self.cost > *max_spread_cost {
            return Err(Skip::TooDear {
                cost: self.cost,
                most: *max_spread_cost,
            });
        }
        let ratio = self.reward / self.cost;
        if ratio < *min_reward_risk {
            return Err(Skip::PoorReward {
                ratio,
                least: *min_reward_risk,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONEY: Money = Money {
        equity: 100_000.0,
        buying_power: 400_000.0,
    };

    fn found(symbol: &str, sector: &str, atr: f64) -> Match {
        let strategy = Strategy::HighBase.into();
        let (symbol, sector) = (symbol.to_owned(), sector.to_owned());
        Match {
            symbol,
            strategy,
            sector,
            price: 100.0,
            rsi: 65.0,
            atr,
            atr_ratio: atr,
        }
    }

    fn with(change: impl FnOnce(&mut OrchestratorView)) -> OrchestratorView {
        let mut view = OrchestratorView::default();
        change(&mut view);
        view
    }

    fn verdicts(view: &OrchestratorView, money: Money, all: &[Match]) -> Vec<String> {
        let verdict = |decision: Decision| match decision.verdict {
            Verdict::Enter { contracts, cost } => format!("{contracts} for {cost:.0}"),
            Verdict::Skip(reason) => reason.to_string(),
        };
        decide(view, money, all).into_iter().map(verdict).collect()
    }

    fn one(view: &OrchestratorView) -> String {
        verdicts(view, MONEY, &[found("AAPL", "Technology", 5.0)]).remove(0)
    }

    #[test]
    fn more_risk_means_more_contracts_up_to_the_limit() {
        assert_eq!(one(&with(|_| {})), "5 for 2021");
        assert_eq!(
            one(&with(|view| view.trading.risk_per_trade = 0.03)),
            "7 for 2829"
        );
        assert_eq!(
            one(&with(|view| view.trading.risk_per_trade = 0.05)),
            "10 for 4042"
        );
        let little = one(&with(|view| view.trading.risk_per_trade = 0.001));
        assert_eq!(little, "one contract risks 400 USD, more than a trade may");
    }

    #[test]
    fn a_nearer_stop_risks_less_and_allows_more() {
        assert_eq!(
            one(&with(|view| view.trading.stop_loss_atr_mult = 1.0)),
            "10 for 4042"
        );
    }

    #[test]
    fn a_spread_must_be_cheap_enough_and_worth_it() {
        let dear = one(&with(|view| view.options.max_spread_cost = 400.0));
        assert_eq!(dear, "a spread costs 404 USD, more than 400 USD");
        let poor = one(&with(|view| view.options.max_delta = 0.6));
        assert_eq!(poor, "reward to risk is 1.24, below 1.5");
        let at_the_bid = one(&with(|view| view.trading.price_improvement_factor = 0.0));
        assert_eq!(at_the_bid, "5 for 1939");
    }

    #[test]
    fn entries_wait_for_trading_hours_and_for_leave_to_trade() {
        let default = with(|_| {});
        assert_eq!(hold(&default, Hours::Open), None);
        assert_eq!(hold(&default, Hours::Late), None);
        assert_eq!(hold(&default, Hours::Closed), Some(Hold::Closed));
        let early = with(|view| view.trading.allow_late_day_entry = false);
        assert_eq!(hold(&early, Hours::Late), Some(Hold::TooLate));
        let reader = with(|view| view.ibkr.read_only = true);
        assert_eq!(hold(&reader, Hours::Open), Some(Hold::ReadOnly));
    }

    #[test]
    fn too_little_buying_power_forbids_any_entry() {
        let poor = Money {
            buying_power: 4999.0,
            ..MONEY
        };
        let all = [found("AAPL", "Technology", 5.0)];
        assert_eq!(
            verdicts(&with(|_| {}), poor, &all),
            ["the buying power of 4999 USD is below 5000 USD"]
        );
    }

    #[test]
    fn entries_are_limited_and_each_symbol_is_decided_once() {
        let all = [
            found("A", "Technology", 5.0),
            found("A", "Technology", 5.0),
            found("B", "Energy", 5.0),
            found("C", "Health", 5.0),
            found("D", "Media", 5.0),
        ];
        let expected = [
            "5 for 2021",
            "5 for 2021",
            "5 for 2021",
            "3 entries are the limit",
        ];
        assert_eq!(verdicts(&with(|_| {}), MONEY, &all), expected);
        let fewer = with(|view| view.trading.max_positions = 1);
        assert_eq!(verdicts(&fewer, MONEY, &all)[1], "1 entries are the limit");
    }

    #[test]
    fn a_sector_holds_only_so_much() {
        let all = [
            found("A", "Technology", 5.0),
            found("B", "Technology", 5.0),
            found("C", "Energy", 5.0),
        ];
        let view = with(|view| view.trading.max_sector_exposure = 0.03);
        let expected = [
            "5 for 2021",
            "the sector Technology would hold 4042 USD",
            "5 for 2021",
        ];
        assert_eq!(verdicts(&view, MONEY, &all), expected);
    }
}
