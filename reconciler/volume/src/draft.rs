//! A tree being written in the staging folder: what a release is before it has a name.
//!
//! A draft knows what lies in its folder (its manifest) and brings it to a wanted tree by touching only what
//! differs. It never writes into an existing file and never changes a file's mode: a file may be shared with
//! a release by a hard link. Changed files are removed and made anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lockstep_core::tree::{Tree, TreeChange, TreeFile, TreePath};
use lockstep_protocol::{Digest, FileMode, RELEASE_FILE, Release};
use rustix::io::Errno;

use crate::error::{ChangeError, FileError};
use crate::manifest::{self, Manifest, Stamp, file_bits};
use crate::supply::{Supplied, Supply, SupplyError};
use crate::{look, ops, scan};

/// From how many flushes on one flush of the whole file system is cheaper.
const MANY_FLUSHES: usize = 48;

/// A failure while a draft was written. The draft is of no further use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DraftError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// What is live could not be read.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A top-level name that is ours.
    #[error("{0:?} is reserved")]
    Reserved(String),
    /// Something lies there that the manifest does not know of, or does not look as it says.
    #[error("{} is not as it was written", .0.display())]
    Foreign(PathBuf),
}

impl DraftError {
    /// Whether the draft's folder was not what its manifest says: then only this draft is bad, not the disk.
    pub(crate) fn blames_the_draft(&self) -> bool {
        match self {
            Self::Foreign(_) => true,
            Self::File(error) => {
                matches!(
                    error.errno,
                    Errno::NOENT | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY
                )
            }
            Self::Supply(_) | Self::Change(_) | Self::Reserved(_) => false,
        }
    }
}

/// What is left to do for a file that was placed.
enum Placed {
    /// New bytes: to be flushed, then read back.
    Written,
    /// A hard link to a file that was checked.
    Linked,
}

/// A tree being written.
pub(crate) struct Draft {
    folder: PathBuf,
    manifest_file: PathBuf,
    manifest: Manifest,
    /// Whether `manifest_file` has a first section already: then only what changes is appended.
    manifest_written: bool,
    /// The folders that were made writable, below the draft's own: closed and flushed when it is sealed.
    opened: BTreeSet<PathBuf>,
    placed: Vec<(TreePath, TreeFile, Placed)>,
    removed: Vec<TreePath>,
    document_placed: bool,
}

