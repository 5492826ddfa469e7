//! The four strategies. Functions of limits and daily bars, nothing else.
//!
//! They look at closed days: a day that is not over has no RSI yet.

use scanner_api::Strategy;
use trader_config::sections::{BearRally, BullPullback, HighBase, LowBase};

use crate::bars::Bar;
use crate::indicators::{atr, atr_ratio, mean_close, rsi};

/// The days of the average that a base has to be above or below.
const BASE_DAYS: usize = 20;

/// All of them, in the order in which they are tried.
pub(crate) const ALL: [Strategy; 4] = [
    Strategy::HighBase,
    Strategy::LowBase,
    Strategy::BullPullback,
    Strategy::BearRally,
];

/// What all strategies look at: closed daily bars and what follows from them.
pub(crate) struct Look<'a> {
    bars: &'a [Bar],
    /// The last daily close.
    pub(crate) close: f64,
    pub(crate) rsi: f64,
    pub(crate) atr: f64,
    pub(crate) atr_ratio: f64,
    mean: f64,
}

impl<'a> Look<'a> {
    /// None if there are too few bars.
    pub(crate) fn at(bars: &'a [Bar]) -> Option<Self> {
        Some(Self {
            bars,
            close: bars.last()?.close,
            rsi: rsi(bars)?,
            atr: atr(bars)?,
            atr_ratio: atr_ratio(bars)?,
            mean: mean_close(bars, BASE_DAYS)?,
        })
    }
}

/// Whether a strategy finds a candidate here.
pub(crate) fn fits(strategy: Strategy, limits: &trader_config::Strategy, look: &Look<'_>) -> bool {
    match strategy {
        Strategy::Unspecified => false,
        Strategy::HighBase => {
            let HighBase {
                max_atr_ratio,
                min_rsi,
            } = limits.high_base;
            look.rsi >= min_rsi && look.atr_ratio <= max_atr_ratio && look.close > look.mean
        }
        Strategy::LowBase => {
            let LowBase {
                min_atr_ratio,
                max_rsi,
            } = limits.low_base;
            look.rsi <= max_rsi && look.atr_ratio >= min_atr_ratio && look.close < look.mean
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
    use crate::indicators::tests::{row, walk};
    use proptest::prelude::{prop_assert, proptest};

    fn finds(strategy: Strategy, bars: &[Bar], limits: &trader_config::Strategy) -> bool {
        Look::at(bars).is_some_and(|look| fits(strategy, limits, &look))
    }

    /// Forty days of this daily change, then these closes relative to the last.
    fn trend_then(daily: f64, then: &[f64]) -> Vec<Bar> {
        let mut closes: Vec<f64> = (0..40).map(|day| 200.0 + daily * f64::from(day)).collect();
        let last = closes[39];
        closes.extend(then.iter().map(|change| last + change));
        row(&closes)
    }

    #[test]
    fn a_rise_is_a_high_base_and_a_fall_a_low_base() {
        let limits = trader_config::Strategy::default();
        let (rise, fall) = (trend_then(1.0, &[]), trend_then(-1.0, &[]));
        assert!(finds(Strategy::HighBase, &rise, &limits) && !finds(Strategy::LowBase, &rise, &limits));
        assert!(finds(Strategy::LowBase, &fall, &limits) && !finds(Strategy::HighBase, &fall, &limits));
        assert!(!finds(Strategy::Unspecified, &rise, &limits));
    }

    #[test]
    fn a_pullback_needs_the_trend_the_dip_and_the_recovery() {
        let limits = trader_config::Strategy::default();
        let bull = |daily, then: &[f64]| finds(Strategy::BullPullback, &trend_then(daily, then), &limits);
        assert!(bull(1.0, &[-6.0, -12.0, -18.0, -16.0, -15.0]));
        assert!(!bull(1.0, &[-6.0, -12.0, -18.0, -16.0, -17.0]), "it fell again");
        assert!(!bull(1.0, &[-1.0, 0.0, 1.0]), "there was no dip");
        assert!(
            !bull(-1.0, &[-6.0, -12.0, -18.0, -16.0, -15.0]),
            "the trend is down"
        );
        let bear = |daily, then: &[f64]| finds(Strategy::BearRally, &trend_then(daily, then), &limits);
        assert!(bear(-1.0, &[6.0, 12.0, 18.0, 16.0, 15.0]));
        assert!(!bear(-1.0, &[6.0, 12.0, 18.0, 16.0, 17.0]), "it rose again");
        assert!(!bear(1.0, &[6.0, 12.0, 18.0, 16.0, 15.0]), "the trend is up");
    }

    proptest! {
        /// Whatever the bars, a stricter limit finds nothing that the wider one does not.
        #[test]
        fn stricter_limits_find_a_subset(bars in walk(20..90), by in 0.0..50.0_f64, days in 0_u32..10) {
            let wide = trader_config::Strategy::default();
            let mut strict = wide.clone();
            strict.high_base.min_rsi += by;
            strict.high_base.max_atr_ratio -= by / 50.0;
            strict.low_base.max_rsi -= by / 2.0;
            strict.low_base.min_atr_ratio += by / 10.0;
            strict.bull_pullback.rsi_threshold -= by / 2.0;
            strict.bear_rally.rsi_threshold += by / 2.0;
            for strategy in ALL {
                prop_assert!(!finds(strategy, &bars, &strict) || finds(strategy, &bars, &wide));
            }
            // A longer recovery moves the day of the dip as well, so only the recovery itself is a subset.
            let up = |before: f64, after: f64| after > before;
            prop_assert!(!turned(&bars, 2 + days, up) || turned(&bars, 2, up));
        }

        #[test]
        fn a_share_is_never_in_both_bases(bars in walk(0..90)) {
            let limits = trader_config::Strategy::default();
            prop_assert!(!(finds(Strategy::HighBase, &bars, &limits) && finds(Strategy::LowBase, &bars, &limits)));
        }
    }
}
