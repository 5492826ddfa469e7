//! The market that the scanner knows: a fixed list of shares, each with a year of daily bars.
//!
//! The bars are made, not fetched: seeded by the symbol, so every run of every machine sees the same ones, and a
//! scan's result depends on the configuration alone. They look plausible and mean nothing.

use std::collections::BTreeMap;

/// How many daily bars each share has: about a year of trading.
pub(crate) const BARS: usize = 260;

/// One day of trading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    /// Shares traded.
    pub(crate) volume: f64,
}

/// A share and its bars, the oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) sector: &'static str,
    /// In USD.
    pub(crate) market_cap: f64,
    pub(crate) bars: Vec<Bar>,
}

/// All shares by symbol.
#[derive(Debug, Clone)]
pub(crate) struct Market(BTreeMap<&'static str, Share>);

impl Market {
    /// The market as it always is.
    pub(crate) fn new() -> Self {
        let shares = LISTINGS.iter().map(|listing| {
            let share = Share {
                sector: listing.sector,
                market_cap: listing.market_cap_billions * 1e9,
                bars: bars(listing),
            };
            (listing.symbol, share)
        });
        Self(shares.collect())
    }

    pub(crate) fn share(&self, symbol: &str) -> Option<&Share> {
        self.0.get(symbol)
    }

    /// All symbols, in alphabetical order.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

struct Listing {
    symbol: &'static str,
    sector: &'static str,
    market_cap_billions: f64,
    /// The last closing price in USD.
    price: f64,
    /// Millions of shares on an average day.
    volume_millions: f64,
    /// How much the price moves on an average day, in percent.
    volatility: f64,
}

const fn listing(symbol: &'static str, sector: &'static str, figures: [f64; 4]) -> Listing {
    let [market_cap_billions, price, volume_millions, volatility] = figures;
    Listing {
        symbol,
        sector,
        market_cap_billions,
        price,
        volume_millions,
        volatility,
    }
}

/// Market capitalisation in billions of USD, price in USD, millions of shares a day, percent a day.
const LISTINGS: [Listing; 40] = [
    listing("AAPL", "Technology", [3400.0, 228.0, 48.0, 1.4]),
    listing("ABBV", "Health", [330.0, 187.0, 5.4, 1.2]),
    listing("AMD", "Technology", [230.0, 142.0, 42.0, 2.9]),
    listing("AMZN", "Consumer", [2200.0, 208.0, 38.0, 1.7]),
    listing("AVGO", "Technology", [820.0, 176.0, 22.0, 2.3]),
    listing("BA", "Industry", [115.0, 152.0, 9.8, 2.1]),
    listing("BAC", "Finance", [350.0, 45.5, 36.0, 1.4]),
    listing("CAT", "Industry", [190.0, 388.0, 3.1, 1.6]),
    listing("CHPT", "Industry", [0.6, 1.4, 14.0, 5.2]),
    listing("COST", "Consumer", [410.0, 925.0, 1.9, 1.1]),
    listing("CRM", "Technology", [320.0, 334.0, 6.2, 1.9]),
    listing("CVX", "Energy", [290.0, 161.0, 7.6, 1.3]),
    listing("DIS", "Media", [205.0, 113.0, 10.0, 1.6]),
    listing("GE", "Industry", [195.0, 180.0, 5.5, 1.7]),
    listing("GOOGL", "Technology", [2100.0, 172.0, 27.0, 1.6]),
    listing("GS", "Finance", [185.0, 589.0, 2.3, 1.6]),
    listing("HD", "Consumer", [400.0, 405.0, 3.4, 1.2]),
    listing("INTC", "Technology", [105.0, 24.6, 60.0, 2.6]),
    listing("JNJ", "Health", [370.0, 155.0, 7.4, 0.9]),
    listing("JPM", "Finance", [690.0, 245.0, 9.0, 1.3]),
    listing("KO", "Staples", [275.0, 63.5, 15.0, 0.8]),
    listing("MA", "Finance", [475.0, 518.0, 2.5, 1.1]),
    listing("META", "Technology", [1400.0, 561.0, 13.0, 2.0]),
    listing("MSFT", "Technology", [3100.0, 417.0, 21.0, 1.3]),
    listing("NEE", "Utilities", [158.0, 77.0, 10.5, 1.4]),
    listing("NFLX", "Media", [375.0, 884.0, 3.6, 2.0]),
    listing("NVDA", "Technology", [3500.0, 142.0, 240.0, 2.8]),
    listing("ORCL", "Technology", [530.0, 190.0, 9.2, 1.8]),
    listing("PFE", "Health", [143.0, 25.3, 44.0, 1.3]),
    listing("PG", "Staples", [400.0, 171.0, 6.8, 0.8]),
    listing("PLUG", "Energy", [1.9, 2.1, 52.0, 5.6]),
    listing("T", "Telecom", [164.0, 22.9, 34.0, 1.1]),
    listing("TSLA", "Consumer", [1100.0, 346.0, 95.0, 3.4]),
    listing("UNH", "Health", [545.0, 592.0, 3.7, 1.5]),
    listing("V", "Finance", [600.0, 310.0, 6.0, 1.0]),
    listing("VZ", "Telecom", [178.0, 42.3, 17.0, 1.0]),
    listing("WFC", "Finance", [248.0, 74.5, 16.0, 1.6]),
    listing("WMT", "Staples", [710.0, 88.0, 17.5, 1.0]),
    listing("WOLF", "Technology", [1.1, 8.7, 13.0, 5.9]),
    listing("XOM", "Energy", [530.0, 120.0, 14.5, 1.3]),
];

/// What a share did lately: the reason why strategies find different ones.
enum Phase {
    Drifting,
    Rallying,
    Slumping,
    /// Up, then a dip, then up again.
    Recovering,
    /// Down, then a bounce, then down again.
    Failing,
}

impl Phase {
    /// The tendency of a day in units of the share's volatility, by how many days it lies back.
    fn tendency(&self, days_back: usize) -> f64 {
        match (self, days_back) {
            (Self::Drifting, _) | (_, 40..) => 0.05,
            (Self::Rallying, _) => 0.35,
            (Self::Slumping, _) => -0.35,
            (Self::Recovering, 0..=2) => 1.4,
            (Self::Recovering, 3..=7) => -1.3,
            (Self::Recovering, _) => 0.5,
            (Self::Failing, 0..=2) => -1.4,
            (Self::Failing, 3..=7) => 1.3,
            (Self::Failing, _) => -0.5,
        }
    }
}

fn bars(listing: &Listing) -> Vec<Bar> {
    let mut random = Random::seeded(listing.symbol);
    let phase = match random.next() % 5 {
        0 => Phase::Drifting,
        1 => Phase::Rallying,
        2 => Phase::Slumping,
        3 => Phase::Recovering,
        _ => Phase::Failing,
    };
    let volatility = listing.volatility / 100.0;
    let mut level: f64 = 1.0;
    let mut bars: Vec<Bar> = (0..BARS)
        .rev()
        .map(|days_back| {
            let open = level;
            level *= 1.0 + volatility * (phase.tendency(days_back) + random.bell() * 0.8);
            let above = volatility * random.share() * 0.6;
            let below = volatility * random.share() * 0.6;
            Bar {
                high: open.max(level) * (1.0 + above),
                low: open.min(level) * (1.0 - below),
                close: level,
                volume: listing.volume_millions * 1e6 * (0.7 + 0.6 * random.share()),
            }
        })
        .collect();
    // The last close is the listing's price.
    let scale = listing.price / level;
    for bar in &mut bars {
        bar.high *= scale;
        bar.low *= scale;
        bar.close *= scale;
    }
    bars
}

/// SplitMix64: small, well distributed, and the same on every machine.
struct Random(u64);

impl Random {
    fn seeded(symbol: &str) -> Self {
        // FNV-1a; the standard library's hasher may change between versions.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in symbol.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 0 with a deviation of about 1, and never beyond 3.5.
    fn bell(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.share()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_of_a_symbol_are_always_the_same() {
        let (one, other) = (Market::new(), Market::new());
        for symbol in one.symbols() {
            assert_eq!(one.share(symbol).unwrap().bars, other.share(symbol).unwrap().bars);
        }
        // Not only within this process: these figures are what every machine gets.
        let first = one.share("AAPL").unwrap().bars[0];
        assert_eq!(
            format!("{:.6} {:.0}", first.close, first.volume),
            "179.578427 44326444"
        );
    }

    #[test]
    fn bars_are_whole_and_end_at_the_listed_price() {
        let market = Market::new();
        for listing in &LISTINGS {
            let bars = &market.share(listing.symbol).unwrap().bars;
            assert_eq!(bars.len(), BARS);
            assert!((bars[BARS - 1].close - listing.price).abs() < 1e-6);
            for bar in bars {
                assert!(0.0 < bar.low && bar.low <= bar.close && bar.close <= bar.high && bar.volume > 0.0);
            }
        }
    }

    #[test]
    fn every_symbol_of_the_default_configuration_has_bars() {
        let market = Market::new();
        for symbol in trader_config::Universe::default().symbols {
            assert!(market.share(symbol.as_str()).is_some(), "{symbol}");
        }
    }
}
