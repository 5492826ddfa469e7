//! The guard's own lines, on its standard error (`guard.log` when it was started detached).
//!
//! A write may block, so no line is written inside a pause: lines are kept until it is over.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes lines, or keeps them.
#[derive(Default)]
pub(crate) struct Log {
    paused: bool,
    kept: Vec<String>,
}

impl Log {
    /// One line, without its end.
    pub(crate) fn line(&mut self, text: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!(
            "{}.{:03} guard {}: {text}\n",
            now.as_secs(),
            now.subsec_millis(),
            std::process::id()
        );
        if self.paused {
            self.kept.push(line);
        } else {
            write(&line);
        }
    }

    /// A pause begins: nothing is written.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// The pause is over.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        for line in self.kept.drain(..) {
            write(&line);
        }
    }
}

/// A log that cannot be written must not keep the guard from its work.
fn write(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}
