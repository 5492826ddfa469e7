//! The indicators that the strategies look at, over a row of daily bars with the oldest first.

use crate::market::Bar;

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
mod tests {
    use super::*;

    fn row(closes: &[f64]) -> Vec<Bar> {
        closes
            .iter()
            .map(|&close| Bar {
                high: close + 1.0,
                low: close - 1.0,
                close,
                volume: 1.0,
            })
            .collect()
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

    /// The worked example in Wilder's own terms: 14 changes, then one more.
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
        bars[14] = Bar {
            high: 31.0,
            low: 29.0,
            close: 30.0,
            volume: 1.0,
        };
        assert_eq!(atr(&bars), Some((13.0 * 2.0 + 21.0) / 14.0));
    }

    #[test]
    fn a_mean_needs_enough_bars() {
        let bars = row(&[1.0, 2.0, 3.0]);
        assert_eq!(mean_close(&bars, 2), Some(2.5));
        assert_eq!(mean_close(&bars, 4), None);
        assert_eq!(mean_close(&bars, 0), None);
    }
}
