//! What a release holds, beside the release: each file's mode, hashes and size as git has them, and the stamp
//! (inode and times) that its copy on disk got when it was checked last.
//!
//! In memory it is persistent: a manifest that came from another one shares all that is the same. On disk it
//! is one file of JSON lines: a first section with everything, written in the background with the spare, then
//! a section with what the build changed. Each section ends with its checksum, so a torn one is no section.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use imbl::OrdMap;
use lockstep_core::tree::{BlobId, Tree, TreeChange, TreeFile, TreePath};
use lockstep_protocol::{Digest, FileMode};
use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::{look, ops};

/// Top-level entries, each with the number of files in it.
pub(crate) type Entries = OrdMap<Arc<str>, u64>;

/// How a file on disk is known again without reading it.
///
/// The change time is part of it: it cannot be set back, so that an edit which restores the other times is
/// seen too. It also moves when a hard link is made or removed; then the contents are read once to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The permission bits that a published file has.
pub(crate) fn file_bits(mode: FileMode) -> u32 {
    match mode {
        FileMode::Regular => 0o444,
        FileMode::Executable => 0o555,
    }
}

/// What a release holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifest {
    pub(crate) tree: Tree,
    pub(crate) stamps: OrdMap<TreePath, Stamp>,
    pub(crate) entries: Entries,
    /// The digest of the bytes of the release's own `release.json`.
    pub(crate) document: Option<Digest>,
}

impl Manifest {
    /// Takes a file in, instead of an older one at that path if there is any.
    pub(crate) fn insert(&mut self, path: &TreePath, file: TreeFile, stamp: Stamp) {
        if self.tree.get(path).is_none() {
            *self.entries.entry(path.top().into()).or_insert(0) += 1;
        }
        self.tree.insert(path.clone(), file);
        self.stamps.insert(path.clone(), stamp);
    }

    /// Takes a file out.
    pub(crate) fn remove(&mut self, path: &TreePath) {
        if self.tree.get(path).is_none() {
            return;
        }
        self.tree.remove(path);
        self.stamps.remove(path);
        let left = self.entries.get(path.top()).copied().unwrap_or(1) - 1;
        if left == 0 {
            self.entries.remove(path.top());
        } else {
            self.entries.insert(path.top().into(), left);
        }
    }

    /// The top-level entries in which another tree differs from this one.
    pub(crate) fn changed_entries(&self, newer: &Tree) -> std::collections::BTreeSet<Arc<str>> {
        newer
            .changes_since(&self.tree)
            .iter()
            .map(|change: &TreeChange| change.path().top().into())
            .collect()
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The first line: the format's version.
    Version(u32),
    File(Row),
    Removed(TreePath),
    Document(Digest),
    /// The end of a section: the digest over its bytes.
    End(Digest),
}

#[derive(Serialize, Deserialize)]
struct Row {
    path: TreePath,
    mode: FileMode,
    size: u64,
    sha256: Digest,
    blob: String,
    stamp: Stamp,
}

const VERSION: u32 = 1;

/// A section as bytes, ended by its checksum.
struct Section(Vec<u8>);

impl Section {
    fn line(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.0, line).expect("lines serialise, and a vector takes all bytes");
        self.0.push(b'\n');
    }

    fn file(&mut self, manifest: &Manifest, path: &TreePath) {
        if let (Some(file), Some(stamp)) = (manifest.tree.get(path), manifest.stamps.get(path)) {
            self.line(&Line::File(Row {
                path: path.clone(),
                mode: file.mode,
                size: file.size,
                sha256: digest_from(file.sha256),
                blob: hex(&file.blob.0),
                stamp: *stamp,
            }));
        } else {
            self.line(&Line::Removed(path.clone()));
        }
    }

    fn finish(mut self, manifest: &Manifest) -> Vec<u8> {
        if let Some(document) = manifest.document {
            self.line(&Line::Document(document));
        }
        let digest = Digest::of_bytes(&self.0);
        self.line(&Line::End(digest));
        self.0
    }
}

/// Writes a whole manifest into a new file and flushes it.
pub(crate) fn write(path: &Path, manifest: &Manifest) -> Result<(), FileError> {
    let mut section = Section(Vec::with_capacity(manifest.tree.len() * 320));
    section.line(&Line::Version(VERSION));
    for (file, _) in manifest.tree.iter() {
        section.file(manifest, file);
    }
    ops::write_new(path, &section.finish(manifest), 0o600)?;
    ops::sync_file(path)
}

