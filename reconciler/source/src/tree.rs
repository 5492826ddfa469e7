//! The published tree of a revision, whole or by what differs from an older one.
//!
//! In this order, so that nothing large is loaded before it is known to be allowed: names and modes, then
//! sizes out of the objects' headers, then the limits, then the contents of what changed, to hash them.

use std::collections::HashMap;

use git2::{ErrorClass, ObjectType, Odb, OdbObject, Oid, Tree as GitTree, TreeEntry};
use lockstep_core::counts::Counts;
use lockstep_core::tree::{BlobId, Tree, TreeFile, TreePath};
use lockstep_protocol::Revision;
use sha2::{Digest as _, Sha256};

use crate::refusal::{Reason, Refusal, TreeRefused};
use crate::walk::{Changed, Walk, Walked, from_root};
use crate::{Limits, Mirror, SourceError, libgit, pack};

impl Mirror {
    /// The published tree of a revision, within the spec's limits.
    ///
    /// With `base`, an older revision and the tree that *this function* gave for it, only what differs is
    /// looked at, read and hashed; what was accepted in `base` is not judged again by name or mode. The outcome
    /// is the same either way.
    ///
    /// # Errors
    /// [`SourceError::Refused`] with every refusal when it cannot be published.
    pub fn tree(&self, revision: &Revision, base: Option<(&Revision, &Tree)>) -> Result<Tree, SourceError> {
        self.tree_within(revision, base, &self.spec.limits)
    }

    /// The same within other limits, such as those of a policy.
    ///
    /// # Errors
    /// As [`Mirror::tree`].
    pub fn tree_within(
        &self,
        revision: &Revision,
        base: Option<(&Revision, &Tree)>,
        limits: &Limits,
    ) -> Result<Tree, SourceError> {
        let new = self.published(revision)?;
        // A base whose folder cannot be found any more is no base.
        let base = base.and_then(|(older, tree)| Some((self.published(older).ok()?, tree)));
        let (old, base) = match base {
            Some((old, tree)) => (Some(old), tree.clone()),
            None => (None, Tree::new()),
        };
        let walk = Walk::new(&self.repo, &self.spec.path, limits.files);
        let walked = walk.run(new, old).map_err(|e| self.damaged(&e))?;
        let odb = self.repo.odb().map_err(|e| self.damaged(&e))?;

        let mut pending = Pending::new(base, &walked);
        for changed in walked.changed {
            let size = self.size(&odb, changed.oid)?;
            pending.insert(changed, size);
        }
        let mut refusals = walked.refusals;
        refusals.extend(self.beyond(limits, &pending.tree));
        if !refusals.is_empty() {
            self.trust_sizes(&refusals)?;
            refusals.sort_unstable();
            refusals.dedup();
            return Err(Box::new(TreeRefused {
                revision: revision.clone(),
                refusals,
            })
            .into());
        }
        pending
            .hash(|oid| odb.read(oid), &self.counts)
            .map_err(|e| self.damaged(&e))
    }

    /// One file of a revision by its path from the repository's root, whether it is published or not: the
    /// policy, a schema. None if there is no such file.
    ///
    /// # Errors
    /// When it is something else than a file, or larger than the spec's limit.
    pub fn file(&self, revision: &Revision, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let refused = |why: String| SourceError::FileRefused {
            revision: revision.to_string(),
            path: path.to_owned(),
            why,
        };
        if TreePath::new(path).is_err() {
            return Err(refused(
                "that is no path from the repository's root. Write it without ./ and ../".to_owned(),
            ));
        }
        let (mut folder, parts) = (
            self.find_commit(revision)?.tree_id(),
            path.split('/').collect::<Vec<_>>(),
        );
        for (at, part) in parts.iter().enumerate() {
            let tree = self.folder(revision, &parts[..at].join("/"), folder)?;
            let Some(entry) = tree.get_name(part) else {
                return Ok(None);
            };
            let last = at + 1 == parts.len();
            match (kind_of(&entry), last) {
                (EntryKind::Folder, false) => folder = entry.id(),
                (EntryKind::File, true) => return self.bounded(entry.id(), refused).map(Some),
                // A file where a folder would have to be: there is nothing below it.
                (EntryKind::File, false) => return Ok(None),
                (EntryKind::Folder, true) => return Err(refused("it is a folder. Name a file".to_owned())),
                (EntryKind::Symlink | EntryKind::Other, _) => {
                    let reason = if kind_of(&entry) == EntryKind::Symlink {
                        Reason::Symlink
                    } else {
                        Reason::Submodule
                    };
                    let at = parts[..=at].join("/");
                    return Err(refused(format!("{at} {}. {}", reason.why(), reason.next_step())));
                }
            }
        }
        Ok(None)
    }

