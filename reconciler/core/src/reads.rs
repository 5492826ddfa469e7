//! What a service reads: files, and keys of documents. Two releases whose digest over that is equal are the
//! same to the service, so a change elsewhere never touches it.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};
use imbl::OrdMap;
use lockstep_protocol::{Digest, DigestBuilder, FileMode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

use crate::document::{Document, InvalidKeyPath, KeyPath, canonical};
use crate::tree::{InvalidPath, Tree, TreeChange, TreePath};

/// The documents of a release that were read, by published path.
pub type Documents = OrdMap<TreePath, Arc<Document>>;

/// What a service reads, as the settings say it: `["config.toml#scanner", "symbols/*.csv"]`.
///
/// Patterns count from the published folder. `*` stays within a folder, `**` does not. `#key.path` after a
/// pattern means that part of each document it matches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Reads(Vec<Read>);

#[derive(Debug, Clone)]
struct Read {
    text: String,
    files: Files,
    key: Option<KeyPath>,
}

#[derive(Debug, Clone)]
enum Files {
    One(TreePath),
    Matching(GlobMatcher),
}

impl Files {
    fn contain(&self, path: &TreePath) -> bool {
        match self {
            Self::One(one) => one == path,
            Self::Matching(glob) => glob.is_match(path.as_str()),
        }
    }
}

/// An entry of `reads` that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReadsError {
    /// The list is empty.
    #[error("`reads` is empty: leave it out if the service reads everything")]
    Empty,
    /// The pattern before `#` is none.
    #[error("`reads` has {text:?}, which is not a pattern of paths: {error}")]
    Pattern {
        /// The entry.
        text: String,
        /// What is wrong with it.
        error: globset::Error,
    },
    /// The path before `#` cannot be published.
    #[error(
        "`reads` has {text:?}: {error}; write it from the published folder, as in \"config.toml#scanner\""
    )]
    Path {
        /// The entry.
        text: String,
        /// What is wrong with it.
        error: InvalidPath,
    },
    /// What follows `#` is no key path.
    #[error("`reads` has {text:?}: {error}")]
    Key {
        /// The entry.
        text: String,
        /// What is wrong with it.
        error: InvalidKeyPath,
    },
}

impl Default for Reads {
    fn default() -> Self {
        Self::everything()
    }
}

/// The published files of one release, and its documents.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// All files.
    pub tree: &'a Tree,
    /// Those that were read as documents.
    pub documents: &'a Documents,
}

impl Reads {
    /// Every file.
    #[must_use]
    pub fn everything() -> Self {
        Self::parse(&["**".to_owned()]).expect("a pattern that matches everything")
    }

    /// Takes the entries of a settings' `reads`.
    ///
    /// # Errors
    /// When one of them is not a pattern, or there is none.
    pub fn parse(entries: &[String]) -> Result<Self, ReadsError> {
        if entries.is_empty() {
            return Err(ReadsError::Empty);
        }
        entries
            .iter()
            .map(|text| read(text))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The documents that it reads parts of, so that they have to be read.
    pub fn documents<'t>(&self, tree: &'t Tree) -> Vec<&'t TreePath> {
        let parts: Vec<_> = self.0.iter().filter(|read| read.key.is_some()).collect();
        if parts.is_empty() {
            return Vec::new();
        }
        tree.iter()
            .map(|(path, _)| path)
            .filter(|path| parts.iter().any(|read| read.files.contain(path)))
            .collect()
    }

    /// Whether a change of this file, or of this key of it, is one of something read.
    #[must_use]
    pub fn covers(&self, path: &TreePath, key: Option<&KeyPath>) -> bool {
        self.0.iter().any(|read| {
            let part = match (&read.key, key) {
                (Some(part), Some(key)) => key.starts_with(part) || part.starts_with(key),
                (Some(_), None) | (None, _) => true,
            };
            part && read.files.contain(path)
        })
    }

    /// Whether this key of a file is read, and nothing of it lies outside of what is.
    #[must_use]
    pub fn holds(&self, path: &TreePath, key: &KeyPath) -> bool {
        self.0.iter().any(|read| {
            let part = read.key.as_ref().is_none_or(|part| key.starts_with(part));
            part && read.files.contain(path)
        })
    }

    /// Whether what is read differs between two releases; `changes` are all that differ between their trees.
    ///
    /// The same answer as comparing digests, at the cost of the change.
    #[must_use]
    pub fn touched(&self, older: Published<'_>, newer: Published<'_>, changes: &[TreeChange]) -> bool {
        changes.iter().any(|change| {
            let path = change.path();
            self.0
                .iter()
                .filter(|read| read.files.contain(path))
                .any(|read| match &read.key {
                    None => true,
                    Some(key) => part(older, path, key) != part(newer, path, key),
                })
        })
    }

    /// The digest over exactly what is read.
    ///
    /// A part of a document counts as a file named `path#key` with its value as canonical JSON in it; a key
    /// that is absent is `null`.
    #[must_use]
    pub fn digest(&self, published: Published<'_>) -> Digest {
        let mut entries = BTreeMap::new();
        let mut enter = |read: &Read, path: &TreePath| match (&read.key, published.tree.get(path)) {
            (_, None) => {}
            (None, Some(file)) => {
                entries.insert(path.to_string(), (file.mode, file.sha256));
            }
            (Some(key), Some(_)) => {
                if let Some(sha256) = part(published, path, key) {
                    entries.insert(format!("{path}#{key}"), (FileMode::Regular, sha256));
                }
            }
        };
        for read in &self.0 {
            match &read.files {
                Files::One(path) => enter(read, path),
                Files::Matching(glob) => {
                    let paths = published.tree.iter().map(|(path, _)| path);
                    paths
                        .filter(|path| glob.is_match(path.as_str()))
                        .for_each(|path| enter(read, path));
                }
            }
        }
        let mut digest = DigestBuilder::new();
        for (path, (mode, sha256)) in &entries {
            digest.file(*mode, sha256, path);
        }
        digest.finish()
    }
}

