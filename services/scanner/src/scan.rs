//! One pass: the universe's filter, then the strategies. A function of configuration and market, nothing else.

use scanner_api::{Match, Strategy};
use trader_config::sections::{BearRally, BullPullback, HighBase, LowBase};
use trader_config::{ScannerView, Universe};

use crate::indicators::{atr, mean_close, rsi};
use crate::market::{Bar, Market, Share};

/// The days over which the average volume is taken.
const VOLUME_DAYS: usize = 20;
/// The days of the average that a base has to be above or below.
const BASE_DAYS: usize = 20;

/// What one pass found.
pub(crate) struct Pass {
    /// How many symbols passed the universe's filter.
    pub(crate) universe: u32,
    pub(crate) matches: Vec<Match>,
}

/// Applies these strategies (none named: all) to each symbol of the universe.
pub(crate) fn scan(view: &ScannerView, market: &Market, wanted: &[Strategy]) -> Pass {
    let wanted = if wanted.is_empty() { &ALL } else { wanted };
    let mut pass = Pass {
        universe: 0,
        matches: Vec::new(),
    };
    let mut symbols: Vec<&str> = view
        .universe
        .symbols
        .iter()
        .map(|symbol| symbol.as_str())
        .collect();
    symbols.sort_unstable();
    for symbol in symbols {
        let Some(share) = market
            .share(symbol)
            .filter(|share| eligible(&view.universe, share))
        else {
            continue;
        };
        pass.universe += 1;
        let Some(look) = Look::at(&share.bars) else {
            continue;
        };
        for strategy in ALL.iter().filter(|strategy| wanted.contains(strategy)) {
            if fits(*strategy, &view.strategy, &look) {
                pass.matches.push(Match {
                    symbol: symbol.to_owned(),
                    strategy: (*strategy).into(),
                    sector: share.sector.to_owned(),
                    price: look.price,
                    rsi: look.rsi,
                    atr: look.atr,
                    atr_ratio: look.atr_ratio,
                });
            }
        }
    }
    pass
}

const ALL: [Strategy; 4] = [
    Strategy::HighBase,
    Strategy::LowBase,
    Strategy::BullPullback,
    Strategy::BearRally,
];

fn eligible(universe: &Universe, share: &Share) -> bool {
    let Universe {
        symbols: _,
        min_market_cap,
        min_price,
        min_volume,
    } = universe;
    let recent = &share.bars[share.bars.len().saturating_sub(VOLUME_DAYS)..];
    let volume = recent.iter().map(|bar| bar.volume).sum::<f64>() / recent.len() as f64;
    let price = recent.last().map_or(0.0, |bar| bar.close);
    share.market_cap >= *min_market_cap && price >= *min_price && volume >= *min_volume as f64
}

/// What all strategies look at.
struct Look<'a> {
    bars: &'a [Bar],
    price: f64,
    rsi: f64,
    atr: f64,
    /// In percent of the price.
    atr_ratio: f64,
    mean: f64,
}

impl<'a> Look<'a> {
    fn at(bars: &'a [Bar]) -> Option<Self> {
        let price = bars.last()?.close;
        let atr = atr(bars)?;
        Some(Self {
            bars,
            price,
            rsi: rsi(bars)?,
            atr,
            atr_ratio: 100.0 * atr / price,
            mean: mean_close(bars, BASE_DAYS)?,
        })
    }
}

fn fits(strategy: Strategy, limits: &trader_config::Strategy, look: &Look<'_>) -> bool {
    match strategy {
        Strategy::Unspecified => false,
        Strategy::HighBase => {
            let HighBase {
                max_atr_ratio,
                min_rsi,
            } = limits.high_base;
            look.rsi >= min_rsi && look.atr_ratio <= max_atr_ratio && look.price > look.mean
        }
        Strategy::LowBase => {
            let LowBase {
                min_atr_ratio,
                max_rsi,
            } = limits.low_base;
            look.rsi <= max_rsi && look.atr_ratio >= min_atr_ratio && look.price < look.mean
        }
        Strategy::BullPullback => {
            let BullPullback {
                rsi_threshold,
                recovery_periods,
                uptrend_periods,
            } = limits.bull_pullback;
            trend(look.bars, uptrend_periods) == Some(Trend::Up)
                && turned(look.bars, recovery_periods, |before, after| after > before)
                && rsi_before(look.bars, recovery_periods).is_some_and(|rsi| rsi <= rsi_threshold)
        }
        Strategy::BearRally => {
            let BearRally {
                rsi_threshold,
                reversal_periods,
                downtrend_periods,
            } = limits.bear_rally;
            trend(look.bars, downtrend_periods) == Some(Trend::Down)
                && turned(look.bars, reversal_periods, |before, after| after < before)
                && rsi_before(look.bars, reversal_periods).is_some_and(|rsi| rsi >= rsi_threshold)
        }
    }
}

