//! How many contracts of what: from what the scanner found to decisions, by the limits of the configuration.
//!
//! Functions of their arguments. No order comes of it: an entry is a plan, which stands for the rest of its day.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use scanner_api::{Contract, Match, Strategy};
use serde::Serialize;
use trader_config::{Mode, OrchestratorView, Trading};

use crate::contracts::{Direction, NoSpread, SHARES, Spread, choose};
use crate::schedule::Hours;

/// What an account has, in USD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Money {
    pub(crate) equity: f64,
    pub(crate) buying_power: f64,
}

/// A position that the account holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holding {
    pub(crate) symbol: String,
    /// What it cost, in USD.
    pub(crate) value: f64,
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
    /// So many spreads.
    Enter(Entry),
    /// Not entered.
    Skip(Skip),
}

/// What would be bought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Entry {
    pub(crate) contracts: u32,
    pub(crate) spread: Spread,
    /// For all contracts, in USD.
    pub(crate) cost: f64,
    /// What is lost when the stop is hit, for all contracts, in USD.
    pub(crate) risk: f64,
    /// The price of the share at which the position is given up.
    pub(crate) stop: f64,
}

/// Why a symbol is not entered. Amounts are in USD.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Skip {
    #[error("the account holds it already")]
    Held,
    #[error("{0} positions are the limit")]
    Positions(u32),
    #[error("{0} entries a day are the limit")]
    Trades(u32),
    #[error("the buying power of {left:.0} USD is below {least:.0} USD")]
    BuyingPower { left: f64, least: f64 },
    #[error(transparent)]
    Contracts(#[from] NoSpread),
    #[error("one contract risks {risk:.0} USD, more than the {most:.0} USD of a trade")]
    TooRisky { risk: f64, most: f64 },
    #[error("the sector {sector} would hold {exposure:.0} USD, more than {most:.0} USD")]
    SectorFull {
        sector: String,
        exposure: f64,
        most: f64,
    },
}

/// Why nothing at all is entered at this moment. What would be is sized all the same, so that limits show their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hold {
    #[error("the session is read only")]
    ReadOnly,
    #[error("trading.mode is PAPER and the account is a real one")]
    NotPaper,
    #[error("trading.mode is LIVE and the account is one of paper")]
    NotLive,
    #[error("outside trading hours")]
    Closed,
    #[error("too late in the day")]
    TooLate,
}

/// Whether entries wait, whatever the candidates.
pub(crate) fn hold(view: &OrchestratorView, account: &str, hours: Hours) -> Option<Hold> {
    // The broker's paper accounts are called DU…, for advisors DF…; real ones U… and F….
    let paper = account.starts_with('D');
    match (view.trading.mode, hours) {
        _ if view.ibkr.read_only => Some(Hold::ReadOnly),
        (Mode::Paper, _) if !paper => Some(Hold::NotPaper),
        (Mode::Live, _) if paper => Some(Hold::NotLive),
        (_, Hours::Closed) => Some(Hold::Closed),
        (_, Hours::Late) if !view.trading.allow_late_day_entry => Some(Hold::TooLate),
        (Mode::Paper | Mode::Live, Hours::Late | Hours::Open) => None,
    }
}

/// What decisions are made from: as long as it is the same, entries stand; when it changes, the day is planned anew.
///
/// With orders, what was bought would stand whatever changes. Here nothing was bought, and a change is to show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) day: Date,
    pub(crate) hold: Option<Hold>,
    pub(crate) view: OrchestratorView,
    pub(crate) scanner_switch: Option<u64>,
    pub(crate) account: String,
}

/// What was decided so far in a frame.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) frame: Frame,
    /// By symbol.
    verdicts: BTreeMap<String, Verdict>,
}

/// The facts of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) money: Money,
    pub(crate) holdings: &'a [Holding],
    pub(crate) found: &'a [Match],
    /// The sector of each symbol that the scanner knows.
    pub(crate) sectors: &'a HashMap<String, String>,
    /// The contracts on each symbol that was found.
    pub(crate) chains: &'a HashMap<String, Vec<Contract>>,
}

impl Plan {
    pub(crate) fn new(frame: Frame) -> Self {
        Self {
            frame,
            verdicts: BTreeMap::new(),
        }
    }

    /// Whether the symbol is entered: that stands.
    pub(crate) fn has_entered(&self, symbol: &str) -> bool {
        matches!(self.verdicts.get(symbol), Some(Verdict::Enter(_)))
    }