    fn bounded(&self, oid: Oid, refused: impl Fn(String) -> SourceError) -> Result<Vec<u8>, SourceError> {
        let odb = self.repo.odb().map_err(|e| self.damaged(&e))?;
        let bytes = self.size(&odb, oid)?;
        let limit = self.spec.limits.file_bytes;
        if bytes > limit {
            pack::verify(&self.dir)?;
            let reason = Reason::FileTooLarge { bytes, limit };
            return Err(refused(format!("it {}. Make it smaller", reason.why())));
        }
        Ok(odb.read(oid).map_err(|e| self.damaged(&e))?.data().to_vec())
    }

    /// The id of the published folder in a revision.
    pub(crate) fn published(&self, revision: &Revision) -> Result<Oid, SourceError> {
        let mut folder = self.find_commit(revision)?.tree_id();
        let mut inside = String::new();
        for part in self.spec.path.split('/').filter(|part| !part.is_empty()) {
            let tree = self.folder(revision, &inside, folder)?;
            let Some(entry) = tree.get_name(part) else {
                let exists = tree
                    .iter()
                    .map(|e| String::from_utf8_lossy(e.name_bytes()).into_owned())
                    .collect();
                let (revision, path) = (revision.to_string(), self.spec.path.clone());
                return Err(SourceError::PathMissing {
                    revision,
                    path,
                    inside,
                    exists,
                });
            };
            inside = from_root(&inside, part);
            let what = match kind_of(&entry) {
                EntryKind::Folder => {
                    folder = entry.id();
                    continue;
                }
                EntryKind::File => "a file",
                EntryKind::Symlink => "a symbolic link",
                EntryKind::Other => "a submodule",
            };
            return Err(SourceError::PathNotAFolder {
                revision: revision.to_string(),
                path: inside,
                what,
            });
        }
        Ok(folder)
    }

    /// A folder on the way to what is looked for. Bytes that git cannot parse are as they were committed: that is
    /// no damage.
    fn folder(&self, revision: &Revision, path: &str, oid: Oid) -> Result<GitTree<'_>, SourceError> {
        self.repo.find_tree(oid).map_err(|e| {
            if e.class() != ErrorClass::Tree {
                return self.damaged(&e);
            }
            let refusals = vec![Refusal {
                path: path.to_owned(),
                reason: Reason::Malformed,
            }];
            Box::new(TreeRefused {
                revision: revision.clone(),
                refusals,
            })
            .into()
        })
    }

    /// A blob's size out of its header: its contents are not loaded.
    fn size(&self, odb: &Odb<'_>, oid: Oid) -> Result<u64, SourceError> {
        let (size, _) = odb.read_header(oid).map_err(|e| self.damaged(&e))?;
        Ok(size as u64)
    }

    /// A rejection is final, and a header is not covered by its object's hash as names and contents are: a size
    /// that is held against a revision is believed when the packs are whole.
    fn trust_sizes(&self, refusals: &[Refusal]) -> Result<(), SourceError> {
        let by_size = |refusal: &Refusal| {
            matches!(
                refusal.reason,
                Reason::FileTooLarge { .. } | Reason::TooManyBytes { .. }
            )
        };
        if refusals.iter().any(by_size) {
            pack::verify(&self.dir)
        } else {
            Ok(())
        }
    }

    /// What is beyond the limits in the tree that would come out, unchanged files included: limits may have
    /// become narrower since the base.
    fn beyond(&self, limits: &Limits, tree: &Tree) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut folders = Folders::default();
        let mut bytes = 0;
        for (path, file) in tree.iter() {
            bytes += file.size;
            folders.next(path.as_str());
            if file.size > limits.file_bytes {
                let reason = Reason::FileTooLarge {
                    bytes: file.size,
                    limit: limits.file_bytes,
                };
                refusals.push(Refusal {
                    path: from_root(&self.spec.path, path.as_str()),
                    reason,
                });
            }
        }
        let whole = [
            (
                tree.len() as u64 > limits.files,
                Reason::TooManyFiles { limit: limits.files },
            ),
            (
                folders.count > limits.files,
                Reason::TooManyFolders { limit: limits.files },
            ),
            (
                bytes > limits.total_bytes,
                Reason::TooManyBytes {
                    bytes,
                    limit: limits.total_bytes,
                },
            ),
        ];
        let too_much = whole.into_iter().filter(|(beyond, _)| *beyond);
        refusals.extend(too_much.map(|(_, reason)| Refusal {
            path: self.spec.path.clone(),
            reason,
        }));
        refusals
    }
}

