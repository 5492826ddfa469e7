//! Taking the volume over: every other coordinator is fenced, what they left is moved out of the way, and
//! only then is looked at what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lockstep_core::tree::Tree;
use lockstep_protocol::{Release, SwitchNumber};
use rustix::io::Errno;

use crate::adopt::Adopted;
use crate::error::{ChangeError, FileError};
use crate::journal::{self, Journal, JournalError};
use crate::manifest::Entries;
use crate::names::{
    Layout, ReleaseName, Term, TermFolder, entry_target, parse_current_target, parse_switch,
    parse_switch_target,
};
use crate::open::{self, Unfenced, terms};
use crate::record::{JournalRecord, Record};
use crate::volume::{self, Kept, Live, Volume};
use crate::{look, ops};

/// Why a volume cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// A coordinator of the same or a higher term is there already.
    #[error(
        "the volume already knows the term {found}, and this coordinator came with {asked}: another one has started \
         at the same time. End one of the two; this one may be started again, it then takes a higher term"
    )]
    TermTaken {
        /// The term that was asked for.
        asked: Term,
        /// The highest on the volume.
        found: Term,
    },
    /// A journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A call failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<FileError> for FenceError {
    fn from(error: FileError) -> Self {
        Self::Change(ChangeError::sort(error))
    }
}

/// What lies on the volume once nobody else can change it.
#[derive(Debug)]
pub struct Found {
    /// What `current` points to.
    pub current: Current,
    /// The last rollout that the journals know of.
    pub journal: Option<JournalRecord>,
    /// What lay there and is kept aside, until a first release has settled.
    pub adopted: Option<Adopted>,
    /// The highest switch number that is used up.
    pub highest_switch: SwitchNumber,
}

/// What `current` points to.
#[derive(Debug)]
pub enum Current {
    /// There is no `current`, or it leads to what was taken over: nothing was ever published, or a first rollout was
    /// taken back.
    None,
    /// One of our switches and its release.
    Live {
        /// The switch.
        switch: SwitchNumber,
        /// The release.
        release: ReleaseName,
        /// What the release says of itself.
        document: Release,
        /// Its files as they were built. None when that is not known any more: the manifest is lost and the
        /// folder does not hold what the document says; take the tree of `document.revision` from git then.
        tree: Option<Tree>,
    },
    /// It looks like ours, but its switch or its release, or the release's document, is gone.
    Dangling {
        /// Where it points.
        target: PathBuf,
        /// The switch that it names.
        switch: SwitchNumber,
    },
    /// It is no link, or a link to something that is none of ours.
    Foreign {
        /// Where it points; none when it is no link.
        target: Option<PathBuf>,
    },
}

impl Unfenced {
    /// Takes the volume over in a term that must be higher than every one it knows.
    ///
    /// Our own folder is made first and the others are looked for afterwards, so that of two coordinators that
    /// do this at the same time at least the lower one sees the higher. From here on the calls of every other
    /// coordinator fail with [`ChangeError::Deposed`]: each of their changes is one rename through a path that
    /// does not exist any more. (A rename that the kernel was already executing when the folder moved may still
    /// happen; that is why everything is read after this, and nothing before.)
    ///
    /// # Errors
    /// [`FenceError::TermTaken`] when the term is not higher. After any other error open the volume again: the
    /// term is used up.
    pub fn fence(self, term: Term) -> Result<(Volume, Found), FenceError> {
        if term <= self.highest_term {
            return Err(FenceError::TermTaken {
                asked: term,
                found: self.highest_term,
            });
        }
        let own = self.at.term(term);
        let fenced = claim(&self.at, term)?;
        self.take_stock(term, &fenced)
            .map_err(|error| match (error, look::exists(&own)) {
                // A higher one came while this one was at it.
                (FenceError::Change(_), Ok(false)) => ChangeError::Deposed { folder: own }.into(),
                (error, _) => error,
            })
    }

