//! The one generator of market data: a fixed list of shares, a year of daily bars of each, an hour of minute bars
//! after them, and an option chain.
//!
//! Made, not fetched: from a seed and the symbol alone, so every run on every machine sees the same, and a scan's
//! result depends on the configuration alone. The figures look plausible and mean nothing.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday, date};
use scanner_api::Contract;

use crate::bars::Bar;
use crate::options;

/// How many daily bars each share has: about a year of trading.
pub(crate) const BARS: usize = 260;
/// How many minute bars there are of the day after.
pub(crate) const MINUTES: usize = 60;
/// The day of the last daily bar.
const LAST_DAY: Date = date(2026, 6, 30);

/// A share of the fixed list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) symbol: &'static str,
    pub(crate) sector: &'static str,
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
pub(crate) const LISTINGS: [Listing; 40] = [
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

impl Listing {
    /// The share of this symbol.
    pub(crate) fn of(symbol: &str) -> Option<&'static Self> {
        LISTINGS.iter().find(|listing| listing.symbol == symbol)
    }

    /// In USD.
    pub(crate) fn market_cap(&self) -> f64 {
        self.market_cap_billions * 1e9
    }

    /// A year of trading, the oldest day first.
    pub(crate) fn daily(&self, seed: u64) -> Vec<Bar> {
        let mut random = Random::seeded(self.symbol, seed);
        let phase = match random.next() % 5 {
            0 => Phase::Drifting,
            1 => Phase::Rallying,
            2 => Phase::Slumping,
            3 => Phase::Recovering,
            _ => Phase::Failing,
        };
        let volatility = self.volatility / 100.0;
        let mut level: f64 = 1.0;
        let mut bars: Vec<Bar> = trading_days()
            .into_iter()
            .enumerate()
            .map(|(at, day)| {
                let open = level;
                level *= 1.0 + volatility * (phase.tendency(BARS - 1 - at) + random.bell() * 0.8);
                let above = volatility * random.share() * 0.6;
                let below = volatility * random.share() * 0.6;
                Bar {
                    begun: day.into(),
                    open,
                    high: open.max(level) * (1.0 + above),
                    low: open.min(level) * (1.0 - below),
                    close: level,
                    volume: self.volume_millions * 1e6 * (0.7 + 0.6 * random.share()),
                }
            })
            .collect();
        // The last close is the listing's price.
        let scale = self.price / level;
        for bar in &mut bars {
            bar.open *= scale;
            bar.high *= scale;
            bar.low *= scale;
            bar.close *= scale;
        }
        bars
    }

    /// The first hour of the day after the last daily bar.
    pub(crate) fn minutes(&self, seed: u64) -> Vec<Bar> {
        let mut random = Random::seeded(self.symbol, seed.wrapping_add(1));
        // A trading day has 390 minutes, and deviations add up by their squares.
        let volatility = self.volatility / 100.0 / 390.0_f64.sqrt();
        let begin = LAST_DAY.saturating_add(1.day()).at(9, 30, 0, 0);
        let mut level = self.price;
        (0..i64::try_from(MINUTES).unwrap_or(0))
            .map(|minute| {
                let open = level;
                level *= 1.0 + volatility * random.bell();
                Bar {
                    begun: begin.saturating_add(minute.minutes()),
                    open,
                    high: open.max(level) * (1.0 + volatility * random.share() * 0.5),
                    low: open.min(level) * (1.0 - volatility * random.share() * 0.5),
                    close: level,
                    volume: self.volume_millions * 1e6 / 390.0 * (0.5 + random.share()),
                }
            })
            .collect()
    }

    /// The contracts on the share.
    pub(crate) fn chain(&self) -> Vec<Contract> {
        options::chain(self.price, self.volatility / 100.0 * options::TRADING_DAYS.sqrt())
    }
}

/// The last weekdays, the oldest first; the generator knows no holidays.
fn trading_days() -> Vec<Date> {
    let mut days: Vec<Date> = std::iter::successors(Some(LAST_DAY), |day| Some(day.saturating_sub(1.day())))
        .filter(|day| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday))
        .take(BARS)
        .collect();
    days.reverse();
    days
}

/// SplitMix64: small, well distributed, and the same on every machine.
struct Random(u64);

impl Random {
    fn seeded(symbol: &str, seed: u64) -> Self {
        // FNV-1a; the standard library's hasher may change between versions.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
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
    use crate::bars;

    #[test]
    fn the_bars_of_a_symbol_are_always_the_same() {
        let aapl = Listing::of("AAPL").unwrap();
        // Not only within this process: these figures are what every machine gets.
        let first = aapl.daily(0)[0];
        assert_eq!(
            format!("{} {:.6} {:.0}", first.begun, first.close, first.volume),
            "2025-07-02T00:00:00 179.578427 44326444"
        );
        assert_ne!(aapl.daily(1)[0].close, first.close, "another seed, another year");
        assert_eq!(aapl.daily(1), aapl.daily(1));
    }

    #[test]
    fn bars_are_whole_and_end_at_the_listed_price() {
        for listing in &LISTINGS {
            let daily = listing.daily(0);
            assert_eq!(daily.len(), BARS);
            assert!((daily[BARS - 1].close - listing.price).abs() < 1e-6);
            assert_eq!(daily[BARS - 1].begun.date(), LAST_DAY);
            let minutes = listing.minutes(0);
            assert_eq!(minutes.len(), MINUTES);
            assert!((minutes[0].open - listing.price).abs() < 1e-6);
            for made in [daily, minutes] {
                assert_eq!(
                    bars::read(&bars::write(&made)).map(|read| read.len()),
                    Ok(made.len())
                );
            }
            assert!(listing.chain().len() >= 200);
        }
    }

    #[test]
    fn every_symbol_of_the_default_configuration_is_listed() {
        for symbol in trader_config::Universe::default().symbols {
            assert!(Listing::of(symbol.as_str()).is_some(), "{symbol}");
        }
    }
}
