//! A revision in memory, as the reconciler would gather it.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use lockstep_core::diagnostic::{Report, Sources};
use lockstep_core::tree::{BlobId, Tree, TreeFile, TreePath};
use lockstep_core::validate::{Candidate, Scope, Way, validate};
use lockstep_protocol::FileMode;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Default)]
pub(crate) struct Repo {
    pub(crate) prefix: String,
    pub(crate) tree: Tree,
    pub(crate) files: Sources,
}

impl Repo {
    /// An empty revision of which this folder is published.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..Self::default()
        }
    }

    /// Adds or replaces a file, by its path from the repository's root.
    pub(crate) fn add(&mut self, path: &str, contents: impl AsRef<[u8]>) -> &mut Self {
        let contents = contents.as_ref();
        if let Some(path) = self.published(path) {
            self.tree.insert(path, file(contents));
        }
        self.files.insert(path.to_owned(), Arc::from(contents));
        self
    }

    /// Takes a file out.
    pub(crate) fn remove(&mut self, path: &str) -> &mut Self {
        if let Some(path) = self.published(path) {
            self.tree.remove(&path);
        }
        self.files.remove(path);
        self
    }

    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            revision: None,
            prefix: &self.prefix,
            tree: &self.tree,
            files: &self.files,
        }
    }

    fn published(&self, path: &str) -> Option<TreePath> {
        if self.prefix.is_empty() {
            return (!path.starts_with('.')).then(|| TreePath::new(path).unwrap());
        }
        let below = path.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        Some(TreePath::new(below).unwrap())
    }
}

/// A file as git has it.
pub(crate) fn file(contents: &[u8]) -> TreeFile {
    TreeFile {
        mode: FileMode::Regular,
        blob: BlobId([0; 20]),
        sha256: Sha256::digest(contents).into(),
        size: contents.len() as u64,
    }
}

/// What is found wrong with all of a revision, against a base if there is one.
pub(crate) fn judged(repo: &Repo, base: Option<&Repo>) -> Report {
    let base = base.map(Repo::candidate);
    validate(&repo.candidate(), base.as_ref(), Way::default(), Scope::All)
}
