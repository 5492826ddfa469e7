//! Making the mirror anew beside the old one and putting it in its place: from the source when it is damaged,
//! from itself when it has become many small packs.
//!
//! The old one is given up only when the new one is complete: while the source is away, a damaged mirror still
//! serves what can be read of it, and its kept revisions are not lost.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Repository;

use crate::copy::{CopyFailure, Copying, copy_history};
use crate::mirror::pins;
use crate::{Bounds, Mirror, SourceError, libgit};

/// Each fetch leaves a pack, and each look-up may have to try them all.
const MANY_PACKS: usize = 100;

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
        let fresh = self.beside()?;
        fresh.fetch()?;
        self.carry_pins_over(&fresh);
        self.replace_by(fresh)
    }

    /// Repacks the mirror into one pack when it has become many, and drops what neither the branch nor a kept
    /// revision reaches. Returns whether there was something to do.
    ///
    /// It costs about what a first fetch costs: call it when nothing else is going on.
    ///
    /// # Errors
    /// When the mirror is damaged or cannot be written.
    pub fn tidy(&mut self) -> Result<bool, SourceError> {
        if self.packs() <= MANY_PACKS {
            return Ok(false);
        }
        let fresh = self.beside()?;
        if let Some(head) = self.head()? {
            self.copy_to(&fresh, head).map_err(|failure| match failure {
                CopyFailure::Reading(e) => self.damaged(&e),
                CopyFailure::Writing(e) => fresh.broken("repacking it", &e),
                CopyFailure::WritingFile(e) => failed(&fresh.dir, "repacking it", &e),
                CopyFailure::TimedOut(_) | CopyFailure::TooLarge => {
                    unreachable!("a copy within the mirror has neither limit")
                }
            })?;
            fresh.set_head(head)?;
        }
        self.carry_pins_over(&fresh);
        self.replace_by(fresh)?;
        Ok(true)
    }

    /// A new, empty mirror beside this one.
    fn beside(&self) -> Result<Self, SourceError> {
        let dir = beside(&self.dir, ".new");
        remove(&dir)?;
        Ok(Self {
            last_good: self.last_good.clone(),
            hang_up: self.hang_up.clone(),
            ..Self::open(dir, self.spec.clone())?
        })
    }

    fn copy_to(&self, fresh: &Self, head: git2::Oid) -> Result<(), CopyFailure> {
        // What is here was within the bounds when it came.
        let bounds = Bounds {
            fetch: Duration::MAX,
            fetch_bytes: u64::MAX,
            ..self.spec.bounds
        };
        copy_history(
            &Copying {
                from: &self.repo,
                to: &fresh.repo,
                bounds: &bounds,
                counts: &self.counts,
            },
            head,
        )
    }

    fn carry_pins_over(&self, fresh: &Self) {
        for pin in pins(&self.repo).unwrap_or_default() {
            let revision = libgit::revision(pin);
            if let Err(failure) = self.copy_to(fresh, pin) {
                tracing::warn!(%revision, ?failure, "a kept revision was lost with the damaged mirror");
            } else if let Err(error) = fresh.pin(&revision) {
                tracing::warn!(%revision, %error, "a kept revision could not be pinned again");
            }
        }
    }

    fn replace_by(&mut self, fresh: Self) -> Result<(), SourceError> {
        let dir = fresh.dir.clone();
        drop(fresh);
        put_in_place(&self.dir, &dir)?;
        self.repo = Repository::open_bare(&self.dir).map_err(|e| self.broken("opening it again", &e))?;
        Ok(())
    }

    fn packs(&self) -> usize {
        let files = fs::read_dir(self.dir.join("objects/pack"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|e| e == "pack"))
            .count()
    }
}

/// Two renames; [`finish_interrupted`] knows what to do when only the first one happened.
fn put_in_place(dir: &Path, fresh: &Path) -> Result<(), SourceError> {
    let old = beside(dir, ".old");
    remove(&old)?;
    fs::rename(dir, &old).map_err(|e| failed(dir, "moving it aside", &e))?;
    fs::rename(fresh, dir).map_err(|e| failed(dir, "putting the new one in place", &e))?;
    remove(&old)
}

/// Carries on where a killed process left a remake: the old mirror is moved away only when the new one is
/// complete, so a missing mirror beside a new one means that the new one is to be used.
pub(crate) fn finish_interrupted(dir: &Path) -> Result<(), SourceError> {
    let (fresh, old) = (beside(dir, ".new"), beside(dir, ".old"));
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
