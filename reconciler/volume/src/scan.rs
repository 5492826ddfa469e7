//! Reading a release as it lies on disk: for its manifest when that is missing, for drift, and before a
//! release is recycled. Changes nothing.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use lockstep_core::tree::{BlobId, TreeFile, TreePath};
use lockstep_protocol::{FileMode, RELEASE_FILE};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::FileError;
use crate::look;
use crate::manifest::{Manifest, Stamp, file_bits};

/// What lies somewhere below a release's top.
pub(crate) struct Seen {
    /// Below the release's top.
    pub(crate) path: PathBuf,
    pub(crate) meta: Metadata,
}

/// Everything below a release's top, its own `.lockstep` folder left out.
pub(crate) fn walk(release: &Path) -> Result<Vec<Seen>, FileError> {
    let mut seen = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in look::names(&release.join(&folder))? {
            let path = folder.join(name);
            if path == Path::new(".lockstep") {
                continue;
            }
            let Some(meta) = look::meta(&release.join(&path))? else {
                continue;
            };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            seen.push(Seen { path, meta });
        }
    }
    Ok(seen)
}

/// The permission bits of something on disk.
pub(crate) fn bits(meta: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    meta.mode() & 0o7777
}

/// Whether a file on disk has exactly the contents that a tree says.
pub(crate) fn has_contents(path: &Path, file: &TreeFile) -> Result<bool, FileError> {
    Ok(look::file(path)?.is_some_and(|bytes| is_contents(&bytes, file)))
}

/// Whether these are the contents that a tree says.
pub(crate) fn is_contents(bytes: &[u8], file: &TreeFile) -> bool {
    bytes.len() as u64 == file.size && Sha256::digest(bytes)[..] == file.sha256
}

/// Makes a manifest by reading a whole release; none when something lies in it that no release holds.
pub(crate) fn manifest(release: &Path) -> Result<Option<Manifest>, FileError> {
    let mut manifest = Manifest::default();
    for Seen { path, meta } in walk(release)? {
        if meta.is_dir() {
            continue;
        }
        let mode = [FileMode::Regular, FileMode::Executable]
            .into_iter()
            .find(|m| file_bits(*m) == bits(&meta));
        let tree_path = path.to_str().and_then(|path| TreePath::new(path).ok());
        let (Some(tree_path), Some(mode), true) = (tree_path, mode, meta.is_file()) else {
            return Ok(None);
        };
        let Some(bytes) = look::file(&release.join(&path))? else {
            return Ok(None);
        };
        let file = TreeFile {
            mode,
            blob: blob_id(&bytes),
            sha256: Sha256::digest(&bytes).into(),
            size: bytes.len() as u64,
        };
        manifest.insert(&tree_path, file, Stamp::of(&meta));
    }
    manifest.document =
        look::file(&release.join(RELEASE_FILE))?.map(|bytes| lockstep_protocol::Digest::of_bytes(&bytes));
    Ok(Some(manifest))
}

/// The id that git gives to these contents.
fn blob_id(bytes: &[u8]) -> BlobId {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    BlobId(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_id_is_the_one_that_git_gives() {
        // git hash-object of "hello\n"
        let id = blob_id(b"hello\n").0.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(id, "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
