//! The indicators that the strategies look at, over a row of daily bars with the oldest first. Pure.
//!
//! RSI and ATR are J. Welles Wilder's, "New Concepts in Technical Trading Systems" (1978), with his 14 periods and his
//! smoothing: the first value is a plain mean of 14, each later one is 13 parts of the one before and one part new.
//! The ATR ratio is the ATR in percent of the close, also called the normalized ATR.

use crate::bars::Bar;

/// The days over which RSI and ATR are taken.
pub(crate) const PERIODS: usize = 14;

/// The relative strength index after the last bar, by Wilder's smoothing; none if there are too few bars.
pub(crate) fn rsi(bars: &[Bar]) -> Option<f64> {
    let moves: Vec<f64> = bars
        .windows(2)
        .map(|pair| pair[1].close - pair[0].close)
        .collect();
    let gains = wilder(moves.iter().map(|change| change.max(0.0)))?;
    let losses = wilder(moves.iter().map(|change| (-change).max(0.0)))?;
    // Without a single move the share is neither strong nor weak.
    let all = gains + losses;
    Some(if all == 0.0 { 50.0 } else { 100.0 * gains / all })
}

/// The average true range after the last bar, by Wilder's smoothing; none if there are too few bars.
pub(crate) fn atr(bars: &[Bar]) -> Option<f64> {
    wilder(bars.windows(2).map(|pair| {
        let (before, bar) = (pair[0].close, pair[1]);
        bar.high.max(before) - bar.low.min(before)
    }))
}

/// The average true range in percent of the last close; none if there are too few bars.
pub(crate) fn atr_ratio(bars: &[Bar]) -> Option<f64> {
    Some(100.0 * atr(bars)? / bars.last()?.close)
}

/// The mean of the last closes; none if there are too few bars.
pub(crate) fn mean_close(bars: &[Bar], periods: usize) -> Option<f64> {
    let last = bars.len().checked_sub(periods).filter(|_| periods > 0)?;
    Some(bars[last..].iter().map(|bar| bar.close).sum::<f64>() / periods as f64)
}

fn wilder(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    let (first, rest) = values.split_at_checked(PERIODS)?;
    let periods = PERIODS as f64;
    let start = first.iter().sum::<f64>() / periods;
    Some(
        rest.iter()
            .fold(start, |mean, value| (mean * (periods - 1.0) + value) / periods),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One bar a close, each a dollar high and a dollar low.
    pub(crate) fn row(closes: &[f64]) -> Vec<Bar> {
        let bar = |&close: &f64| Bar {
            begun: jiff::civil::DateTime::ZERO,
            open: close,
            high: close + 1.0,
            low: close - 1.0,
            close,
            volume: 1.0,
        };
        closes.iter().map(bar).collect()
    }

    /// Any row of bars: closes that move up to five percent a day.
    pub(crate) fn walk(days: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Bar>> {
        prop::collection::vec(-0.05..0.05_f64, days).prop_map(|changes| {
            let closes = changes.iter().scan(100.0, |close, change| {
                *close *= 1.0 + change;
                Some(*close)
            });
            row(&closes.collect::<Vec<f64>>())
        })
    }

    proptest! {
        #[test]
        fn rsi_stays_between_0_and_100_and_needs_15_bars(bars in walk(0..60)) {
            match rsi(&bars) {
                Some(rsi) => prop_assert!((0.0..=100.0).contains(&rsi) && bars.len() > PERIODS),
                None => prop_assert!(bars.len() <= PERIODS),
            }
        }

        /// A share that is split tells the same.
        #[test]
        fn rsi_and_atr_ratio_do_not_depend_on_the_unit(bars in walk(15..60), by in 0.01..100.0_f64) {
            let mut split = bars.clone();
            for bar in &mut split {
                (bar.high, bar.low, bar.close) = (bar.high * by, bar.low * by, bar.close * by);
            }
            let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-6;
            prop_assert!(near(rsi(&bars), rsi(&split)));
            prop_assert!(near(atr_ratio(&bars), atr_ratio(&split)));
        }

        /// Upside down, strength is weakness.
        #[test]
        fn rsi_of_the_mirror_image_is_100_less_it(bars in walk(15..60)) {
            let mirrored: Vec<f64> = bars.iter().map(|bar| 1000.0 - bar.close).collect();
            let sum = rsi(&bars).unwrap() + rsi(&row(&mirrored)).unwrap();
            prop_assert!((sum - 100.0).abs() < 1e-6, "{sum}");
        }

        #[test]
        fn atr_lies_between_the_least_and_the_greatest_true_range(bars in walk(15..60)) {
            let ranges = bars.windows(2).map(|pair| {
                (pair[1].high - pair[1].low)
                    .max((pair[1].high - pair[0].close).abs())
                    .max((pair[1].low - pair[0].close).abs())
            });
            let (least, greatest) = ranges.fold((f64::MAX, 0.0_f64), |(least, greatest), range| {
                (least.min(range), greatest.max(range))
            });
            let atr = atr(&bars).unwrap();
            prop_assert!(least - 1e-9 <= atr && atr <= greatest + 1e-9, "{least} {atr} {greatest}");
        }
    }

    #[test]
    fn rsi_is_100_for_rises_alone_0_for_falls_alone_and_50_without_moves() {
        let rises: Vec<f64> = (0..20).map(f64::from).collect();
        let falls: Vec<f64> = rises.iter().rev().copied().collect();
        assert_eq!(rsi(&row(&rises)), Some(100.0));
        assert_eq!(rsi(&row(&falls)), Some(0.0));
        assert_eq!(rsi(&row(&[5.0; 20])), Some(50.0));
        assert_eq!(rsi(&row(&rises[..14])), None);
    }

    /// The closes of StockCharts' worked example (ChartSchool, "Relative Strength Index"), to the cent: 14 changes,
    /// then one more. By hand: gains of 3.34 and losses of 1.40 make 70.46, then 3.10 and 1.58 make 66.25.
    #[test]
    fn rsi_smooths_as_wilder_does() {
        let closes = [
            44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08, 45.89, 46.03, 45.61, 46.28,
            46.28, 46.00,
        ];
        let after_14 = rsi(&row(&closes[..15])).unwrap();
        let after_15 = rsi(&row(&closes)).unwrap();
        assert!((after_14 - 70.46).abs() < 0.01, "{after_14}");
        assert!((after_15 - 66.25).abs() < 0.01, "{after_15}");
    }

    #[test]
    fn the_true_range_counts_gaps() {
        let mut bars = row(&[10.0; 15]);
        assert_eq!(atr(&bars), Some(2.0));
        bars[14] = row(&[30.0])[0];
        assert_eq!(atr(&bars), Some((13.0 * 2.0 + 21.0) / 14.0));
        // One more quiet day: thirteen parts of that and one of 2.
        bars.push(row(&[30.0])[0]);
        let smoothed = (13.0 * (47.0 / 14.0) + 2.0) / 14.0;
        assert_eq!(atr(&bars), Some(smoothed));
        assert_eq!(atr_ratio(&bars), Some(100.0 * smoothed / 30.0));
    }

    #[test]
    fn a_mean_needs_enough_bars() {
        let bars = row(&[1.0, 2.0, 3.0]);
        assert_eq!(mean_close(&bars, 2), Some(2.5));
        assert_eq!(mean_close(&bars, 4), None);
        assert_eq!(mean_close(&bars, 0), None);
    }
}
