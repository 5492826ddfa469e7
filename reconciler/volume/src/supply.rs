//! Where a draft gets a file: a hard link to the same file of a kept release, a copy of it, or the blob.
//!
//! Every byte that goes into a draft is checked against the hash of the tree first, wherever it came from; a
//! file is linked only while it is known to be as it was when it was written.

use std::path::{Path, PathBuf};

use lockstep_core::counts::Counts;
use lockstep_core::tree::{TreeFile, TreePath};
use rustix::io::Errno;

use crate::blobs::{Blobs, BlobsError};
use crate::error::FileError;
use crate::manifest::{Manifest, Stamp, file_bits};
use crate::{look, ops, scan};

/// A file's contents cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// The mirror does not give the blob.
    #[error(
        "cannot read the contents of {path} from the mirror: {source}. The mirror is fetched anew when it is \
         damaged; this is tried again"
    )]
    Blob {
        /// The published file.
        path: TreePath,
        /// What the mirror says.
        source: BlobsError,
    },
    /// The contents are not those whose hash the tree has.
    #[error(
        "the contents of {path} in the mirror are not those that were validated ({got} bytes; {expected} were \
         expected, or their SHA-256 differs). The mirror is damaged: remove it, and it is fetched anew"
    )]
    Contents {
        /// The published file.
        path: TreePath,
        /// The size that the tree says.
        expected: u64,
        /// The size that came.
        got: usize,
    },
    /// Nobody has the contents: no release, and no mirror was given.
    #[error("no kept release has the contents of {path} any more")]
    Nowhere {
        /// The published file.
        path: TreePath,
    },
    /// A call on a file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How a file was supplied.
pub(crate) enum Supplied {
    /// It lies there already, as a hard link.
    Linked,
    /// These are its bytes.
    Bytes(Vec<u8>),
}

/// A kept release to take files from.
pub(crate) struct Base<'a> {
    pub(crate) folder: PathBuf,
    /// Its stamps are renewed where a file was read and found right, or linked.
    pub(crate) manifest: &'a mut Manifest,
}

/// The places to get files from, the cheapest first.
pub(crate) struct Supply<'a> {
    pub(crate) base: Option<Base<'a>>,
    pub(crate) blobs: Option<&'a dyn Blobs>,
    /// Whether hard links are tried; turned off by the first refusal.
    pub(crate) links: &'a mut bool,
    pub(crate) counts: &'a Counts,
}

impl Supply<'_> {
    /// Supplies one file that shall lie at `to`.
    pub(crate) fn file(
        &mut self,
        path: &TreePath,
        file: &TreeFile,
        to: &Path,
    ) -> Result<Supplied, SupplyError> {
        if let Some(supplied) = self.take_from_base(path, file, to)? {
            return Ok(supplied);
        }
        let blobs = self
            .blobs
            .ok_or_else(|| SupplyError::Nowhere { path: path.clone() })?;
        let bytes = blobs.read(file.blob).map_err(|source| SupplyError::Blob {
            path: path.clone(),
            source,
        })?;
        if !scan::is_contents(&bytes, file) {
            return Err(SupplyError::Contents {
                path: path.clone(),
                expected: file.size,
                got: bytes.len(),
            });
        }
        Ok(Supplied::Bytes(bytes))
    }

    fn take_from_base(
        &mut self,
        path: &TreePath,
        file: &TreeFile,
        to: &Path,
    ) -> Result<Option<Supplied>, SupplyError> {
        let Some(base) = &mut self.base else {
            return Ok(None);
        };
        let Some(kept) = base
            .manifest
            .tree
            .get(path)
            .filter(|kept| kept.sha256 == file.sha256)
        else {
            return Ok(None);
        };
        let from = base.folder.join(path.as_str());
        if *self.links && kept.mode == file.mode && unchanged(base.manifest, path, file, &from)? {
            match ops::hard_link(&from, to) {
                Ok(()) => {
                    if let Some(meta) = look::meta(to)? {
                        base.manifest.stamps.insert(path.clone(), Stamp::of(&meta));
                    }
                    return Ok(Some(Supplied::Linked));
                }
                // As many links as a file can have: a copy of this one.
                Err(error) if error.errno == Errno::MLINK => {}
                Err(error) if links_are_refused(error.errno) => {
                    tracing::info!(%error, "hard links are refused here: files are copied from now on");
                    *self.links = false;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = look::file(&from)?.filter(|bytes| scan::is_contents(bytes, file));
        Ok(bytes.map(Supplied::Bytes))
    }
}

/// Whether a kept release's file is as it was written: by its stamp, else by reading it.
pub(crate) fn unchanged(
    manifest: &mut Manifest,
    path: &TreePath,
    file: &TreeFile,
    at: &Path,
) -> Result<bool, FileError> {
    let Some(meta) = look::meta(at)? else {
        return Ok(false);
    };
    if !meta.is_file() || meta.len() != file.size || scan::bits(&meta) != file_bits(file.mode) {
        return Ok(false);
    }
    let stamp = Stamp::of(&meta);
    if manifest.stamps.get(path) == Some(&stamp) {
        return Ok(true);
    }
    let same = scan::has_contents(at, file)?;
    if same {
        manifest.stamps.insert(path.clone(), stamp);
    }
    Ok(same)
}

/// Whether this answer means that the file system, or its policy, has no hard links for us.
fn links_are_refused(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV
    )
}
