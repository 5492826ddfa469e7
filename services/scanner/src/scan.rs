//! One pass: the universe's filter, then the strategies.

use std::collections::HashMap;
use std::time::Instant;

use scanner_api::{Match, Strategy};
use trader_config::ScannerView;

use crate::market::Market;
use crate::strategies::{ALL, Look, fits};

/// What one pass found.
#[derive(Debug)]
pub(crate) struct Pass {
    /// How many symbols passed the universe's filter.
    pub(crate) universe: u32,
    pub(crate) matches: Vec<Match>,
    /// By symbol.
    pub(crate) sectors: HashMap<String, String>,
}

/// Applies these strategies (none named: all) to each symbol of the universe; nothing if it was given up.
pub(crate) fn scan(
    view: &ScannerView,
    market: &Market,
    wanted: &[Strategy],
    now: Instant,
    given_up: impl Fn() -> bool,
) -> Option<Pass> {
    let wanted = if wanted.is_empty() { &ALL } else { wanted };
    let members = market.members(&view.universe, &view.data, now);
    let mut matches = Vec::new();
    for symbol in &members.passed {
        if given_up() {
            return None;
        }
        let Some((share, look)) = members
            .shares
            .get(symbol)
            .and_then(|share| Some((share, Look::at(&share.bars)?)))
        else {
            continue;
        };
        let found: Vec<Strategy> = ALL
            .into_iter()
            .filter(|strategy| wanted.contains(strategy) && fits(*strategy, &view.strategy, &look))
            .collect();
        if found.is_empty() {
            continue;
        }
        let price = market.price(symbol, &view.data, now).unwrap_or(look.close);
        matches.extend(found.into_iter().map(|strategy| Match {
            symbol: symbol.clone(),
            strategy: strategy.into(),
            sector: share.sector.clone(),
            price,
            rsi: look.rsi,
            atr: look.atr,
            atr_ratio: look.atr_ratio,
        }));
    }
    let sectors = members.shares.values();
    Some(Pass {
        universe: u32::try_from(members.passed.len()).unwrap_or(u32::MAX),
        matches,
        sectors: sectors
            .map(|share| (share.symbol.clone(), share.sector.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trader_config::Universe;

    fn pass(view: &ScannerView, wanted: &[Strategy]) -> Pass {
        scan(view, &Market::new("/nowhere"), wanted, Instant::now(), || false).unwrap()
    }

    fn count(change: impl FnOnce(&mut ScannerView), strategy: Strategy) -> usize {
        let mut view = ScannerView::default();
        change(&mut view);
        pass(&view, &[strategy]).matches.len()
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
        stricter("bear threshold", Strategy::BearRally, |all| {
            all.bear_rally.rsi_threshold = 90.0;
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
            pass(&view, &[]).universe
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
        let view = ScannerView::default();
        let each: usize = ALL
            .iter()
            .map(|strategy| pass(&view, &[*strategy]).matches.len())
            .sum();
        assert_eq!(pass(&view, &[]).matches.len(), each);
    }

    #[test]
    fn a_scan_that_nobody_waits_for_any_more_is_given_up() {
        let market = Market::new("/nowhere");
        assert!(scan(&ScannerView::default(), &market, &[], Instant::now(), || true).is_none());
    }
}
