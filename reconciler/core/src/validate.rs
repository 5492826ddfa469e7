//! Whether a candidate may be published: the same answer in the hook, the pull request, the editor and the
//! reconciler.
//!
//! Everything is judged and every diagnostic reported, not the first. Schemas are the candidate's; limits and rules
//! are the candidate's *and* the base's, so that no change disarms what judges it. A file that has to be judged
//! and is not at hand is an error: what was not read is never valid.
//!
//! The cost follows the documents and what changed, not the size of the repository, apart from one sum over
//! the sizes of all files.

mod limits;
pub(crate) mod mistakes;
mod protect;
mod rules;
mod secrets;
mod variants;
mod words;

pub(crate) use words::nearest;
pub use words::{literal, plain};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use lockstep_protocol::Revision;

use crate::diagnostic::{Code, Diagnostic, Findings, LISTED, Report, Sources};
use crate::document::{Bare, Document, KeyPath, Syntax};
use crate::policy::{Approvals, DocumentPolicy, OperatorPolicy, POLICY_PATH, Policy, Schema};
use crate::rule::Rule;
use crate::secret::Scanned;
use crate::tree::{Tree, TreeChange, TreePath};

/// A revision that is being judged, or that another is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The commit; none for what is not committed yet.
    pub revision: Option<&'a Revision>,
    /// The folder of the repository that is published, without `/` at its end; empty for all of it.
    pub prefix: &'a str,
    /// The published files.
    pub tree: &'a Tree,
    /// The contents that [`gather`](crate::policy::gather) names, by path from the repository's root.
    pub files: &'a Sources,
}

impl Candidate<'_> {
    /// The policy as far as it can be read; none if the revision has none.
    pub(crate) fn policy(&self) -> Option<(Policy, Vec<Diagnostic>)> {
        self.files.get(POLICY_PATH).map(|bytes| Policy::read(bytes))
    }

    /// How people call it as a base.
    fn name(&self) -> String {
        self.revision.map_or_else(
            || "the base".to_owned(),
            |revision| format!("the base {}", revision.short()),
        )
    }
}

/// Which published documents are judged when there is no policy that names them.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// All of them.
    All,
    /// Those that differ from a revision whose documents were judged before.
    ///
    /// If that one had a policy, its documents outside the policy were not, so all are judged.
    Changed(Candidate<'a>),
}

/// How a candidate came to be, for rules about the old value, and what else judging it takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// The commits between the base and the candidate along first parents, oldest first. A change that breaks a rule as
    /// a whole holds where each of its steps does: good steps do not add up to a refused leap.
    pub between: &'a [Candidate<'a>],
    /// The candidate's files settled before: the way back to them is not narrower than the way there was, and rules
    /// about the old value do not stand in it.
    pub settled_before: bool,
    /// Who approved of it.
    pub approvals: Approvals<'a>,
    /// What was found looking for secrets; none where only what is at hand is looked through.
    pub scanned: Option<&'a Scanned>,
    /// The operator's own policy, which judges as well.
    pub operator: Option<&'a OperatorPolicy>,
    /// It went live before: then nobody knew of these secrets, and what lies on the volume is not taken back for them.
    pub was_live: bool,
}

/// Whether judging a candidate asks how it came to be: whether a rule of its policy, of the base's or of the operator's
/// names the old value.
#[must_use]
pub fn asks_for_way(
    candidate: &Candidate<'_>,
    base: &Candidate<'_>,
    operator: Option<&OperatorPolicy>,
) -> bool {
    let asks = |policy: &Policy| policy.rules.iter().any(Rule::names_old);
    let policies = [candidate, base].into_iter().filter_map(Candidate::policy);
    policies.into_iter().any(|(policy, _)| asks(&policy)) || operator.is_some_and(|it| asks(&it.policy))
}

