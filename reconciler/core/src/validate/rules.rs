//! The rules: the candidate's own, those of the base that it does not have as they were, and the operator's.

use serde_json::Value;

use super::{Candidate, Fit, Way};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::document::{Document, Syntax};
use crate::policy::{POLICY_PATH, Policy, Schema};
use crate::rule::{MOST_TOGETHER, Owner, Rule, Subject};

/// Has all rules judge the documents that fit.
pub(super) fn check(
    candidate: &Candidate<'_>,
    policy: Option<&Policy>,
    base: Option<&Candidate<'_>>,
    way: Way<'_>,
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
    paths.extend(
        way.operator
            .into_iter()
            .flat_map(|it| &it.policy.rules)
            .map(|rule| rule.document.as_str()),
    );
    paths.sort_unstable();
    paths.dedup();
    let mut left = MOST_TOGETHER;
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
        let value = schema.map_or_else(
            || document.value().clone(),
            |schema| schema.complete(document.value()),
        );
        let mut subject = Subject {
            path,
            document,
            schema,
            value,
            old: None,
        };
        let rules: Vec<(&Rule, Owner<'_>)> = own
            .iter()
            .filter(of)
            .map(|rule| (rule, Owner::Candidate))
            .chain(
                others
                    .iter()
                    .copied()
                    .filter(of)
                    .map(|rule| (rule, Owner::Base(&name))),
            )
            .chain(way.operator.into_iter().flat_map(|operator| {
                let rules = operator.policy.rules.iter().filter(of);
                rules.map(|rule| (rule, Owner::Operator(&operator.path)))
            }))
            .collect();
        let (about_old, plain): (Vec<_>, Vec<_>) = rules.into_iter().partition(|(rule, _)| rule.names_old());
        for (rule, owner) in plain {
            if !afford(&subject, rule, &mut left) {
                return findings.push(too_many());
            }
            findings.extend(subject.judge(rule, owner));
        }
        if about_old.is_empty() || way.settled_before {
            continue;
        }
        let before = base.and_then(|base| completed(base, path));
        // What goes live is the change as a whole: where that holds, it does not matter by which steps it came.
        subject.old.clone_from(&before);
        let mut broken = Vec::new();
        for (rule, owner) in about_old {
            if !afford(&subject, rule, &mut left) {
                return findings.push(too_many());
            }
            broken.extend(subject.judge(rule, owner).map(|mistake| (rule, owner, mistake)));
        }
        if way.between.is_empty() {
            findings.extend(broken.into_iter().map(|(_, _, mistake)| mistake));
            continue;
        }
        if broken.is_empty() {
            continue;
        }
        // One whose document cannot be read is no step.
        let steps = way.between.iter();
        let steps = steps.filter_map(|step| Some((step.revision, completed(step, path)?)));
        let steps: Vec<_> = steps.chain([(None, subject.value.clone())]).collect();
        for (rule, owner, _) in broken {
            let mut old = before.clone();
            for (revision, value) in &steps {
                subject.old = old.replace(value.clone());
                subject.value.clone_from(value);
                if !afford(&subject, rule, &mut left) {
                    return findings.push(too_many());
                }
                let Some(mut mistake) = subject.judge(rule, owner) else {
                    continue;
                };
                if let Some(revision) = revision {
                    mistake.message = format!("{}, in the commit {}", mistake.message, revision.short());
                }
                findings.push(mistake);
                break;
            }
        }
    }
}

/// Takes what a rule costs from what is left; not where that is not enough.
fn afford(subject: &Subject<'_>, rule: &Rule, left: &mut u64) -> bool {
    match left.checked_sub(subject.cost(rule)) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

/// A change brings its own rules, as many as it likes: those that are not evaluated hold for nobody.
fn too_many() -> Diagnostic {
    let message = format!("the rules together would take more than {MOST_TOGETHER} steps");
    Diagnostic::error(Code::RuleEffort, POLICY_PATH, message)
        .with_help("make fewer rules of it, or such as look at less")
}

pub(super) fn read(revision: &Candidate<'_>, path: &str) -> Option<Document> {
    let bytes = revision.files.get(path)?;
    // One whose syntax is broken is refused by whoever judges syntax, or was before.
    Document::parse(path, bytes, Syntax::of_document(path)?).ok()
}

/// The document of another revision, as its own schema completes it.
pub(super) fn completed(revision: &Candidate<'_>, path: &str) -> Option<Value> {
    let document = read(revision, path)?;
    let schema = revision.policy().and_then(|(policy, _)| {
        let named = policy
            .documents
            .into_iter()
            .find(|document| document.path == path)?;
        Schema::load(&named.schema, revision.files).ok()
    });
    let schema = schema.filter(|schema| schema.effort(&document).is_ok());
    Some(schema.map_or_else(
        || document.value().clone(),
        |schema| schema.complete(document.value()),
    ))
}
