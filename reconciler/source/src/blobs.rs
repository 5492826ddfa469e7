//! Reading contents by their id, from any thread.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::Repository;
use lockstep_core::tree::BlobId;

use crate::{SourceError, libgit};

/// Reads blobs out of a mirror. It has a handle of its own, so that it never waits for a fetch.
pub struct Blobs {
    dir: PathBuf,
    repo: Mutex<Repository>,
}

impl Blobs {
    pub(crate) fn open(dir: PathBuf) -> Result<Self, SourceError> {
        let repo = Mutex::new(opened(&dir)?);
        Ok(Self { dir, repo })
    }

    /// The contents of a blob, verified against its id.
    ///
    /// # Errors
    /// [`SourceError::Corrupt`] when it is not there or damaged: ids come from trees of this mirror.
    pub fn read(&self, id: BlobId) -> Result<Vec<u8>, SourceError> {
        let mut repo = self.lock();
        if let Ok(contents) = contents(&repo, id) {
            return Ok(contents);
        }
        // The mirror may have been remade or its packs replaced since it was opened: look once more.
        *repo = opened(&self.dir)?;
        contents(&repo, id).map_err(|e| SourceError::Corrupt {
            dir: self.dir.clone(),
            why: e.message().to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Repository> {
        // A reader that panicked leaves nothing half done: libgit2 is only asked here.
        self.repo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opened(dir: &std::path::Path) -> Result<Repository, SourceError> {
    Repository::open_bare(dir).map_err(|e| SourceError::Corrupt {
        dir: dir.to_owned(),
        why: e.message().to_owned(),
    })
}

fn contents(repo: &Repository, id: BlobId) -> Result<Vec<u8>, git2::Error> {
    Ok(repo.find_blob(libgit::blob_oid(id))?.content().to_vec())
}
