//! The rules: the candidate's own, and those of the base that it does not have as they were.

use serde_json::Value;

use super::{Candidate, Fit};
use crate::diagnostic::Findings;
use crate::document::{Document, Syntax};
use crate::policy::{Policy, Schema};
use crate::rule::{Owner, Rule, Subject};

/// Has all rules judge the documents that fit.
pub(super) fn check(
    candidate: &Candidate<'_>,
    policy: Option<&Policy>,
    base: Option<&Candidate<'_>>,
    fit: &Fit<'_>,
    findings: &mut Findings,
) {
    let of_base = base.and_then(|base| Some((base, base.policy()?.0)));
    let own = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let others: Vec<&Rule> = of_base
        .iter()
        .flat_map(|(_, policy)| &policy.rules)
        .filter(|rule| !own.iter().any(|own| own.same_as(rule)))
        .collect();
    let name = base.map(Candidate::name).unwrap_or_default();
    let mut paths: Vec<&str> = own
        .iter()
        .chain(others.iter().copied())
        .map(|rule| rule.document.as_str())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        // What one mistake refuses is not told a second time in a rule's words.
        if fit.refused.contains(path) {
            continue;
        }
        let alone = match fit.documents.get(path) {
            Some(_) => None,
            // The candidate's policy does not name it any more: the base's rules hold as long as it is there.
            None => read(candidate, path),
        };
        let (document, schema) = match (fit.documents.get(path), &alone) {
            (Some((document, schema)), _) => (document, fit.schemas.get(schema).and_then(Option::as_ref)),
            (None, Some(document)) => (document, None),
            (None, None) => continue,
        };
        let of = |rule: &&Rule| rule.document == path;
        let names_old = own
            .iter()
            .chain(others.iter().copied())
            .filter(of)
            .any(Rule::names_old);
        let subject = Subject {
            path,
            document,
            schema,
            value: schema.map_or_else(
                || document.value().clone(),
                |schema| schema.complete(document.value()),
            ),
            old: base.filter(|_| names_old).and_then(|base| old(base, path)),
        };
        findings.extend(
            own.iter()
                .filter(of)
                .filter_map(|rule| subject.judge(rule, Owner::Candidate)),
        );
        let others = others.iter().copied().filter(of);
        findings.extend(others.filter_map(|rule| subject.judge(rule, Owner::Base(&name))));
    }
}

fn read(revision: &Candidate<'_>, path: &str) -> Option<Document> {
    let bytes = revision.files.get(path)?;
    // One that is no TOML is refused by whoever judges syntax, or was before.
    Document::parse(path, bytes, Syntax::of_document(path)?).ok()
}

/// The base's document, as its own schema completes it.
fn old(base: &Candidate<'_>, path: &str) -> Option<Value> {
    let document = read(base, path)?;
    let schema = base.policy().and_then(|(policy, _)| {
        let named = policy
            .documents
            .into_iter()
            .find(|document| document.path == path)?;
        Schema::load(&named.schema, base.files).ok()
    });
    let schema = schema.filter(|schema| schema.effort(&document).is_ok());
    Some(schema.map_or_else(
        || document.value().clone(),
        |schema| schema.complete(document.value()),
    ))
}
