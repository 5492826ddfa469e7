//! Small documents in the state folder that survive everything: written aside, flushed, renamed, flushed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use lockstep_core::ledger::Ledger;
use lockstep_protocol::SwitchNumber;
use serde::{Deserialize, Serialize};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A call failed.
    #[error("{path}: cannot {doing}: {source}; the state folder ([state] path) must be writable and have space")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// What lies there is not what we wrote.
    #[error(
        "{path} is damaged ({reason}); move it away to go on without what it remembers: quarantine, settled \
         trees and suspension"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
}

/// What is kept in `ledger.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// The highest term used: a remade volume never makes an old statement look new.
    term: u64,
    /// The highest switch used, likewise.
    switch: SwitchNumber,
    #[serde(flatten)]
    ledger: Ledger,
}

/// The ledger and the numbers, with the file they are kept in.
#[derive(Debug)]
pub struct LedgerStore {
    path: PathBuf,
    kept: Kept,
}

impl LedgerStore {
    /// Reads what is kept; nothing yet where there is no file.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let path = state.join("ledger.json");
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Kept { version: 1, term: 0, switch: SwitchNumber(0), ledger: Ledger::default() }
            }
            Err(source) => return Err(StoreError::Io { doing: "read", path, source }),
        };
        Ok(Self { path, kept })
    }

    /// What is remembered.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.kept.ledger
    }

    /// The highest term used.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.kept.term
    }

    /// The highest switch used.
    #[must_use]
    pub fn switch(&self) -> SwitchNumber {
        self.kept.switch
    }

    /// Notes numbers that were used. Flushed with the next change.
    pub fn note_numbers(&mut self, term: u64, switch: SwitchNumber) {
        self.kept.term = self.kept.term.max(term);
        self.kept.switch = self.kept.switch.max(switch);
    }

    /// Changes what is remembered, and returns when it is flushed.
    ///
    /// # Errors
    /// When it cannot be written. The change is remembered in memory all the same.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, StoreError> {
        let result = change(&mut self.kept.ledger);
        let bytes = serde_json::to_vec(&self.kept)
            .map_err(|error| StoreError::Damaged { path: self.path.clone(), reason: error.to_string() })?;
        write_whole(&self.path, &bytes)?;
        Ok(result)
    }
}

/// Writes a file so that it is either the old one or the new one, whatever dies in between.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { doing, path, source }
    };
    let aside = path.with_extension("tmp");
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = File::create(&aside).map_err(failed("create", &aside))?;
    file.write_all(bytes).map_err(failed("write", &aside))?;
    file.sync_data().map_err(failed("flush", &aside))?;
    std::fs::rename(&aside, path).map_err(failed("rename to", path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flush", folder))
}
