//! Which files have to be read to judge a candidate, and to plan it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::schema::references;
use super::{POLICY_PATH, Policy};
use crate::diagnostic::Sources;
use crate::reads::Reads;
use crate::tree::{Tree, TreePath};
use crate::validate::{Scope, published_documents, repo_path};

/// The documents, and the schemas, that a policy names, from the repository's root.
fn named(policy: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (policy, _) = Policy::read(policy);
    let each = policy.documents.into_iter();
    each.map(|document| (document.path, document.schema)).unzip()
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
    let mut schemas = BTreeSet::new();
    let mut wanted: Vec<String> = match read(POLICY_PATH)? {
        Some(policy) => {
            let (documents, named) = named(&policy);
            sources.insert(POLICY_PATH.to_owned(), policy);
            schemas = named;
            documents.into_iter().collect()
        }
        None => published_documents(tree, scope)
            .iter()
            .map(|path| repo_path(prefix, path))
            .collect(),
    };
    let base = base.and_then(|base| base.get(POLICY_PATH));
    wanted.extend(base.into_iter().flat_map(|policy| {
        let (policy, _) = Policy::read(policy);
        let protected = policy.protections.into_iter().filter_map(|it| it.document);
        let named = policy.documents.into_iter().map(|it| it.path);
        let rules = policy.rules.into_iter().map(|rule| rule.document);
        rules.chain(protected).chain(named).collect::<Vec<_>>()
    }));
    let parts = reads.iter().flat_map(|reads| reads.documents(tree));
    wanted.extend(parts.map(|path: &TreePath| repo_path(prefix, path)));
    for path in wanted {
        if !sources.contains_key(&path)
            && let Some(contents) = read(&path)?
        {
            sources.insert(path, contents);
        }
    }
    // A document may hold words that refer in a schema, so only schemas are asked.
    let mut seen = BTreeSet::new();
    while let Some(path) = schemas.pop_first() {
        let contents = match sources.get(&path) {
            Some(contents) => Some(contents.clone()),
            None => read(&path)?,
        };
        seen.insert(path.clone());
        let Some(contents) = contents else { continue };
        let further = references(&path, &contents).into_iter();
        schemas.extend(further.filter(|path| !seen.contains(path)));
        sources.insert(path, contents);
    }
    Ok(sources)
}
