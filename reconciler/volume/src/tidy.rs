//! What is done in the background after a settled switch: releases beyond retention go, and the next staging
//! tree is prepared, so that the next build costs only what it changes.
//!
//! Nothing here is needed for correctness, and nothing here touches what readers see.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lockstep_protocol::{Digest, SwitchNumber};
use rustix::io::Errno;

use crate::draft::{Draft, DraftError, Sealed};
use crate::error::{ChangeError, FileError};
use crate::names::ReleaseName;
use crate::supply::SupplyError;
use crate::volume::{Kept, Volume};
use crate::{drift, look, manifest, ops};

/// How many links of past switches are kept for readers that resolve `current` slowly.
const SWITCHES_KEPT: usize = 100;

/// What a tidying did.
#[derive(Debug, PartialEq, Eq)]
pub struct Tidied {
    /// The releases that are gone.
    pub removed: Vec<ReleaseName>,
    /// Where the spare comes from.
    pub spare: Spare,
}

/// Where the spare, the staging tree of the next build, comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spare {
    /// There is none: nothing is live, or its files are not known.
    None,
    /// The one that was there already holds what is live.
    Ready,
    /// The unused one was brought to what is live.
    Renewed,
    /// A release beyond retention was.
    Recycled,
    /// It was made of hard links to the live release, or of copies where links are refused.
    Made,
}

/// A release that was moved out of the volume, on its way to be recycled or deleted.
struct Retired {
    kept: Kept,
    folder: PathBuf,
    manifest_file: PathBuf,
}

impl Volume {
    /// Removes what retention does not keep, prepares the spare, and deletes remains of interrupted work.
    ///
    /// Kept are: the current release, the newest up to the number asked for at opening, each with a digest
    /// that some instance still reports, and each that was current a short while ago.
    ///
    /// # Errors
    /// When a call failed, or another coordinator has taken over. What was done stays done; without a spare
    /// the next build is slower and just as right.
    pub fn tidy(&mut self, reported: &BTreeSet<Digest>) -> Result<Tidied, ChangeError> {
        self.still_ours()?;
        let mut retired = Vec::new();
        let surplus = self.surplus(reported);
        for name in &surplus {
            retired.extend(self.retire(name).map_err(|error| self.judge(error))?);
        }
        self.settle_adoption()?;
        self.sweep_switches().map_err(|error| self.judge(error))?;
        self.forget_old_switches().map_err(|error| self.judge(error))?;
        let candidate = self.candidate(retired).map_err(|error| self.judge(error))?;
        self.delete_remains(candidate.as_ref().map(|(_, sealed)| sealed))
            .map_err(|error| self.judge(error))?;
        self.fill_reserve().map_err(|error| self.judge(error))?;
        let spare = self.prepare_spare(candidate)?;
        Ok(Tidied {
            removed: surplus,
            spare,
        })
    }

    /// The releases that may go, the most recently used first.
    fn surplus(&self, reported: &BTreeSet<Digest>) -> Vec<ReleaseName> {
        let live = self.live.as_ref().map(|live| &live.release);
        let mut by_use: Vec<(&ReleaseName, &Kept)> = self.kept.iter().collect();
        by_use.sort_by_key(|(name, kept)| {
            (
                Some(*name) != live,
                kept.damaged,
                std::cmp::Reverse(kept.last_switch),
            )
        });
        let may_go = |(place, (name, kept)): (usize, (&ReleaseName, &Kept))| {
            let needed = Some(name) == live
                || (place < self.keep && !kept.damaged)
                || kept
                    .document
                    .as_ref()
                    .is_some_and(|document| reported.contains(&document.digest))
                || kept.left.is_some_and(|left| left.elapsed() < self.linger);
            (!needed).then(|| name.clone())
        };
        by_use.into_iter().enumerate().filter_map(may_go).collect()
    }

    /// Moves a release and its manifest out of the volume.
    fn retire(&mut self, name: &ReleaseName) -> Result<Option<Retired>, FileError> {
        let path = self.at.release(name);
        let folder = match self.set_aside(&path) {
            // Somebody took it away before. Its manifest goes at the next start, as one without a release.
            Err(error) if error.errno == Errno::NOENT && !look::exists(&path)? => {
                self.kept.remove(name);
                return Ok(None);
            }
            done => done?,
        };
        let Some(kept) = self.kept.remove(name) else {
            return Ok(None);
        };
        let manifest = self.at.manifest(name);
        let manifest_file = if look::exists(&manifest)? {
            self.set_aside(&manifest)?
        } else {
            self.staging("aside")
        };
        Ok(Some(Retired {
            kept,
            folder,
            manifest_file,
        }))
    }

