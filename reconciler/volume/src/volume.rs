//! The volume of one coordinator: what it knows of it in memory, and the small things that all stages share.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::counts::Counts;
use lockstep_core::tree::Tree;
use lockstep_protocol::{Digest, RELEASE_FILE, Release, Revision, SwitchNumber};

use crate::draft::Sealed;
use crate::error::{ChangeError, FileError};
use crate::journal::Journal;
use crate::lock::Lock;
use crate::manifest::{self, Entries, Manifest};
use crate::names::{Layout, ReleaseName, Term};
use crate::open::{self, OpenError, OpenOptions, Unfenced};
use crate::record::{Intent, Outcome, Record};
use crate::{look, scan};

/// The volume, as the coordinator of one term may change it.
///
/// It is not shared: one thread does all changes, in the order of the calls. None of them blocks on anything
/// but the disk.
#[derive(Debug)]
pub struct Volume {
    pub(crate) at: Layout,
    pub(crate) term: Term,
    pub(crate) keep: usize,
    pub(crate) linger: Duration,
    pub(crate) journal: Journal,
    pub(crate) kept: BTreeMap<ReleaseName, Kept>,
    pub(crate) live: Option<Live>,
    /// The name of the folder with what was taken over, until a first release has settled.
    pub(crate) adopting: Option<OsString>,
    /// The highest number that a link has had: the next one must be above.
    pub(crate) used_switch: SwitchNumber,
    /// The switch that is staged: it may be made at any moment, by whoever has it.
    pub(crate) staged_switch: Option<SwitchNumber>,
    /// The highest number that was spoken of: the ways back that were promised and not needed count too.
    pub(crate) highest_switch: SwitchNumber,
    /// The top-level links of ours that lie on the volume.
    pub(crate) links: Entries,
    /// Top-level entries that should be a link of ours and are something else: mended with the next switch.
    pub(crate) broken_links: BTreeSet<Arc<str>>,
    pub(crate) spare: Option<Sealed>,
    /// Whether hard links are tried.
    pub(crate) hard_links: bool,
    pub(crate) next_name: u64,
    /// How far a build has come.
    pub(crate) counts: Arc<Counts>,
    /// Held for as long as the volume is; none after a take-over.
    pub(crate) _lock: Option<Lock>,
}

/// What `current` points to.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) switch: SwitchNumber,
    pub(crate) release: ReleaseName,
}

/// A release on the volume.
#[derive(Debug)]
pub(crate) struct Kept {
    /// None when its document cannot be read: then it is damaged too.
    pub(crate) document: Option<Release>,
    /// Read when it is needed first.
    pub(crate) manifest: Option<Manifest>,
    /// Not to be switched to again: something in it is not as it was written.
    pub(crate) damaged: bool,
    /// The highest switch that went to it.
    pub(crate) last_switch: Option<SwitchNumber>,
    /// When it was current last, or when this volume was opened; none while it was never current since.
    pub(crate) left: Option<Instant>,
}

/// A release that is kept on the volume, for whoever pins its revision or lists what one can go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRelease {
    /// The folder.
    pub name: ReleaseName,
    /// The commit.
    pub revision: Revision,
    /// The digest over its files.
    pub digest: Digest,
    /// The highest switch that went to it; none when it was built and never switched to.
    pub last_switch: Option<SwitchNumber>,
}

impl Volume {
    /// Opens the volume at a path, which may be a link to it: makes its layout in an empty folder, takes its
    /// lock, and finds the highest numbers. Nothing can be changed before [`Unfenced::fence`].
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub fn open(path: &std::path::Path, options: OpenOptions) -> Result<Unfenced, OpenError> {
        open::open(path, options)
    }

    /// Why the next start would refuse what lies in a folder, if it would. Changes nothing and takes no lock.
    #[must_use]
    pub fn refusal(path: &std::path::Path) -> Option<OpenError> {
        open::refusal(path)
    }