/// Appends what differs at some paths, as a section of its own, and flushes it.
pub(crate) fn append<'a>(
    path: &Path,
    manifest: &Manifest,
    paths: impl Iterator<Item = &'a TreePath>,
) -> Result<(), FileError> {
    let mut section = Section(Vec::new());
    for changed in paths {
        section.file(manifest, changed);
    }
    let end = look::meta(path)?.map_or(0, |meta| meta.len());
    ops::write_at(path, end, &section.finish(manifest))?;
    ops::sync_file(path)
}

/// Reads a manifest; none when it is missing, torn or of another version. It can always be made anew by
/// reading the release.
pub(crate) fn read(path: &Path) -> Result<Option<Manifest>, FileError> {
    Ok(look::file(path)?.and_then(|bytes| parse(&bytes)))
}

fn parse(bytes: &[u8]) -> Option<Manifest> {
    let mut manifest = Manifest::default();
    let (mut section, mut offset) = (0, 0);
    while offset < bytes.len() {
        let length = bytes[offset..].iter().position(|byte| *byte == b'\n')? + 1;
        match serde_json::from_slice(&bytes[offset..offset + length]).ok()? {
            Line::Version(version) if offset == 0 && version == VERSION => {}
            Line::Version(_) => return None,
            Line::File(row) => {
                let file = TreeFile {
                    mode: row.mode,
                    blob: BlobId(unhex(&row.blob)?),
                    sha256: unhex(&row.sha256.hex())?,
                    size: row.size,
                };
                manifest.insert(&row.path, file, row.stamp);
            }
            Line::Removed(path) => manifest.remove(&path),
            Line::Document(document) => manifest.document = Some(document),
            Line::End(digest) if digest == Digest::of_bytes(&bytes[section..offset]) => {
                section = offset + length;
            }
            Line::End(_) => return None,
        }
        offset += length;
    }
    (section == bytes.len() && section > 0).then_some(manifest)
}

fn digest_from(sha256: [u8; 32]) -> Digest {
    format!("sha256:{}", hex(&sha256))
        .parse()
        .expect("64 hexadecimal digits are a digest")
}

/// Lowercase hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all text");
            text
        })
}

/// Bytes from lowercase hexadecimal digits, if there are exactly as many.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &[u8]) -> TreeFile {
        let sha256 = unhex(&Digest::of_bytes(contents).hex()).unwrap();
        TreeFile {
            mode: FileMode::Regular,
            blob: BlobId([7; 20]),
            sha256,
            size: contents.len() as u64,
        }
    }

    fn stamp(inode: u64) -> Stamp {
        Stamp {
            inode,
            modified: (1, 2),
            changed: (3, 4),
        }
    }

    #[test]
    fn a_manifest_with_an_appended_section_is_read_back_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let [a, b, c] = ["a/x", "b", "a/line\nbreak"].map(|p| TreePath::new(p).unwrap());
        let mut manifest = Manifest {
            document: Some(Digest::of_bytes(b"1")),
            ..Manifest::default()
        };
        manifest.insert(&a, file(b"a"), stamp(1));
        manifest.insert(&b, file(b"b"), stamp(2));
        write(&path, &manifest).unwrap();
        let first = std::fs::metadata(&path).unwrap().len() as usize;
        manifest.remove(&b);
        manifest.insert(&c, file(b"c"), stamp(3));
        manifest.document = Some(Digest::of_bytes(b"2"));
        append(&path, &manifest, [&b, &c].into_iter()).unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let read = parse(&bytes).unwrap();
        assert_eq!(read.tree, manifest.tree);
        assert_eq!(read.stamps, manifest.stamps);
        assert_eq!(read.entries, manifest.entries);
        assert_eq!(read.document, manifest.document);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]).is_some(), cut == first, "cut at {cut}");
        }
    }

    #[test]
    fn the_entries_count_their_files() {
        let mut manifest = Manifest::default();
        for path in ["d/a", "d/b", "e"] {
            manifest.insert(&TreePath::new(path).unwrap(), file(b"x"), stamp(1));
        }
        assert_eq!(manifest.entries.get("d"), Some(&2));
        manifest.remove(&TreePath::new("d/a").unwrap());
        manifest.remove(&TreePath::new("e").unwrap());
        assert_eq!(manifest.entries, Entries::unit("d".into(), 1));
    }
}
