//! A revision as the plan compares it: its files, its documents, and what changing their keys takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use lockstep_protocol::{Digest, Revision};
use serde_json::Value;

use super::PlanRule;
use crate::document::{Document, KeyPath, Syntax};
use crate::policy::{Effect, POLICY_PATH, Policy, Restart, Schema};
use crate::reads::{Documents, Published};
use crate::tree::{Tree, TreePath};
use crate::validate::{Candidate, published_path};

/// A revision as the plan compares it. A clone costs little.
#[derive(Debug, Clone)]
pub struct Snapshot {
    revision: Option<Revision>,
    digest: Digest,
    tree: Tree,
    documents: Documents,
    schemas: BTreeMap<TreePath, Arc<Schema>>,
    effects: Arc<[Effect]>,
    rules: Arc<[PlanRule]>,
}

impl Snapshot {
    /// Takes what is at hand of a candidate: a document that was not read counts as a whole file.
    ///
    /// `previous` is any earlier revision, best the live one: what did not change since is not read again, and
    /// need not be at hand.
    #[must_use]
    pub fn of(candidate: &Candidate<'_>, previous: Option<&Self>) -> Self {
        let mut documents = previous
            .map(|previous| previous.carried(candidate.tree))
            .unwrap_or_default();
        for (repo_path, bytes) in candidate.files {
            let Some(syntax) = Syntax::of_document(repo_path) else {
                continue;
            };
            let Some(path) = published_path(candidate.prefix, repo_path) else {
                continue;
            };
            if candidate.tree.get(&path).is_none() || documents.contains_key(&path) {
                continue;
            }
            if let Ok(document) = Document::parse(repo_path, bytes, syntax) {
                documents.insert(path, Arc::new(document));
            }
        }
        let policy = candidate
            .files
            .get(POLICY_PATH)
            .map(|bytes| Policy::read(bytes).0)
            .unwrap_or_default();
        let mut loaded: BTreeMap<&str, Option<Arc<Schema>>> = BTreeMap::new();
        let mut schemas = BTreeMap::new();
        for document in &policy.documents {
            let Some(path) = published_path(candidate.prefix, &document.path) else {
                continue;
            };
            let schema = loaded.entry(&document.schema).or_insert_with(|| {
                let there = candidate.files.contains_key(&document.schema);
                there
                    .then(|| Schema::load(&document.schema, candidate.files).ok().map(Arc::new))
                    .flatten()
            });
            schemas.extend(schema.clone().map(|schema| (path, schema)));
        }
        let rules = policy.rules.into_iter().filter_map(|rule| {
            Some(PlanRule {
                path: published_path(candidate.prefix, &rule.document)?,
                name: rule.name,
                severity: rule.severity,
            })
        });
        Self {
            revision: candidate.revision.cloned(),
            digest: candidate.tree.digest(),
            tree: candidate.tree.clone(),
            documents,
            schemas,
            effects: policy.effects.into(),
            rules: rules.collect(),
        }
    }

    /// The documents that another tree has unchanged.
    fn carried(&self, tree: &Tree) -> Documents {
        let mut documents = self.documents.clone();
        for change in tree.changes_since(&self.tree) {
            documents.remove(change.path());
        }
        documents
    }

    /// The commit; none for what is not committed yet.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    /// The digest over all files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its files and documents, as [`Reads`](crate::reads::Reads) wants them.
    #[must_use]
    pub fn published(&self) -> Published<'_> {
        Published {
            tree: &self.tree,
            documents: &self.documents,
        }
    }

    pub(super) fn document(&self, path: &TreePath) -> Option<&Document> {
        OrdMap::get(&self.documents, path).map(Arc::as_ref)
    }

    /// What the schema of a document says about one of its keys.
    #[must_use]
    pub fn annotation(&self, path: &TreePath, key: &KeyPath, keyword: &str) -> Option<&Value> {
        self.schemas.get(path)?.annotation(key, keyword)
    }

    /// The rules of its policy about published documents.
    pub(super) fn rules(&self) -> &[PlanRule] {
        &self.rules
    }

    /// Who must restart when this key has, or had, this value: what schema and policy say.
    pub(super) fn restarts(&self, path: &TreePath, key: &KeyPath, value: Option<&Value>) -> Vec<Restart> {
        let mut found = self
            .schemas
            .get(path)
            .map(|schema| schema.restarts(key, value))
            .unwrap_or_default();
        let named = self
            .effects
            .iter()
            .filter(|effect| effect.keys.iter().any(|pattern| pattern.meets(key)));
        found.extend(named.map(|effect| effect.restart.clone()));
        found
    }
}