    /// The term of this coordinator.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The volume's folder, with links resolved.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.at.root()
    }

    /// The highest switch number that is used up. A new switch takes a higher one.
    #[must_use]
    pub fn highest_switch(&self) -> SwitchNumber {
        self.highest_switch
    }

    /// How far a build has come, in files: for whoever shows it.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// The releases that are kept, in the order of their names.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptRelease> {
        let told = |(name, kept): (&ReleaseName, &Kept)| {
            let document = kept.document.as_ref()?;
            Some(KeptRelease {
                name: name.clone(),
                revision: document.revision.clone(),
                digest: document.digest,
                last_switch: kept.last_switch,
            })
        };
        self.kept.iter().filter_map(told).collect()
    }

    /// The files of a kept release, as they were when it was built; none when it is not kept, or its manifest
    /// is lost and its folder does not hold what its document says.
    ///
    /// # Errors
    /// When its manifest or, without one, its files cannot be read.
    pub fn tree_of(&mut self, release: &ReleaseName) -> Result<Option<Tree>, ChangeError> {
        Ok(self.manifest_of(release)?.map(|manifest| manifest.tree.clone()))
    }

    /// Records what a rollout is about to do; flushed when this returns. To be called before the pause.
    ///
    /// # Errors
    /// [`ChangeError::Deposed`] when another coordinator has taken over; then nothing is recorded.
    pub fn journal_intent(&mut self, intent: &Intent) -> Result<(), ChangeError> {
        self.still_ours()?;
        let written = self.journal.intent(Record::Intent(intent.clone()));
        written.map_err(|error| self.judge(error))?;
        self.highest_switch = self.highest_switch.max(intent.back).max(intent.to.switch);
        Ok(())
    }

    /// Records how a rollout ended; flushed when this returns. To be called after the unpause.
    ///
    /// # Errors
    /// [`ChangeError::Deposed`] when another coordinator has taken over; then nothing is recorded.
    pub fn journal_outcome(&mut self, outcome: &Outcome) -> Result<(), ChangeError> {
        self.still_ours()?;
        let written = self.journal.outcome(Record::Outcome(outcome.clone()));
        written.map_err(|error| self.judge(error))
    }

    /// Fails when another coordinator has taken over, or our folder is gone.
    pub(crate) fn still_ours(&self) -> Result<(), ChangeError> {
        let folder = self.at.term(self.term);
        match look::exists(&folder) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.judge(FileError::new("find", &folder, rustix::io::Errno::NOENT))),
            Err(error) => Err(ChangeError::sort(error)),
        }
    }

    /// Says what a failed call means. Every change needs the folder of our term: if that is gone, somebody has
    /// taken over, or has removed everything.
    pub(crate) fn judge(&self, error: FileError) -> ChangeError {
        let (own, folder) = (self.at.own(), self.at.term(self.term));
        match (look::exists(&own), look::exists(&folder)) {
            (Ok(false), _) => ChangeError::LayoutGone { folder: own },
            (_, Ok(false)) => ChangeError::Deposed { folder },
            (Ok(true) | Err(_), Ok(true) | Err(_)) => ChangeError::sort(error),
        }
    }

    /// A path in the staging folder that nothing has yet.
    pub(crate) fn staging(&mut self, what: &str) -> PathBuf {
        self.next_name += 1;
        self.at.term(self.term).join(format!("{what}-{}", self.next_name))
    }

    /// The manifest of a kept release: read from its file, or made by reading the release.
    pub(crate) fn manifest_of(
        &mut self,
        release: &ReleaseName,
    ) -> Result<Option<&mut Manifest>, ChangeError> {
        let Some(kept) = self.kept.get_mut(release) else {
            return Ok(None);
        };
        if kept.manifest.is_none() {
            let read = load(&self.at, release, kept.document.as_ref()).map_err(ChangeError::sort)?;
            kept.damaged |= read.is_none();
            kept.manifest = read;
        }
        Ok(kept.manifest.as_mut())
    }
}

/// Reads a release's manifest, else the release itself if it still is what its document says.
fn load(
    at: &Layout,
    release: &ReleaseName,
    document: Option<&Release>,
) -> Result<Option<Manifest>, FileError> {
    if let Some(manifest) = manifest::read(&at.manifest(release))? {
        return Ok(Some(manifest));
    }
    tracing::warn!(%release, "the manifest is missing or torn: the release is read as a whole");
    let scanned = scan::manifest(&at.release(release))?;
    Ok(scanned.filter(|manifest| document.is_some_and(|document| document.digest == manifest.tree.digest())))
}

/// A release's document as it lies on disk; none when it is missing or not a document.
pub(crate) fn document(at: &Layout, release: &ReleaseName) -> Result<Option<Release>, FileError> {
    let bytes = look::file(&at.release(release).join(RELEASE_FILE))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
