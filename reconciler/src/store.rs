//! Small documents in the state folder that survive everything: written aside, flushed, renamed, flushed.
//!
//! Aside is the folder of the coordinator's term, which a later coordinator takes away before it reads anything:
//! one that was deposed and does not know it yet finds nothing to write in, and renames nothing.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use lockstep_core::ledger::Ledger;
use lockstep_protocol::SwitchNumber;
use serde::{Deserialize, Serialize};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A call failed.
    #[error(
        "{path}: cannot {doing}: {source}; the state folder ([state] path) must be writable and have space"
    )]
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
    /// The folder of the term is gone.
    #[error("{path} was taken away: a coordinator of a higher term has taken over")]
    Deposed {
        /// The term's folder.
        path: PathBuf,
    },
}

/// One reconciler a state folder: taken before anything else is touched, and held until the program ends.
///
/// A courtesy, as the volume's lock is: one that hangs is fenced by the term of whoever takes over.
#[derive(Debug)]
pub struct StateLock {
    /// Held for its drop.
    _file: File,
}

const LOCK: &str = "lock";

impl StateLock {
    /// Takes the lock; nothing if another reconciler holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn take(state: &Path) -> Result<Option<Self>, StoreError> {
        let path = state.join(LOCK);
        let failed = |doing, source| StoreError::Io {
            doing,
            path: path.clone(),
            source,
        };
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| failed("open", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", source)),
        }
    }
}

/// The folder of a coordinator's term in the state folder: the only place from which documents come into it.
#[derive(Debug, Clone)]
pub struct Desk {
    state: PathBuf,
    own: PathBuf,
}

impl Desk {
    /// Takes the folders of all lower terms away and makes that of this one.
    ///
    /// # Errors
    /// When a call fails, or a higher term has a folder.
    pub fn take(state: &Path, term: u64) -> Result<Self, StoreError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { doing, path, source }
        };
        let own = state.join(format!("term-{term}"));
        for (other, path) in terms(state)? {
            if other > term {
                return Err(StoreError::Deposed { path: own });
            }
            // By one rename: whoever works in there finds all of it gone at once.
            let fenced = state.join(format!("fenced-{other}"));
            if path != fenced {
                std::fs::rename(&path, &fenced).map_err(io("take away", &path))?;
            }
            std::fs::remove_dir_all(&fenced).map_err(io("remove", &fenced))?;
        }
        std::fs::create_dir(&own).map_err(io("make", &own))?;
        Ok(Self {
            state: state.to_owned(),
            own,
        })
    }

    /// Writes a document so that it is either the old one or the new one, whatever dies in between.
    ///
    /// # Errors
    /// When it cannot be written, or a later coordinator has taken over.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (aside, path) = (self.own.join(name), self.state.join(name));
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| self.judge(doing, path, source)
        };
        let mut file = File::create(&aside).map_err(failed("create", &aside))?;
        file.write_all(bytes).map_err(failed("write", &aside))?;
        file.sync_data().map_err(failed("flush", &aside))?;
        std::fs::rename(&aside, &path).map_err(failed("rename to", &path))?;
        File::open(&self.state)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("flush", &self.state))
    }

    fn judge(&self, doing: &'static str, path: PathBuf, source: std::io::Error) -> StoreError {
        if source.kind() == std::io::ErrorKind::NotFound && self.state.exists() && !self.own.exists() {
            StoreError::Deposed {
                path: self.own.clone(),
            }
        } else {
            StoreError::Io { doing, path, source }
        }
    }
}

/// The folders of terms in a state folder, those taken away included, with their terms.
fn terms(state: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let failed = |source| StoreError::Io {
        doing: "list",
        path: state.to_owned(),
        source,
    };
    let mut terms = Vec::new();
    for entry in std::fs::read_dir(state).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("term-").or(name.strip_prefix("fenced-"));
        if let Some(term) = number.and_then(|number| number.parse().ok()) {
            terms.push((term, entry.path()));
        }
    }
    Ok(terms)
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

const LEDGER: &str = "ledger.json";

fn read(state: &Path) -> Result<Kept, StoreError> {
    let path = state.join(LEDGER);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
            path,
            reason: error.to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept {
            version: 1,
            term: 0,
            switch: SwitchNumber(0),
            ledger: Ledger::default(),
        }),
        Err(source) => Err(StoreError::Io {
            doing: "read",
            path,
            source,
        }),
    }
}

/// The highest term and switch that a state folder knows of, before anything is claimed.
///
/// # Errors
/// When the ledger cannot be read or is damaged.
pub fn numbers(state: &Path) -> Result<(u64, SwitchNumber), StoreError> {
    let kept = read(state)?;
    let term = terms(state)?.into_iter().map(|(term, _)| term).max();
    Ok((term.unwrap_or(0).max(kept.term), kept.switch))
}

/// The ledger and the numbers, with the folder they are kept in.
#[derive(Debug)]
pub struct LedgerStore {
    desk: Desk,
    kept: Kept,
}

impl LedgerStore {
    /// Reads what is kept; nothing yet where there is no file. From its desk on, nobody else changes it.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn open(desk: Desk) -> Result<Self, StoreError> {
        let kept = read(&desk.state)?;
        Ok(Self { desk, kept })
    }

    /// What is remembered.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.kept.ledger
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
        let bytes = serde_json::to_vec(&self.kept).map_err(|error| StoreError::Damaged {
            path: self.desk.state.join(LEDGER),
            reason: error.to_string(),
        })?;
        self.desk.write(LEDGER, &bytes)?;
        Ok(result)
    }
}
