//! Which files of a revision are looked through, and what was found in them.
//!
//! What the base has was looked through when it came; only what differs from it is looked at, so that the cost follows
//! the change. Where the candidate's own policy asks for more than the base's did, all is looked at again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Found, Scanner};
use crate::diagnostic::{LISTED, Sources};
use crate::policy::Policy;
use crate::tree::{TreeChange, TreePath};
use crate::validate::{Candidate, published_path, repo_path};

/// What was found, by file from the repository's root: a file that was looked through is here, with nothing if it is
/// clean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned(pub(crate) BTreeMap<String, Vec<Found>>);

impl Scanned {
    /// Whether a file was looked through.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// Whether a file is the repository's: an operator's is known by where it lies on this machine.
fn of_repository(path: &str) -> bool {
    !path.starts_with('/')
}

/// Looks through a candidate with the caller's `read`, which takes a path from the published folder; gives what was
/// found, and the contents of the files that it was found in.
///
/// # Errors
/// The first error of `read`.
pub fn scan<E>(
    candidate: &Candidate<'_>,
    base: Option<&Candidate<'_>>,
    operator: Option<&Policy>,
    mut read: impl FnMut(&TreePath) -> Result<Option<Arc<[u8]>>, E>,
) -> Result<(Scanned, Sources), E> {
    let policies = [Some(candidate), base].map(|it| it.and_then(|it| it.policy()).map(|(policy, _)| policy));
    let own = policies.iter().flatten().chain(operator);
    let scanner = Scanner::new(own.flat_map(|policy| &policy.secrets.patterns));
    let mut scanned = Scanned::default();
    let mut with_secrets = Sources::new();
    let (published, others) = to_scan(candidate, base);
    for path in published {
        let name = repo_path(candidate.prefix, &path);
        let contents = match candidate.files.get(&name) {
            Some(contents) => Some(Arc::clone(contents)),
            None => read(&path)?,
        };
        let Some(contents) = contents else { continue };
        let found = scanner.look(&contents);
        if !found.is_empty() && with_secrets.len() < LISTED {
            with_secrets.insert(name.clone(), contents);
        }
        scanned.0.insert(name, found);
    }
    for name in others {
        if let Some(contents) = candidate.files.get(&name) {
            scanned.0.insert(name, scanner.look(contents));
        }
    }
    Ok((scanned, with_secrets))
}

/// The published files, and those beside them, that were not looked through with the base.
pub(crate) fn to_scan(
    candidate: &Candidate<'_>,
    base: Option<&Candidate<'_>>,
) -> (Vec<TreePath>, Vec<String>) {
    let base = base.filter(|base| !asks_for_more(candidate, base));
    let published = match base {
        None => candidate.tree.iter().map(|(path, _)| path.clone()).collect(),
        Some(base) => {
            let changes = candidate.tree.changes_since(base.tree);
            let there = changes.iter().filter_map(|change| match change {
                TreeChange::Added(path, _) | TreeChange::Modified(path, _) => Some(path.clone()),
                TreeChange::Removed(_) => None,
            });
            there.collect()
        }
    };
    let others = candidate.files.iter().filter(|(path, contents)| {
        let published =
            published_path(candidate.prefix, path).is_some_and(|path| candidate.tree.get(&path).is_some());
        let known = base.is_some_and(|base| base.files.get(*path) == Some(contents));
        !published && !known && of_repository(path)
    });
    (published, others.map(|(path, _)| path.clone()).collect())
}

/// Whether the candidate's policy refuses what the base's let pass.
fn asks_for_more(candidate: &Candidate<'_>, base: &Candidate<'_>) -> bool {
    let secrets = |it: &Candidate<'_>| it.policy().map(|(policy, _)| policy.secrets).unwrap_or_default();
    secrets(candidate).asks_more_than(&secrets(base))
}
