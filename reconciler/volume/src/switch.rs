//! The switch: one rename, prepared so that nothing else is left to do inside the pause.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lockstep_core::tree::Tree;
use lockstep_protocol::{Release, SwitchNumber};
use rustix::io::Errno;

use crate::blobs::Blobs;
use crate::build::{BuildError, Prepared};
use crate::error::{ChangeError, FileError};
use crate::manifest::Entries;
use crate::names::{
    Layout, ReleaseName, Term, current_target, parse_current_target, parse_switch_target, switch_target,
};
use crate::volume::{Live, Volume};
use crate::{look, ops};

/// Why a switch could not be staged. Nothing that readers see has changed, but for links that lead nowhere yet.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The number was used before, or is below one that was.
    #[error(
        "the switch number {asked} is used up: {highest} is the highest used. A higher number must be taken"
    )]
    NumberUsed {
        /// The number asked for.
        asked: SwitchNumber,
        /// The highest that is used up.
        highest: SwitchNumber,
    },
    /// Something that is not ours lies where a link must be.
    #[error(
        "the volume holds something at {} that is not Lockstep's, and the new release needs that name. Move it away; \
         the rollout is then tried again",
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Blocked {
        /// The paths.
        paths: Vec<PathBuf>,
    },
    /// The release is not there any more, or is damaged.
    #[error("the release {release} is not kept on the volume any more. It must be built again")]
    NotKept {
        /// The release.
        release: ReleaseName,
    },
    /// A call failed, or another coordinator has taken over.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// A switch that only needs its rename.
#[derive(Debug)]
#[must_use = "dropping it takes the staged link away: commit it inside the pause"]
pub struct StagedSwitch {
    at: Layout,
    term: Term,
    staged: PathBuf,
    number: SwitchNumber,
    release: ReleaseName,
    entries: Entries,
    changed: BTreeSet<Arc<str>>,
    committed: bool,
}

/// A switch that has happened. The volume must still be told, after the unpause.
#[derive(Debug, Clone)]
#[must_use = "hand it to `Volume::after_unpause`: only that makes it durable"]
pub struct Switched {
    number: SwitchNumber,
    release: ReleaseName,
    entries: Entries,
    changed: BTreeSet<Arc<str>>,
}

/// The rename failed: `current` is where it was. The staged switch may be committed again.
#[derive(Debug, thiserror::Error)]
#[error("the switch {} did not happen: {error}", staged.number)]
pub struct CommitError {
    /// The switch, still staged.
    pub staged: StagedSwitch,
    /// Why.
    #[source]
    pub error: ChangeError,
}

/// Why a switch to a new release could not be prepared. Nothing that readers see has changed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The release could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its switch could not be staged.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl Switched {
    /// The switch's number.
    #[must_use]
    pub fn number(&self) -> SwitchNumber {
        self.number
    }

    /// The release that is current now.
    #[must_use]
    pub fn release(&self) -> &ReleaseName {
        &self.release
    }
}

impl StagedSwitch {
    /// The number it will have.
    #[must_use]
    pub fn number(&self) -> SwitchNumber {
        self.number
    }

    /// The switch: one rename, which allocates nothing and flushes nothing. The only call inside the pause.
    ///
    /// # Errors
    /// When the rename failed; [`ChangeError::Deposed`] when another coordinator has taken over. `current` is
    /// then untouched, and the staged switch comes back in the error.
    pub fn commit(mut self) -> Result<Switched, Box<CommitError>> {
        match ops::rename(&self.staged, &self.at.current()) {
            Ok(()) => {
                self.committed = true;
                Ok(Switched {
                    number: self.number,
                    release: self.release.clone(),
                    entries: self.entries.clone(),
                    changed: std::mem::take(&mut self.changed),
                })
            }
            Err(error) => {
                let folder = self.at.term(self.term);
                let error = match look::exists(&folder) {
                    Ok(false) => ChangeError::Deposed { folder },
                    Ok(true) | Err(_) => ChangeError::sort(error),
                };
                Err(Box::new(CommitError { staged: self, error }))
            }
        }
    }
}

impl Drop for StagedSwitch {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = ops::unlink(&self.staged)
        {
            tracing::debug!(%error, "a staged link stays until the next tidying");
        }
    }
}

