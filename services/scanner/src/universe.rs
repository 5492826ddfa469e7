//! The universe's filter: which shares are worth a look at all. A function of its arguments.

use trader_config::Universe;

use crate::market::Share;

/// The days over which the average volume is taken.
const VOLUME_DAYS: usize = 20;

/// Whether a share is large, dear and busy enough, by its last daily close and the average volume of 20 days.
pub(crate) fn eligible(universe: &Universe, share: &Share) -> bool {
    let Universe {
        symbols: _,
        min_market_cap,
        min_price,
        min_volume,
    } = universe;
    let recent = &share.bars[share.bars.len().saturating_sub(VOLUME_DAYS)..];
    let Some(last) = recent.last() else {
        return false;
    };
    let volume = recent.iter().map(|bar| bar.volume).sum::<f64>() / recent.len() as f64;
    share.market_cap >= *min_market_cap && last.close >= *min_price && volume >= *min_volume as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::tests::row;

    fn share(market_cap: f64, price: f64, volume: f64) -> Share {
        let mut bars = row(&[price; 30]);
        for bar in &mut bars[10..] {
            bar.volume = volume;
        }
        Share {
            symbol: "A".to_owned(),
            sector: "Media".to_owned(),
            market_cap,
            bars,
        }
    }

    #[test]
    fn each_bound_is_the_least_that_passes() {
        let universe = Universe::default();
        assert!(eligible(&universe, &share(1e10, 20.0, 1e6)));
        assert!(!eligible(&universe, &share(0.99e10, 20.0, 1e6)));
        assert!(!eligible(&universe, &share(1e10, 19.99, 1e6)));
        assert!(!eligible(&universe, &share(1e10, 20.0, 999_999.0)));
        let empty = Share {
            bars: Vec::new(),
            ..share(1e10, 20.0, 1e6)
        };
        assert!(!eligible(&universe, &empty));
    }
}
