//! Remaking a damaged mirror, beside the old one, and putting it in its place.
//!
//! The old one is given up only when the new one is complete: while the source is away, a damaged mirror still
//! serves what can be read of it, and its kept revisions are not lost.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Repository;

use crate::copy::{Copying, copy_history};
use crate::mirror::pins;
use crate::{Mirror, SourceError, libgit};

impl Mirror {
    /// Remakes the mirror from the source. Kept revisions that the source no longer has are copied out of the
    /// damaged mirror where they can be read, and said in the log where not.
    ///
    /// Handles from [`Mirror::blobs`] go on working: they open the new mirror by themselves.
    ///
    /// # Errors
    /// As [`Mirror::fetch`]; the damaged mirror then stays as it is.
    pub fn heal(&mut self) -> Result<(), SourceError> {
        tracing::warn!(mirror = %self.dir.display(), url = %self.url, "the mirror is damaged: it is remade from the source");
        let fresh_dir = beside(&self.dir, ".new");
        remove(&fresh_dir)?;
        let fresh = Self::open(&fresh_dir, self.spec.clone())?;
        fresh.fetch()?;
        self.carry_pins_over(&fresh);
        drop(fresh);
        put_in_place(&self.dir, &fresh_dir)?;
        self.repo = Repository::open_bare(&self.dir).map_err(|e| self.broken("opening it again", &e))?;
        Ok(())
    }

    fn carry_pins_over(&self, fresh: &Self) {
        for pin in pins(&self.repo).unwrap_or_default() {
            let revision = libgit::revision(pin);
            if !fresh.has(&revision) {
                let copying = Copying {
                    from: &self.repo,
                    to: &fresh.repo,
                    bounds: &self.spec.bounds,
                };
                if let Err(failure) = copy_history(&copying, pin) {
                    tracing::warn!(%revision, ?failure, "a kept revision was lost with the damaged mirror");
                    continue;
                }
            }
            if let Err(error) = fresh.pin(&revision) {
                tracing::warn!(%revision, %error, "a kept revision could not be pinned again");
            }
        }
    }
}

/// Two renames; [`finish_interrupted`] knows what to do when only the first one happened.
fn put_in_place(dir: &Path, fresh: &Path) -> Result<(), SourceError> {
    let old = beside(dir, ".damaged");
    remove(&old)?;
    fs::rename(dir, &old).map_err(|e| failed(dir, "moving it aside", &e))?;
    fs::rename(fresh, dir).map_err(|e| failed(dir, "putting the new one in place", &e))?;
    remove(&old)
}

/// Carries on where a killed process left a remake: the old mirror is moved away only when the new one is
/// complete, so a missing mirror beside a new one means that the new one is to be used.
pub(crate) fn finish_interrupted(dir: &Path) -> Result<(), SourceError> {
    let (fresh, old) = (beside(dir, ".new"), beside(dir, ".damaged"));
    if !dir.exists() && old.exists() && fresh.exists() {
        fs::rename(&fresh, dir).map_err(|e| failed(dir, "putting the new one in place", &e))?;
    }
    if dir.exists() { remove(&old) } else { Ok(()) }
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(dir);
    name.push(suffix);
    name.into()
}

/// Removes whatever a path is; nothing there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), SourceError> {
    let outcome = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match outcome {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(path, "removing what is in the way", &e)),
        _ => Ok(()),
    }
}

fn failed(dir: &Path, doing: &'static str, error: &io::Error) -> SourceError {
    SourceError::MirrorIo {
        dir: dir.to_owned(),
        doing,
        why: error.to_string(),
    }
}