impl Volume {
    /// The order of a switch. This is its first half, outside the pause; what it gives leads through the second, a
    /// step at a time, because the pause lies between them and nothing that can wait may be done in it. The types
    /// allow no other order.
    ///
    /// 1. [`Volume::build`]: files, then directories bottom-up, are written, flushed and read back in the staging
    ///    folder, and get their final name, which is flushed. *Now the release survives any crash, and nobody
    ///    reads it.* A crash before this leaves only things in the staging folder, or a manifest without a
    ///    release, both swept at the next start.
    /// 2. [`Volume::stage_switch`]: the number is burnt by making `switches/N`, the top-level links that the
    ///    release needs are made, the next `current` is staged, and all that is flushed. *Now the switch can
    ///    neither run out of space nor block.* A crash leaves links that lead nowhere, mended at the next start.
    /// 3. [`StagedSwitch::commit`], inside the pause: one rename over `current`. *Readers have the new release,
    ///    whole: everything that it leads to is on disk already.* It is not flushed: a power failure now may bring
    ///    back the old `current`, and the old release is still whole. That is why nobody may be told "settled" yet.
    /// 4. [`Volume::after_unpause`]: the volume's directory is flushed. *Now the switch survives a power failure.*
    ///    What is not guaranteed before this: which of the two releases a crash of the machine leaves. A crash of
    ///    processes alone loses nothing that was done.
    ///
    /// None of it guards against a disk that lies about flushing. A switch to a release that is kept begins with
    /// the second step.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub fn prepare_switch(
        &mut self,
        document: &Release,
        tree: &Tree,
        blobs: &dyn Blobs,
        number: SwitchNumber,
    ) -> Result<(Prepared, StagedSwitch), PrepareError> {
        let prepared = self.build(document, tree, blobs)?;
        let staged = self.stage_switch(&prepared, number)?;
        Ok((prepared, staged))
    }

    /// Does everything for a switch that can fail, block or be flushed, so that its commit is one rename.
    ///
    /// A number that was staged for the same release and never became current may be staged again: the way back of a
    /// rollout has one number alone, however often it is tried.
    ///
    /// # Errors
    /// See [`StageError`]. The number is used up if the last step was reached.
    pub fn stage_switch(
        &mut self,
        prepared: &Prepared,
        number: SwitchNumber,
    ) -> Result<StagedSwitch, StageError> {
        let was_live = self
            .kept
            .get(&prepared.name)
            .is_some_and(|kept| kept.last_switch.is_some());
        match self.try_to_stage(prepared, number) {
            // The way back must not be narrower than the way there was.
            Err(StageError::Change(ChangeError::Full(_)))
                if was_live && number > self.used_switch && self.spend_reserve() =>
            {
                self.try_to_stage(prepared, number)
            }
            done => done,
        }
    }

    fn try_to_stage(
        &mut self,
        prepared: &Prepared,
        number: SwitchNumber,
    ) -> Result<StagedSwitch, StageError> {
        self.still_ours()?;
        let release = &prepared.name;
        let taken_up = self
            .was_only_staged(number, release)
            .map_err(|error| self.judge(error))?;
        if number <= self.used_switch && !taken_up {
            return Err(StageError::NumberUsed {
                asked: number,
                highest: self.used_switch,
            });
        }
        if self.kept.get(release).is_none_or(|kept| kept.damaged) {
            return Err(StageError::NotKept {
                release: release.clone(),
            });
        }
        if look::meta(&self.at.current())
            .map_err(ChangeError::sort)?
            .is_some_and(|meta| !meta.is_symlink())
        {
            return Err(StageError::Blocked {
                paths: vec![self.at.current()],
            });
        }
        let before = match self.live.clone() {
            Some(live) => self.manifest_of(&live.release)?.map(|manifest| manifest.clone()),
            None => None,
        };
        let mut changed = before.unwrap_or_default().changed_entries(&prepared.tree);
        changed.extend(self.mend_links().map_err(|error| self.judge(error))?);
        let blocked = self
            .make_links(&prepared.entries)
            .map_err(|error| self.judge(error))?;
        if !blocked.is_empty() {
            return Err(StageError::Blocked {
                paths: blocked.iter().map(|entry| self.at.entry(entry)).collect(),
            });
        }
        let (staged, numbered) = (self.staging("current"), self.staging("switch"));
        let made = ops::symlink(&current_target(number), &staged)
            .and_then(|()| match taken_up {
                true => Ok(()),
                false => ops::symlink(&switch_target(release), &numbered),
            })
            .and_then(|()| ops::sync_dir(&self.at.term(self.term)))
            .and_then(|()| ops::sync_dir(self.at.root()));
        made.map_err(|error| self.judge(error))?;
        // Last, so that a number is not used up by what could still fail.
        if !taken_up {
            match ops::rename_link_new(&numbered, &self.at.switch(number)) {
                Err(error) if error.errno == Errno::EXIST => {
                    self.used_switch = number;
                    return Err(StageError::NumberUsed {
                        asked: number,
                        highest: number,
                    });
                }
                done => done.map_err(|error| self.judge(error))?,
            }
        }
        self.used_switch = number;
        self.highest_switch = self.highest_switch.max(number);
        ops::sync_dir(&self.at.switches()).map_err(|error| self.judge(error))?;
        self.staged_switch = Some(number);
        Ok(StagedSwitch {
            at: self.at.clone(),
            term: self.term,
            staged,
            number,
            release: release.clone(),
            entries: prepared.entries.clone(),
            changed,
            committed: false,
        })
    }

    /// Whether a number was set aside for a switch to this very release that never happened: whoever staged it died
    /// or could not move `current`. It is the highest, so nothing came after it, and `current` is still at a lower
    /// one, so nobody saw it: to go on with it reuses nothing.
    fn was_only_staged(&self, number: SwitchNumber, release: &ReleaseName) -> Result<bool, FileError> {
        if number != self.used_switch {
            return Ok(false);
        }
        let leads = look::link(&self.at.switch(number))?.and_then(|target| parse_switch_target(&target));
        let current = look::link(&self.at.current())?.and_then(|target| parse_current_target(&target));
        Ok(leads.as_ref() == Some(release) && current.is_some_and(|current| current < number))
    }

    /// Gives a staged switch up: what was staged is taken away, its number stays used up.
    ///
    /// # Errors
    /// When a link cannot be removed; then the next start or switch removes it.
    pub fn abandon(&mut self, staged: StagedSwitch) -> Result<(), ChangeError> {
        drop(staged);
        self.staged_switch = None;
        self.still_ours()?;
        if let Some(wanted) = self.live_entries()? {
            self.remove_links(&wanted).map_err(|error| self.judge(error))?;
        }
        Ok(())
    }

    /// Completes a switch after the unpause: the links of changed entries are renewed by rename, so that
    /// watchers of the folder see them; those no longer needed go; the volume's directory is flushed.
    ///
    /// Only when this has returned without an error may Settled be recorded. It can be called again after an
    /// error.
    ///
    /// # Errors
    /// When a call failed, or another coordinator has taken over.
    pub fn after_unpause(&mut self, switched: &Switched) -> Result<(), ChangeError> {
        self.make_live(switched);
        self.still_ours()?;
        match self.complete(switched) {
            // Renewing a link takes an inode for a moment.
            Err(ChangeError::Full(_)) if self.spend_reserve() => self.complete(switched),
            done => done,
        }
    }

    fn complete(&mut self, switched: &Switched) -> Result<(), ChangeError> {
        for entry in &switched.changed {
            if switched.entries.contains_key(entry) {
                match self.renew_link(entry) {
                    // Somebody put a directory there meanwhile: that is drift, and no reason not to settle.
                    Err(error) if matches!(error.errno, Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                        self.broken_links.insert(entry.clone());
                    }
                    done => done.map_err(|error| self.judge(error))?,
                }
            }
        }
        self.remove_links(&switched.entries)
            .map_err(|error| self.judge(error))?;
        // The same entries as the release's own: the next comparison finds them by what is shared.
        self.links = switched.entries.clone();
        ops::sync_dir(self.at.root()).map_err(|error| self.judge(error))
    }

    /// Completes the switch that this volume was opened with: whoever made it may have died before its own
    /// [`Volume::after_unpause`]. Which entries it changed is not known, so every link is renewed.
    ///
    /// # Errors
    /// As [`Volume::after_unpause`].
    pub fn complete_found(&mut self) -> Result<(), ChangeError> {
        self.still_ours()?;
        if let (Some(live), Some(entries)) = (self.live.clone(), self.live_entries()?) {
            let changed = entries.keys().cloned().collect();
            self.after_unpause(&Switched {
                number: live.switch,
                release: live.release,
                entries,
                changed,
            })?;
        }
        Ok(())
    }

    fn make_live(&mut self, switched: &Switched) {
        self.staged_switch = None;
        let before = self.live.replace(Live {
            switch: switched.number,
            release: switched.release.clone(),
        });
        if let Some(kept) = before.and_then(|before| self.kept.get_mut(&before.release)) {
            kept.left = Some(Instant::now());
        }
        if let Some(kept) = self.kept.get_mut(&switched.release) {
            kept.left = None;
            kept.last_switch = Some(switched.number);
        }
    }

    /// Takes `current` and the top-level links away again, when a first rollout failed: readers find nothing,
    /// as before it, or what was taken over. The release and its number stay.
    ///
    /// # Errors
    /// When a call failed, or another coordinator has taken over; it can be called again.
    pub fn withdraw(&mut self) -> Result<(), ChangeError> {
        self.still_ours()?;
        let current = self.at.current();
        let adopted = self.back_to_adopted().map_err(|error| self.judge(error))?;
        if !adopted && look::exists(&current).map_err(ChangeError::sort)? {
            self.remove(&current).map_err(|error| self.judge(error))?;
        }
        if let Some(kept) = self.live.take().and_then(|live| self.kept.get_mut(&live.release)) {
            kept.left = Some(Instant::now());
        }
        let wanted = self.adopted_entries().map_err(|error| self.judge(error))?;
        self.remove_links(&wanted).map_err(|error| self.judge(error))?;
        ops::sync_dir(self.at.root()).map_err(|error| self.judge(error))
    }
}
