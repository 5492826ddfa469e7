//! A report as SARIF 2.1.0, which forges and editors show at the line.
//!
//! The pages of the codes go along as the rules' help: there is nothing to look up elsewhere.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Code, Diagnostic, Lines, Report, Severity, Sources, explain, source};

/// The log of one run. It is complete without a diagnostic, too: then nothing was found.
#[must_use]
pub fn sarif(report: &Report, sources: &Sources) -> Value {
    let mut codes: Vec<_> = report.diagnostics().iter().map(|it| it.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut texts = Texts {
        sources,
        lines: BTreeMap::new(),
    };
    let mut twins = BTreeMap::new();
    let results: Vec<_> = report
        .diagnostics()
        .iter()
        .map(|diagnostic| {
            let rule = codes.iter().position(|code| *code == diagnostic.code);
            let fingerprint = fingerprint(diagnostic, &mut twins);
            result(diagnostic, rule, &fingerprint, &mut texts)
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Lockstep",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { "SRCROOT": { "description": { "text": "The root of the config repository." } } },
            "results": results,
        }],
    })
}

/// Where the lines of each file begin, looked for once.
struct Texts<'s> {
    sources: &'s Sources,
    lines: BTreeMap<&'s str, Option<Lines<'s>>>,
}

impl<'s> Texts<'s> {
    fn lines(&mut self, path: &'s str) -> Option<&Lines<'s>> {
        let sources = self.sources;
        let lines = self
            .lines
            .entry(path)
            .or_insert_with(|| source(sources, path).map(Lines::of));
        lines.as_ref()
    }

    fn region(&mut self, path: &'s str, span: &Range<usize>) -> Option<Value> {
        let lines = self.lines(path)?;
        let (start, end) = (lines.at(span.start), lines.at(span.end));
        Some(json!({
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        }))
    }

    fn place(&mut self, path: &'s str, span: Option<&Range<usize>>) -> Value {
        let mut place = json!({ "artifactLocation": artifact(path) });
        if let Some(region) = span.and_then(|span| self.region(path, span)) {
            place["region"] = region;
        }
        place
    }
}

/// A kind of mistake, with its page.
fn rule(code: Code) -> Value {
    let page = explain(code);
    let (title, body) = page.split_once("\n\n").unwrap_or((page, ""));
    let title = title.split_once(": ").map_or(title, |(_, title)| title);
    let first = body.split("\n\n").next().unwrap_or(body);
    json!({
        "id": code.as_str(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": title },
        "fullDescription": { "text": first },
        "help": { "text": body, "markdown": body },
        "defaultConfiguration": { "level": "error" },
    })
}

fn result<'r>(
    diagnostic: &'r Diagnostic,
    rule: Option<usize>,
    fingerprint: &str,
    texts: &mut Texts<'r>,
) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let message = match &diagnostic.help {
        Some(help) => format!("{}\nHelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut location = json!({ "physicalLocation": texts.place(&diagnostic.path, diagnostic.span.as_ref()) });
    if let Some(key) = &diagnostic.key {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": key.to_string(), "kind": "member" }]);
    }
    let mut result = json!({
        "ruleId": diagnostic.code.as_str(),
        "ruleIndex": rule,
        "level": level,
        "message": { "text": message },
        "locations": [location],
        "partialFingerprints": { "lockstep/v1": fingerprint },
    });
    let related: Vec<_> = diagnostic
        .related
        .iter()
        .enumerate()
        .map(|(id, related)| {
            json!({
                "id": id,
                "message": { "text": related.message },
                "physicalLocation": texts.place(&related.path, Some(&related.span)),
            })
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = Value::from(related);
    }
    let region = diagnostic
        .span
        .as_ref()
        .and_then(|span| texts.region(&diagnostic.path, span));
    if let (Some(fix), Some(region)) = (&diagnostic.fix, region) {
        result["fixes"] = json!([{
            "description": { "text": format!("write `{fix}`") },
            "artifactChanges": [{
                "artifactLocation": artifact(&diagnostic.path),
                "replacements": [{ "deletedRegion": region, "insertedContent": { "text": fix } }],
            }],
        }]);
    }
    result
}

/// A path from the repository's root, as an address.
fn artifact(path: &str) -> Value {
    let mut encoded = jsonschema::uri::EncodedBuffer::new();
    encoded.encode_str::<jsonschema::uri::Path>(path);
    // A colon in the first part would make a scheme of it.
    let uri = encoded.as_str().replace(':', "%3A");
    json!({ "uri": uri, "uriBaseId": "SRCROOT" })
}

/// What stays the same when lines move: whoever shows results tells old ones from new ones by it.
fn fingerprint(diagnostic: &Diagnostic, twins: &mut BTreeMap<String, usize>) -> String {
    let key = diagnostic
        .key
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [
        diagnostic.code.as_str(),
        &diagnostic.path,
        &key,
        &diagnostic.message,
    ] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let same: String = hash
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let twin = twins.entry(same.clone()).or_default();
    *twin += 1;
    format!("{same}:{twin}")
}
