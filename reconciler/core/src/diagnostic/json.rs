//! A report for programs: one array, the fields of the operator's interface.

use serde::Serialize;

use super::{Code, LineColumn, Lines, Report, Severity, Sources, source};
use crate::document::KeyPath;

#[derive(Serialize)]
struct Entry<'r> {
    code: Code,
    severity: Severity,
    path: &'r str,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    key: Option<&'r KeyPath>,
    message: &'r str,
    help: Option<&'r str>,
}

/// One array of objects. What is not known (a whole file has no line) is `null`.
#[must_use]
pub fn json(report: &Report, sources: &Sources) -> serde_json::Value {
    let mut lines: Option<(&str, Option<Lines<'_>>)> = None;
    let entries: Vec<_> = report
        .diagnostics()
        .iter()
        .map(|diagnostic| {
            let path = diagnostic.path.as_str();
            if lines.as_ref().is_none_or(|(of, _)| *of != path) {
                lines = Some((path, source(sources, path).map(Lines::of)));
            }
            let lines = lines.as_ref().and_then(|(_, lines)| lines.as_ref());
            let at = |byte: fn(&std::ops::Range<usize>) -> usize| -> Option<LineColumn> {
                Some(lines?.at(byte(diagnostic.span.as_ref()?)))
            };
            let (start, end) = (at(|span| span.start), at(|span| span.end));
            Entry {
                code: diagnostic.code,
                severity: diagnostic.severity,
                path,
                line: start.map(|at| at.line),
                column: start.map(|at| at.column),
                end_line: end.map(|at| at.line),
                end_column: end.map(|at| at.column),
                key: diagnostic.key.as_ref(),
                message: &diagnostic.message,
                help: diagnostic.help.as_deref(),
            }
        })
        .collect();
    serde_json::to_value(entries).unwrap_or_default()
}
