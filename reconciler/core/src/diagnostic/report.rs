//! The whole of what is wrong with a candidate: complete where it can be read, counted where nobody could.
//!
//! One commit can break each of 100,000 files. What is kept of that must not grow with it: the diagnostics lie in
//! memory, and go into events and a status.

use std::collections::BTreeSet;

use super::{Code, Diagnostic, Severity};
use crate::secret::Places;

/// How many mistakes of a revision are listed. More of them have one cause, or nobody would read them all.
pub const LISTED: usize = 1_000;
/// How many files with mistakes that are not listed are named.
const NAMED: usize = 5;
/// How long a message or a help is at most: they quote keys, values and patterns.
const LONGEST: usize = 2_000;

/// All that is wrong with a candidate, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    secrets: Places,
}

impl Report {
    /// Takes diagnostics in any order; the same one twice counts once. Of more than [`LISTED`] the first are kept.
    #[must_use]
    pub fn new(diagnostics: impl IntoIterator<Item = Diagnostic>) -> Self {
        let mut findings = Findings::default();
        findings.extend(diagnostics);
        findings.report()
    }

    /// Whether the candidate is refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// All of them, by path, then by place; the one that says that there are more comes last.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Of these only those that are wanted.
    #[must_use]
    pub fn only(mut self, wanted: impl FnMut(&Diagnostic) -> bool) -> Self {
        self.diagnostics.retain(wanted);
        self
    }

    /// Where secrets lie, which nobody is to be shown.
    pub(crate) fn secrets(&self) -> &Places {
        &self.secrets
    }

    /// The same, knowing where secrets lie; `keep` takes them out of what is said.
    pub(crate) fn keeping(mut self, secrets: Places, keep: impl FnMut(&mut Diagnostic)) -> Self {
        self.diagnostics.iter_mut().for_each(keep);
        self.secrets = secrets;
        self
    }

    /// Whether nothing at all is to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }
}

/// Diagnostics as they are found: the first [`LISTED`] are kept, the others are counted.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Diagnostic>,
    more: usize,
    files: BTreeSet<String>,
    /// Whether one that is not kept refuses the candidate.
    refused: bool,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        if self.kept.len() < LISTED || diagnostic.code == Code::MoreMistakes {
            shorten(&mut diagnostic.message);
            diagnostic.help.as_mut().map(shorten);
            return self.kept.push(diagnostic);
        }
        self.more += 1;
        self.refused |= diagnostic.severity == Severity::Error;
        if !self.files.contains(&diagnostic.path) {
            self.files.insert(diagnostic.path);
        }
    }

    /// The report: that there are more is said last, and is an error if one of them is.
    #[must_use]
    pub fn report(self) -> Report {
        let mut diagnostics = self.kept;
        diagnostics.sort_by(|a, b| order(a).cmp(&order(b)));
        diagnostics.dedup();
        if self.more > 0 {
            let more = Diagnostic::error(Code::MoreMistakes, ".", more(self.more, &self.files));
            diagnostics.push(Diagnostic {
                severity: if self.refused {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                ..more.with_help("mend those that are listed first; the others show then")
            });
        }
        Report {
            diagnostics,
            secrets: Places::new(),
        }
    }
}

impl Extend<Diagnostic> for Findings {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: T) {
        for diagnostic in diagnostics {
            self.push(diagnostic);
        }
    }
}

/// "and 19,000 more mistakes in 2 files: a.toml, b.toml".
fn more(count: usize, files: &BTreeSet<String>) -> String {
    let mistakes = if count == 1 { "mistake" } else { "mistakes" };
    let named: Vec<_> = files.iter().take(NAMED).map(String::as_str).collect();
    let (of, rest) = match files.len() {
        1 => ("1 file".to_owned(), ""),
        many if many > NAMED => (format!("{many} files"), ", …"),
        many => (format!("{many} files"), ""),
    };
    format!("and {count} more {mistakes} in {of}: {}{rest}", named.join(", "))
}

/// Cuts what is longer than anybody reads.
fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push('…');
    }
}

fn order(diagnostic: &Diagnostic) -> impl Ord + '_ {
    let span = diagnostic.span.as_ref().map(|span| (span.start, span.end));
    (
        diagnostic.code == Code::MoreMistakes,
        &diagnostic.path,
        span,
        diagnostic.severity,
        diagnostic.code,
        &diagnostic.message,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_in_file_order_and_says_nothing_twice() {
        let a = Diagnostic::error(Code::UnknownKey, "a.toml", "second").at(9..10);
        let b = Diagnostic::error(Code::TomlSyntax, "a.toml", "first").at(2..3);
        let c = Diagnostic::error(Code::FileSize, "a.toml", "whole");
        let report = Report::new([a.clone(), b.clone(), a.clone(), c.clone()]);
        assert_eq!(report.diagnostics(), [c, b, a]);
        assert!(report.has_errors());
    }

    #[test]
    fn warnings_alone_refuse_nothing() {
        let mut warning = Diagnostic::error(Code::UnknownKey, "a.toml", "hm");
        warning.severity = Severity::Warning;
        assert!(!Report::new([warning]).has_errors());
    }

    #[test]
    fn what_is_not_listed_is_counted_last_and_refuses_like_what_is() {
        let warning = |at: usize| Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(Code::UnknownKey, "a.toml", "hm").at(at..at + 1)
        };
        let mut findings = Findings::default();
        findings.extend((0..LISTED + 2).map(warning));
        findings.push(Diagnostic::error(Code::TomlSyntax, "b.toml", "no"));
        let report = findings.report();
        assert_eq!(report.diagnostics().len(), LISTED + 1);
        assert!(report.has_errors(), "the one error is among those not listed");
        let last = report.diagnostics().last().unwrap();
        assert_eq!(last.message, "and 3 more mistakes in 2 files: a.toml, b.toml");
        // Whoever filters a report makes another one of it: what it says last stays last.
        assert_eq!(Report::new(report.diagnostics().to_vec()), report);
    }

    #[test]
    fn a_message_that_quotes_without_end_is_cut() {
        let long = "ö".repeat(1 << 20);
        let report =
            Report::new([Diagnostic::error(Code::UnknownKey, "a.toml", long.clone()).with_help(long)]);
        let it = &report.diagnostics()[0];
        assert_eq!(it.message.chars().count(), LONGEST + 1);
        assert_eq!(it.help.as_ref().unwrap().chars().count(), LONGEST + 1);
    }
}
