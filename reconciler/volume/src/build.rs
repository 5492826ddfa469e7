//! Building a release: a tree becomes a folder with a final name that does not change any more.

use std::sync::Arc;

use lockstep_core::tree::{Tree, TreeChange};
use lockstep_protocol::Release;

use crate::blobs::Blobs;
use crate::draft::{Draft, DraftError, Sealed};
use crate::error::{ChangeError, FileError};
use crate::manifest::Entries;
use crate::names::ReleaseName;
use crate::supply::{Base, Supply, SupplyError, unchanged};
use crate::volume::{Kept, Volume};
use crate::{look, ops};

/// Why a release could not be built. Nothing that is published has changed; a retry is always allowed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The contents of a file cannot be had.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// A top-level name that is ours.
    #[error(
        "{entry:?} at the top of the published folder has a name that Lockstep uses itself on the volume. Rename it \
         in the config repo"
    )]
    Reserved {
        /// The top-level entry.
        entry: String,
    },
    /// What was written does not read back.
    #[error(
        "{path} does not read back as it was just written. Check the disk that the volume lies on; this is tried again"
    )]
    NotAsWritten {
        /// The file in the staging folder.
        path: String,
    },
    /// A call failed, or another coordinator has taken over.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// A release that is whole, flushed and verified under its final name, and can be switched to.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) name: ReleaseName,
    pub(crate) document: Arc<Release>,
    pub(crate) tree: Tree,
    pub(crate) entries: Entries,
    built: bool,
}

impl Prepared {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ReleaseName {
        &self.name
    }

    /// What it says of itself.
    #[must_use]
    pub fn document(&self) -> &Release {
        &self.document
    }

    /// Its files.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Its folder relative to the volume, as an offer names it.
    #[must_use]
    pub fn directory(&self) -> String {
        format!(".lockstep/releases/{}", self.name)
    }

    /// Whether it was built for this; false when a kept release was found.
    #[must_use]
    pub fn was_built(&self) -> bool {
        self.built
    }
}

impl Volume {
    /// Builds the release of a tree, or finds the kept one of the same digest and revision.
    ///
    /// `tree` is best derived from the live one (see [`Volume::tree_of`]): then only what differs is compared.
    /// The document's digest must be the tree's own; it is not computed again here.
    ///
    /// # Errors
    /// See [`BuildError`]. The staging folder may hold remains, which [`Volume::tidy`] deletes.
    pub fn build(
        &mut self,
        document: &Release,
        tree: &Tree,
        blobs: &dyn Blobs,
    ) -> Result<Prepared, BuildError> {
        self.still_ours()?;
        if let Some(prepared) = self.find_kept(document, tree)? {
            return Ok(prepared);
        }
        let sealed = self.write_release(document, tree, blobs)?;
        let name = self.free_name(document).map_err(|error| self.judge(error))?;
        self.name_release(&sealed, &name)
            .map_err(|error| self.judge(error))?;
        let document = Arc::new(document.clone());
        let entries = sealed.manifest.entries.clone();
        let kept = Kept {
            document: Some(document.as_ref().clone()),
            manifest: Some(sealed.manifest),
            damaged: false,
            last_switch: None,
            left: None,
        };
        self.kept.insert(name.clone(), kept);
        Ok(Prepared {
            name,
            document,
            tree: tree.clone(),
            entries,
            built: true,
        })
    }

    /// A kept release that can be switched to again, as the way back does: nothing is built.
    ///
    /// The files in which it differs from what is live are checked first; if one is not as it was written, the
    /// release counts as damaged and none is returned, as when it is not kept any more.
    ///
    /// # Errors
    /// When its files cannot be looked at, or another coordinator has taken over.
    pub fn prepare_kept(&mut self, name: &ReleaseName) -> Result<Option<Prepared>, ChangeError> {
        self.still_ours()?;
        let live = match self.live.clone() {
            Some(live) => self
                .manifest_of(&live.release)?
                .map(|manifest| manifest.tree.clone()),
            None => None,
        };
        let folder = self.at.release(name);
        let Some(manifest) = self.manifest_of(name)? else {
            return Ok(None);
        };
        let changes = manifest.tree.changes_since(&live.unwrap_or_default());
        let mut whole = true;
        for change in &changes {
            match change {
                TreeChange::Added(path, file) | TreeChange::Modified(path, file) => {
                    let at = folder.join(path.as_str());
                    whole &= unchanged(manifest, path, file, &at).map_err(ChangeError::sort)?;
                }
                TreeChange::Removed(_) => {}
            }
        }
        let (tree, entries) = (manifest.tree.clone(), manifest.entries.clone());
        let Some(kept) = self.kept.get_mut(name) else {
            return Ok(None);
        };
        kept.damaged |= !whole;
        let document = kept.document.clone().filter(|_| !kept.damaged).map(Arc::new);
        Ok(document.map(|document| Prepared {
            name: name.clone(),
            document,
            tree,
            entries,
            built: false,
        }))
    }

