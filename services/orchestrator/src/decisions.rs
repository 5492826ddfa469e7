//! Decisions, written down: one JSON object a line, in a file that is set aside when it is full.
//!
//! The bounds are those of the log, `logging.max_size_mb` and `logging.backup_count`. A line that cannot be written is
//! told in the log and lost; it never stops a round.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use trader_config::rotating::Rotating;
use trader_config::{Logging, Mode};

use crate::sizing::{Decision, Entry, Verdict};

/// What all decisions of one round share.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) at: Timestamp,
    /// The day of trading.
    pub(crate) day: Date,
    /// The switch of the configuration that decided.
    pub(crate) switch: Option<u64>,
    /// The one of the configuration that the scanner found the candidates with.
    pub(crate) scanner_switch: Option<u64>,
    pub(crate) mode: Mode,
    pub(crate) account: String,
    /// Why nothing is entered at this moment whatever is decided; null if it is.
    pub(crate) held: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    round: &'a Round,
    symbol: &'a str,
    strategy: &'a str,
    /// "enter" or "skip".
    decision: &'static str,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    entry: Option<&'a Entry>,
}

/// The file of decisions, if one is wanted.
#[derive(Debug)]
pub(crate) struct Decisions {
    file: Option<PathBuf>,
    /// Why the last attempt to write failed, so that each reason is told once.
    failed: Option<String>,
}

impl Decisions {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, failed: None }
    }

    /// Writes the new decisions of a round.
    pub(crate) fn write(&mut self, logging: &Logging, round: &Round, decisions: &[Decision]) {
        let Some(path) = self.file.as_ref().filter(|_| !decisions.is_empty()) else {
            return;
        };
        // Opened each time, so that changed bounds count and a file that was moved away is begun anew.
        let written =
            Rotating::open(path.clone(), logging.max_size_mb, logging.backup_count).and_then(|mut file| {
                decisions
                    .iter()
                    .try_for_each(|decision| file.write(&line(round, decision)))
            });
        let failed = written.err().map(|error| error.to_string());
        if let Some(reason) = failed
            .as_ref()
            .filter(|reason| self.failed.as_ref() != Some(*reason))
        {
            tracing::error!(reason, "decisions cannot be written to {}", path.display());
        }
        self.failed = failed;
    }
}

fn line(round: &Round, decision: &Decision) -> Vec<u8> {
    let Decision {
        symbol,
        strategy,
        verdict,
    } = decision;
    let (decision, reason, entry) = match verdict {
        Verdict::Enter(entry) => ("enter", None, Some(entry)),
        Verdict::Skip(reason) => ("skip", Some(reason.to_string()), None),
    };
    let line = Line {
        round,
        symbol,
        strategy,
        decision,
        reason,
        entry,
    };
    let mut line = serde_json::to_vec(&line).expect("texts and numbers");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::Skip;
    use serde_json::{Value, json};

    fn round() -> Round {
        Round {
            at: "2026-07-01T15:00:00Z".parse().unwrap(),
            day: "2026-07-01".parse().unwrap(),
            switch: Some(2),
            scanner_switch: None,
            mode: Mode::Paper,
            account: "DU1".to_owned(),
            held: None,
        }
    }

    fn skipped() -> Decision {
        Decision {
            symbol: "KO".to_owned(),
            strategy: "high_base",
            verdict: Verdict::Skip(Skip::Held),
        }
    }

    #[test]
    fn a_line_says_who_decided_what_and_why() {
        let told: Value = serde_json::from_slice(&line(&round(), &skipped())).unwrap();
        let expected = json!({
            "at": "2026-07-01T15:00:00Z", "day": "2026-07-01", "switch": 2, "scanner_switch": null,
            "mode": "PAPER", "account": "DU1", "held": null,
            "symbol": "KO", "strategy": "high_base", "decision": "skip", "reason": "the account holds it already"
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn the_file_is_bounded_as_the_log_is_and_a_missing_folder_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("decisions.jsonl");
        std::fs::write(&file, vec![b'\n'; 2_000_000]).unwrap();
        let size = |name: &str| {
            std::fs::metadata(folder.path().join(name))
                .map(|file| file.len())
                .ok()
        };
        let mut decisions = Decisions::new(Some(file));
        let logging = |max_size_mb| Logging {
            max_size_mb,
            backup_count: 1,
            ..Logging::default()
        };
        decisions.write(&logging(3), &round(), &[skipped()]);
        assert!(size("decisions.jsonl").unwrap() > 2_000_000);
        decisions.write(&logging(1), &round(), &[skipped(), skipped()]);
        assert!(size("decisions.jsonl").unwrap() < 1000);
        assert!(size("decisions.jsonl.1").unwrap() > 2_000_000);

        let mut decisions = Decisions::new(Some(folder.path().join("missing/decisions.jsonl")));
        decisions.write(&logging(1), &round(), &[skipped()]);
        assert!(decisions.failed.is_some());
    }
}