    /// The symbols whose contracts are needed: those that are found and may still be entered, each once.
    pub(crate) fn wanted(&self, facts: &Facts<'_>) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for Match { symbol, .. } in facts.found {
            let may = !self.has_entered(symbol) && self.allowed(symbol, facts).is_ok();
            if may && !wanted.contains(symbol) {
                wanted.push(symbol.clone());
            }
        }
        wanted
    }

    /// How many symbols are entered.
    pub(crate) fn entries(&self) -> usize {
        self.entered().count()
    }

    fn entered(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.verdicts
            .iter()
            .filter_map(|(symbol, verdict)| match verdict {
                Verdict::Enter(entry) => Some((symbol, entry)),
                Verdict::Skip(_) => None,
            })
    }

    /// Decides about each symbol once, in the order in which they were found; what is new.
    pub(crate) fn decide(&mut self, facts: &Facts<'_>) -> Vec<Decision> {
        let mut new = Vec::new();
        let mut looked_at: Vec<&str> = Vec::new();
        for candidate in facts.found {
            let symbol = candidate.symbol.as_str();
            if looked_at.contains(&symbol) || self.has_entered(symbol) {
                continue;
            }
            looked_at.push(symbol);
            let verdict = match self.enter(candidate, facts) {
                Ok(entry) => Verdict::Enter(entry),
                Err(reason) => Verdict::Skip(reason),
            };
            if self.verdicts.get(symbol) == Some(&verdict) {
                continue;
            }
            self.verdicts.insert(symbol.to_owned(), verdict.clone());
            new.push(Decision {
                symbol: symbol.to_owned(),
                strategy: name(candidate.strategy()),
                verdict,
            });
        }
        new
    }

    fn enter(&self, candidate: &Match, facts: &Facts<'_>) -> Result<Entry, Skip> {
        self.allowed(&candidate.symbol, facts)?;
        let OrchestratorView { trading, options, .. } = &self.frame.view;
        let Trading {
            max_contracts_per_trade,
            risk_per_trade,
            max_sector_exposure,
            price_improvement_factor,
            stop_loss_atr_mult,
            ..
        } = *trading;
        let direction = direction(candidate.strategy());
        let chain = facts.chains.get(&candidate.symbol).map_or(&[][..], Vec::as_slice);
        let spread = choose(options, price_improvement_factor, direction, chain)?;
        let distance = stop_loss_atr_mult * candidate.atr;
        // Nothing loses more than it cost.
        let risk = (SHARES * spread.delta * distance).min(spread.cost);
        let most = facts.money.equity * risk_per_trade;
        // A float to integer cast saturates, and the limit is far below that.
        let contracts = ((most / risk).floor().max(0.0) as u32).min(max_contracts_per_trade);
        if contracts == 0 {
            return Err(Skip::TooRisky { risk, most });
        }
        let cost = f64::from(contracts) * spread.cost;
        let exposure = self.exposure(&candidate.sector, facts) + cost;
        let most = facts.money.equity * max_sector_exposure;
        if exposure > most {
            return Err(Skip::SectorFull {
                sector: candidate.sector.clone(),
                exposure,
                most,
            });
        }
        Ok(Entry {
            contracts,
            cost,
            risk: f64::from(contracts) * risk,
            stop: match direction {
                Direction::Up => candidate.price - distance,
                Direction::Down => candidate.price + distance,
            },
            spread,
        })
    }

    /// What forbids an entry, whatever it costs.
    fn allowed(&self, symbol: &str, facts: &Facts<'_>) -> Result<(), Skip> {
        let Trading {
            max_positions,
            max_daily_trades,
            min_buying_power,
            ..
        } = self.frame.view.trading;
        if facts.holdings.iter().any(|holding| holding.symbol == symbol) {
            return Err(Skip::Held);
        }
        let room = |most: u32, taken: usize| usize::try_from(most).is_ok_and(|most| taken < most);
        let entries = self.entries();
        if !room(max_positions, facts.holdings.len() + entries) {
            return Err(Skip::Positions(max_positions));
        }
        if !room(max_daily_trades, entries) {
            return Err(Skip::Trades(max_daily_trades));
        }
        let left = facts.money.buying_power - self.entered().map(|(_, entry)| entry.cost).sum::<f64>();
        if left < min_buying_power {
            return Err(Skip::BuyingPower {
                left,
                least: min_buying_power,
            });
        }
        Ok(())
    }

    /// What a sector holds, in USD: positions and entries. What the scanner does not know is in no sector.
    fn exposure(&self, sector: &str, facts: &Facts<'_>) -> f64 {
        let within = |symbol: &str| facts.sectors.get(symbol).is_some_and(|known| known == sector);
        let held = facts.holdings.iter().filter(|holding| within(&holding.symbol));
        let entered = self.entered().filter(|(symbol, _)| within(symbol));
        held.map(|holding| holding.value).sum::<f64>() + entered.map(|(_, entry)| entry.cost).sum::<f64>()
    }
}

fn direction(strategy: Strategy) -> Direction {
    match strategy {
        Strategy::HighBase | Strategy::BullPullback => Direction::Up,
        Strategy::Unspecified | Strategy::LowBase | Strategy::BearRally => Direction::Down,
    }
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

#[cfg(test)]
mod tests;