    /// Looks at everything, now that nobody else changes it, and moves leftovers out of the way.
    fn take_stock(self, term: Term, fenced: &[Term]) -> Result<(Volume, Found), FenceError> {
        let at = &self.at;
        // Until a moment ago somebody may have used numbers.
        let used_switch = self.used_switch.max(open::used_switch(at)?);
        let highest_switch = self
            .highest_switch
            .max(used_switch)
            .max(open::promised_switch(at)?);
        let told = read_journals(at, fenced)?;
        // A rollout in flight stays where it was recorded until its outcome is recorded here; one that ended
        // is carried over, so that the numbers it used up are still known.
        let (carried, stays) = match &told {
            Some((_, JournalRecord::Ended { intent, outcome })) => {
                let outcome = Record::Outcome(outcome.clone());
                (
                    intent
                        .clone()
                        .map(Record::Intent)
                        .into_iter()
                        .chain([outcome])
                        .collect(),
                    None,
                )
            }
            Some((term, JournalRecord::InFlight(_))) => (Vec::new(), Some(*term)),
            None => (Vec::new(), None),
        };
        let journal = match Journal::create(&at.term(term), carried.clone()) {
            // What the fenced ones left may be what fills the disk. Nobody uses it any more.
            Err(error) if error.errno == Errno::NOSPC => {
                delete_remains(at, fenced)?;
                Journal::create(&at.term(term), carried)?
            }
            done => done?,
        };
        let mut volume = Volume {
            at: self.at.clone(),
            term,
            keep: self.options.keep.max(1),
            linger: self.options.linger,
            journal,
            kept: BTreeMap::new(),
            live: None,
            adopting: None,
            used_switch,
            staged_switch: None,
            highest_switch,
            links: Entries::new(),
            broken_links: BTreeSet::new(),
            spare: None,
            hard_links: true,
            next_name: 0,
            counts: Arc::default(),
            _lock: self.lock,
        };
        volume.clear_fenced(fenced, stays)?;
        volume.adopt(&self.adoption)?;
        volume.learn_releases()?;
        let current = volume.learn_current()?;
        volume.sweep()?;
        volume.learn_links()?;
        if let Err(error) = volume.fill_reserve() {
            tracing::warn!(%error, "no space is held back for a way back");
        }
        volume.still_ours()?;
        let adopted = volume.adopted()?;
        Ok((
            volume,
            Found {
                current,
                adopted,
                journal: told.map(|(_, record)| record),
                highest_switch,
            },
        ))
    }
}

/// Makes the folder of a term and fences every lower one. Returns the terms that are fenced.
fn claim(at: &Layout, term: Term) -> Result<Vec<Term>, FenceError> {
    let own = at.term(term);
    ops::mkdir(&own, 0o700).map_err(|error| match error.errno {
        Errno::EXIST => FenceError::TermTaken {
            asked: term,
            found: term,
        },
        _ => error.into(),
    })?;
    let others: Vec<TermFolder> = terms(at)?
        .into_iter()
        .filter(|f| *f != TermFolder::Open(term))
        .collect();
    if let Some(found) = others
        .iter()
        .map(|folder| folder.term())
        .filter(|other| *other >= term)
        .max()
    {
        match ops::rmdir(&own) {
            // The higher one has taken it along already.
            Err(error) if error.errno == Errno::NOENT => {}
            done => done?,
        }
        return Err(FenceError::TermTaken { asked: term, found });
    }
    for folder in &others {
        if let TermFolder::Open(lower) = folder {
            match ops::rename(&at.term(*lower), &at.fenced(*lower)) {
                // Another one that starts now was quicker, or that one gave up by itself.
                Err(error) if error.errno == Errno::NOENT => {}
                done => done?,
            }
        }
    }
    ops::sync_dir(&at.own())?;
    Ok(others.into_iter().map(TermFolder::term).collect())
}

/// Deletes what fenced coordinators were building, and nothing that they recorded.
fn delete_remains(at: &Layout, fenced: &[Term]) -> Result<(), FileError> {
    for term in fenced {
        let folder = at.fenced(*term);
        for name in look::names(&folder)?.iter().filter(|name| *name != "journal") {
            ops::remove_all(&folder.join(name))?;
        }
    }
    Ok(())
}

/// The last record of the highest term that has any.
fn read_journals(at: &Layout, fenced: &[Term]) -> Result<Option<(Term, JournalRecord)>, JournalError> {
    let mut fenced = fenced.to_vec();
    fenced.sort_unstable();
    for term in fenced.into_iter().rev() {
        let records = journal::read(&at.fenced(term))?;
        if let Some(record) = journal::last(&records) {
            return Ok(Some((term, record)));
        }
    }
    Ok(None)
}