/// A tree whose changed files have no hash yet: their sizes are known, their contents were not read.
struct Pending {
    tree: Tree,
    unread: Vec<(TreePath, TreeFile, Oid)>,
    /// Hash and size of contents that the base had elsewhere: a renamed folder, a mode that flipped.
    known: HashMap<BlobId, ([u8; 32], u64)>,
}

impl Pending {
    fn new(base: Tree, walked: &Walked) -> Self {
        let mut pending = Self {
            tree: base,
            unread: Vec::new(),
            known: HashMap::new(),
        };
        let changed = walked.changed.iter().map(|changed| &changed.path);
        for file in walked
            .removed
            .iter()
            .chain(changed)
            .filter_map(|path| pending.tree.get(path))
        {
            pending.known.insert(file.blob, (file.sha256, file.size));
        }
        for path in &walked.removed {
            pending.tree.remove(path);
        }
        pending
    }

    fn insert(&mut self, Changed { path, mode, oid }: Changed, size: u64) {
        let file = TreeFile {
            mode,
            blob: libgit::blob_id(oid),
            sha256: [0; 32],
            size,
        };
        self.tree.insert(path.clone(), file);
        self.unread.push((path, file, oid));
    }

    /// Reads and hashes what is not known.
    fn hash<'odb>(
        mut self,
        read: impl Fn(Oid) -> Result<OdbObject<'odb>, git2::Error>,
        counts: &Counts,
    ) -> Result<Tree, git2::Error> {
        counts.begin(self.unread.len() as u64);
        for (path, file, oid) in self.unread {
            let (sha256, size) = match self.known.get(&file.blob) {
                Some(known) => *known,
                None => {
                    let contents = read(oid)?;
                    let hashed = (Sha256::digest(contents.data()).into(), contents.len() as u64);
                    self.known.insert(file.blob, hashed);
                    hashed
                }
            };
            self.tree.insert(path, TreeFile { sha256, size, ..file });
            counts.add(1, size);
        }
        Ok(self.tree)
    }
}

/// Counts the folders on the way to files that come in byte order: those of one folder follow each other, so a
/// folder is new where a path leaves the one before it.
#[derive(Default)]
struct Folders<'tree> {
    count: u64,
    before: &'tree str,
}

impl<'tree> Folders<'tree> {
    fn next(&mut self, path: &'tree str) {
        let shared = path
            .bytes()
            .zip(self.before.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        self.count += path.as_bytes()[shared..]
            .iter()
            .filter(|byte| **byte == b'/')
            .count() as u64;
        self.before = path;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder,
    File,
    Symlink,
    Other,
}

pub(crate) fn kind_of(entry: &TreeEntry<'_>) -> EntryKind {
    match (entry.kind(), entry.filemode_raw()) {
        (Some(ObjectType::Tree), _) => EntryKind::Folder,
        (Some(ObjectType::Blob), 0o120_000) => EntryKind::Symlink,
        (Some(ObjectType::Blob), _) => EntryKind::File,
        _ => EntryKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_counted_once_each() {
        let count = |paths: &[&'static str]| {
            let mut folders = Folders::default();
            paths.iter().for_each(|path| folders.next(path));
            folders.count
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["a", "b"]), 0);
        assert_eq!(count(&["a-b/x", "a/b/c", "a/b/d", "a/c", "ab/c/x", "ab/d/x"]), 6);
    }
}