    /// Removes the links of switches long past. That of the live release stays, and the highest number.
    fn forget_old_switches(&mut self) -> Result<(), FileError> {
        let mut switches: Vec<SwitchNumber> = self
            .switch_links()?
            .into_iter()
            .map(|(switch, _)| switch)
            .collect();
        switches.sort_unstable();
        let live = self.live.as_ref().map(|live| live.switch);
        let old = switches.len().saturating_sub(SWITCHES_KEPT);
        for switch in switches
            .into_iter()
            .take(old)
            .filter(|switch| Some(*switch) != live)
        {
            self.remove(&self.at.switch(switch))?;
        }
        Ok(())
    }

    /// A folder to make the spare from: the unused spare, else a retired release that is as it was written.
    fn candidate(&mut self, retired: Vec<Retired>) -> Result<Option<(Spare, Sealed)>, FileError> {
        if let Some(spare) = self.spare.take() {
            return Ok(Some((Spare::Renewed, spare)));
        }
        for Retired {
            kept,
            folder,
            manifest_file,
        } in retired
        {
            let known = match kept.manifest {
                Some(manifest) => Some(manifest),
                None => manifest::read(&manifest_file)?,
            };
            let Some(mut manifest) = known.filter(|_| !kept.damaged) else {
                continue;
            };
            if drift::files(&folder, &mut manifest)?.is_empty() {
                return Ok(Some((
                    Spare::Recycled,
                    Sealed {
                        folder,
                        manifest_file,
                        manifest,
                    },
                )));
            }
        }
        Ok(None)
    }

    /// Deletes everything in the staging folder that is not the journal, a staged `current` or the candidate.
    fn delete_remains(&mut self, candidate: Option<&Sealed>) -> Result<(), FileError> {
        let folder = self.at.term(self.term);
        for name in look::names(&folder)? {
            let path = folder.join(&name);
            let text = name.to_string_lossy();
            let needed = name == "journal"
                || text.starts_with("current-")
                || text.starts_with("reserve-")
                || candidate.is_some_and(|sealed| path == sealed.folder || path == sealed.manifest_file);
            if !needed {
                ops::remove_all(&path)?;
            }
        }
        self.delete_settled_journal()
    }

    /// Deletes the fenced folders once the rollout that they tell of has its outcome in our own journal.
    fn delete_settled_journal(&mut self) -> Result<(), FileError> {
        if !self.journal.has_outcome() {
            return Ok(());
        }
        for folder in crate::open::terms(&self.at)? {
            if let crate::names::TermFolder::Fenced(term) = folder {
                let aside = self.set_aside(&self.at.fenced(term))?;
                ops::remove_all(&aside)?;
            }
        }
        Ok(())
    }

    /// Brings a candidate to what is live, or makes a spare anew.
    fn prepare_spare(&mut self, candidate: Option<(Spare, Sealed)>) -> Result<Spare, ChangeError> {
        let Some(live) = self.live.clone() else {
            return self.discard(candidate);
        };
        let Some(tree) = self
            .manifest_of(&live.release)?
            .map(|manifest| manifest.tree.clone())
        else {
            return self.discard(candidate);
        };
        if let Some((origin, sealed)) = candidate {
            if origin == Spare::Renewed && tree.changes_since(&sealed.manifest.tree).is_empty() {
                self.spare = Some(sealed);
                return Ok(Spare::Ready);
            }
            let mut draft = Draft::over(sealed);
            let draft = draft.forget_manifest_file().map(|()| draft);
            match self.fill(draft, None, &tree, None) {
                Ok(sealed) => {
                    self.spare = Some(sealed);
                    return Ok(origin);
                }
                // It is deleted already; a new one is made from what is live.
                Err(error) if error.blames_the_draft() && self.still_ours().is_ok() => {
                    tracing::warn!(%error, "what was to be recycled is not as it was written");
                }
                Err(error) => return self.without_spare(error),
            }
        }
        let (folder, manifest_file) = (self.staging("spare"), self.staging("spare-manifest"));
        let draft = Draft::empty(folder, manifest_file);
        match self.fill(draft, None, &tree, None) {
            Ok(sealed) => {
                self.spare = Some(sealed);
                Ok(Spare::Made)
            }
            Err(error) => self.without_spare(error),
        }
    }

    fn discard(&mut self, candidate: Option<(Spare, Sealed)>) -> Result<Spare, ChangeError> {
        if let Some((_, sealed)) = candidate {
            let removed =
                ops::remove_all(&sealed.folder).and_then(|()| ops::remove_all(&sealed.manifest_file));
            removed.map_err(|error| self.judge(error))?;
        }
        Ok(Spare::None)
    }

    /// No spare could be made. Where the live release itself is damaged that is no failure: drift is looked
    /// for apart, and the next build takes what it needs from the mirror.
    fn without_spare(&self, error: DraftError) -> Result<Spare, ChangeError> {
        match error {
            DraftError::File(error) | DraftError::Supply(SupplyError::File(error)) => Err(self.judge(error)),
            DraftError::Change(error) => Err(error),
            DraftError::Supply(_) | DraftError::Foreign(_) | DraftError::Reserved(_) => {
                self.still_ours()?;
                tracing::warn!(%error, "no spare was prepared");
                Ok(Spare::None)
            }
        }
    }
}