/// Whether judging a candidate asks if its files settled before: what is protected goes back without an approval.
#[must_use]
pub fn asks_for_past(
    candidate: &Candidate<'_>,
    base: &Candidate<'_>,
    operator: Option<&OperatorPolicy>,
) -> bool {
    let policies = [candidate, base].into_iter().filter_map(Candidate::policy);
    let protects = |policy: &Policy| !policy.protections.is_empty();
    asks_for_way(candidate, base, operator)
        || policies.into_iter().any(|(policy, _)| protects(&policy))
        || operator.is_some_and(|operator| protects(&operator.policy))
}

/// Judges a candidate against a base: the last Settled revision for the reconciler, the target branch for a
/// pull request, the upstream or HEAD for a hook, nothing for a first one.
#[must_use]
pub fn validate(
    candidate: &Candidate<'_>,
    base: Option<&Candidate<'_>>,
    way: Way<'_>,
    scope: Scope<'_>,
) -> Report {
    let mut findings = Findings::default();
    let policy = candidate.policy().map(|(policy, mistakes)| {
        findings.extend(mistakes);
        policy
    });
    let limits = limits::check(candidate, policy.as_ref(), base, way.operator, &mut findings);
    let fit = match &policy {
        Some(policy) => by_policy(candidate, policy, limits.file_bytes, &mut findings),
        None => {
            by_syntax(candidate, scope, limits.file_bytes, &mut findings);
            Fit::default()
        }
    };
    protect::check(candidate, policy.as_ref(), base, way, &fit, &mut findings);
    rules::check(candidate, policy.as_ref(), base, way, &fit, &mut findings);
    let scanned = match way.was_live {
        true => Cow::Owned(Scanned::default()),
        false => secrets::check(candidate, policy.as_ref(), base, way, &mut findings),
    };
    secrets::keep(findings.report(), candidate, &scanned)
}

/// The documents that fit their schemas: only of those a rule has anything to say, and only once.
#[derive(Default)]
struct Fit<'p> {
    schemas: BTreeMap<&'p str, Option<Schema>>,
    /// With the schema of each.
    documents: BTreeMap<&'p str, (Document, &'p str)>,
    /// Those that do not fit, or cannot be read.
    refused: BTreeSet<&'p str>,
}

fn by_policy<'p>(
    candidate: &Candidate<'_>,
    policy: &'p Policy,
    file_bytes: u64,
    findings: &mut Findings,
) -> Fit<'p> {
    let mut fit = Fit::default();
    for rule in &policy.documents {
        fit.refused.insert(&rule.path);
        if !fit.schemas.contains_key(rule.schema.as_str()) {
            fit.schemas
                .insert(&rule.schema, load_schema(candidate, rule, findings));
        }
        let Some(bytes) = candidate.files.get(&rule.path) else {
            findings.push(absent(candidate, rule));
            continue;
        };
        if bytes.len() as u64 > file_bytes {
            // Its size is the mistake; reading it would be what the limit is there to prevent.
            continue;
        }
        // A policy that names another kind of file was refused.
        let Some(syntax) = Syntax::of_document(&rule.path) else {
            continue;
        };
        let document = match Document::parse(&rule.path, bytes, syntax) {
            Ok(document) => document,
            Err(mistakes) => {
                findings.extend(mistakes);
                continue;
            }
        };
        if let Some(Some(schema)) = fit.schemas.get(rule.schema.as_str()) {
            let mistakes = judge(&rule.path, &document, schema);
            if mistakes.is_empty() {
                fit.refused.remove(rule.path.as_str());
                fit.documents.insert(&rule.path, (document, &rule.schema));
            }
            findings.extend(mistakes);
        }
    }
    fit
}

fn load_schema(candidate: &Candidate<'_>, rule: &DocumentPolicy, findings: &mut Findings) -> Option<Schema> {
    if !candidate.files.contains_key(&rule.schema) {
        let message = format!("there is no schema `{}` in this revision", rule.schema);
        let mistake =
            Diagnostic::error(Code::SchemaAbsent, POLICY_PATH, message).at(rule.schema_span.clone());
        findings.push(mistake.with_help("the path counts from the repository's root"));
        return None;
    }
    Schema::load(&rule.schema, candidate.files)
        .map_err(|mistakes| findings.extend(mistakes))
        .ok()
}

