//! The market that the scanner knows: the folder's files, else the generator's, each kept for as long as `[data]` says.
//!
//! The moment is brought by the caller. A damaged file never takes away what was known before: it is told in the log,
//! and what it held last goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scanner_api::Contract;
use trader_config::{Data, Universe};

use crate::bars::Bar;
use crate::folder::{Damaged, Folder, Listed};
use crate::generate::{LISTINGS, Listing};
use crate::universe::eligible;

/// Everybody's market without files of their own is that of this seed.
const SEED: u64 = 0;

/// A share and its daily bars, the oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    pub(crate) symbol: String,
    pub(crate) sector: String,
    /// In USD.
    pub(crate) market_cap: f64,
    pub(crate) bars: Vec<Bar>,
}

/// The universe of one configuration: its shares, and which of them pass the filter.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// By symbol; those without bars are missing.
    pub(crate) shares: BTreeMap<String, Share>,
    /// The symbols that pass, in alphabetical order.
    pub(crate) passed: Vec<String>,
}

/// Everything that is known of the market.
#[derive(Debug)]
pub(crate) struct Market {
    folder: Folder,
    members: Mutex<Option<(Instant, Universe, Arc<Members>)>>,
    prices: Kept<Option<f64>>,
    chains: Kept<Arc<Vec<Contract>>>,
}

impl Market {
    /// With the files of this folder, which need not exist.
    pub(crate) fn new(folder: &str) -> Self {
        Self {
            folder: Folder::new(folder),
            members: Mutex::default(),
            prices: Kept::default(),
            chains: Kept::default(),
        }
    }

    /// All symbols that there are bars for, in alphabetical order.
    pub(crate) fn symbols(&self) -> Vec<String> {
        let listed = self.listings();
        let listed = listed
            .into_iter()
            .map(|listed| listed.symbol)
            .filter(|symbol| self.folder.has_daily(symbol));
        let generated = LISTINGS.iter().map(|listing| listing.symbol.to_owned());
        let mut symbols: Vec<String> = listed.chain(generated).collect();
        symbols.sort_unstable();
        symbols.dedup();
        symbols
    }

    /// The universe as it was found at most `data.universe_cache_expiry` ago.
    pub(crate) fn members(&self, universe: &Universe, data: &Data, now: Instant) -> Arc<Members> {
        // Held while files are read: who comes meanwhile needs the same.
        let mut kept = lock(&self.members);
        if let Some((made, of, members)) = &*kept
            && of == universe
            && fresh(*made, data.universe_cache_expiry, now)
        {
            return Arc::clone(members);
        }
        let before = kept
            .as_ref()
            .map(|(_, _, members)| Arc::clone(members))
            .unwrap_or_default();
        let members = Arc::new(self.read_members(universe, &before));
        *kept = Some((now, universe.clone(), Arc::clone(&members)));
        members
    }

    fn read_members(&self, universe: &Universe, before: &Members) -> Members {
        let listed = self.listings();
        let mut members = Members::default();
        for symbol in &universe.symbols {
            let symbol = symbol.as_str();
            let read = self.read_share(symbol, &listed);
            let share = tell(read).unwrap_or_else(|| before.shares.get(symbol).cloned());
            let Some(share) = share else { continue };
            if eligible(universe, &share) {
                members.passed.push(symbol.to_owned());
            }
            members.shares.insert(symbol.to_owned(), share);
        }
        members.passed.sort_unstable();
        members
    }

    fn read_share(&self, symbol: &str, listed: &[Listed]) -> Result<Option<Share>, Damaged> {
        let generated = Listing::of(symbol);
        let (sector, market_cap) = match listed.iter().find(|listed| listed.symbol == symbol) {
            Some(listed) => (listed.sector.clone(), listed.market_cap),
            None => match generated {
                Some(listing) => (listing.sector.to_owned(), listing.market_cap()),
                None => return Ok(None),
            },
        };
        let bars = self.folder.daily(symbol)?;
        let bars = bars.or_else(|| generated.map(|listing| listing.daily(SEED)));
        Ok(bars.map(|bars| Share {
            symbol: symbol.to_owned(),
            sector,
            market_cap,
            bars,
        }))
    }

    /// The close of the newest minute bar, read at most `data.minute_data_cache_expiry` ago; none without such bars.
    pub(crate) fn price(&self, symbol: &str, data: &Data, now: Instant) -> Option<f64> {
        self.prices.get(symbol, data.minute_data_cache_expiry, now, || {
            let minutes = self.folder.minutes(symbol)?;
            // Who brings daily bars of their own has no use for made-up minutes after them.
            let generated = || Listing::of(symbol).filter(|_| !self.folder.has_daily(symbol));
            let minutes = minutes.or_else(|| generated().map(|listing| listing.minutes(SEED)));
            Ok(minutes.and_then(|minutes| minutes.last().map(|bar| bar.close)))
        })
    }