    fn find_kept(&mut self, document: &Release, tree: &Tree) -> Result<Option<Prepared>, ChangeError> {
        let same = |kept: &Kept| {
            let same = |own: &Release| own.digest == document.digest && own.revision == document.revision;
            !kept.damaged && kept.document.as_ref().is_some_and(same)
        };
        let names: Vec<ReleaseName> = self
            .kept
            .iter()
            .filter(|(_, kept)| same(kept))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(prepared) = self.prepare_kept(&name)? {
                // From now on the caller's own tree: what is derived from it is compared by what is shared.
                if let Some(manifest) = self.manifest_of(&name)? {
                    manifest.tree = tree.clone();
                }
                return Ok(Some(Prepared {
                    tree: tree.clone(),
                    ..prepared
                }));
            }
        }
        Ok(None)
    }

    /// Writes, flushes and verifies a tree in the staging folder: over the spare, else from what is live.
    fn write_release(
        &mut self,
        document: &Release,
        tree: &Tree,
        blobs: &dyn Blobs,
    ) -> Result<Sealed, BuildError> {
        if let Some(spare) = self.spare.take() {
            match self.fill(Ok(Draft::over(spare)), Some(document), tree, Some(blobs)) {
                Err(error) if error.blames_the_draft() && self.still_ours().is_ok() => {
                    tracing::warn!(%error, "the spare is not as it was made: it is not used");
                }
                done => return done.map_err(|error| self.blame(error)),
            }
        }
        let (folder, manifest_file) = (self.staging("build"), self.staging("manifest"));
        let draft = Draft::empty(folder, manifest_file);
        self.fill(draft, Some(document), tree, Some(blobs))
            .map_err(|error| self.blame(error))
    }

    /// Brings a draft to a tree, taking files from what is live and from the mirror, and seals it. A draft
    /// that fails is deleted as far as that is possible: it may be what fills the disk.
    pub(crate) fn fill(
        &mut self,
        draft: Result<Draft, FileError>,
        document: Option<&Release>,
        tree: &Tree,
        blobs: Option<&dyn Blobs>,
    ) -> Result<Sealed, DraftError> {
        let mut draft = draft?;
        let remains = [draft.folder().to_owned(), draft.manifest_file().to_owned()];
        let live = self.live.as_ref().map(|live| live.release.clone());
        if let Some(live) = &live {
            // Loads it. Without a manifest, files come from the mirror.
            self.manifest_of(live)?;
        }
        let base = live.and_then(|live| {
            let folder = self.at.release(&live);
            let manifest = self.kept.get_mut(&live)?.manifest.as_mut()?;
            Some(Base { folder, manifest })
        });
        let mut supply = Supply {
            base,
            blobs,
            links: &mut self.hard_links,
            counts: &self.counts,
        };
        let sealed = draft
            .become_tree(tree, &mut supply)
            .and_then(|()| document.map_or(Ok(()), |document| draft.put_document(document)))
            .and_then(|()| draft.seal(self.at.root()));
        if sealed.is_err() {
            for path in remains {
                if let Err(error) = ops::remove_all(&path) {
                    tracing::debug!(%error, "the remains of a failed build stay until the next tidying");
                }
            }
        }
        sealed
    }

    fn blame(&self, error: DraftError) -> BuildError {
        match error {
            DraftError::File(error) => self.judge(error).into(),
            DraftError::Supply(SupplyError::File(error)) => self.judge(error).into(),
            DraftError::Supply(error) => error.into(),
            DraftError::Change(error) => error.into(),
            DraftError::Reserved(entry) => BuildError::Reserved { entry },
            DraftError::Foreign(path) => match self.still_ours() {
                Ok(()) => BuildError::NotAsWritten {
                    path: path.display().to_string(),
                },
                Err(error) => error.into(),
            },
        }
    }

    /// The first name of a release that nothing has.
    fn free_name(&self, document: &Release) -> Result<ReleaseName, FileError> {
        let mut copy = 1;
        loop {
            let name = ReleaseName::new(&document.digest, &document.revision, copy);
            if !self.kept.contains_key(&name) && !look::exists(&self.at.release(&name))? {
                return Ok(name);
            }
            copy += 1;
        }
    }

    /// Gives a sealed draft its name: the manifest first, so that a release is never without one.
    fn name_release(&mut self, sealed: &Sealed, name: &ReleaseName) -> Result<(), FileError> {
        ops::rename(&sealed.manifest_file, &self.at.manifest(name))?;
        ops::sync_dir(&self.at.manifests())?;
        ops::rename(&sealed.folder, &self.at.release(name))?;
        ops::sync_dir(&self.at.releases())
    }
}