fn absent(candidate: &Candidate<'_>, rule: &DocumentPolicy) -> Diagnostic {
    if published_path(candidate.prefix, &rule.path).is_some_and(|path| candidate.tree.get(&path).is_some()) {
        return not_loaded(&rule.path);
    }
    let message = format!("there is no document `{}` in this revision", rule.path);
    Diagnostic::error(Code::DocumentAbsent, POLICY_PATH, message)
        .at(rule.path_span.clone())
        .with_help("the path counts from the repository's root; to retire a document, take its table out")
}

fn not_loaded(path: &str) -> Diagnostic {
    Diagnostic::error(
        Code::NotLoaded,
        path,
        "the contents of this file were not read, so it cannot be judged",
    )
    .with_help("this is a fault of the program: report it")
}

/// What a schema finds wrong with a document.
fn judge(path: &str, document: &Document, schema: &Schema) -> Vec<Diagnostic> {
    if let Err(too_much) = schema.effort(document) {
        let mistake = Diagnostic::error(Code::SchemaEffort, schema.path(), too_much.message(path));
        return vec![mistake.with_help("nest fewer alternatives and references in one another")];
    }
    let mut diagnostics: Vec<_> = document
        .non_finite()
        .take(2 * LISTED)
        .map(|key| {
            let message = format!("`{}` must be a finite number", key.name());
            Diagnostic::error(Code::NumberRange, path, message)
                .at(document.value_span(key))
                .about(key.clone())
                .with_help("a schema has no word for `inf` and `nan`: write a number, or leave the key out")
        })
        .collect();
    let judged = mistakes::explain(schema.judge(document), path, document, Some(schema));
    // Of such a number the schema only sees that it is none.
    let reported = |key: &KeyPath| document.bare(key) == Some(Bare::NonFinite);
    diagnostics.extend(
        judged
            .into_iter()
            .filter(|mistake| !mistake.key.as_ref().is_some_and(reported)),
    );
    diagnostics
}

fn by_syntax(candidate: &Candidate<'_>, scope: Scope<'_>, file_bytes: u64, findings: &mut Findings) {
    for path in published_documents(candidate.tree, scope) {
        let repo_path = repo_path(candidate.prefix, &path);
        if candidate
            .tree
            .get(&path)
            .is_some_and(|file| file.size > file_bytes)
        {
            continue;
        }
        match candidate.files.get(&repo_path) {
            None => findings.push(not_loaded(&repo_path)),
            Some(bytes) => {
                let mistakes = Document::parse(&repo_path, bytes, Syntax::Toml)
                    .err()
                    .unwrap_or_default();
                findings.extend(mistakes);
            }
        }
    }
}

/// The published documents to judge when no policy names them, in byte order of path.
pub(crate) fn published_documents(tree: &Tree, scope: Scope<'_>) -> Vec<TreePath> {
    let document = |path: &&TreePath| Syntax::is_always_judged(path.as_str());
    let all = || {
        tree.iter()
            .map(|(path, _)| path)
            .filter(document)
            .cloned()
            .collect()
    };
    match scope {
        Scope::All => all(),
        Scope::Changed(base) if base.files.contains_key(POLICY_PATH) => all(),
        Scope::Changed(base) => {
            let changes = tree.changes_since(base.tree);
            let there = changes
                .iter()
                .map(TreeChange::path)
                .filter(|path| tree.get(path).is_some());
            there.filter(document).cloned().collect()
        }
    }
}

/// A published path, from the repository's root.
#[must_use]
pub fn repo_path(prefix: &str, path: &TreePath) -> String {
    if prefix.is_empty() {
        path.to_string()
    } else {
        format!("{prefix}/{path}")
    }
}

/// A path from the repository's root, from the published folder; none if it lies outside.
#[must_use]
pub fn published_path(prefix: &str, path: &str) -> Option<TreePath> {
    let path = if prefix.is_empty() {
        path
    } else {
        path.strip_prefix(prefix)?.strip_prefix('/')?
    };
    TreePath::new(path).ok()
}
