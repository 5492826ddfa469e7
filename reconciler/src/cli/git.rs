//! The program git, asked: it alone knows all that its configuration says, the user's and the machine's included.

use std::path::Path;
use std::process::Command;

use super::Failure;

/// How git ended.
pub(super) struct Said {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    /// What it printed, without the last line end.
    pub(super) out: String,
    /// What it said of itself.
    pub(super) err: String,
}

impl Said {
    /// What it printed, if it was done.
    pub(super) fn done(self) -> Result<String, Failure> {
        match self.code {
            Some(0) => Ok(self.out),
            _ => Err(Failure::refused(format!("git says: {}", self.err))),
        }
    }
}

/// Runs git in a folder.
pub(super) fn git(dir: &Path, words: &[&str]) -> Result<Said, Failure> {
    let output = Command::new("git").arg("-C").arg(dir).args(words).output();
    let output = output.map_err(|error| {
        Failure::refused(format!(
            "the program git cannot be run: {error}. Install it, or put it on the PATH"
        ))
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}