/// A draft that is written, closed, flushed and verified: it only wants a name.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) folder: PathBuf,
    pub(crate) manifest_file: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Draft {
    /// Begins in a new, empty folder.
    pub(crate) fn empty(folder: PathBuf, manifest_file: PathBuf) -> Result<Self, FileError> {
        ops::mkdir(&folder, 0o755)?;
        let mut draft = Self::over(Sealed {
            folder,
            manifest_file,
            manifest: Manifest::default(),
        });
        draft.manifest_written = false;
        draft.opened.insert(PathBuf::new());
        Ok(draft)
    }

    /// Goes on with a folder that holds what a manifest says, and a manifest file that says the same.
    pub(crate) fn over(sealed: Sealed) -> Self {
        Self {
            folder: sealed.folder,
            manifest_file: sealed.manifest_file,
            manifest: sealed.manifest,
            manifest_written: true,
            opened: BTreeSet::new(),
            placed: Vec::new(),
            removed: Vec::new(),
            document_placed: false,
        }
    }

    /// Where it is written.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its manifest is written.
    pub(crate) fn manifest_file(&self) -> &Path {
        &self.manifest_file
    }

    /// Writes the manifest anew when it is sealed, whatever its file said.
    pub(crate) fn forget_manifest_file(&mut self) -> Result<(), FileError> {
        self.manifest_written = false;
        ops::remove_all(&self.manifest_file)
    }

    /// Brings the folder to the wanted tree.
    pub(crate) fn become_tree(&mut self, wanted: &Tree, supply: &mut Supply<'_>) -> Result<(), DraftError> {
        let changes = wanted.changes_since(&self.manifest.tree);
        if let Some(change) = changes.iter().find(|change| is_reserved(change.path().top())) {
            return Err(DraftError::Reserved(change.path().top().to_owned()));
        }
        supply.counts.begin(changes.len() as u64);
        // What goes, goes first: a file may become a folder, or a folder a file.
        for change in &changes {
            match change {
                TreeChange::Removed(path) => {
                    self.take_out(path)?;
                    self.prune(path)?;
                    self.removed.push(path.clone());
                }
                TreeChange::Modified(path, _) => self.take_out(path)?,
                TreeChange::Added(..) => {}
            }
        }
        for change in changes {
            match change {
                TreeChange::Added(path, file) | TreeChange::Modified(path, file) => {
                    self.put(path, file, supply)?;
                    supply.counts.add(1, file.size);
                }
                TreeChange::Removed(_) => {}
            }
        }
        // The wanted tree itself, not our equal copy: so the next difference is found by what is shared.
        self.manifest.tree = wanted.clone();
        Ok(())
    }

    fn take_out(&mut self, path: &TreePath) -> Result<(), DraftError> {
        self.open_folder(parent(path))?;
        ops::unlink(&self.folder.join(path.as_str()))?;
        self.manifest.remove(path);
        Ok(())
    }

    /// Removes the folders that a removed file leaves empty.
    fn prune(&mut self, path: &TreePath) -> Result<(), DraftError> {
        let mut folder = parent(path).to_owned();
        while !folder.as_os_str().is_empty() {
            let above = folder.parent().unwrap_or(Path::new("")).to_owned();
            self.open_folder(&above)?;
            match ops::rmdir(&self.folder.join(&folder)) {
                Ok(()) => self.opened.remove(&folder),
                Err(error) if matches!(error.errno, Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            folder = above;
        }
        Ok(())
    }

    fn put(&mut self, path: TreePath, file: TreeFile, supply: &mut Supply<'_>) -> Result<(), DraftError> {
        self.open_folder(parent(&path))?;
        let to = self.folder.join(path.as_str());
        let placed = match supply.file(&path, &file, &to)? {
            Supplied::Linked => Placed::Linked,
            Supplied::Bytes(bytes) => {
                ops::write_new(&to, &bytes, file_bits(file.mode))?;
                Placed::Written
            }
        };
        let meta = look::meta(&to)?.ok_or_else(|| DraftError::Foreign(to.clone()))?;
        self.manifest.insert(&path, file, Stamp::of(&meta));
        self.placed.push((path, file, placed));
        Ok(())
    }

    /// Makes a folder writable, and makes it if there is none.
    fn open_folder(&mut self, folder: &Path) -> Result<(), DraftError> {
        if self.opened.contains(folder) {
            return Ok(());
        }
        let full = self.folder.join(folder);
        match look::meta(&full)? {
            Some(meta) if meta.is_dir() => ops::chmod(&full, 0o755)?,
            Some(_) => return Err(DraftError::Foreign(full)),
            None => {
                let Some(above) = folder.parent() else {
                    return Err(DraftError::Foreign(full));
                };
                self.open_folder(above)?;
                ops::mkdir(&full, 0o755)?;
            }
        }
        self.opened.insert(folder.to_owned());
        Ok(())
    }

    /// Writes the release's own document.
    pub(crate) fn put_document(&mut self, document: &Release) -> Result<(), DraftError> {
        let path = self.folder.join(RELEASE_FILE);
        self.open_folder(Path::new(".lockstep"))?;
        if look::exists(&path)? {
            ops::unlink(&path)?;
        }
        let bytes = document_bytes(document);
        ops::write_new(&path, &bytes, file_bits(FileMode::Regular))?;
        self.manifest.document = Some(Digest::of_bytes(&bytes));
        self.document_placed = true;
        Ok(())
    }

    /// Closes, flushes and verifies what was written, and writes the manifest.
    ///
    /// Files first, then directories from the bottom up: a directory on disk never names a file whose
    /// contents are not there. Files that were there before this draft were flushed with theirs.
    pub(crate) fn seal(self, volume: &Path) -> Result<Sealed, DraftError> {
        let written: Vec<PathBuf> = self
            .placed
            .iter()
            .filter(|(_, _, placed)| matches!(placed, Placed::Written))
            .map(|(path, _, _)| self.folder.join(path.as_str()))
            .chain(self.document_placed.then(|| self.folder.join(RELEASE_FILE)))
            .collect();
        // A path sorts after its parent, so the reverse order is bottom-up.
        let folders: Vec<PathBuf> = self
            .opened
            .iter()
            .rev()
            .map(|folder| self.folder.join(folder))
            .collect();
        for (folder, full) in self.opened.iter().rev().zip(&folders) {
            // A folder cannot be moved by its owner while it is read-only: its `..` changes.
            let bits = if folder.as_os_str().is_empty() {
                0o755
            } else {
                0o555
            };
            ops::chmod(full, bits)?;
        }
        if written.len() + folders.len() > MANY_FLUSHES {
            ops::sync_all(volume)?;
        } else {
            written.iter().try_for_each(|file| ops::sync_file(file))?;
            folders.iter().try_for_each(|folder| ops::sync_dir(folder))?;
        }
        self.verify()?;
        if self.manifest_written {
            let touched = self
                .removed
                .iter()
                .chain(self.placed.iter().map(|(path, _, _)| path));
            manifest::append(&self.manifest_file, &self.manifest, touched)?;
        } else {
            manifest::write(&self.manifest_file, &self.manifest)?;
        }
        Ok(Sealed {
            folder: self.folder,
            manifest_file: self.manifest_file,
            manifest: self.manifest,
        })
    }

    /// Reads back what was written, and looks at what was linked.
    fn verify(&self) -> Result<(), DraftError> {
        for (path, file, placed) in &self.placed {
            let full = self.folder.join(path.as_str());
            let foreign = || DraftError::Foreign(full.clone());
            let meta = look::meta(&full)?.ok_or_else(foreign)?;
            let same = self.manifest.stamps.get(path) == Some(&Stamp::of(&meta))
                && meta.len() == file.size
                && scan::bits(&meta) == file_bits(file.mode);
            let right = match placed {
                Placed::Linked => same,
                Placed::Written => same && scan::has_contents(&full, file)?,
            };
            if !right {
                return Err(foreign());
            }
        }
        Ok(())
    }
}

/// The bytes of a release's document.
fn document_bytes(document: &Release) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("a release's document has only texts");
    bytes.push(b'\n');
    bytes
}

/// Top-level names that are ours on the volume, or that the source must not let through.
fn is_reserved(entry: &str) -> bool {
    entry.starts_with('.') || matches!(entry, "current" | "lost+found")
}

/// The folder that a file lies in, below the release's top.
fn parent(path: &TreePath) -> &Path {
    Path::new(path.as_str()).parent().unwrap_or(Path::new(""))
}
