//! The folder of market data, `data.cache_dir`: CSV files that go before what the generator makes.
//!
//! | file | what it holds |
//! |---|---|
//! | `listings.csv` | `symbol,sector,market_cap`: the shares that the generator does not list |
//! | `SYMBOL.daily.csv`, `SYMBOL.minute.csv` | bars, the oldest first |
//! | `SYMBOL.options.csv` | the contracts on the share |
//!
//! Whoever fills the folder replaces files whole. Only [`make`] ever writes here, and only when it is asked to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use scanner_api::Contract;

use crate::bars::{self, BadLine, Bar, number, rows};
use crate::generate::LISTINGS;
use crate::options;

/// A year of minute bars is about 6 MB; what is far larger is something else.
const LARGEST: u64 = 32 << 20;

const LISTINGS_FILE: &str = "listings.csv";
const LISTINGS_HEADING: &str = "symbol,sector,market_cap";

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub(crate) struct Damaged {
    file: PathBuf,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no regular file, or larger than {} MB", LARGEST >> 20)]
    Unusable,
    #[error(transparent)]
    Line(#[from] BadLine),
}

/// A line of the listings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) symbol: String,
    pub(crate) sector: String,
    /// In USD.
    pub(crate) market_cap: f64,
}

/// The folder; it need not exist.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The shares that are listed here.
    pub(crate) fn listings(&self) -> Result<Vec<Listed>, Damaged> {
        let read = |text: &str| {
            rows(text, LISTINGS_HEADING, |[symbol, sector, market_cap]| {
                Ok(Listed {
                    symbol: symbol.to_owned(),
                    sector: sector.to_owned(),
                    market_cap: number(market_cap)?,
                })
            })
        };
        Ok(self.read(LISTINGS_FILE, read)?.unwrap_or_default())
    }

    /// Whether there is a file of daily bars, whatever it holds.
    pub(crate) fn has_daily(&self, symbol: &str) -> bool {
        self.0.join(daily(symbol)).is_file()
    }

    pub(crate) fn daily(&self, symbol: &str) -> Result<Option<Vec<Bar>>, Damaged> {
        self.read(&daily(symbol), bars::read)
    }

    pub(crate) fn minutes(&self, symbol: &str) -> Result<Option<Vec<Bar>>, Damaged> {
        self.read(&minute(symbol), bars::read)
    }

    pub(crate) fn chain(&self, symbol: &str) -> Result<Option<Vec<Contract>>, Damaged> {
        self.read(&chain(symbol), options::read)
    }

    /// What a file holds; none if there is no such file.
    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, BadLine>) -> Result<Option<T>, Damaged> {
        let file = self.0.join(name);
        let text = match text(&file) {
            Ok(text) => text,
            Err(Why::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(Damaged { file, why }),
        };
        match read(&text) {
            Ok(read) => Ok(Some(read)),
            Err(bad) => Err(Damaged {
                file,
                why: bad.into(),
            }),
        }
    }
}

fn daily(symbol: &str) -> String {
    format!("{symbol}.daily.csv")
}

fn minute(symbol: &str) -> String {
    format!("{symbol}.minute.csv")
}

fn chain(symbol: &str) -> String {
    format!("{symbol}.options.csv")
}

fn text(file: &Path) -> Result<String, Why> {
    // Looked at before it is opened: opening a pipe would wait for whoever writes it.
    if !fs::metadata(file)?.is_file() {
        return Err(Why::Unusable);
    }
    let mut text = String::new();
    let read = File::open(file)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= LARGEST) {
        Ok(text)
    } else {
        Err(Why::Unusable)
    }
}

/// Fills a folder with what the generator makes from this seed.
pub(crate) fn make(folder: &Path, seed: u64) -> Result<(), Damaged> {
    let put = |name: &str, text: String| {
        let file = folder.join(name);
        // Beside it and renamed: a scanner that reads the folder sees whole files.
        let staged = folder.join(format!("{name}.new"));
        let put = fs::write(&staged, text).and_then(|()| fs::rename(&staged, &file));
        put.map_err(|error| Damaged {
            file,
            why: error.into(),
        })
    };
    fs::create_dir_all(folder).map_err(|error| Damaged {
        file: folder.to_owned(),
        why: error.into(),
    })?;
    let mut listings = format!("{LISTINGS_HEADING}\n");
    for listing in &LISTINGS {
        let symbol = listing.symbol;
        listings.push_str(&format!(
            "{symbol},{},{:.0}\n",
            listing.sector,
            listing.market_cap()
        ));
        put(&daily(symbol), bars::write(&listing.daily(seed)))?;
        put(&minute(symbol), bars::write(&listing.minutes(seed)))?;
        put(&chain(symbol), options::write(&listing.chain()))?;
    }
    put(LISTINGS_FILE, listings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_folder_holds_what_the_generator_says() {
        let made = tempfile::tempdir().unwrap();
        make(made.path(), 0).unwrap();
        let folder = Folder::new(made.path());
        assert_eq!(folder.listings().unwrap().len(), LISTINGS.len());
        for listing in &LISTINGS {
            assert!(folder.has_daily(listing.symbol));
            let read = folder.daily(listing.symbol).unwrap().unwrap();
            for (read, made) in read.iter().zip(listing.daily(0)) {
                assert_eq!(read.begun, made.begun);
                assert!((read.close - made.close).abs() < 1e-4);
            }
            assert_eq!(folder.chain(listing.symbol).unwrap().unwrap(), listing.chain());
            assert!(folder.minutes(listing.symbol).unwrap().is_some());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_a_damaged_one_is_named() {
        let made = tempfile::tempdir().unwrap();
        let folder = Folder::new(made.path());
        assert_eq!(folder.daily("KO").unwrap(), None);
        assert_eq!(folder.listings().unwrap(), []);
        fs::write(made.path().join("KO.daily.csv"), "nonsense\n").unwrap();
        let said = folder.daily("KO").unwrap_err().to_string();
        assert!(said.contains("KO.daily.csv: line 1: the heading"), "{said}");
        fs::create_dir(made.path().join("PG.daily.csv")).unwrap();
        let said = folder.daily("PG").unwrap_err().to_string();
        assert!(said.contains("PG.daily.csv: it is no regular file"), "{said}");
    }
}