#[derive(PartialEq)]
enum Trend {
    Up,
    Down,
}

/// Where the average of so many days has gone in as many days.
fn trend(bars: &[Bar], periods: u32) -> Option<Trend> {
    let periods = usize::try_from(periods).ok()?;
    let earlier = bars.len().checked_sub(periods)?;
    let (before, now) = (mean_close(&bars[..earlier], periods)?, mean_close(bars, periods)?);
    Some(if now > before { Trend::Up } else { Trend::Down })
}

/// Whether each of the last closes went the same way.
fn turned(bars: &[Bar], periods: u32, way: impl Fn(f64, f64) -> bool) -> bool {
    let moves = usize::try_from(periods).unwrap_or(usize::MAX);
    let Some(first) = bars.len().checked_sub(moves.saturating_add(1)) else {
        return false;
    };
    bars[first..]
        .windows(2)
        .all(|pair| way(pair[0].close, pair[1].close))
}

/// The RSI as it was before the last bars.
fn rsi_before(bars: &[Bar], periods: u32) -> Option<f64> {
    rsi(&bars[..bars.len().checked_sub(usize::try_from(periods).ok()?)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(change: impl FnOnce(&mut ScannerView), strategy: Strategy) -> usize {
        let mut view = ScannerView::default();
        change(&mut view);
        scan(&view, &Market::new(), &[strategy]).matches.len()
    }

    #[test]
    fn every_strategy_finds_something_with_the_defaults() {
        for strategy in ALL {
            assert!(count(|_| {}, strategy) > 0, "{strategy:?}");
        }
    }

    #[test]
    fn stricter_values_find_fewer() {
        fn stricter(name: &str, strategy: Strategy, change: impl FnOnce(&mut trader_config::Strategy)) {
            let found = count(|view| change(&mut view.strategy), strategy);
            assert!(found < count(|_| {}, strategy), "{name}");
        }
        stricter("min_rsi", Strategy::HighBase, |all| all.high_base.min_rsi = 75.0);
        stricter("max_atr_ratio", Strategy::HighBase, |all| {
            all.high_base.max_atr_ratio = 0.9;
        });
        stricter("max_rsi", Strategy::LowBase, |all| all.low_base.max_rsi = 20.0);
        stricter("min_atr_ratio", Strategy::LowBase, |all| {
            all.low_base.min_atr_ratio = 3.0;
        });
        stricter("rsi_threshold", Strategy::BullPullback, |all| {
            all.bull_pullback.rsi_threshold = 20.0;
        });
        stricter("recovery_periods", Strategy::BullPullback, |all| {
            all.bull_pullback.recovery_periods = 15;
        });
        stricter("reversal_periods", Strategy::BearRally, |all| {
            all.bear_rally.reversal_periods = 15;
        });
    }

    #[test]
    fn the_universe_leaves_out_what_is_too_small_too_cheap_or_too_quiet() {
        let passed = |change: fn(&mut Universe)| {
            let mut view = ScannerView::default();
            change(&mut view.universe);
            scan(&view, &Market::new(), &[]).universe
        };
        let all = passed(|_| {});
        assert_eq!(all, 26);
        assert!(passed(|universe| universe.min_market_cap = 1e12) < all);
        assert!(passed(|universe| universe.min_price = 300.0) < all);
        assert!(passed(|universe| universe.min_volume = 20_000_000) < all);
        assert_eq!(passed(|universe| universe.symbols.truncate(3)), 3);
    }

    #[test]
    fn a_pass_of_all_strategies_is_that_of_each() {
        let (view, market) = (ScannerView::default(), Market::new());
        let each: usize = ALL
            .iter()
            .map(|strategy| scan(&view, &market, &[*strategy]).matches.len())
            .sum();
        assert_eq!(scan(&view, &market, &[]).matches.len(), each);
    }
}
