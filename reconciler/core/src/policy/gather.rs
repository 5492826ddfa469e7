//! Which files have to be read to judge a candidate, and to plan it.

use std::sync::Arc;

use super::schema::references;
use super::{POLICY_PATH, Policy};
use crate::diagnostic::Sources;
use crate::reads::Reads;
use crate::tree::{Tree, TreePath};
use crate::validate::{Scope, published_documents, repo_path};

/// The documents and schemas that a policy names, from the repository's root.
///
/// What the schemas refer to comes on top: [`references`] tells it, [`gather`] does all of it.
#[must_use]
pub fn needs(policy: &[u8]) -> Vec<String> {
    let (policy, _) = Policy::read(policy);
    let mut paths: Vec<_> = policy
        .documents
        .into_iter()
        .flat_map(|document| [document.path, document.schema])
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Reads all that validating and planning a candidate will look at, with the caller's `read`.
///
/// `read` takes a path from the repository's root and gives nothing if the revision has no such file.
/// With a policy these are its documents, their schemas and what `reads` names keys of; without one, the
/// published documents of the `scope`. What the rules of a `base` judge is read as well.
///
/// # Errors
/// The first error of `read`.
pub fn gather<E>(
    tree: &Tree,
    prefix: &str,
    scope: Scope<'_>,
    reads: &[&Reads],
    base: Option<&Sources>,
    mut read: impl FnMut(&str) -> Result<Option<Arc<[u8]>>, E>,
) -> Result<Sources, E> {
    let mut sources = Sources::new();
    let mut wanted: Vec<String> = match read(POLICY_PATH)? {
        Some(policy) => {
            let wanted = needs(&policy);
            sources.insert(POLICY_PATH.to_owned(), policy);
            wanted
        }
        None => published_documents(tree, scope)
            .iter()
            .map(|path| repo_path(prefix, path))
            .collect(),
    };
    let base = base.and_then(|base| base.get(POLICY_PATH));
    wanted.extend(base.into_iter().flat_map(|policy| {
        let (policy, _) = Policy::read(policy);
        policy.rules.into_iter().map(|rule| rule.document)
    }));
    let parts = reads.iter().flat_map(|reads| reads.documents(tree));
    wanted.extend(parts.map(|path: &TreePath| repo_path(prefix, path)));
    while let Some(path) = wanted.pop() {
        if sources.contains_key(&path) {
            continue;
        }
        let Some(contents) = read(&path)? else { continue };
        if !path.ends_with(".toml") {
            wanted.extend(references(&path, &contents));
        }
        sources.insert(path, contents);
    }
    Ok(sources)
}
