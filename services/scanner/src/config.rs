//! The scanner's configuration: what it accepts, and what it says when it does not.

use std::sync::{Arc, OnceLock};

use lockstep_client::{Refusal, Revision, Snapshot, SwitchNumber};
use trader_config::{Invalid, Problem, ScannerView, locate, parse, summary};

use crate::market::Market;

/// The configuration that a scan runs with, the market that it looks at, and where it came from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) view: ScannerView,
    pub(crate) market: Arc<Market>,
    pub(crate) revision: Option<Revision>,
    pub(crate) switch: Option<SwitchNumber>,
}

/// The market of this process: `data.cache_dir` is taken once.
pub(crate) type Taken = OnceLock<(String, Arc<Market>)>;

/// Reads and judges the configuration of one release.
///
/// It is judged by the folder that it names: a new one is what the next start will find.
pub(crate) fn load(snapshot: &Snapshot, taken: &Taken) -> Result<Config, Refusal> {
    let file = snapshot.document();
    let refuse = |problems: Vec<Problem>| refusal(file, &problems);
    let text = snapshot.text(file)?;
    let view: ScannerView = parse(&text).map_err(refuse)?;
    let named = match taken.get() {
        Some((folder, market)) if *folder == view.data.cache_dir => Arc::clone(market),
        Some(_) | None => Arc::new(Market::new(&view.data.cache_dir)),
    };
    judge(&text, &view, &named).map_err(refuse)?;
    let (_, market) = taken.get_or_init(|| (view.data.cache_dir.clone(), named));
    Ok(Config {
        market: Arc::clone(market),
        view,
        revision: snapshot.revision().cloned(),
        switch: snapshot.switch(),
    })
}

/// Reads and judges the text of a document.
pub(crate) fn read(text: &str) -> Result<ScannerView, Vec<Problem>> {
    let view: ScannerView = parse(text)?;
    judge(text, &view, &Market::new(&view.data.cache_dir))?;
    Ok(view)
}

/// The schema allows any ticker; only the scanner knows which ones it has bars for.
fn judge(text: &str, view: &ScannerView, market: &Market) -> Result<(), Vec<Problem>> {
    let known = market.symbols();
    let unknown: Vec<&str> = view
        .universe
        .symbols
        .iter()
        .map(|symbol| symbol.as_str())
        .filter(|symbol| !known.iter().any(|known| known == symbol))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let message = format!(
        "no daily bars for {}; there are bars for {}",
        unknown.join(", "),
        known.join(", ")
    );
    Err(vec![locate(
        text,
        Invalid {
            key: "universe.symbols".to_owned(),
            message,
        },
    )])
}

/// The status file has room for one place: that of the first problem.
fn refusal(file: &str, problems: &[Problem]) -> Refusal {
    let Problem {
        message,
        line,
        column,
        key: _,
    } = summary(problems);
    let refusal = Refusal::new(message).in_file(file);
    match line.zip(column) {
        Some((line, column)) => refusal.at(line, column),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_without_bars_is_refused_at_its_place() {
        let text = "[universe]\nsymbols = [\"AAPL\", \"ZZZZ\", \"QQQQ\"]\n";
        let problems = read(text).unwrap_err();
        let message = problems[0].to_string();
        let expected =
            "2:11: universe.symbols: no daily bars for ZZZZ, QQQQ; there are bars for AAPL, ABBV, ";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn a_refusal_names_the_place_of_the_first_and_the_text_of_all() {
        let text = "[strategy.high_base]\nmin_rsi = 101\nmax_atr_ratio = -1\n";
        let refusal = refusal("config.toml", &read(text).unwrap_err());
        assert_eq!(
            refusal.to_string(),
            "config.toml:2:11: strategy.high_base.min_rsi: 101 is too high: at most 100 RSI is expected; also \
             strategy.high_base.max_atr_ratio: -1 is too low: at least 0 % of price is expected"
        );
    }

    #[test]
    fn what_the_orchestrator_reads_is_none_of_the_scanners_business() {
        assert!(read("[trading]\nrisk_per_trade = \"much\"\n").is_ok());
    }
}