impl Volume {
    /// Moves what fenced coordinators left into our folder, to be deleted later; the folder whose intent has
    /// no outcome yet keeps its journal.
    fn clear_fenced(&mut self, fenced: &[Term], stays: Option<Term>) -> Result<(), FileError> {
        for term in fenced {
            let folder = self.at.fenced(*term);
            if stays != Some(*term) {
                self.set_aside_if_there(&folder)?;
                continue;
            }
            for name in look::names(&folder)? {
                if name != "journal" {
                    self.set_aside_if_there(&folder.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Takes something out of the volume that another one, starting and fenced meanwhile, may have taken too.
    fn set_aside_if_there(&mut self, path: &Path) -> Result<(), FileError> {
        match self.set_aside(path) {
            Err(error) if error.errno == Errno::NOENT && !look::exists(path)? => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Takes something out of the volume by one rename into our folder, where it is deleted later.
    pub(crate) fn set_aside(&mut self, path: &Path) -> Result<PathBuf, FileError> {
        let aside = self.staging("aside");
        ops::rename(path, &aside)?;
        Ok(aside)
    }

    fn learn_releases(&mut self) -> Result<(), FileError> {
        let now = Instant::now();
        for name in look::names(&self.at.releases())? {
            let Some(name) = name
                .to_str()
                .and_then(|n| ReleaseName::try_from(n.to_owned()).ok())
            else {
                continue;
            };
            let document = volume::document(&self.at, &name)?;
            let damaged = document.is_none();
            let kept = Kept {
                document,
                manifest: None,
                damaged,
                last_switch: None,
                left: Some(now),
            };
            self.kept.insert(name, kept);
        }
        for (switch, release) in self.switch_links()? {
            if let Some(kept) = release.and_then(|release| self.kept.get_mut(&release)) {
                kept.last_switch = kept.last_switch.max(Some(switch));
            }
        }
        Ok(())
    }

    /// All links of switches, each with the release that it names, if it names one.
    pub(crate) fn switch_links(&self) -> Result<Vec<(SwitchNumber, Option<ReleaseName>)>, FileError> {
        let mut links = Vec::new();
        for switch in look::names(&self.at.switches())?
            .iter()
            .filter_map(|name| parse_switch(name))
        {
            let target = look::link(&self.at.switch(switch))?;
            links.push((switch, target.and_then(|target| parse_switch_target(&target))));
        }
        Ok(links)
    }

    /// The release that one reaches through `current`, whatever its state.
    fn pointed_to(&self) -> Result<Option<ReleaseName>, FileError> {
        let switch = look::link(&self.at.current())?.and_then(|target| parse_current_target(&target));
        let Some(switch) = switch else { return Ok(None) };
        Ok(look::link(&self.at.switch(switch))?.and_then(|target| parse_switch_target(&target)))
    }

    fn learn_current(&mut self) -> Result<Current, FenceError> {
        let path = self.at.current();
        let Some(target) = look::link(&path)? else {
            let nothing = !look::exists(&path)?;
            return Ok(if nothing {
                Current::None
            } else {
                Current::Foreign { target: None }
            });
        };
        if Some(&target) == self.adopted_target().as_ref() {
            return Ok(Current::None);
        }
        let Some(switch) = parse_current_target(&target) else {
            return Ok(Current::Foreign { target: Some(target) });
        };
        let release = look::link(&self.at.switch(switch))?.and_then(|link| parse_switch_target(&link));
        let kept =
            release.and_then(|release| Some((release.clone(), self.kept.get(&release)?.document.clone()?)));
        let Some((release, document)) = kept else {
            return Ok(Current::Dangling { target, switch });
        };
        self.live = Some(Live {
            switch,
            release: release.clone(),
        });
        let tree = self.tree_of(&release)?;
        Ok(Current::Live {
            switch,
            release,
            document,
            tree,
        })
    }

    /// Moves leftovers of interrupted work out of the volume: manifests without a release, links of switches
    /// whose release is gone (the highest stays: its number is used up), releases that cannot be told apart.
    fn sweep(&mut self) -> Result<(), FileError> {
        let pointed_to = self.pointed_to()?;
        let nameless: Vec<ReleaseName> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.document.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in nameless {
            // Readers may still have files of it open through `current`, damaged as it is.
            if pointed_to.as_ref() != Some(&name) {
                self.set_aside(&self.at.release(&name))?;
                self.kept.remove(&name);
            }
        }
        for name in look::names(&self.at.manifests())? {
            let release = name
                .to_str()
                .and_then(|n| ReleaseName::try_from(n.to_owned()).ok());
            if release.is_none_or(|release| !self.kept.contains_key(&release)) {
                self.set_aside(&self.at.manifests().join(name))?;
            }
        }
        self.sweep_switches()
    }

    /// Moves the links of switches away whose release is gone.
    pub(crate) fn sweep_switches(&mut self) -> Result<(), FileError> {
        let links = self.switch_links()?;
        let highest = links.iter().map(|(switch, _)| *switch).max();
        for (switch, release) in links {
            let gone = release.is_none_or(|release| !self.kept.contains_key(&release));
            if gone && Some(switch) != highest {
                self.set_aside(&self.at.switch(switch))?;
            }
        }
        Ok(())
    }

    /// Finds the top-level links, and mends them for what is live: a crash may have come between a switch and
    /// their renewal.
    fn learn_links(&mut self) -> Result<(), ChangeError> {
        for name in look::names(self.at.root()).map_err(ChangeError::sort)? {
            let Some(name) = name.to_str() else { continue };
            let target = look::link(&self.at.entry(name)).map_err(ChangeError::sort)?;
            if target.is_some_and(|target| target == entry_target(name)) {
                self.links.insert(Arc::from(name), 0);
            }
        }
        if let Some(wanted) = self.live_entries()? {
            let blocked = self.make_links(&wanted).map_err(ChangeError::sort)?;
            // The live release has these entries, so it was our link that somebody replaced.
            self.broken_links.extend(blocked);
            self.remove_links(&wanted).map_err(ChangeError::sort)?;
        }
        Ok(())
    }
}