/// The hash of a part of a file; none if there is no file. One that is no document counts whole.
fn part(published: Published<'_>, path: &TreePath, key: &KeyPath) -> Option<[u8; 32]> {
    let file = published.tree.get(path)?;
    Some(match published.documents.get(path) {
        Some(document) => Sha256::digest(canonical(document, key)).into(),
        None => file.sha256,
    })
}

fn read(text: &str) -> Result<Read, ReadsError> {
    let text = text.to_owned();
    let (pattern, key) = text
        .split_once('#')
        .map_or((text.as_str(), None), |(path, key)| (path, Some(key)));
    let key = match key.map(str::parse).transpose() {
        Ok(key) => key,
        Err(error) => return Err(ReadsError::Key { text, error }),
    };
    let files = if pattern.contains(['*', '?', '[', '{', '\\']) {
        match GlobBuilder::new(pattern).literal_separator(true).build() {
            Ok(glob) => Files::Matching(glob.compile_matcher()),
            Err(error) => return Err(ReadsError::Pattern { text, error }),
        }
    } else {
        match TreePath::new(pattern) {
            Ok(path) => Files::One(path),
            Err(error) => return Err(ReadsError::Path { text, error }),
        }
    };
    Ok(Read { text, files, key })
}

impl TryFrom<Vec<String>> for Reads {
    type Error = ReadsError;
    fn try_from(entries: Vec<String>) -> Result<Self, ReadsError> {
        Self::parse(&entries)
    }
}

impl From<Reads> for Vec<String> {
    fn from(reads: Reads) -> Self {
        reads.0.into_iter().map(|read| read.text).collect()
    }
}

impl PartialEq for Reads {
    fn eq(&self, other: &Self) -> bool {
        self.0
            .iter()
            .map(|read| &read.text)
            .eq(other.0.iter().map(|read| &read.text))
    }
}

impl Eq for Reads {}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(entries: &[&str]) -> Reads {
        Reads::parse(
            &entries
                .iter()
                .map(|entry| (*entry).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap()
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn key(text: &str) -> KeyPath {
        text.parse().unwrap()
    }

    #[test]
    fn one_star_stays_within_a_folder_and_two_do_not() {
        let one = reads(&["symbols/*.csv"]);
        assert!(one.covers(&path("symbols/us.csv"), None) && !one.covers(&path("symbols/eu/de.csv"), None));
        assert!(reads(&["symbols/**"]).covers(&path("symbols/eu/de.csv"), None));
        assert!(Reads::everything().covers(&path("a/b/c"), None));
    }

    #[test]
    fn a_part_covers_its_keys_and_the_table_around_it() {
        let scanner = reads(&["config.toml#scanner"]);
        assert!(scanner.covers(&path("config.toml"), Some(&key("scanner.port"))));
        assert!(!scanner.covers(&path("config.toml"), Some(&key("scanners"))));
        assert!(reads(&["config.toml#scanner.port"]).covers(&path("config.toml"), Some(&key("scanner"))));
    }

    #[test]
    fn a_wrong_entry_is_refused_with_its_text() {
        for wrong in ["config.toml#", "config.toml#a..b", "/config.toml", "a[", "../x"] {
            let error = Reads::parse(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(Reads::parse(&[]).is_err());
    }
}
