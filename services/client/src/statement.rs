//! The status file: this instance's own statement, kept true.
//!
//! Written to a temporary name in the same folder and then renamed, so that a reader finds a whole document
//! or the one before. Not flushed: after a crash of the machine there is no process that it would speak of.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lockstep_protocol::Status;

/// The status, and where it is published.
#[derive(Debug)]
pub(crate) struct Statement {
    file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    status: Status,
    /// The file does not say yet what `status` says.
    failing: bool,
}

impl Statement {
    /// Publishes the first statement. Without a file it is only kept.
    pub(crate) fn first(file: Option<PathBuf>, status: Status) -> Self {
        let statement = Self {
            file,
            kept: Mutex::new(Kept {
                status,
                failing: false,
            }),
        };
        statement.write(&mut statement.lock());
        statement
    }

    /// The status as it stands.
    pub(crate) fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// Changes the status and publishes it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut kept = self.lock();
        change(&mut kept.status);
        kept.status.at = Timestamp::now();
        self.write(&mut kept);
    }

    /// Tries again what could not be written. A status that is missing counts as a failure, so a disk that was
    /// full for a moment must not silence a service for ever.
    pub(crate) fn make_up(&self) {
        let mut kept = self.lock();
        if kept.failing {
            self.write(&mut kept);
        }
    }

    fn write(&self, kept: &mut Kept) {
        let Some(file) = &self.file else { return };
        let outcome = publish(file, &kept.status);
        if let (Err(error), false) = (&outcome, kept.failing) {
            // Once: the next tries say the same.
            tracing::error!(file = %file.display(), %error, "the status cannot be written; trying again each second");
        }
        kept.failing = outcome.is_err();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The status is changed in one step: after a panic elsewhere it is still whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(file: &Path, status: &Status) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(status)?;
    text.push(b'\n');
    let (mut temporary, path) = temporary_beside(file)?;
    let done = temporary
        .write_all(&text)
        .and_then(|()| std::fs::rename(&path, file));
    if done.is_err() {
        // What went wrong is reported; that this does not work either adds nothing.
        let _ = std::fs::remove_file(&path);
    }
    done
}

/// A file that nobody else has, in the folder of the status file.
fn temporary_beside(file: &Path) -> std::io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = file.with_file_name(format!(".{name}.{process}-{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(created) => return Ok((created, path)),
            // Left by a process that had our number and died half-way: it is not ours to remove.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