    /// The contracts on the share, read at most `data.options_cache_expiry` ago.
    pub(crate) fn chain(&self, symbol: &str, data: &Data, now: Instant) -> Arc<Vec<Contract>> {
        self.chains.get(symbol, data.options_cache_expiry, now, || {
            let chain = self.folder.chain(symbol)?;
            let chain = chain.or_else(|| Listing::of(symbol).map(Listing::chain));
            Ok(Arc::new(chain.unwrap_or_default()))
        })
    }

    fn listings(&self) -> Vec<Listed> {
        tell(self.folder.listings()).unwrap_or_default()
    }
}

/// What was read; a damaged file is told in the log.
fn tell<T>(read: Result<T, Damaged>) -> Option<T> {
    read.inspect_err(|damaged| tracing::warn!("market data: {damaged}"))
        .ok()
}

/// One value a symbol, each with the moment at which it was read.
#[derive(Debug)]
struct Kept<T>(Mutex<BTreeMap<String, (Instant, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Default> Kept<T> {
    fn get(&self, symbol: &str, expiry: u32, now: Instant, read: impl FnOnce() -> Result<T, Damaged>) -> T {
        let mut kept = lock(&self.0);
        let before = match kept.get(symbol) {
            Some((made, value)) if fresh(*made, expiry, now) => return value.clone(),
            Some((_, value)) => value.clone(),
            None => T::default(),
        };
        // Symbols come and go with the configuration; this keeps none that is not asked for.
        kept.retain(|_, (made, _)| fresh(*made, expiry, now));
        let value = tell(read()).unwrap_or(before);
        kept.insert(symbol.to_owned(), (now, value.clone()));
        value
    }
}

/// Whether what was made then is young enough now.
fn fresh(made: Instant, expiry: u32, now: Instant) -> bool {
    now.saturating_duration_since(made) < Duration::from_secs(expiry.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars;
    use trader_config::Symbol;

    fn second(after: u64) -> Duration {
        Duration::from_secs(after)
    }

    #[test]
    fn without_files_the_generator_is_the_market() {
        let market = Market::new("/nowhere");
        assert_eq!(market.symbols().len(), LISTINGS.len());
        let (universe, data, now) = (Universe::default(), Data::default(), Instant::now());
        let members = market.members(&universe, &data, now);
        assert_eq!((members.shares.len(), members.passed.len()), (26, 26));
        assert!(market.price("KO", &data, now).is_some());
        assert!(!market.chain("KO", &data, now).is_empty());
        assert!(market.price("NOSUCH", &data, now).is_none());
        assert!(market.chain("NOSUCH", &data, now).is_empty());
    }

    #[test]
    fn a_file_goes_before_the_generator_and_a_listed_symbol_needs_one() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let market = Market::new(folder.path().to_str().unwrap());
        put(
            "listings.csv",
            "symbol,sector,market_cap\nNEW,Media,2e10\nNONE,Media,2e10\nKO,Water,5\n",
        );
        let bars = Listing::of("PG").unwrap().daily(3);
        put("NEW.daily.csv", &bars::write(&bars));
        let symbols = market.symbols();
        assert!(symbols.contains(&"NEW".to_owned()) && !symbols.contains(&"NONE".to_owned()));

        let symbol = |name: &str| Symbol::try_from(name.to_owned()).unwrap();
        let universe = Universe {
            symbols: vec![symbol("NEW"), symbol("KO"), symbol("NONE")],
            ..Universe::default()
        };
        let (data, now) = (Data::default(), Instant::now());
        let members = market.members(&universe, &data, now);
        assert_eq!(
            members.passed,
            ["NEW"],
            "KO is too small by the file's word, NONE has no bars"
        );
        assert_eq!(members.shares["KO"].sector, "Water");
        assert_eq!(members.shares.len(), 2);
        assert_eq!(
            market.price("NEW", &data, now),
            None,
            "no minutes are made up for it"
        );
    }

    #[test]
    fn what_was_read_is_read_again_when_it_expires_and_survives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("KO.minute.csv");
        let put = |close: &str| {
            let text = format!("{}\n2026-07-01T09:30:00,60,70,50,{close},100\n", bars::HEADING);
            std::fs::write(&file, text).unwrap();
        };
        let market = Market::new(folder.path().to_str().unwrap());
        let data = Data::default();
        let begin = Instant::now();
        let price = |at: u64| market.price("KO", &data, begin + second(at));
        put("61");
        assert_eq!(price(0), Some(61.0));
        put("62");
        assert_eq!(price(59), Some(61.0));
        assert_eq!(price(60), Some(62.0));
        put("bad");
        assert_eq!(price(120), Some(62.0));
        let hasty = Data {
            minute_data_cache_expiry: 1,
            ..Data::default()
        };
        put("63");
        assert_eq!(market.price("KO", &hasty, begin + second(121)), Some(63.0));
    }
}
