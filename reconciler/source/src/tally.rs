//! How much a revision publishes, without its names: what the limits bound.
//!
//! A tally is kept by the id of the published folder, of which it says the same for ever, so a change costs what
//! it changes and not the whole repository once more.

use git2::{Odb, Oid, Repository, Tree as GitTree};
use lockstep_protocol::Revision;

use crate::tree::{EntryKind, kind_of};
use crate::{Limits, Mirror, SourceError};

/// What is published, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many files.
    pub files: u64,
    /// How many folders.
    pub folders: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// What no file is larger than.
    pub largest: u64,
}

impl Tally {
    /// Whether nothing of it is beyond the limits.
    #[must_use]
    pub fn is_within(&self, limits: &Limits) -> bool {
        self.files <= limits.files
            && self.folders <= limits.files
            && self.bytes <= limits.total_bytes
            && self.largest <= limits.file_bytes
    }
}

impl Mirror {
    /// The id of the folder that a revision publishes: two revisions with the same one publish the same files.
    ///
    /// # Errors
    /// When it has no such folder, or cannot be read.
    pub fn published_id(&self, revision: &Revision) -> Result<String, SourceError> {
        self.published(revision).map(|id| id.to_string())
    }

    /// How much a revision publishes. With an older one and its tally, only what differs is looked at; `largest`
    /// may then be that of a file which is gone.
    ///
    /// Gives nothing for what is not worth counting: far more than `limits` allow, or a tree that is none.
    ///
    /// # Errors
    /// When it has no published folder, or cannot be read.
    pub fn tally(
        &self,
        revision: &Revision,
        base: Option<(&Revision, Tally)>,
        limits: &Limits,
    ) -> Result<Option<Tally>, SourceError> {
        let new = self.published(revision)?;
        let (old, tally) = match base {
            Some((base, tally)) => (Some(self.published(base)?), tally),
            None => (None, Tally::default()),
        };
        let odb = self.repo.odb().map_err(|e| self.damaged(&e))?;
        let count = Count {
            repo: &self.repo,
            odb,
            tally,
            seen: 0,
            // Git names endless trees in a few bytes.
            most: limits.files.saturating_mul(4).saturating_add(1_000),
        };
        count.folders(Some(new), old).map_err(|e| self.damaged(&e))
    }
}

/// A count that goes on.
struct Count<'a> {
    repo: &'a Repository,
    odb: Odb<'a>,
    tally: Tally,
    /// How many files and folders were looked at.
    seen: u64,
    most: u64,
}

impl Count<'_> {
    /// Counts two published folders against each other.
    fn folders(mut self, new: Option<Oid>, old: Option<Oid>) -> Result<Option<Tally>, git2::Error> {
        let mut pending = vec![(new, old, true)];
        while let Some((new, old, top)) = pending.pop() {
            if new == old {
                continue;
            }
            let (new, old) = (read(self.repo, new)?, read(self.repo, old)?);
            for entry in new.iter().flatten() {
                let was = old
                    .as_ref()
                    .and_then(|old| old.get_name_bytes(entry.name_bytes()));
                let same = |was: &git2::TreeEntry<'_>| {
                    was.id() == entry.id() && was.filemode_raw() == entry.filemode_raw()
                };
                if hidden(top, entry.name_bytes()) || was.as_ref().is_some_and(same) {
                    continue;
                }
                self.seen += 1;
                let folder =
                    |entry: &git2::TreeEntry<'_>| (kind_of(entry) == EntryKind::Folder).then(|| entry.id());
                let (is, before) = (folder(&entry), was.as_ref().and_then(folder));
                self.add(&entry)?;
                if let Some(was) = &was {
                    self.take(was)?;
                }
                if is.is_some() || before.is_some() {
                    pending.push((is, before, false));
                }
            }
            for entry in old.iter().flatten() {
                let gone = new
                    .as_ref()
                    .is_none_or(|new| new.get_name_bytes(entry.name_bytes()).is_none());
                if gone && !hidden(top, entry.name_bytes()) {
                    self.seen += 1;
                    self.take(&entry)?;
                    if kind_of(&entry) == EntryKind::Folder {
                        pending.push((None, Some(entry.id()), false));
                    }
                }
            }
            if self.seen > self.most {
                return Ok(None);
            }
        }
        Ok(Some(self.tally))
    }

    fn add(&mut self, entry: &git2::TreeEntry<'_>) -> Result<(), git2::Error> {
        match kind_of(entry) {
            EntryKind::Folder => self.tally.folders += 1,
            EntryKind::File => {
                let (bytes, _) = self.odb.read_header(entry.id())?;
                self.tally.files += 1;
                self.tally.bytes = self.tally.bytes.saturating_add(bytes as u64);
                self.tally.largest = self.tally.largest.max(bytes as u64);
            }
            // Refused by name, in whatever number.
            EntryKind::Symlink | EntryKind::Other => {}
        }
        Ok(())
    }

    fn take(&mut self, entry: &git2::TreeEntry<'_>) -> Result<(), git2::Error> {
        match kind_of(entry) {
            EntryKind::Folder => self.tally.folders = self.tally.folders.saturating_sub(1),
            EntryKind::File => {
                let (bytes, _) = self.odb.read_header(entry.id())?;
                self.tally.files = self.tally.files.saturating_sub(1);
                self.tally.bytes = self.tally.bytes.saturating_sub(bytes as u64);
            }
            EntryKind::Symlink | EntryKind::Other => {}
        }
        Ok(())
    }
}

fn read(repo: &Repository, folder: Option<Oid>) -> Result<Option<GitTree<'_>>, git2::Error> {
    folder.map(|folder| repo.find_tree(folder)).transpose()
}

/// What begins with a dot at the top is not published.
fn hidden(top: bool, name: &[u8]) -> bool {
    top && name.starts_with(b".")
}
